"""Which columns, which files, which order: what tables say about images, and what is refused."""

from pathlib import Path

import pytest

from competition.data.catalog import open_catalog
from competition.errors import UserError
from competition.submission import template_of
from tests.test_catalog import IMAGES, TRAIN, kinds, make, rows


def test_sample_submission_decides_columns_and_order(tmp_path: Path) -> None:
    tables = {
        "train.csv": '\ufefffile;kind;comment\na;x;one\nb;y;"two\nlines"\n',
        "test.csv": "file\nc\nd\n",
        "sample_submission.csv": "Id,kind\nd,x\nc,x\n",
    }
    catalog = open_catalog(make(tmp_path, ["images/a.jpg", "images/b.jpg", "images/c.jpg", "images/d.jpg"], tables))
    assert (catalog.id_column, catalog.label_column) == ("Id", "kind")
    assert catalog.submission_ids == ["d", "c"]
    assert rows(catalog)[:2] == [("a", "x", "train"), ("b", "y", "train")]


@pytest.mark.parametrize("ids", [("3", "4.png"), ("3.png", "4"), ("test/3.png", "test/4")])
def test_two_spellings_of_one_file_are_one_test_image(tmp_path: Path, ids: tuple[str, str]) -> None:
    tables = {
        **TRAIN,
        "test.csv": "id,label\n3.png,a\n4.png,b\n5.png,a\n",
        "sample_submission.csv": f"id,label\n{ids[1]},a\n{ids[0]},a\n",
    }
    catalog = open_catalog(make(tmp_path, [*IMAGES, "test/3.png", "test/4.png", "test/5.png"], tables))
    assert sorted(rows(catalog)[2:]) == sorted([(ids[0], "a", "test"), (ids[1], "b", "test"), ("5.png", "a", "test")])
    assert catalog.submission_ids == [ids[1], ids[0]]
    assert kinds(catalog) == {"test lists differ": ["5.png"]}


@pytest.mark.parametrize(
    ("others", "ids"),
    [
        (["test/4.png"], ["3", "4"]),
        (["test/3.jpg"], ["3.jpg", "3.png"]),
        (["test_images/3.png"], ["test/3.png", "test_images/3.png"]),
    ],
)
def test_every_image_of_a_test_folder_without_a_list_has_an_id_of_its_own(
    tmp_path: Path, others: list[str], ids: list[str]
) -> None:
    catalog = open_catalog(make(tmp_path, [*IMAGES, "test/3.png", *others], {"train.csv": "id,label\n1,a\n2,b\n"}))
    assert catalog.submission_ids == ids == catalog.of("test")["image_id"].tolist()
    assert len(set(catalog.of("test")["path"])) == 2


@pytest.mark.parametrize("flags", [{}, {"id_column": "file"}])
def test_the_ids_of_a_sample_may_name_images_by_way_of_the_test_list(tmp_path: Path, flags: dict[str, str]) -> None:
    tables = {
        "train.csv": "id,file,label\n70,train/1.png,0\n71,train/2.png,1\n",
        "test.csv": "id,file,label\n90,test/3.png,1\n91,test/0.png,0\n92,test/5.png,0\n",
        "sample_submission.csv": "id,label\n91,0\n90,0\n",
    }
    files = [*IMAGES, "test/0.png", "test/3.png", "test/5.png"]
    catalog = open_catalog(make(tmp_path, files, tables), **flags)
    table = catalog.of("test")
    paths = [Path(path).name for path in table["path"]]
    assert sorted(zip(table["image_id"], table["label"], paths, strict=True)) == [
        ("90", "1", "3.png"),
        ("91", "0", "0.png"),
        ("test/5.png", "0", "5.png"),
    ]
    assert (catalog.id_column, catalog.label_column, catalog.submission_ids) == ("id", "label", ["91", "90"])
    assert catalog.labelled()["image_id"].tolist() == ["train/1.png", "train/2.png"]
    assert kinds(catalog) == {"test lists differ": ["test/5.png"]}


def test_a_sample_submission_of_another_form_is_told(tmp_path: Path) -> None:
    tables = {**TRAIN, "sample_submission.csv": "id,x,y\n3,0.5,0.5\n"}
    catalog = open_catalog(make(tmp_path, [*IMAGES, "test/3.png"], tables))
    (problem,) = [one for one in catalog.problems if one.kind == "sample submission with other columns"]
    assert (problem.rows, problem.severity) == (["id", "x", "y"], "warning")
    said = "has the columns id, x, y; what can be written is an id and one class .*take the other columns"
    with pytest.raises(UserError, match=said):
        template_of(catalog, [], [])


def test_every_problem_is_named(tmp_path: Path) -> None:
    tables = {"train.csv": "id,label\na,x\nb,y\na,x\nb,x\nlost,x\ntwins,x\n", "test.csv": "id\nt\ngone\n"}
    files = ["train/a.png", "train/b.png", "train/spare.png", "train/1/twins.png", "train/2/twins.png", "test/t.png"]
    catalog = open_catalog(make(tmp_path, files, tables))
    found = {problem.kind: problem for problem in catalog.problems}
    assert found["image named twice"].severity == "warning"
    assert found["image named twice with different labels"].image_ids == ("b",)
    missing = [problem for problem in catalog.problems if problem.kind == "image named but missing"]
    assert [(problem.rows, problem.severity, problem.image_ids) for problem in missing] == [
        (["lost"], "error", ("lost",)),
        (["gone"], "warning", ()),
    ]
    assert found["id fits several files"].image_ids == ("twins",)
    assert "train/spare.png" in found["image present but not named"].rows
    assert catalog.submission_ids == ["t", "gone"]
    assert catalog.of("test")["image_id"].tolist() == ["t", "gone"]  # it still needs a prediction
    assert catalog.labelled()["image_id"].is_unique


@pytest.mark.parametrize("row", ["2,", "2,nan", "2,<NA>", ",b"])
def test_rows_without_an_id_or_a_label_are_one_problem_among_others(tmp_path: Path, row: str) -> None:
    rows = f"id,label\n1,a\n{row}\n3,b\ngone,b\n"
    catalog = open_catalog(make(tmp_path, [*IMAGES, "train/3.png"], {"train.csv": rows}))
    column = "id" if row == ",b" else "label"
    found = {problem.kind: problem for problem in catalog.problems}
    assert f"column '{column}' is empty or NaN in 1 row. Fill in" in found["row without id or label"].message
    assert found["row without id or label"].image_ids == ("line 3",)
    assert found["image named but missing"].rows == ["gone"]
    assert catalog.labelled()["image_id"].tolist() == ["1", "3"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("id,label\n1,\n2,nan\n", r"'label' is empty or NaN in 2 rows. Name the right one with --id-column or --lab"),
        ("id,label\n1,a\n2,a\n", "only one class, 'a'"),
        ("id\n1\n2\n", "which column is the label"),
        ("id,p,q\n1,a,b\n2,b,a\n", "--label-column"),
        ("id,label\n8,a\n9,b\n", r"no column names an image .*; images there: train/1.png, train/2.png. Name the col"),
    ],
)
def test_refused_tables(tmp_path: Path, table: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        open_catalog(make(tmp_path, IMAGES, {"train.csv": table}))


@pytest.mark.parametrize("table", ["train.csv", "test.csv", "sample_submission.csv"])
def test_ids_without_their_leading_zeros_are_refused_with_a_hint(tmp_path: Path, table: str) -> None:
    tables = {"train.csv": "id,label\n001,1\n002,2\n"} | {table: "label,id\n1,1\n2,2\n1,10\n"}
    folder = "train" if table == "train.csv" else "test"
    make(
        tmp_path,
        ["train/001.png", "train/002.png", *(f"{folder}/{name}.png" for name in ("001", "002", "010"))],
        tables,
    )
    with pytest.raises(UserError, match=rf"'1' is '001' without its zeros \({folder}/001.png\): keep the ids as text"):
        open_catalog(tmp_path)


@pytest.mark.parametrize(
    ("labels", "rows", "said"),
    [
        (["  lead", "tin"], ["'  lead'"], "1 label with blanks before or after, read and submitted without."),
        (["cat", "cat ", " dog"], ["' dog'", "'cat '"], "without. What differs in blanks alone is one class."),
        (["cat", " dog", "", " "], ["' dog'"], "submitted without."),
        (["cat", "dog", " "], None, ""),
    ],
)
def test_labels_that_lose_their_blanks_are_told(tmp_path: Path, labels, rows, said) -> None:
    lines = [f"{number},{label}" for number, label in enumerate(labels)]
    files = [f"train/{number}.png" for number in range(len(labels))]
    catalog = open_catalog(make(tmp_path, files, {"train.csv": "\n".join(["id,label", *lines])}))
    problems = [problem for problem in catalog.problems if problem.kind == "blanks around labels"]
    assert ([problem.rows for problem in problems] or [None]) == [rows]
    assert all(problem.message.endswith(said) and problem.severity == "warning" for problem in problems)
    assert set(catalog.class_names) == {label.strip() for label in labels} - {""}


def test_a_running_number_that_happens_to_name_other_images_is_not_the_id(tmp_path: Path) -> None:
    table = "id,file,label\n0,train/2.png,x\n1,train/0.png,y\n2,train/1.png,x\n"
    catalog = open_catalog(make(tmp_path, [f"train/{n}.png" for n in range(3)], {"train.csv": table}))
    assert catalog.labelled()["image_id"].tolist() == ["train/2.png", "train/0.png", "train/1.png"]
    assert [Path(path).name for path in catalog.labelled()["path"]] == ["2.png", "0.png", "1.png"]


def test_the_ids_may_be_the_labels(tmp_path: Path) -> None:
    catalog = open_catalog(make(tmp_path, IMAGES, TRAIN), label_column="id")
    assert catalog.labelled()["label"].tolist() == catalog.labelled()["image_id"].tolist()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"label_column": "lable"}, r"no column 'lable' \(did you mean 'label'\?\)"),
        ({"id_column": "name"}, "no column 'name'"),
        ({"group_column": "patient"}, "no column 'patient'"),
        ({"group_column": "label"}, "--group-column label holds the ids or the labels"),
        ({"group_column": "id"}, "--group-column id holds the ids or the labels"),
    ],
)
def test_refused_columns(tmp_path: Path, flags: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        open_catalog(make(tmp_path, IMAGES, TRAIN), **flags)


ONE_HOT = {
    "train.csv": "id,healthy,rust,scab\n1,1,0,0\n2,0,1,0\n",
    "sample_submission.csv": "id,healthy,rust,scab\n3,0.3,0.3,0.4\n",
}


def test_a_column_per_class_is_no_label_column(tmp_path: Path) -> None:
    make(tmp_path, [*IMAGES, "test/3.png"], ONE_HOT)
    with pytest.raises(UserError, match=r"which column is the label\? .*healthy, rust, scab.*--label-column"):
        open_catalog(tmp_path)
    assert open_catalog(tmp_path, label_column="rust").class_names == ["0", "1"]


def test_a_sample_of_probabilities_beside_one_label_column(tmp_path: Path) -> None:
    tables = {**ONE_HOT, "train.csv": "id,label,patient\n1,healthy,p\n2,rust,q\n"}
    assert open_catalog(make(tmp_path, [*IMAGES, "test/3.png"], tables)).class_names == ["healthy", "rust"]


def test_class_folders_may_begin_like_a_split(tmp_path: Path) -> None:
    files = [f"{name}/{number}.png" for name in ("forest", "valley", "tested") for number in range(2)]
    table = "image,label\n" + "".join(f"{name},{name.partition('/')[0]}\n" for name in files)
    catalog = open_catalog(make(tmp_path, files, {"train.csv": table}))
    assert catalog.class_names == ["forest", "tested", "valley"]
    assert catalog.problems == []


# Columns a and b of a table over images 0.png, 1.png ...; which of them names the images is to be seen.
COLUMNS = {
    "labels 0..9, one image missing": (lambda n: n % 10, lambda n: n, set(range(20)) - {17}, "b"),
    "labels 0..9, many images missing": (lambda n: n % 10, lambda n: n, set(range(60)), "b"),
    "a running number that names other images": (
        lambda n: n,
        lambda n: f"train/{n + 30}.png",
        set(range(30, 230)),
        "b",
    ),
    "a third of the images there": (lambda n: f"r{n}", lambda n: f"{n}.png", set(range(60)), "b"),
    "an unusual name beside a usual one": (lambda n: f"{n}.png", lambda n: n % 10, set(range(200)), "a"),
}


@pytest.mark.parametrize("names", ["picture,which", "id,image_path", "image_name,id"])
@pytest.mark.parametrize("case", COLUMNS)
def test_the_column_of_ids_is_the_one_that_names_images(case: str, names: str, tmp_path: Path) -> None:
    first, second, there, expected = COLUMNS[case]
    table = f"{names},kind\n" + "".join(f"{first(n)},{second(n)},{'xy'[n % 2]}\n" for n in range(200))
    catalog = open_catalog(make(tmp_path, [f"train/{n}.png" for n in there], {"train.csv": table}), label_column="kind")
    assert catalog.id_column == names.split(",")["ab".index(expected)]


def test_a_running_number_is_no_id_where_rows_share_an_image(tmp_path: Path) -> None:
    files = [f"images/{number}.png" for number in range(12)]
    table = "annotation,image_id,label\n" + "".join(f"{row},{row // 3},{'ab'[row // 3 % 2]}\n" for row in range(12))
    catalog = open_catalog(make(tmp_path, files, {"train.csv": table}))
    assert rows(catalog) == [("0", "a", "train"), ("1", "b", "train"), ("2", "a", "train"), ("3", "b", "train")]


def test_images_named_by_a_flag_count_as_used(tmp_path: Path) -> None:
    make(tmp_path, IMAGES, {"train.csv": "id,label\n1,a\n2,b\n"})
    catalog = open_catalog(tmp_path, images=tmp_path / Path(IMAGES[0]).parts[0])
    assert all(problem.kind != "image present but not named" for problem in catalog.problems)


def test_train_and_validation_may_number_their_images_alike(tmp_path: Path) -> None:
    tables = {"train.csv": "id,label\n0.png,a\n1.png,b\n", "val.csv": "id,label\n0.png,a\n1.png,a\n2.png,b\n"}
    files = [f"{split}/{number}.png" for split in ("train", "val") for number in range(2)]
    catalog = open_catalog(make(tmp_path, [*files, "val/2.png"], tables))
    assert rows(catalog) == [
        ("0.png", "a", "train"),
        ("1.png", "b", "train"),
        ("val/0.png", "a", "val"),
        ("val/1.png", "a", "val"),
        ("2.png", "b", "val"),
    ]
    assert [Path(path).parent.name for path in catalog.table["path"]] == ["train", "train", "val", "val", "val"]
    assert kinds(catalog) == {"id of two images": ["0.png", "1.png"]}
    assert {problem.severity for problem in catalog.problems} == {"warning"}


def test_a_validation_image_that_is_in_train_too_is_used_once(tmp_path: Path) -> None:
    tables = {"train.csv": "id,label\n0,a\n1,b\n2,b\n", "val.csv": "id,label\n0,a\n1,a\n2,b\n"}
    catalog = open_catalog(make(tmp_path, ["images/0.png", "images/1.png"], tables))
    assert [row[0] for row in rows(catalog)] == ["0", "1"]
    assert kinds(catalog)["image named twice"] == ["0", "2"]
    assert kinds(catalog)["image named twice with different labels"] == ["1"]


def test_a_second_way_to_the_same_images_is_no_second_file(tmp_path: Path) -> None:
    make(tmp_path, ["v1/1.png", "v1/2.png"], TRAIN)
    (tmp_path / "current").symlink_to("v1")
    catalog = open_catalog(tmp_path)
    assert rows(catalog) == [("1", "a", "train"), ("2", "b", "train")]
    assert catalog.problems == []
