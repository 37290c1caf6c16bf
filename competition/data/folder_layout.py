"""Labelled folders: ``train/CLASS/*`` with optional ``val`` and ``test``, or ``CLASS/*`` alone."""

from pathlib import Path

from competition.data.archive import natural_key
from competition.data.columns import described, group_column, refuse_no_header
from competition.data.csvfile import CsvFile, read_csv
from competition.data.draft import ADVICE_FOR_TEST, Draft, Problem, Row
from competition.data.naming import ids_of_unlisted, match_images, splits_of_folders
from competition.errors import UserError, counted, first_few


def read_folders(draft: Draft, tables: dict[str, str], source: Path, wanted_group: str | None = None) -> str:
    """Add every labelled and test image to the draft and return the layout's name.

    ``tables`` may hold a sample submission or test list, and a ``manifest.csv`` that states groups and labels;
    ``wanted_group`` is the column of groups, where one is asked for, or none.
    Raises UserError when the images lie in train and test folders without a class.
    """
    draft.files = _without_doubled(draft.files, draft.split_tops())
    tops = {name.partition("/")[0] for name in draft.images if "/" in name}
    split_of = draft.split_tops()
    layout = "class folders" if draft.has_train_folders() else "labelled folder"
    if layout == "labelled folder":
        if tops and tops == split_of.keys() and set(split_of.values()) != {"test"}:
            raise UserError(
                f"{source}: images without labels in {first_few(sorted(tops))}. Put them into one folder per "
                "class (train/CLASS/IMAGE), or add a train.csv with an id and a label column."
            )
        split_of = {top: "test" if split_of.get(top) == "test" else "class" for top in tops}
    groups, stated = _read_manifest(draft, tables, wanted_group)
    _add_labelled(draft, split_of, groups)
    _add_test_folder(draft, split_of, tables)
    _compare_manifest(draft, stated)
    return layout


def _without_doubled(files: dict[str, str], split_of: dict[str, str]) -> dict[str, str]:
    """Drop the inner folder of ``seg_train/seg_train/CLASS``, where the split is named twice and holds nothing else."""
    inner: dict[str, set[str]] = {}
    for name in files:
        top, _, below = name.partition("/")
        inner.setdefault(top, set()).add(below.rpartition("/")[0].partition("/")[0])

    def is_doubled(top: str) -> bool:
        return inner[top] == {top} or list(splits_of_folders(inner[top]).values()) == [split_of[top]]

    doubled = {top for top in inner if top in split_of and len(inner[top]) == 1 and is_doubled(top)}
    parts = {name: name.split("/") for name in files}
    return {
        "/".join([parts[name][0], *parts[name][2:]]) if parts[name][0] in doubled else name: path
        for name, path in files.items()
    }


def _add_labelled(draft: Draft, split_of: dict[str, str], groups: dict[str, str]) -> None:
    """Add ``train/CLASS/IMAGE`` and ``val/CLASS/IMAGE``, or ``CLASS/IMAGE`` where the top folder is a class."""
    for name in draft.images:
        parts = name.split("/")
        split = split_of.get(parts[0])
        if split == "class":
            label, split = parts[0], "train"
        elif split in ("train", "val") and len(parts) > 2:
            label = parts[1]
        else:
            continue
        draft.rows.append(Row(name, draft.files[name], label, split, groups.get(name)))
        draft.used.add(draft.files[name])


def _add_test_folder(draft: Draft, split_of: dict[str, str], tables: dict[str, str]) -> None:
    """Test images keep the label of their folder when it is named like a training class."""
    classes = {row.label for row in draft.rows}
    names = [name for name in draft.images if split_of.get(name.partition("/")[0]) == "test"]
    names = sorted(names, key=natural_key)
    for name, image_id in zip(names, ids_of_unlisted(names), strict=True):
        folder, slash, _ = name.partition("/")[2].partition("/")
        label = folder if slash and folder in classes else None
        draft.rows.append(Row(image_id, draft.files[name], label, "test"))
        draft.used.add(draft.files[name])
    ids = [row.image_id for row in draft.rows if row.split == "test"]
    draft.submission_ids = ids or None
    listed = next((role for role in ("sample", "test") if role in tables), None)
    if listed and ids:
        table = read_csv(tables[listed])
        _follow_list(draft, table, names)
        if listed == "sample":
            draft.follow_sample(table.columns)


def _follow_list(draft: Draft, table: CsvFile, names: list[str]) -> None:
    """A sample submission or test list beside class folders decides spelling and order."""
    values = {name: [cell.strip() for cell in table.column(name, "--id-column")] for name in table.columns}
    draft.id_column = max(values, key=lambda name: len(match_images(values[name], names, None)[0]))
    refuse_no_header(table, draft.id_column, lambda ids: match_images(ids, names, None)[0])
    wanted = list(dict.fromkeys(values[draft.id_column]))
    found, _ = match_images(wanted, names, None)
    missing = [image_id for image_id in wanted if image_id not in found]
    message = f"{table.path} names {counted(len(missing), 'image')} not there. {ADVICE_FOR_TEST}"
    draft.warn("image named but missing", message, missing)
    draft.rows += [Row(name, str(Path(table.path).parent / name), None, "test") for name in missing]
    named = set(found.values())
    left_out = [name.partition("/")[2] for name in names if name not in named]
    message = f"{table.path} does not name {counted(len(left_out), 'test image')}; the submission follows it."
    draft.warn("test lists differ", message, left_out)
    spelled = {draft.files[name]: image_id for image_id, name in found.items()}
    draft.rows = [
        row._replace(image_id=spelled.get(row.path, row.image_id)) if row.split == "test" else row for row in draft.rows
    ]
    draft.submission_ids = wanted


def _read_manifest(
    draft: Draft, tables: dict[str, str], wanted_group: str | None
) -> tuple[dict[str, str], dict[str, str]]:
    """Return ({file name: group}, {file name: label}) as a ``manifest.csv`` states them."""
    if "manifest" not in tables:
        return {}, {}
    manifest = read_csv(tables["manifest"])
    ids = manifest.column("image_id", "the header of manifest.csv")
    found, _ = match_images(ids, draft.images, None)

    def stated(column: str | None) -> dict[str, str]:
        cells = manifest.column(column, "") if column is not None and column in manifest.columns else []
        pairs = zip(ids, cells, strict=False)
        return {found[name]: cell.strip() for name, cell in pairs if name in found and cell.strip()}

    column = group_column(manifest, wanted_group, ("image_id", "label"))
    groups = stated(column)
    if column is not None and groups:
        draft.grouped_by = described(manifest, column)
    return groups, stated("label")


def _compare_manifest(draft: Draft, stated: dict[str, str]) -> None:
    labelled = [row for row in draft.rows if row.split != "test"]  # a test image's id may be a training image's name
    rows = [row.image_id for row in labelled if stated.get(row.image_id, row.label) != row.label]
    if rows:
        message = f"manifest.csv and the folders disagree on {counted(len(rows), 'label')}. Move the files or mend it."
        draft.problems.append(Problem("manifest disagrees", message, rows, "error", tuple(rows)))
