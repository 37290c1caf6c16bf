"""Which file does an id in a table mean? Ids come with or without folder and extension."""

import os
import re
import unicodedata
from collections.abc import Callable, Iterable
from functools import cache

from competition.data.archive import is_image

_SPLIT_WORDS = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validate": "val",
    "validation": "val",
    "dev": "val",
    "development": "val",
    "test": "test",
}
_BESIDE_SPLIT = "ing|set|val|data|images?|imgs?|pics|pictures|files|folder|crops"
_SPLIT_WORD = re.compile(rf"({'|'.join(_SPLIT_WORDS)})({_BESIDE_SPLIT})*")


def split_of_folder(name: str) -> str | None:
    """Return "train", "val" or "test" for names like ``TrainImages`` or ``images-test``; None for ``valley``."""
    return _split_and_rest(name)[0]


def splits_of_folders(names: Iterable[str]) -> dict[str, str]:
    """Return {name: split} for those of the folders in one place that are splits, not classes.

    ``train_images`` is one: its words say nothing else. ``seg_train`` is one beside ``seg_test``, whose name differs
    in the split alone. ``train_station`` is none.
    """
    read = {name: _split_and_rest(name) for name in names}
    splits_of_rest: dict[str, set[str]] = {}
    for split, rest in read.values():
        if split is not None:
            splits_of_rest.setdefault(rest, set()).add(split)
    return {
        name: split
        for name, (split, rest) in read.items()
        if split is not None and (not rest or len(splits_of_rest[rest]) > 1)
    }


def _split_and_rest(name: str) -> tuple[str | None, str]:
    """``seg_TestImages`` -> ("test", "seg"): the split and the words that do not speak of it."""
    split, rest = None, []
    for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name):
        found = _SPLIT_WORD.fullmatch(word.lower())
        if found and split is None:
            split = _SPLIT_WORDS[found[1]]
        elif not re.fullmatch(_BESIDE_SPLIT, word.lower()):
            rest.append(word.lower())
    return split, " ".join(rest)


def without_extension(name: str) -> str:
    """``a/b.c.png`` -> ``a/b.c``."""
    return os.path.splitext(name)[0]


def _below_top(name: str) -> str:
    return name.partition("/")[2] or name


def _bare_below_top(name: str) -> str:
    return without_extension(_below_top(name))


def _base(name: str) -> str:
    return name.rpartition("/")[2]


# From the most to the least exact reading of an id.
_READINGS: tuple[Callable[[str], str], ...] = (
    lambda name: name,
    _below_top,
    _base,
    without_extension,
    _bare_below_top,
    lambda name: without_extension(_base(name)),
)


def ids_of_unlisted(names: list[str], is_bare: bool = False) -> list[str]:
    """Return an id for each test image that no list names: its name below the top folder, if bare without extension.

    Where two images would have one id, all of them keep what tells these apart: the extension, then the top folder.
    """
    for reading in (_bare_below_top, _below_top) if is_bare else (_below_top,):
        ids = [reading(name) for name in names]
        if len(set(ids)) == len(ids):
            return ids
    return names


def clean_id(image_id: str) -> str:
    """The id without blanks around it, ``./`` before it and Windows separators in it."""
    return image_id.strip().replace("\\", "/").removeprefix("./")


def match_images(
    ids: Iterable[str], names: list[str], split: str | None
) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Return ({id: file name}, {id: several equally good file names}); an id in neither has no file.

    ``split`` prefers the folder of that split (``train_images``) and shuns those of others; None takes all. An id that
    has no file otherwise means one, not taken yet, that is spelled otherwise: see `_alike`.
    """
    ids = list(ids)
    found, ambiguous = _match(ids, names, split)
    rest = [image_id for image_id in ids if image_id not in found and image_id not in ambiguous]
    alike = {image_id: _alike(image_id) for image_id in rest if is_image(image_id) or not image_id.isascii()}
    if alike:
        taken = set(found.values())
        files = {_alike(name): name for name in names if name not in taken}
        more, several = _match(alike.values(), list(files), split)
        found |= {image_id: files[more[spelled]] for image_id, spelled in alike.items() if spelled in more}
        ambiguous |= {
            image_id: [files[name] for name in several[spelled]]
            for image_id, spelled in alike.items()
            if spelled in several
        }
    return found, ambiguous


def _alike(name: str) -> str:
    """Undo what other systems do to a name: macOS writes an accent as a character of its own, cameras ``.JPG``."""
    stem, extension = os.path.splitext(unicodedata.normalize("NFC", name))
    return stem + extension.lower()


def _match(ids: Iterable[str], names: list[str], split: str | None) -> tuple[dict[str, str], dict[str, list[str]]]:
    spelled = {image_id: clean_id(image_id) for image_id in ids}
    wanted = set(spelled.values())
    exact = {name for name in names if "/" in name and name in wanted}  # the folder is spelled out: nothing to prefer
    found: dict[str, str] = {name: name for name in exact}
    wanted -= exact
    ambiguous: dict[str, list[str]] = {}
    for tier in _tiers(names, split):
        for reading in _READINGS:
            if not wanted:
                break
            candidates: dict[str, list[str]] = {}
            for name in tier:
                key = reading(name)
                if key in wanted:
                    candidates.setdefault(key, []).append(name)
            found.update((key, matches[0]) for key, matches in candidates.items() if len(matches) == 1)
            ambiguous.update((key, matches) for key, matches in candidates.items() if len(matches) > 1)
            wanted -= candidates.keys()
    return (
        {image_id: found[key] for image_id, key in spelled.items() if key in found},
        {image_id: ambiguous[key] for image_id, key in spelled.items() if key in ambiguous},
    )


def _tiers(names: list[str], split: str | None) -> list[list[str]]:
    if split is None:
        return [names]
    by_split: dict[str | None, list[str]] = {split: [], None: [], "train": []}
    split_of = cache(split_of_folder)
    for name in names:
        top, slash, _ = name.partition("/")
        by_split.setdefault(split_of(top if slash else ""), []).append(name)
    tiers = [by_split[split], by_split[None]]
    return [*tiers, by_split["train"]] if split == "val" else tiers
