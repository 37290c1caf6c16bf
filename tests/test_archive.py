"""Reading folders and zips in place, and refusing what is dangerous."""

import multiprocessing
import os
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from competition.data import archive
from competition.data.archive import list_files, natural_key, read_bytes, real_paths, signature, split_path
from competition.data.catalog import open_catalog
from competition.data.decode import decode_file
from competition.errors import UserError


def make_zip(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return path


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a/b.png", ("a/b.png", None)),
        ("a.zip::b/c.png", ("a.zip", "b/c.png")),
        ("A.ZIP::b::c.png", ("A.ZIP", "b::c.png")),
        ("odd::name.png", ("odd::name.png", None)),
    ],
)
def test_split_path(path: str, expected: tuple[str, str | None]) -> None:
    assert split_path(path) == expected


def test_folder_and_zip_list_the_same_names(tmp_path: Path) -> None:
    members = {"train/a/1.png": b"1", "train/b/2.JPG": b"2", "train.csv": b"x", "notes.txt": b"no"}
    hidden = {".truth/solution.csv": b"no", "__MACOSX/train/a/._1.png": b"no", "train/.hidden.png": b"no"}
    hidden["train/@eaDir/1.png"] = b"no"  # a Synology drive's previews
    for name, data in {**members, **hidden}.items():
        file = tmp_path / "folder" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    packed = make_zip(tmp_path / "all.zip", {**members, **hidden})
    folder = list_files(tmp_path / "folder")
    assert list(folder) == list(list_files(packed)) == ["train.csv", "train/a/1.png", "train/b/2.JPG"]
    assert read_bytes(list_files(packed)["train/a/1.png"]) == read_bytes(folder["train/a/1.png"]) == b"1"


@pytest.mark.parametrize("suffix", [".jpe", ".jfif", ".JFIF", ".apng", ".avif", ".jp2", ".j2k", ".ppm", ".pgm"])
def test_rarer_endings_are_images_that_can_be_decoded(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    Image.new("L", (16, 16), 90).save(path)
    assert list(list_files(tmp_path)) == [path.name]
    assert decode_file(str(path), 8, "squash").pixels[0, 0].tolist() == pytest.approx([90, 90, 90], abs=1)


def test_zip_in_a_folder_reads_as_a_folder(tmp_path: Path) -> None:
    make_zip(tmp_path / "train.zip", {"1.png": b"a"})
    make_zip(tmp_path / "test.zip", {"test/2.png": b"b"})
    make_zip(tmp_path / "train.csv.zip", {"train.csv": b"c"})
    assert list(list_files(tmp_path)) == ["test/2.png", "train.csv", "train/1.png"]


def test_a_link_that_leads_back_is_followed_once(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.png").write_bytes(b"1")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    assert list(list_files(tmp_path)) == ["a/1.png"]


def test_a_linked_folder_is_listed_where_the_link_is_too(tmp_path: Path) -> None:
    for name in ("raw", "train"):
        (tmp_path / name).mkdir()
    (tmp_path / "raw" / "1.png").write_bytes(b"1")
    (tmp_path / "train" / "cat").symlink_to("../raw")
    (tmp_path / "raw" / "back").symlink_to("../train")  # round and round: raw/back/cat is raw
    assert list(list_files(tmp_path)) == ["raw/1.png", "train/cat/1.png"]


def test_real_paths_follow_links_of_folders(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "link").symlink_to("raw")
    names = [f"{tmp_path}/link/1.png", f"{tmp_path}/raw/1.png", "a.zip::raw/1.png"]
    one, other, member = real_paths(names)
    assert one == other == os.path.realpath(names[1])
    assert member.endswith("a.zip::raw/1.png")


def test_broken_links_are_listed_and_pipes_are_not(tmp_path: Path) -> None:
    (tmp_path / "lost.png").symlink_to(tmp_path / "nowhere.png")
    os.mkfifo(tmp_path / "pipe.png")
    assert list(list_files(tmp_path)) == ["lost.png"]


def test_a_zip_of_an_older_windows_tool_is_read(tmp_path: Path) -> None:
    source = make_zip(tmp_path / "w.zip", {"train\\cat\\1.png": b"one", "train\\dog\\2.png": b"two", "train\\": b""})
    files = list_files(source)
    assert list(files) == ["train/cat/1.png", "train/dog/2.png"]
    assert [(read_bytes(path), signature(path)[0]) for path in files.values()] == [(b"one", 3), (b"two", 3)]
    assert open_catalog(source).class_names == ["cat", "dog"]


@pytest.mark.parametrize(
    "name",
    [
        "..\\evil.png",
        "\\\\host\\evil.png",
        "a\\..\\..\\evil.png",
        "../evil.png",
        "/etc/evil.png",
        "a/../../evil.png",
        "C:\\evil.png",
    ],
)
def test_members_outside_are_refused(tmp_path: Path, name: str) -> None:
    path = make_zip(tmp_path / "bad.zip", {"ok.png": b"1", name: b"2"})
    with pytest.raises(UserError, match="absolute path or '..'"):
        list_files(path)


def test_bombs_are_refused_by_their_declared_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_zip(tmp_path / "bomb.zip", {"a.png": bytes(2_000_000)}, zipfile.ZIP_DEFLATED)
    assert list_files(path)  # 1,000 : 1, but small
    monkeypatch.setattr(archive, "BOMB_TOTAL", 1_000_000)
    archive._archives.clear()
    with pytest.raises(UserError, match="zip bomb"):
        list_files(path)


def test_bombs_are_refused_while_reading(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "bomb.zip", {"a.png": bytes(2_000_000)}, zipfile.ZIP_DEFLATED)
    with pytest.raises(OSError, match=r"larger than 1,000 bytes"):
        read_bytes(f"{path}::a.png", limit=1000)


def test_damaged_zip_and_member(tmp_path: Path) -> None:
    broken = tmp_path / "broken.zip"
    broken.write_bytes(b"PK\x03\x04 not a zip")
    with pytest.raises(UserError, match="not a whole zip"):
        list_files(broken)
    path = make_zip(tmp_path / "flipped.zip", {"a.png": b"0123456789"})
    path.write_bytes(path.read_bytes().replace(b"0123456789", b"0123456780"))
    with pytest.raises(OSError, match="damaged inside its archive"):
        read_bytes(f"{path}::a.png")


def test_zip_of_zips_is_refused(tmp_path: Path) -> None:
    inner = make_zip(tmp_path / "train.zip", {"1.png": b"1"})
    with pytest.raises(UserError, match="Unpack the outer zip"):
        list_files(make_zip(tmp_path / "outer.zip", {"train.zip": inner.read_bytes()}))


def test_missing_source_names_a_neighbour(tmp_path: Path) -> None:
    (tmp_path / "competition").mkdir()
    with pytest.raises(UserError, match="did you mean 'competition'"):
        list_files(tmp_path / "competitoin")
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(UserError, match=r"neither a folder nor a \.zip"):
        list_files(tmp_path / "a.txt")


def test_folder_without_permission(tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o700)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    else:
        folder.chmod(0)
    try:
        with pytest.raises(UserError, match=r"permission denied.*chmod"):
            list_files(folder) if user else archive._list_folder(folder)
    finally:
        os.seteuid(user)
        folder.chmod(0o700)


def test_signature_notices_changes(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(b"123")
    before = signature(str(file))
    os.utime(file, ns=(1, 1))
    assert before[0] == 3
    assert signature(str(file)) == (3, 1) != before
    assert signature(str(tmp_path / "none.png")) == (-1, -1)
    packed = make_zip(tmp_path / "a.zip", {"a.png": b"123"})
    assert signature(f"{packed}::a.png") == (3, 0x884863D2)


def _read_many(path: str, queue: "multiprocessing.Queue[bool]") -> None:
    queue.put(all(read_bytes(f"{path}::{i}.png") == bytes([i]) * 5000 for i in range(50)))


def test_threads_and_forks_share_an_archive(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {f"{i}.png": bytes([i]) * 5000 for i in range(50)})
    list_files(path)  # opened before the fork
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    processes = [context.Process(target=_read_many, args=(str(path), queue)) for _ in range(2)]
    for process in processes:
        process.start()
    with ThreadPoolExecutor(4) as pool:
        ours = list(pool.map(lambda i: read_bytes(f"{path}::{i % 50}.png") == bytes([i % 50]) * 5000, range(200)))
    theirs = [queue.get(timeout=300) for _ in processes]
    for process in processes:
        process.join()
    assert all(ours)
    assert all(theirs)


def test_natural_order() -> None:
    names = ["10.png", "2.png", "a10", "a9", "1.png"]
    assert sorted(names, key=natural_key) == ["1.png", "2.png", "10.png", "a9", "a10"]
