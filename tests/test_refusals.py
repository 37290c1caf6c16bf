"""Bad data through the front door: what the user reads, the exit code, and no traceback."""

import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import train
from competition.__main__ import main as competition
from competition.cli import run_command
from competition.data.catalog import open_catalog

CLASSES = ("cat", "dog")
PER_CLASS = 6
NOBODY = 65534  # a user id without rights


def picture(seed: int, size: int = 16) -> Image.Image:
    """4 x 4 random colours, enlarged: no two of them are duplicates, not even nearly."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((size, size), Image.Resampling.BICUBIC)


def save(path: Path, image: Image.Image, **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)


def class_folders(root: Path, suffixes: Sequence[str] = (".png", ".png"), counts: Sequence[int] = (6, 6)) -> Path:
    """``train/CLASS/NUMBER`` with sound images."""
    for number, (name, suffix, count) in enumerate(zip(CLASSES, suffixes, counts, strict=True)):
        for index in range(count):
            save(root / "train" / name / f"{index}{suffix}", picture(100 * number + index))
    return root


def csv_layout(root: Path, lines: Sequence[str] = ()) -> Path:
    """``train.csv`` with ``images/0.png`` to ``11.png``, half of each class, and some more lines."""
    rows = [f"{index}.png,{CLASSES[index // PER_CLASS]}" for index in range(2 * PER_CLASS)]
    for index in range(2 * PER_CLASS):
        save(root / "images" / f"{index}.png", picture(index))
    (root / "train.csv").write_text("\n".join(["id,label", *rows, *lines]))
    return root


def archive(path: Path, *names: str) -> Path:
    """A zip of sound class folders and of empty members with these names."""
    source = class_folders(path.with_suffix(""))
    with zipfile.ZipFile(path, "w") as file:
        for image in sorted(source.rglob("*.png")):
            file.write(image, str(image.relative_to(source)))
        for name in names:
            file.writestr(name, b"")
    return path


class Door:
    """Runs commands as their scripts do."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.cache_dir, self.capsys = folder / "cache", capsys

    def __call__(self, main: Callable[[Sequence[str] | None], int], *words: object) -> tuple[object, str]:
        """Return (exit code, everything printed); an exception other than an exit fails the test."""
        with pytest.raises(SystemExit) as end:
            run_command(main, [*(str(word) for word in words), "--cache-dir", str(self.cache_dir)])
        captured = self.capsys.readouterr()
        assert "Traceback" not in captured.out + captured.err
        return end.value.code, captured.out + captured.err

    def check(self, data: Path, *words: object, folds: int = 5) -> tuple[object, str]:
        return self(competition, "check", data, "--folds", folds, *words)


@pytest.fixture
def door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Door:
    monkeypatch.chdir(tmp_path)
    return Door(tmp_path, capsys)


# ---- nothing can be made of it ----


def empty_folder(root: Path) -> Path:
    root.mkdir()
    return root


def one_class(root: Path) -> Path:
    shutil.rmtree(class_folders(root) / "train" / "dog")
    return root


def zip_with(member: str) -> Callable[[Path], Path]:
    return lambda root: archive(root.with_suffix(".zip"), member)


def bomb(root: Path) -> Path:
    path = archive(root.with_suffix(".zip"))
    with (
        zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED, compresslevel=9) as file,
        file.open("train/cat/big.png", "w") as member,
    ):
        for _ in range(300):
            member.write(bytes(1 << 20))
    return path


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (empty_folder, ["holds no images", "Name the folder"]),
        (one_class, ["only one class, 'cat'", "a classifier needs two", "--label-column; to predict, test/IMAGE."]),
        (zip_with("train/../../evil.png"), ["data.zip", "'..'", "train/../../evil.png", "Nothing was read"]),
        (zip_with("/etc/evil.png"), ["data.zip", "absolute path", "/etc/evil.png", "Nothing was read"]),
        (bomb, ["data.zip", "zip bomb", "train/cat/big.png", "unpack it by hand"]),
    ],
)
def test_refused_before_anything_is_decoded(
    door: Door, tmp_path: Path, build: Callable[[Path], Path], words: list[str]
) -> None:
    code, text = door.check(build(tmp_path / "data"))
    assert code == 2
    assert text.startswith("error: ")
    assert [word for word in [str(tmp_path), *words] if word not in text] == []
    assert not door.cache_dir.exists()
    assert not list(tmp_path.rglob("evil.png"))


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A folder that every user may enter, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp())
    (folder / "cache").mkdir()
    for path in (folder, folder / "cache"):
        path.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


@contextmanager
def without_rights() -> Iterator[None]:
    """Root may read everything, so be somebody else for a while."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(user)


@pytest.mark.parametrize(
    ("closed", "words"),
    [
        ("", ["data", "permission denied", "chmod u+rx"]),
        ("train/cat", ["train/cat", "permission denied", "chmod u+rx"]),
        ("train/cat/0.png", ["train/cat/0.png", "permission denied", "chmod u+r"]),
        ("train.csv", ["train.csv", "cannot be read", "Permission denied"]),
    ],
)
def test_no_permission(door: Door, open_place: Path, closed: str, words: list[str]) -> None:
    data = csv_layout(open_place / "data") if closed.endswith(".csv") else class_folders(open_place / "data")
    door.cache_dir = open_place / "cache"
    assert door.check(data)[0] == 0  # imports everything while it may; the other user may not read this Python
    (data / closed).chmod(0)
    with without_rights():
        code, text = door.check(data)
    (data / closed).chmod(0o755)
    assert (code, [word for word in words if word not in text]) == (2, [])
    assert door.check(data)[0] == 0  # once it may be read, no cache says otherwise


# ---- tables as people send them ----


def test_a_table_with_bom_semicolons_and_quoted_newlines_is_read_right(door: Door, tmp_path: Path) -> None:
    root = csv_layout(tmp_path / "data")
    labels = ['"cat; the striped one"', "dog"]
    rows = [f'"two\nlines; {index}";{labels[index // PER_CLASS]};{index}' for index in range(2 * PER_CLASS)]
    text = "\r\n".join(["remark;kind;picture", *rows])
    (root / "train.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    code, text = door.check(root, "--label-column", "kind")
    assert (code, "12 train images, 2 classes" in text, "No problems found" in text) == (0, True, True)
    code, text = door.check(root, "--label-column", "kind", folds=7)  # names every class and its size
    assert (code, "cat; the striped one (6), dog (6)" in text) == (2, True)


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("3.png,cat", 0, ["WARNING image named twice", "3.png", "used once", "training can start"]),
        ("3.png,dog", 2, ["ERROR   image named twice with different labels", "3.png", "Keep the right row"]),
        ("lost.png,cat", 2, ["ERROR   image named but missing", "lost.png", "Add the files or remove the rows"]),
        (",cat", 2, ["train.csv", "'id' is empty", "line 14"]),
    ],
)
def test_rows_that_do_not_fit(door: Door, tmp_path: Path, line: str, code: int, words: list[str]) -> None:
    answered, text = door.check(csv_layout(tmp_path / "data", [line]))
    assert answered == code
    assert [word for word in words if word not in text] == []


def test_images_nobody_names_are_told(door: Door, tmp_path: Path) -> None:
    root = csv_layout(tmp_path / "data")
    save(root / "images" / "spare.png", picture(77))
    code, text = door.check(root)
    assert (code, "WARNING image present but not named: 1 image without" in text) == (0, True)
    assert "images/spare.png" in text


# ---- images ----


def not_an_image(root: Path) -> None:
    (root / "train" / "cat" / "0.png").write_text("<html>not found</html>")


def leak(root: Path) -> None:
    shutil.rmtree(root)
    class_folders(root, suffixes=(".png", ".jpg"))


def small_class(root: Path) -> None:
    shutil.rmtree(root)
    class_folders(root, counts=(6, 4))


BAD_IMAGES = [
    (not_an_image, ["not an image", "train/cat/0.png", "begins with b'<html>no'", "--on-bad skip"]),
    (leak, ["label readable from extension", "gives away every label", "cat: png", "dog: jpg", "in the same way"]),
    (small_class, ["class too small for the folds", "dog (4)", "fewer than 5", "Use fewer folds"]),
]


@pytest.mark.parametrize(("spoil", "words"), BAD_IMAGES)
def test_check_and_train_refuse_alike(
    door: Door, tmp_path: Path, spoil: Callable[[Path], None], words: list[str]
) -> None:
    root = class_folders(tmp_path / "data")
    spoil(root)
    run = tmp_path / "run"
    answers = [door.check(root), door(train.main, "--data", root, "--run", run, "--model", "mycnn")]
    for code, text in answers:
        assert code == 2
        assert [word for word in words if word not in text] == []
    assert "error: " in answers[1][1]
    assert not run.exists()
    assert not (tmp_path / "folds").exists()


def test_all_problems_come_in_one_report(door: Door, tmp_path: Path) -> None:
    root = csv_layout(tmp_path / "data", ["lost.png,cat"])
    (root / "images" / "0.png").write_bytes(b"")
    (root / "images" / "1.png").write_bytes(b"GIF, it says")
    code, text = door.check(root)
    words = ["image named but missing", "lost.png", "empty file", "0.png (empty: 0 bytes)", "not an image"]
    assert (code, [word for word in words if word not in text]) == (2, [])


def test_duplicates_across_train_and_test_are_told(door: Door, tmp_path: Path) -> None:
    root = class_folders(tmp_path / "data")
    save(root / "test" / "same.png", picture(3))
    save(root / "test" / "nearly.jpg", picture(104), quality=95)
    code, text = door.check(root)
    assert (code, "training can start" in text) == (0, True)
    assert "WARNING exact duplicates in train and test: 2 images" in text
    assert "same.png [test]" in text
    assert "WARNING near duplicates in train and test: 2 images" in text
    assert "nearly.jpg [test]" in text


ODD_IMAGES: list[tuple[str, Image.Image, tuple[int, int, int]]] = [
    ("one_pixel.png", Image.new("RGB", (1, 1), (9, 8, 7)), (9, 8, 7)),
    ("palette.png", Image.new("RGB", (16, 16), (200, 20, 30)).quantize(4), (200, 20, 30)),
    ("sixteen_bits.png", Image.fromarray(np.full((16, 16), 30 * 257, np.uint16)), (30, 30, 30)),
    ("cmyk.jpg", Image.new("CMYK", (16, 16), (255, 0, 0, 0)), (0, 255, 255)),
    ("alpha.png", Image.new("RGBA", (16, 16), (0, 0, 255, 128)), (127, 127, 255)),
    ("huge.png", Image.new("L", (20_000, 20_000), 90), (90, 90, 90)),
]


def test_odd_images_are_accepted_and_converted_right(door: Door, tmp_path: Path) -> None:
    root = class_folders(tmp_path / "data", counts=(12, 12))
    for name, image, _ in ODD_IMAGES:
        save(root / "train" / "cat" / name, image, **({"compress_level": 1} if name == "huge.png" else {}))
    code, text = door.check(root)
    assert (code, "ERROR" in text) == (0, False)
    (pixels,) = (np.load(path) for path in door.cache_dir.glob("*/images.npy"))
    ids = open_catalog(root).table["image_id"].tolist()
    for name, _, colour in ODD_IMAGES:
        found = pixels[ids.index(f"train/cat/{name}")].astype(int)
        assert np.abs(found - colour).max() <= 1, name
