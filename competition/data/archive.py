"""Files in a folder or inside a zip, read in place: nothing is ever unpacked to disk.

A path is an ordinary file name, or ``ARCHIVE.zip::MEMBER``.
"""

import errno
import os
import re
import threading
import zipfile
import zlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from competition.errors import UserError, did_you_mean, first_few

_USUAL = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
_RARER = {".jpe", ".jfif", ".apng", ".avif", ".jp2", ".j2k", ".ppm", ".pgm", ".pbm", ".pnm"}
IMAGE_SUFFIXES = frozenset(_USUAL | _RARER)  # of what Pillow decodes
TABLE_SUFFIXES = frozenset({".csv", ".tsv"})
MEMBER_LIMIT = 2 << 30  # bytes one member may unpack to: a 20,000 x 20,000 BMP has 1.2e9
BOMB_TOTAL = 4 << 30  # an archive below this size, unpacked, is harmless at any ratio
BOMB_RATIO = 100  # PNG, JPEG and WebP hardly shrink; even BMP rarely passes 20
MEMBER_BOMB_RATIO = 1000  # what deflate reaches at most on a run of zeros is 1,032
MEMBER_BOMB_BYTES = 256 << 20

_MEMBER_PATH = re.compile(r"(?is)^(.*?\.zip)::(.+)$")
_archives: dict[tuple[int, str], zipfile.ZipFile] = {}  # (process id, archive) -> handle
_opening = threading.Lock()
_EFFECTIVE_IDS = os.access in os.supports_effective_ids  # whoever opens the file, not whoever started us


class DamagedError(OSError):
    """The bytes themselves are at fault: they are the same at every reading."""


def _renew_lock() -> None:
    """A fork while another thread held the lock would leave the child with a lock nobody frees."""
    global _opening
    _opening = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)


def split_path(path: str) -> tuple[str, str | None]:
    """Return (file, None) for an ordinary path and (archive, member) for a path inside a zip."""
    match = _MEMBER_PATH.match(path)
    return (match.group(1), match.group(2)) if match else (path, None)


def is_image(name: str) -> bool:
    """Whether the name ends like an image that can be decoded."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def is_table(name: str) -> bool:
    """Whether the name ends like a table."""
    return os.path.splitext(name)[1].lower() in TABLE_SUFFIXES


def _is_clutter(name: str) -> bool:
    """Hidden files and what macOS, Windows and network drives leave behind."""
    return name.startswith(".") or name in {"__MACOSX", "Thumbs.db", "desktop.ini", "@eaDir", "$RECYCLE.BIN"}


def _open_archive(archive: str) -> zipfile.ZipFile:
    """One checked handle per archive and process: a forked handle would share its file position.

    ``ZipFile`` locks its own reads, so threads may share the handle. Raises UserError.
    """
    key = (os.getpid(), archive)
    handle = _archives.get(key)
    if handle is None:
        with _opening:
            handle = _archives.get(key)
            if handle is None:
                handle = _checked(archive)
                _archives[key] = handle
    return handle


def _checked(archive: str) -> zipfile.ZipFile:
    try:
        handle = zipfile.ZipFile(archive)
    except PermissionError:
        raise UserError(f"{archive}: permission denied. Make the file readable (chmod u+r).") from None
    except (zipfile.BadZipFile, EOFError, ValueError) as error:
        raise UserError(f"{archive}: not a whole zip file ({error}). Download it again.") from None
    try:
        _refuse_unsafe(archive, handle.infolist())
    except UserError:
        handle.close()
        raise
    _respell_folders(handle)
    return handle


def _respell_folders(handle: zipfile.ZipFile) -> None:
    """Older Windows tools write ``\\`` between folders: where a name has nothing else, it is read as ``/``."""
    for member in handle.infolist():
        if "/" not in member.filename:
            member.filename = member.filename.replace("\\", "/")
            handle.NameToInfo[member.filename] = member


def _refuse_unsafe(archive: str, members: list[zipfile.ZipInfo]) -> None:
    """Refuse names that leave the archive, encrypted members and bombs, judged by declared sizes."""
    outside = [member.filename for member in members if _leaves_archive(member.filename)]
    if outside:
        raise UserError(
            f"{archive}: members with an absolute path or '..' in it: {first_few(outside)}. "
            "Nothing was read; make the archive again with relative names."
        )
    locked = [member.filename for member in members if member.flag_bits & 1]
    if locked:
        raise UserError(f"{archive}: encrypted members: {first_few(locked)}. Unpack it with its password first.")
    large = [member.filename for member in members if _is_bomb(member)]
    total = sum(member.file_size for member in members)
    packed = max(1, os.path.getsize(archive))
    if large or (total > BOMB_TOTAL and total > BOMB_RATIO * packed):
        named = f" ({first_few(large)})" if large else ""
        raise UserError(
            f"{archive}: looks like a zip bomb: {packed:,} bytes that unpack to {total:,}{named}. "
            "Nothing was read; if it is what you mean, unpack it by hand and name the folder."
        )


def _leaves_archive(name: str) -> bool:
    parts = name.replace("\\", "/").split("/")
    return name.startswith(("/", "\\")) or ".." in parts or re.match(r"^[A-Za-z]:[\\/]", name) is not None


def _is_bomb(member: zipfile.ZipInfo) -> bool:
    ratio = member.file_size / max(1, member.compress_size)
    return member.file_size > MEMBER_LIMIT or (member.file_size > MEMBER_BOMB_BYTES and ratio > MEMBER_BOMB_RATIO)


def read_bytes(path: str, limit: int = MEMBER_LIMIT) -> bytes:
    """Return the bytes of a file or member; safe in threads and forked processes.

    Raises OSError when it cannot be read; DamagedError, which is one, when it is damaged inside its archive or larger
    than ``limit`` bytes.
    """
    archive, member = split_path(path)
    if member is None:
        with open(path, "rb") as file:
            data = file.read(limit + 1)
    else:
        data = _read_member(archive, member, limit)
    if len(data) > limit:
        raise DamagedError(errno.EFBIG, f"larger than {limit:,} bytes", path)
    return data


def _read_member(archive: str, member: str, limit: int) -> bytes:
    try:
        with _open_archive(archive).open(member) as file:
            return file.read(limit + 1)  # stops there whatever the declared size says
    except KeyError:
        raise FileNotFoundError(errno.ENOENT, "no such member", f"{archive}::{member}") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise DamagedError(errno.EIO, f"damaged inside its archive: {error}", member) from None


def signature(path: str) -> tuple[int, int]:
    """Return (bytes, modification time in ns), or (bytes, CRC) in a zip; (-1, -1) when there is no such file.

    The time of a file that may not be read is -1. Cheap: a look into the directory, never a read of the contents.
    """
    archive, member = split_path(path)
    try:
        if member is None:
            status = os.stat(path)
            is_readable = os.access(path, os.R_OK, effective_ids=_EFFECTIVE_IDS)
            return status.st_size, status.st_mtime_ns if is_readable else -1  # chmod leaves the time as it was
        info = _open_archive(archive).getinfo(member)
        return info.file_size, info.CRC
    except (OSError, KeyError):
        return -1, -1


def list_files(source: Path) -> dict[str, str]:
    """Return {name relative to ``source``: path} of the images and tables of a folder or a zip; see ``list_all``."""
    return images_and_tables(list_all(source))


def images_and_tables(files: dict[str, str]) -> dict[str, str]:
    """Return those of the files that are read; see ``list_all``."""
    return {name: path for name, path in files.items() if is_image(name) or is_table(name)}


def list_all(source: Path) -> dict[str, str]:
    """Return {name relative to ``source``: path} of a folder or a zip, hidden files left out.

    A zip at the top of a folder is read as a folder of the same name. Raises UserError.
    """
    try:
        is_folder, is_zip = source.is_dir(), source.suffix.lower() == ".zip" and source.is_file()
    except PermissionError:
        raise UserError(f"{source}: permission denied. Make the folders above it readable (chmod u+rx).") from None
    if is_folder:
        return _list_folder(source)
    if is_zip:
        return _list_archive(str(source))
    if os.path.lexists(source):
        raise UserError(f"{source}: neither a folder nor a .zip. Name the folder or the zip that holds the images.")
    near = [entry.name for entry in source.parent.iterdir()] if source.parent.is_dir() else []
    raise UserError(f"{source}: no such file or folder{did_you_mean(source.name, near)}.")


def _list_folder(source: Path) -> dict[str, str]:
    files: dict[str, str] = {}
    pending: list[tuple[str, str, frozenset[tuple[int, int]]]] = [("", str(source), frozenset())]
    while pending:
        prefix, folder, above = pending.pop()
        identity, entries = _look_into(folder)
        if identity in above and identity[1]:  # a link has led back; a number of 0 tells nothing
            continue
        for entry in entries:
            name = prefix + entry.name
            if entry.is_dir():
                pending.append((name + "/", entry.path, above | {identity}))
            elif prefix == "" and entry.name.lower().endswith(".zip"):
                files.update(_mounted(entry.path))
            elif _is_file_or_broken_link(entry):
                files[name] = entry.path
    return dict(sorted(files.items()))


def _look_into(folder: str) -> tuple[tuple[int, int], list["os.DirEntry[str]"]]:
    """Return which folder it is, whatever path led there, and its visible entries."""
    try:
        status = os.stat(folder)
        with os.scandir(folder) as entries:
            visible = [entry for entry in entries if not _is_clutter(entry.name)]
    except PermissionError:
        raise UserError(f"{folder}: permission denied. Make the folder readable (chmod u+rx).") from None
    return (status.st_dev, status.st_ino), visible


def _is_file_or_broken_link(entry: "os.DirEntry[str]") -> bool:
    """A link to nowhere is listed, so that somebody says it is missing; a pipe is not: reading it would block."""
    return entry.is_file() or (entry.is_symlink() and not os.path.exists(entry.path))


def _list_archive(archive: str) -> dict[str, str]:
    names = [member.filename for member in _open_archive(archive).infolist() if not member.is_dir()]
    visible = [name for name in names if not any(_is_clutter(part) for part in name.split("/"))]
    inner = [name for name in visible if name.lower().endswith(".zip")]
    if inner and not any(is_image(name) for name in visible):
        raise UserError(
            f"{archive}: holds zips instead of images: {first_few(inner)}. "
            "Unpack the outer zip once into a folder and name that folder; the inner ones are read in place."
        )
    return {name: f"{archive}::{name}" for name in sorted(visible)}


def _mounted(archive: str) -> dict[str, str]:
    """``train.zip`` reads as the folder ``train``, and ``train.csv.zip`` as ``train.csv``."""
    stem = os.path.splitext(os.path.basename(archive))[0]
    return {
        name if name == stem or name.startswith(f"{stem}/") else f"{stem}/{name}": path
        for name, path in _list_archive(archive).items()
    }


def real_paths(paths: Iterable[str]) -> list[str]:
    """Return the paths with the links among their folders followed; each folder is looked up once."""
    real = cache(os.path.realpath)
    return [os.path.join(real(folder), name) for folder, name in map(os.path.split, paths)]


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sort key that puts ``2.png`` before ``10.png``."""
    parts: Iterable[str] = re.split(r"(\d+)", name)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]
