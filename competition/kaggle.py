"""The round trip with Kaggle through its official client: download, guarded submissions, scores into the logbook.

The client is an extra, imported when it is needed: it signs in while it is imported, prints,
and may exit. Everything it prints or raises passes `without_secrets` before anybody sees it.
"""

import io
import os
import re
import shutil
import time
import zipfile
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from competition.errors import UserError
from competition.logbook import Entry, changing_logbook, find_entry

Result = TypeVar("Result")

INSTALL = "kaggle six"  # the client imports six and forgets to ask for it
SETTINGS_PAGE = "https://www.kaggle.com/settings/api"
FIRST_WAIT, LONGEST_WAIT = 2.0, 30.0  # seconds between two looks at a score
_SECRETS = ("KAGGLE_KEY", "KAGGLE_API_TOKEN", "KAGGLE_API_V1_TOKEN", "KAGGLE_IAP_TOKEN")
_SECRET_VALUES = ("key", "token", "api_token", "api_v1_token", "iap_token")  # the client's names for the same


def open_client() -> Any:
    """Return the official client, signed in.

    Raises:
        UserError: not installed, no credentials, or credentials that Kaggle does not take.
    """
    said = io.StringIO()
    try:
        with redirect_stdout(said), redirect_stderr(said):
            import kaggle

            client = kaggle.KaggleApi()
            client.args = [word for word in client.args if word != "--verbose"]  # it would print its headers
            client.authenticate()
    except ModuleNotFoundError as error:
        lacks = "is not installed" if error.name == "kaggle" else f"lacks {error.name}"
        raise UserError(f"the kaggle client {lacks}: python -m pip install {INSTALL}") from None
    except SystemExit:
        raise UserError(_without_credentials()) from None
    except Exception as error:
        raise UserError(f"signing in to Kaggle failed: {_words(error, None, '')}") from None
    return client


def user_name(client: Any) -> str:
    """Return the name that belongs to the credentials; raises UserError."""
    name = client.config_values.get("username")
    if not name:
        raise UserError("the credentials do not tell your name on Kaggle: add --user NAME")
    return str(name)


def _without_credentials() -> str:
    if os.environ.get("KAGGLE_API_TOKEN"):
        return (
            "Kaggle does not take the token in KAGGLE_API_TOKEN: it is mistyped, expired or revoked. "
            f"Make a new one at {SETTINGS_PAGE}"
        )
    return (
        f"no Kaggle credentials found: make a token at {SETTINGS_PAGE} and save it to ~/.kaggle/access_token (readable "
        "by you alone: chmod 600), or set KAGGLE_API_TOKEN, or run: kaggle auth login"
    )


def without_secrets(text: str, client: Any = None) -> str:
    """Return a text in which every token and key that is known here is blotted out."""
    values = {os.environ.get(name, "") for name in _SECRETS}
    values |= {str(getattr(client, "config_values", {}).get(name, "")) for name in _SECRET_VALUES}
    for secret in sorted(values, key=len, reverse=True):
        if len(secret) >= 4:
            text = text.replace(secret, "[secret]")
    return re.sub(r"(?i)\b(bearer|basic)\s+[\w+/=.~-]{8,}", r"\1 [secret]", text)


def ask(client: Any, competition: str, call: Callable[[], Result]) -> Result:
    """Make one call to the client, silently; its failure becomes one `UserError` in plain words."""
    said = io.StringIO()
    try:
        with redirect_stdout(said), redirect_stderr(said):
            return call()
    except (Exception, SystemExit) as error:
        raise UserError(_words(error, client, competition)) from None


def _words(error: BaseException, client: Any, competition: str) -> str:
    """What went wrong and what to do about it."""
    response = getattr(error, "response", None)
    if response is None:
        kind = type(error).__name__
        if "Connection" in kind or "Timeout" in kind:
            return f"Kaggle cannot be reached ({kind}): look at the network, then give the same command again"
        text = f"the kaggle client failed ({kind}: {error}): a newer one may help, python -m pip install -U kaggle"
        return without_secrets(text, client)
    status, told = response.status_code, _told(response, error)
    page = f"https://www.kaggle.com/competitions/{competition}"
    said = without_secrets(f" (Kaggle says: {told})" if told else "", client)
    if _is_limit(told):
        return (
            f"the submissions of today are used up{said}: the count starts anew at 00:00 UTC, {_until_midnight()} from "
            "now; give the same command again then"
        )
    words = {
        401: f"Kaggle does not take the credentials: make a new token at {SETTINGS_PAGE}",
        403: f"Kaggle refuses access: accept the rules at {page}/rules, and look whether {competition!r} is its name",
        404: f"Kaggle knows no {competition!r}, or it takes no submissions any more: compare the name with {page}",
        429: f"too many requests: wait {_retry_after(response)} and give the same command again",
    }
    if status in words:
        return words[status] + said
    if status >= 500:
        return f"Kaggle has trouble of its own (HTTP {status}){said}: give the same command again later"
    return f"Kaggle refuses it (HTTP {status}){said}"


def _told(response: Any, error: BaseException) -> str:
    """The server's own sentence."""
    try:
        told = response.json().get("message", "")
    except (ValueError, AttributeError):
        told = "" if "for url" in str(error) else str(error)
    return " ".join(str(told).split())[:300]


def _is_limit(told: str) -> bool:
    text = told.lower()
    return "submission" in text and any(word in text for word in ("allowance", "daily", "limit", "per day", "today"))


def _until_midnight() -> str:
    now = datetime.now(UTC)
    minutes = 24 * 60 - now.hour * 60 - now.minute
    return f"{minutes // 60} h {minutes % 60:02d} min"


def _retry_after(response: Any) -> str:
    seconds = str(response.headers.get("Retry-After", ""))
    return f"{seconds} seconds" if seconds.isdigit() else "some minutes"


def download(client: Any, competition: str, folder: Path) -> Path:
    """Download all files of a competition as one zip, which ``--data`` reads in place; goes on after a kill.

    Raises:
        UserError: refused by Kaggle, or what came is not a zip.
    """
    path = folder / f"{competition}.zip"
    if path.exists():
        raise UserError(f"{path} is there already: use it with --data {path}, or remove it to download it anew")
    beside = folder / f".{competition}.part"  # whole or not at all: moved when it is complete
    beside.mkdir(parents=True, exist_ok=True)
    ask(client, competition, lambda: client.competition_download_files(competition, path=str(beside), quiet=True))
    found = [item for item in beside.iterdir() if zipfile.is_zipfile(item)]
    if found:
        os.replace(found[0], path)
    shutil.rmtree(beside)
    if not found:
        page = f"https://www.kaggle.com/competitions/{competition}/data"
        raise UserError(f"what Kaggle sent for {competition} is not a zip: try again later, or download it at {page}")
    return path


def submit(client: Any, path: Path, competition: str, message: str | None) -> Entry:
    """Send a guarded CSV; its entry in the logbook beside it says pending, or why it was not taken.

    Raises:
        UserError: sent before, or refused by Kaggle.
    """
    with changing_logbook(path.parent) as entries:
        entry = entries[find_entry(entries, path)]
    if entry.competition == competition and entry.status in ("pending", "complete"):
        raise UserError(
            f"{path} was sent to {competition} at {entry.sent} UTC and is {entry.status}: the same file gets the same "
            f"score; see python -m competition kaggle scores {competition}"
        )
    text = message or _message(entry)
    now = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}"
    # Entered before it is sent: a kill in between leaves a trace that `fetch_scores` resolves.
    sent = replace(entry, competition=competition, sent=now, message=text, status="pending", reason="", reference="")
    _enter(path.parent, sent)
    try:
        answer = ask(client, competition, lambda: client.competition_submit(str(path), text, competition, quiet=True))
        if answer.message == client.COMPETITION_SUBMIT_UPLOAD_FAILED_MESSAGE:
            raise UserError("the upload broke off: give the same command again")
    except UserError as error:
        _enter(path.parent, replace(sent, status="failed", reason=str(error)))
        raise UserError(f"{path} was not taken: {error}") from None
    return _enter(path.parent, replace(sent, reference=str(answer.ref or "")))


def _message(entry: Entry) -> str:
    score = "" if entry.out_of_fold is None else f", out-of-fold macro F1 {entry.out_of_fold:.4f}"
    return f"{entry.submission}{score}"


def _enter(folder: Path, entry: Entry) -> Entry:
    """Put a changed entry in the place of the one with its name and hash."""
    with changing_logbook(folder) as entries:
        entries[next(place for place, known in enumerate(entries) if known.file == entry.file)] = entry
    return entry


def fetch_scores(client: Any, folder: Path, competition: str) -> list[Entry]:
    """Enter what Kaggle says about the submissions of a competition; return the entries that were sent to it."""
    listed = ask(client, competition, lambda: client.competition_submissions(competition, page_size=100)) or []
    found = []
    with changing_logbook(folder) as entries:
        for place, entry in enumerate(entries):
            if entry.competition == competition:
                entries[place] = _answered(entry, listed, client)
                found.append(entries[place])
    return found


def _answered(entry: Entry, listed: list[Any], client: Any) -> Entry:
    """The entry with Kaggle's answer; without Kaggle's number it is known by file name and message."""
    named = [item for item in listed if (item.file_name, item.description) == (entry.submission, entry.message)]
    numbered = [item for item in listed if str(item.ref) == entry.reference]
    item = next(iter(numbered if entry.reference else named), None)
    if item is None:
        lost = entry.status == "pending" and not entry.reference
        return replace(entry, status="failed", reason="it never arrived at Kaggle: send it again") if lost else entry
    status = {"COMPLETE": "complete", "ERROR": "failed"}.get(item.status.name, "pending")
    reason = without_secrets(item.error_description or "Kaggle gives no reason", client) if status == "failed" else ""
    public, private = _number(item.public_score), _number(item.private_score)
    return replace(
        entry,
        status=status,
        reason=reason,
        reference=str(item.ref),
        public=entry.public if public is None else public,
        private=entry.private if private is None else private,
    )


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None


def wait_for_score(client: Any, folder: Path, entry: Entry, seconds: float) -> Entry:
    """Ask for the score of a sent submission until it is there or the time is up; return its entry."""
    until, pause = time.monotonic() + seconds, FIRST_WAIT
    while True:
        entry = next(found for found in fetch_scores(client, folder, entry.competition) if found.file == entry.file)
        if entry.status != "pending" or time.monotonic() + pause > until:
            return entry
        time.sleep(pause)
        pause = min(LONGEST_WAIT, 1.5 * pause)
