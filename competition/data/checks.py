"""Everything that looks wrong with the data, in one report, before any training."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import takewhile

import numpy as np
import pandas as pd

from competition.data.catalog import Catalog
from competition.data.draft import ADVICE_FOR_TEST, Problem
from competition.data.duplicates import Groups, equal_rows, join_equal, join_near
from competition.data.shift import shift
from competition.errors import counted, first_few

MANY = 10  # times the folds: classes with so many images, groups counted once, are not searched for copies among them
NAMES_SHOWN = 5


def check(catalog: Catalog, facts: pd.DataFrame, *, folds: int, are_dealt: bool = False) -> list[Problem]:
    """Return every problem of a catalog and its decoded images, errors first.

    ``are_dealt`` says that a fold table is there, so that none must be made of the images.
    ``facts`` has one row per row of ``catalog.table``. An error stops training; its ``image_ids`` are what
    ``--on-bad skip`` may leave out instead. A warning is only told.
    """
    table = catalog.table
    good = (facts["error"] == "").to_numpy()
    problems = [
        *catalog.problems,
        *_unreadable(table, facts),
        *_small_classes(table, facts, folds, are_dealt, catalog.grouped_by),
        *_labels_alike(catalog.class_names),
        *_leaks(table[good], facts[good]),
        *_exact_duplicates(table, facts),
        *_near_duplicates(table, facts),
        *_shared_groups(table),
        *shift(table[good], facts[good]),
    ]
    return sorted(problems, key=lambda problem: problem.severity != "error")


def duplicate_groups(facts: pd.DataFrame, table: pd.DataFrame) -> np.ndarray:
    """Return (N,) int64 group numbers: equal for exact and near duplicates and for equal ``group`` values.

    ``facts`` and ``table`` have the same rows in the same order. Numbers count from 0 in order of appearance.
    """
    facts, groups = facts.reset_index(drop=True), Groups(len(table))
    good = facts["error"] == ""
    join_equal(groups, facts["pixel_hash"].astype(object).where(good, None))
    join_near(groups, facts)
    join_equal(groups, table["group"].reset_index(drop=True))
    return pd.factorize(groups.numbers())[0].astype(np.int64)


def format_report(problems: list[Problem], catalog: Catalog, is_strict: bool = True) -> str:
    """Return the problems as text; ``is_strict`` says that bad images stop the training, else they are left out."""
    splits = ", ".join(f"{count:,} {split}" for split, count in _split_counts(catalog.table))
    lines = [f"{catalog.source} ({catalog.layout}): {splits} images, {len(catalog.class_names)} classes"]
    if catalog.grouped_by:
        lines.append(format_groups(catalog))
    for problem in problems:
        lines.append(f"{problem.severity.upper():<8}{problem.kind}: {problem.message}")
        if problem.rows:
            lines.append(f"        {first_few(problem.rows, NAMES_SHOWN)}")
    lines.append(_what_to_do(problems, is_strict))
    return "\n".join(lines)


def format_groups(catalog: Catalog) -> str:
    """Return where the groups stand, which nobody may have asked for."""
    return f"groups: {catalog.grouped_by} (--group-column names another, or none)"


def _split_counts(table: pd.DataFrame) -> list[tuple[str, int]]:
    counts = Counter(table["split"])
    return [(split, counts[split]) for split in ("train", "val", "test") if counts[split]]


def _what_to_do(problems: list[Problem], is_strict: bool) -> str:
    errors = [problem for problem in problems if problem.severity == "error"]
    warnings = len(problems) - len(errors)
    stubborn = [problem.kind for problem in errors if not problem.image_ids]
    images = counted(len({image_id for problem in errors for image_id in problem.image_ids}), "image")
    if not problems:
        return "No problems found."
    if not errors:
        return f"{counted(warnings, 'warning')}, no errors: training can start."
    found = f"{counted(len(errors), 'error')}, {counted(warnings, 'warning')}"
    if stubborn:
        return f"{found}. Mend first: {first_few(stubborn)}."
    advice = f". Mend the files, or leave out {images} with --on-bad skip."
    return found + (advice if is_strict else f"; left out of the training: {images}")


# ---- single images ----

_KINDS = {
    "missing": "image file missing",
    "empty": "empty file",
    "truncated": "truncated image",
    "not an image": "not an image",
    "too large": "image too large",
    "unreadable": "unreadable image",
}


def _unreadable(table: pd.DataFrame, facts: pd.DataFrame) -> list[Problem]:
    """Damaged training images are errors; damaged test images still need a row, so they are warnings."""
    kinds = np.array([error.partition(":")[0] for error in facts["error"]])
    in_test = (table["split"] == "test").to_numpy()
    problems = []
    for is_test, severity in ((False, "error"), (True, "warning")):
        for kind, title in _KINDS.items():
            rows = np.flatnonzero((kinds == kind) & (in_test == is_test))
            if is_test and kind == "missing":
                continue  # the catalog has already named them
            if len(rows):
                ids = table["image_id"].iloc[rows].tolist()
                named = [f"{name} ({error})" for name, error in zip(ids, facts["error"].iloc[rows], strict=True)]
                where = "test" if is_test else "training"
                advice = ADVICE_FOR_TEST if is_test else "Replace or remove them."
                message = f"{counted(len(rows), f'{where} image')}. {advice}"
                problems.append(Problem(title, message, named, severity, () if is_test else tuple(ids)))
    return problems


def _small_classes(
    table: pd.DataFrame, facts: pd.DataFrame, folds: int, are_dealt: bool, grouped_by: str
) -> list[Problem]:
    """Count readable images; a class that has none left counts too."""
    labelled = (table["split"] != "test").to_numpy()
    if not labelled.any():
        return [Problem("no training images", "Nothing here has a label; it can only be predicted.", [])]
    table, facts = table[labelled], facts[labelled]
    good = (facts["error"] == "").to_numpy()
    counts = pd.Series(good).groupby(table["label"].to_numpy()).sum()
    is_first = (table["group"].isna() | ~table.duplicated(["label", "group"])).to_numpy()
    apart = pd.Series(good & is_first).groupby(table["label"].to_numpy()).sum()
    few = good & (counts >= folds)[table["label"]].to_numpy() & (apart < MANY * folds)[table["label"]].to_numpy()
    problems = [] if are_dealt else _classes_alike(table[few], facts[few], folds, grouped_by)
    rows = [f"{label} ({count})" for label, count in counts.items() if count < folds]
    if not rows:
        return problems
    message = f"{counted(len(rows), 'label')} with fewer than {folds} readable images. {_what_helps(counts)}"
    return [*problems, Problem("class too small for the folds", message, rows)]


def _what_helps(counts: pd.Series) -> str:
    """Fewer folds do not help where a class cannot fill two, the fewest."""
    return "Use fewer folds, or drop them." if counts.min() > 1 else "Add images of them, or drop them."


def _classes_alike(table: pd.DataFrame, facts: pd.DataFrame, folds: int, grouped_by: str) -> list[Problem]:
    """Find classes whose images fill no folds when duplicates and groups count once."""
    separate = pd.Series(duplicate_groups(facts, table)).groupby(table["label"].to_numpy()).nunique()
    alike = [f"{label} ({count})" for label, count in separate.items() if count < folds]
    if not alike:
        return []
    once, otherwise = "duplicates", ""
    if table["group"].notna().any():
        once, otherwise = f"duplicates and groups ({grouped_by})", " --group-column none takes no groups."
    message = f"{counted(len(alike), 'label')} with fewer than {folds} separate images, {once} counted once. "
    return [Problem("class too much alike for the folds", message + _what_helps(separate) + otherwise, alike)]


def _labels_alike(names: Sequence[str]) -> list[Problem]:
    """Find classes whose names differ only in capitals, blanks, hyphens and underscores: one class, mistyped?"""
    spellings = defaultdict(list)
    for name in (name for name in names if any(map(str.isalpha, name))):  # not -1 and 1, nor 1-1 and 11
        spellings["".join(name.casefold().replace("_", " ").replace("-", " ").split())].append(name)
    alike = [" = ".join(map(repr, same)) for same in spellings.values() if len(same) > 1]
    if not alike:
        return []
    message = "They are kept apart. Where they mean one class, spell it in one way."
    return [Problem("labels that look alike", message, alike, "warning")]


# ---- labels that can be read without looking at the picture ----


def _leaks(table: pd.DataFrame, facts: pd.DataFrame) -> list[Problem]:
    labelled = (table["split"] != "test").to_numpy()
    table, facts = table[labelled], facts[labelled]
    labels = table["label"].to_numpy()
    names = [path.rpartition("/")[2] for path in table["path"]]
    properties = {
        "extension": [name.rpartition(".")[2].lower() for name in names],
        "format": facts["format"].tolist(),
        "colour mode": facts["mode"].tolist(),
        "size": [f"{width}x{height}" for width, height in zip(facts["width"], facts["height"], strict=True)],
    }
    problems = []
    for name, values in properties.items():
        problems += _leak(name, values, labels)
    return problems + _leak("file name", [_name_stem(name) for name in names], labels, "warning", "No network sees it.")


def _name_stem(name: str) -> str:
    """``cat_0012.jpg`` -> ``cat_``: the leading letters; names made of digits and hex codes give nothing."""
    stem = name.rpartition(".")[0] or name
    return "".join(takewhile(lambda character: not character.isdigit(), stem))


def _leak(
    name: str,
    values: list[str],
    labels: np.ndarray,
    severity: str = "error",
    advice: str = "Save all images in the same way, or the score means nothing.",
) -> list[Problem]:
    """A property leaks when each value means one label and chance cannot explain it.

    As severe as that when every label has values of its own; a warning when single labels do.
    """
    # Two sizes per image on average would make any table "pure": ask for repeated values.
    if len(labels) < 4 or not 1 < len(set(values)) <= max(4, 0.2 * len(labels)):
        return []
    counts = pd.crosstab(pd.Series(values), pd.Series(labels))
    pure = (counts.gt(0).sum(axis=1) == 1) & (counts.sum(axis=1) >= 2)
    owned = counts[pure].sum(axis=0)
    telling = owned[(owned >= 0.95 * counts.sum(axis=0)) & (owned > 0)]
    if telling.empty:
        return []
    rows = []
    for label in telling.index:
        column = counts.loc[pure, label]
        rows.append(f"{label}: {first_few(column[column > 0].index, 2)}")
    everything = len(telling) == counts.shape[1]
    scope = "every label" if everything else f"{len(telling)} of {counts.shape[1]} labels"
    message = f"The {name} alone gives away {scope}. {advice}"
    return [Problem(f"label readable from {name}", message, rows, severity if everything else "warning")]


# ---- duplicates ----


def _exact_duplicates(table: pd.DataFrame, facts: pd.DataFrame) -> list[Problem]:
    hashes = facts["pixel_hash"].astype(object).where(facts["error"] == "", None)
    return _duplicate_problems(table, equal_rows(hashes), "exact duplicates")


def _near_duplicates(table: pd.DataFrame, facts: pd.DataFrame) -> list[Problem]:
    facts = facts.reset_index(drop=True)
    groups = Groups(len(table))
    join_near(groups, facts)
    return _duplicate_problems(table, equal_rows(pd.Series(groups.numbers())), "near duplicates")


_DUPLICATES = {
    "under several labels": "They stay in one fold; at most one label of each can be right.",
    "in train": "They stay in one fold, so the score is not flattered.",
    "in train and validation": "They flatter a --holdout score; without it they stay in one fold.",
    "in train and test": "They count on the leaderboard; the out-of-fold score ignores it.",
}


def _duplicate_problems(table: pd.DataFrame, groups: list[np.ndarray], kind: str) -> list[Problem]:
    """Sort groups of equal images into: one label, several labels, training against validation, and against test."""
    split, label = table["split"].to_numpy(), table["label"].to_numpy()
    ids = table["image_id"].to_numpy()
    found: dict[str, list[np.ndarray]] = {where: [] for where in _DUPLICATES}
    for rows in groups:
        labelled = rows[split[rows] != "test"]
        if len(labelled) > 1:
            is_torn, is_given = len(set(label[labelled])) > 1, len(set(split[labelled])) > 1
            where = "under several labels" if is_torn else "in train and validation" if is_given else "in train"
            found[where].append(labelled)
        if 0 < len(labelled) < len(rows):
            found["in train and test"].append(rows)
    problems = []
    for where, parts in found.items():
        if parts:
            names = [" = ".join(_tagged(ids, label, rows)) for rows in parts]
            images, many = counted(sum(map(len, parts)), "image"), counted(len(parts), "group")
            problems.append(Problem(f"{kind} {where}", f"{images} in {many}. {_DUPLICATES[where]}", names, "warning"))
    return problems


def _shared_groups(table: pd.DataFrame) -> list[Problem]:
    """Find groups that have images in train and in validation, where ``--holdout`` would part them."""
    splits = {split: set(table.loc[table["split"] == split, "group"].dropna()) for split in ("train", "val")}
    shared = sorted(splits["train"] & splits["val"])
    if not shared:
        return []
    count = int((table["group"].isin(shared) & (table["split"] == "val")).sum())
    message = f"{counted(count, 'validation image')} in {counted(len(shared), 'group')} that training has too. "
    message += "They flatter a --holdout score; without it they stay in one fold."
    return [Problem("groups in train and validation", message, shared, "warning")]


def _tagged(ids: np.ndarray, label: np.ndarray, rows: np.ndarray) -> list[str]:
    """Up to three names with their labels."""
    tagged = [f"{ids[row]} [{label[row]}]" if label[row] is not None else f"{ids[row]} [test]" for row in rows[:3]]
    return tagged + ([f"{len(rows) - 3} more"] if len(rows) > 3 else [])
