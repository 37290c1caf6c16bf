"""The official client against a server on loopback: download, guarded submissions, scores."""

import json
import zipfile
from pathlib import Path

import pytest

from competition import kaggle
from competition.__main__ import main
from competition.errors import UserError
from competition.logbook import read_logbook
from competition.runs import hash_file
from competition.verbs.kaggle import competition_slug
from tests.fake_kaggle import KEY, TOKEN, USER, FakeKaggle, serve, zipped

pytest.importorskip("kagglesdk")
SAMPLE = "id,label\n" + "".join(f"i{n},cat\n" for n in range(30))
SUBMIT = ["kaggle", "submit", "submissions/a.csv", "--competition", "cats"]


@pytest.fixture(scope="module", autouse=True)
def _no_home(tmp_path_factory):
    """The client looks for credentials in the home folder, and makes a folder there when it is imported."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path_factory.mktemp("config")))
        yield


@pytest.fixture
def fake(monkeypatch, tmp_path):
    """A server the client takes for Kaggle, credentials it accepts, and an empty working directory."""
    from kagglesdk import kaggle_env

    fake = FakeKaggle()
    server = serve(fake)
    monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.PROD, fake.address)
    for name in ("KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_API_ENVIRONMENT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KAGGLE_API_TOKEN", TOKEN)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(kaggle, "FIRST_WAIT", 0.01)
    monkeypatch.chdir(tmp_path)
    yield fake
    server.shutdown()
    server.server_close()


@pytest.fixture
def csv(tmp_path):
    """A submission as predict.py leaves it, and a sample submission to compare it with."""
    (tmp_path / "submissions").mkdir()
    (tmp_path / "sample.csv").write_text(SAMPLE)
    path = tmp_path / "submissions" / "a.csv"
    path.write_text("id,label\n" + "".join(f"i{n},{'cat' if n % 2 else 'dog'}\n" for n in range(30)))
    write_sidecar(path, data=str(tmp_path / "sample.csv"))
    return path


CONFUSION = {"cat": {"cat": 115, "dog": 35}, "dog": {"cat": 45, "dog": 105}}


def write_sidecar(path, **more):
    record = {
        "submission": path.name,
        "sha256": hash_file(path),
        "rows": 30,
        "score": {"macro_f1": 0.7, "interval_95": [0.65, 0.75], "rows": 300, "confusion": CONFUSION},
        "predicted_out_of_fold": {"cat": 160, "dog": 140},
        **more,
    }
    path.with_suffix(".json").write_text(json.dumps(record))


def refusal(words):
    with pytest.raises(UserError) as refused:
        main(words)
    return str(refused.value)


def test_a_submission_is_sent_scored_and_entered(fake, csv, capsys):
    assert main(SUBMIT) == 0
    out = capsys.readouterr().out
    assert "unchanged since predict.py checked it" in out
    assert out.splitlines()[-1] == "a.csv: public 0.71000"
    (entry,) = read_logbook(csv.parent)
    assert (entry.public, entry.private, entry.status, entry.reference) == (0.71, None, "complete", "100")
    assert (entry.competition, entry.out_of_fold) == ("cats", 0.7)
    (sent,) = fake.named("CreateSubmission")
    assert sent["submissionDescription"] == "a.csv, out-of-fold macro F1 0.7000"
    assert fake.uploads[sent["blobFileTokens"]] == csv.read_bytes()  # what arrived is the file, byte for byte


def test_a_key_and_a_name_are_credentials_too(fake, csv, monkeypatch):
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    monkeypatch.setenv("KAGGLE_USERNAME", USER)
    monkeypatch.setenv("KAGGLE_KEY", KEY)
    assert main(SUBMIT) == 0
    assert fake.named("IntrospectToken") == []


def test_the_reason_of_a_failure_is_told_and_entered(fake, csv, capsys):
    fake.verdict = {"status": "ERROR", "errorDescription": "Submission must have 30 rows"}
    assert main(SUBMIT) == 2
    assert "failed: Submission must have 30 rows" in capsys.readouterr().out
    (entry,) = read_logbook(csv.parent)
    assert (entry.status, entry.reason, entry.public) == ("failed", "Submission must have 30 rows", None)
    fake.verdict, fake.looks_until_scored = {"status": "COMPLETE", "publicScore": "0.5"}, 1
    assert main(SUBMIT) == 0  # a failed file may be sent again


def test_the_guard_stands_before_the_door(fake, csv):
    csv.write_text(csv.read_text().replace("i3,cat", "i3,bird"))
    told = refusal(SUBMIT)
    assert "unknown classes ('bird')" in told
    csv.write_text(csv.read_text().replace("i3,bird\n", ""))
    assert "ids missing (i3)" in refusal([*SUBMIT, "--data", "sample.csv"])
    assert fake.calls == []  # nobody was asked


def test_a_file_that_nothing_describes_needs_data(fake, csv):
    csv.with_suffix(".json").unlink()
    assert "with --data PATH" in refusal(SUBMIT)
    Path("bare.csv").write_text("id,label\n")
    assert "bare.csv: expected a column of ids, one of labels, and rows" in refusal([*SUBMIT, "--data", "bare.csv"])
    assert main([*SUBMIT, "--data", "sample.csv"]) == 0


@pytest.mark.parametrize("rows", ["dog,i0\n", "cat,i0\ndog,i1\n"])
def test_a_file_that_begins_with_the_label_passes_though_no_label_comes_again(fake, csv, capsys, rows):
    csv.write_text("label,id\n" + rows)
    write_sidecar(csv, data="/nowhere", id_column="id")
    assert main(SUBMIT) == 0
    assert "unchanged since predict.py checked it" in capsys.readouterr().out
    Path("sample.csv").write_text("label,id\n" + rows.replace("dog", "cat"))
    assert main([*SUBMIT[:-1], "dogs", "--data", "sample.csv"]) == 0


def test_without_its_data_an_unchanged_file_passes_and_a_changed_one_does_not(fake, csv, capsys):
    write_sidecar(csv, data="/nowhere")
    assert main(SUBMIT) == 0
    assert "unchanged since predict.py checked it" in capsys.readouterr().out
    csv.write_text(csv.read_text().replace("i3,cat", "i3,dog"))
    assert "with --data PATH" in refusal(SUBMIT)


def test_an_unchanged_file_of_data_that_flags_explained_passes(fake, csv):
    """Without the flags of its training a folder may mean another test list; what was checked then, holds."""
    Path("mine").mkdir()
    for name in ("1.png", "2.png"):
        (Path("mine") / name).touch()
    Path("mine/train.csv").write_text("file,species,colour\n1.png,cat,red\n2.png,dog,red\n")
    write_sidecar(csv, data="mine")
    assert main(SUBMIT) == 0
    csv.write_text(csv.read_text().replace("i3,cat", "i3,dog"))
    assert "which column is the label" in refusal(SUBMIT)


def test_shares_far_from_the_out_of_fold_ones_are_told_before_sending(fake, csv, capsys):
    csv.write_text("id,label\n" + "".join(f"i{n},{'dog' if n < 27 else 'cat'}\n" for n in range(30)))
    write_sidecar(csv, data="sample.csv", predicted_out_of_fold={"cat": 150, "dog": 150})
    assert main(SUBMIT) == 0
    assert (
        "warning: submissions/a.csv: shares far from the out-of-fold ones ('cat' 50.0% -> 10.0%"
        in capsys.readouterr().out
    )


def test_a_public_score_outside_the_band_is_told_at_once(fake, csv, capsys):
    fake.verdict["publicScore"] = "0.2"
    assert main(SUBMIT) == 0
    assert "warning: a.csv: public 0.2000 lies outside" in capsys.readouterr().out


@pytest.mark.parametrize(("looks", "wait", "status"), [(1, [], "complete"), (99, ["--wait", "0"], "pending")])
def test_the_same_file_is_not_sent_twice(fake, csv, looks, wait, status):
    fake.looks_until_scored = looks
    assert main([*SUBMIT, *wait]) == 0
    told = refusal([*SUBMIT, *wait])
    assert "was sent to cats at" in told
    assert f"and is {status}" in told
    assert len(fake.named("CreateSubmission")) == 1
    assert main([*SUBMIT[:-1], "dogs", *wait]) == 0  # another competition is another matter


def test_a_score_that_takes_long_can_be_asked_for_later(fake, csv, capsys):
    fake.looks_until_scored = 99
    assert main([*SUBMIT, "--wait", "0.05"]) == 0
    assert "not scored yet; ask again later: python -m competition kaggle scores cats" in capsys.readouterr().out
    fake.looks_until_scored = 1
    assert main(["kaggle", "scores", "cats"]) == 0
    assert read_logbook(csv.parent)[0].public == 0.71
    fake.verdict["privateScore"] = "0.69"
    main(["kaggle", "scores", "https://www.kaggle.com/competitions/cats/overview"])
    assert read_logbook(csv.parent)[0].private == 0.69


@pytest.mark.parametrize("arrived", [True, False])
def test_a_kill_while_sending_is_resolved_by_asking(fake, csv, arrived):
    def die(*_, **__):
        raise KeyboardInterrupt

    client = kaggle.open_client()
    real, client.competition_submit = client.competition_submit, die
    with pytest.raises(KeyboardInterrupt):
        kaggle.submit(client, csv, "cats", "hello")
    if arrived:
        real(str(csv), "hello", "cats", quiet=True)
    fake.looks_until_scored = 1
    (entry,) = kaggle.fetch_scores(client, csv.parent, "cats")
    assert (entry.status, entry.public) == (("complete", 0.71) if arrived else ("failed", None))
    assert arrived or "never arrived" in entry.reason


def test_a_download_is_one_zip_read_in_place(fake, tmp_path, capsys):
    fake.files = zipped({"train.csv": "id,label\na.png,cat\n", "sample_submission.csv": SAMPLE})
    assert main(["kaggle", "download", "cats", "--out", "data"]) == 0
    assert zipfile.ZipFile(tmp_path / "data" / "cats.zip").read("sample_submission.csv").decode() == SAMPLE
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["cats.zip"]
    assert "python train.py --data data/cats.zip" in capsys.readouterr().out
    assert "is there already" in refusal(["kaggle", "download", "cats", "--out", "data"])


def test_a_download_that_is_no_zip_or_refused_leaves_no_zip(fake, tmp_path):
    fake.files = b"<html>please sign in</html>"
    assert "is not a zip" in refusal(["kaggle", "download", "cats"])
    fake.failures["DownloadDataFiles"] = (403, "You must accept this competition's rules")
    assert "competitions/dogs/rules" in refusal(["kaggle", "download", "dogs"])
    assert not list(tmp_path.rglob("*.zip"))


@pytest.mark.parametrize(
    ("text", "slug"),
    [
        ("titanic", "titanic"),
        ("https://www.kaggle.com/competitions/titanic", "titanic"),
        ("https://www.kaggle.com/c/titanic/overview/", "titanic"),
        ("https://www.kaggle.com/competitions/titanic/data", "titanic"),
        ("https://www.kaggle.com/competitions/titanic/leaderboard?tab=public", "titanic"),
        ("kaggle.com/c/titanic/rules", "titanic"),
    ],
)
def test_a_competition_is_its_name_or_its_address(text, slug):
    assert competition_slug(text) == slug
