"""Files among the images that nobody reads and that may be images of another kind: told once, so none is missed."""

import os
from collections import Counter
from collections.abc import Iterable

from competition.data.archive import is_image, is_table
from competition.data.draft import Problem
from competition.errors import counted, first_few

_TEXTS = {".txt", ".md", ".rst", ".html", ".pdf", ".json", ".jsonl", ".yaml", ".yml", ".xml", ".log", ".ini", ".db"}
_CODE = {".py", ".ipynb"}
_NO_ENDING = {"readme", "license"}  # what people put beside images without an ending


def unread_files(names: Iterable[str]) -> list[Problem]:
    """Return one problem, or none, for the files of a folder or zip, given by all of their names.

    What lies above every image is left out: nobody puts images beside ``train/``.
    """
    folders: set[str] = set()
    others: list[str] = []
    for name in names:
        if is_image(name):
            folders.add(_folder(name))
        elif not is_table(name) and _may_be_image(name):
            others.append(name)
    above = {parent for folder in folders for parent in _parents(folder)} - folders
    rows = [name for name in others if _folder(name) not in above]
    if not rows:
        return []
    endings = Counter(_ending(name) or "without any" for name in rows)
    told = first_few(f"{count:,} {ending}" for ending, count in endings.most_common())
    message = (
        f"{counted(len(rows), 'file')} without the ending of an image: {told}. Convert what is an image to PNG or "
        "JPEG, or give it its right ending."
    )
    return [Problem("file not read", message, rows, "warning")]


def _folder(name: str) -> str:
    return name.rpartition("/")[0]


def _parents(folder: str) -> set[str]:
    """``a/b/c`` -> ``a/b``, ``a`` and the top, the empty name."""
    parts = folder.split("/") if folder else []
    return {"/".join(parts[:depth]) for depth in range(len(parts))}


def _ending(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _may_be_image(name: str) -> bool:
    return _ending(name) not in _TEXTS | _CODE and name.rpartition("/")[2].lower() not in _NO_ENDING
