"""The draft keeps None as None, and knows what nobody has used."""

from competition.data.draft import Draft, Row


def draft_of(*names: str) -> Draft:
    return Draft({name: f"/data/{name}" for name in names})


def test_images_and_labelled_tops() -> None:
    draft = draft_of("a.csv", "1.png", "cat/2.JPG", "train/dog/3.webp", "train/dog/notes.csv")
    assert draft.images == ["1.png", "cat/2.JPG", "train/dog/3.webp"]
    assert draft.labelled_tops() == {"train"}


def test_unused_images_are_told_once() -> None:
    draft = draft_of("a.csv", "1.png", "2.png")
    draft.used.add("/data/1.png")
    draft.report_unnamed()
    (problem,) = draft.problems
    assert (problem.rows, problem.severity, problem.image_ids) == (["2.png"], "warning", ())
    draft.used.add("/data/2.png")
    draft.problems.clear()
    draft.report_unnamed()
    assert draft.problems == []


def test_table_keeps_none_and_strings() -> None:
    draft = draft_of()
    assert draft.as_table().columns.tolist() == list(Row._fields)
    assert draft.as_table().empty
    draft.rows = [Row("007", "/a", "1", "train"), Row("2", "/b", None, "test", "g")]
    table = draft.as_table()
    assert table.to_numpy().tolist() == [["007", "/a", "1", "train", None], ["2", "/b", None, "test", "g"]]
