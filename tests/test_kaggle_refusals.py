"""What Kaggle, its client and the command refuse, in plain words; no secret gets out."""

import sys

import pytest

from competition import kaggle
from competition.__main__ import main
from competition.errors import UserError
from competition.logbook import read_logbook
from tests.fake_kaggle import KEY, TOKEN, USER
from tests.test_kaggle import SUBMIT, _no_home, csv, fake, refusal  # noqa: F401 (fixtures)

pytest.importorskip("kagglesdk")
DAILY = (
    "Submission not allowed: Your team has used its daily Submission allowance (5) today, please try again tomorrow UTC"
)


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (
            (401, "Unauthenticated"),
            "does not take the credentials: make a new token at https://www.kaggle.com/settings",
        ),
        (
            (403, "Permission 'competitions.participate' was denied"),
            "accept the rules at https://www.kaggle.com/compet",
        ),
        ((404, "Not found"), "Kaggle knows no 'cats'"),
        ((429, "Too many requests", {"Retry-After": "17"}), "wait 17 seconds and give the same command again"),
        ((429, "Too many requests"), "wait some minutes"),
        ((400, DAILY), "the submissions of today are used up"),
        ((403, DAILY), "the count starts anew at 00:00 UTC"),
        ((400, "File is too large"), "Kaggle refuses it (HTTP 400) (Kaggle says: File is too large)"),
        ((503, "Service unavailable"), "Kaggle has trouble of its own (HTTP 503)"),
    ],
)
def test_refusals_become_plain_words(fake, csv, failure, said):  # noqa: F811
    fake.failures["CreateSubmission"] = failure
    told = refusal(SUBMIT)
    assert said in told
    assert "submissions/a.csv was not taken" in told
    (entry,) = read_logbook(csv.parent)
    assert entry.status == "failed"
    assert said in entry.reason


def test_an_upload_that_breaks_off_is_told(fake, csv):  # noqa: F811
    fake.failures["PUT"] = (400, {})
    assert "the upload broke off" in refusal(SUBMIT)
    assert read_logbook(csv.parent)[0].status == "failed"


def test_no_connection_is_told(fake, csv, monkeypatch):  # noqa: F811
    from kagglesdk import kaggle_env

    client = kaggle.open_client()
    monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.PROD, "http://127.0.0.1:9")
    with pytest.raises(UserError, match="Kaggle cannot be reached"):
        kaggle.fetch_scores(client, csv.parent, "cats")


@pytest.mark.parametrize(
    ("token", "said"),
    [("wrong-token-0123456789", "does not take the token in KAGGLE_API_TOKEN"), (None, "no Kaggle credentials found")],
)
def test_credentials_that_are_wrong_or_missing(fake, csv, monkeypatch, token, said):  # noqa: F811
    monkeypatch.setenv("KAGGLE_API_TOKEN", token) if token else monkeypatch.delenv("KAGGLE_API_TOKEN")
    told = refusal(SUBMIT)
    assert said in told
    assert token is None or token not in told


def test_a_missing_client_is_told_with_the_command_to_install_it(fake, csv, monkeypatch):  # noqa: F811
    monkeypatch.setitem(sys.modules, "kaggle", None)
    monkeypatch.delitem(sys.modules, "kaggle")
    monkeypatch.setattr(sys, "meta_path", [_Blocked(), *sys.meta_path])
    assert refusal(SUBMIT) == "the kaggle client is not installed: python -m pip install kaggle six"


class _Blocked:
    """An import system that has no kaggle."""

    def find_spec(self, name, path=None, target=None):
        if name == "kaggle":
            raise ModuleNotFoundError("No module named 'kaggle'", name="kaggle")


def everything_written(folder):
    return b"\n".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("place", ["CreateSubmission", "ListSubmissions", "verdict", "nowhere"])
def test_no_secret_gets_out_even_when_the_server_repeats_it(fake, csv, tmp_path, capfd, monkeypatch, place):  # noqa: F811
    monkeypatch.setenv("KAGGLE_KEY", KEY)
    said = f"bad header Authorization: Bearer {TOKEN} for {USER}:{KEY} c29tZWJvZHk="
    if place == "verdict":
        fake.verdict = {"status": "ERROR", "errorDescription": said}
    elif place != "nowhere":
        fake.failures[place] = (400, said)
    told = ""
    try:
        main(SUBMIT)
    except UserError as error:
        told = str(error)
    captured = capfd.readouterr()
    shown = (told + captured.out + captured.err).encode() + everything_written(tmp_path)
    assert place == "nowhere" or b"[secret]" in shown
    for secret in (TOKEN, KEY):
        assert secret.encode() not in shown


def test_verbose_clients_are_silenced(fake, csv, capfd, monkeypatch):  # noqa: F811
    import kaggle as official

    monkeypatch.setattr(official.KaggleApi, "args", ["--verbose"])  # VERBOSE=1: prints every header
    assert main(SUBMIT) == 0
    captured = capfd.readouterr()
    assert "Authorization" not in captured.out + captured.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["kaggle", "sumbit"], "did you mean 'submit'?"),
        (["kaggle", "submit", "a.csv"], "--competition"),
        (["kaggle", "submit", "a.csv", "--competition", "a b"], "is no competition"),
        (["kaggle", "submit", "none.csv", "--competition", "cats"], "none.csv"),
        ([*SUBMIT, "--wait", "long"], "--wait long: expected a time"),
        ([*SUBMIT, "--mesage", "x"], "did you mean '--message'?"),
        (
            ["kaggle", "submit", "submissions/a.csv", "--competition", "cats", "--data", "nowhere"],
            "no such file or folder",
        ),
    ],
)
def test_refused_words(fake, csv, words, said):  # noqa: F811
    assert said in refusal(words)
    assert fake.calls == []
