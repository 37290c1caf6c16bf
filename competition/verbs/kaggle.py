"""Kaggle's side of a competition, through its official client (python -m pip install kaggle six).

download SLUG                      all files as one zip, which --data reads in place
submit CSV --competition SLUG      guard, send, wait for the score, enter it into the logbook
scores SLUG                        fetch the scores of what was sent
push RUN --competition SLUG        a notebook that trains this run on Kaggle's GPU
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from shlex import quote
from typing import Any

from competition.cli import Parser
from competition.errors import UserError, did_you_mean
from competition.settings import parse_duration

PROGRAM = "python -m competition kaggle"


def main(argv: Sequence[str]) -> int:
    """Find the action and run it."""
    actions: dict[str, Callable[[Sequence[str]], int]] = {
        "download": _download,
        "submit": _submit,
        "scores": _scores,
        "push": _push,
    }
    if not argv or argv[0] in ("-h", "--help"):
        print(f"usage: {PROGRAM} ACTION ... (ACTION --help explains)\n\n{__doc__}")
        return 0
    if argv[0] not in actions:
        hint = did_you_mean(argv[0], actions)
        raise UserError(f"unknown action {argv[0]!r}{hint}; kaggle can {', '.join(actions)}")
    return actions[argv[0]](argv[1:])


def _download(argv: Sequence[str]) -> int:
    parser = Parser("Download all files of a competition as one zip.", prog=f"{PROGRAM} download")
    parser.add_argument("slug", metavar="SLUG", help="the last part of the competition's address, or the address")
    parser.add_argument("--out", metavar="DIR", type=Path, default=Path("data"), help="folder (default data)")
    values = parser.parse(argv)
    slug = competition_slug(values.slug)

    from competition import kaggle

    path = kaggle.download(kaggle.open_client(), slug, values.out)
    print(f"{path}: look through it with\n  python -m competition check {quote(str(path))}")
    print(f"and train with\n  python train.py --data {quote(str(path))}")
    return 0


def _submit(argv: Sequence[str]) -> int:
    parser = Parser("Guard a CSV, send it, wait for its score.", prog=f"{PROGRAM} submit")
    parser.add_argument("csv", metavar="CSV", type=Path, help="such as submissions/NAME.csv")
    parser.add_argument("--competition", metavar="SLUG", required=True, help="last part of the competition's address")
    parser.add_argument("--message", metavar="TEXT", help="shown beside it (default: file name and out-of-fold score)")
    parser.add_argument(
        "--data",
        metavar="PATH",
        type=Path,
        help="folder, zip or sample submission to compare with; auto: the CSV's own",
    )
    parser.add_argument("--wait", metavar="TIME", default="10m", help="how long to wait for the score (default 10m)")
    values = parser.parse(argv)
    seconds = _seconds(values.wait)

    slug = competition_slug(values.competition)

    from competition import kaggle
    from competition.leaderboard import PUBLIC_SHARE, parted
    from competition.submission import guard_file

    print(f"{values.csv}: {guard_file(values.csv, values.data)}", flush=True)
    client = kaggle.open_client()
    entry = kaggle.submit(client, values.csv, slug, values.message)
    print(f"sent to {slug}; waiting for the score", flush=True)
    entry = kaggle.wait_for_score(client, values.csv.parent, entry, seconds)
    for warning in parted([entry], values.csv.parent, PUBLIC_SHARE):
        print(f"warning: {warning}")
    print(_told(entry))
    return 2 if entry.status == "failed" else 0


def _scores(argv: Sequence[str]) -> int:
    parser = Parser("Fetch the scores of what was sent into the logbook.", prog=f"{PROGRAM} scores")
    parser.add_argument("slug", metavar="SLUG", help="last part of the competition's address")
    parser.add_argument(
        "--folder", metavar="PATH", type=Path, default=Path("submissions"), help="where the logbook lies"
    )
    values = parser.parse(argv)
    slug = competition_slug(values.slug)

    from competition import kaggle

    entries = kaggle.fetch_scores(kaggle.open_client(), values.folder, slug)
    print("\n".join(map(_told, entries)) or f"{values.folder} has sent nothing to {slug} yet")
    return 0


def _push(argv: Sequence[str]) -> int:
    parser = Parser("Make a notebook that trains a run on Kaggle's GPU, and push it.", prog=f"{PROGRAM} push")
    parser.add_argument("run", metavar="RUN", type=Path, help="run folder, or any folder with a settings.yaml")
    parser.add_argument("--competition", metavar="SLUG", required=True, help="last part of the competition's address")
    parser.add_argument("--out", metavar="DIR", type=Path, help="folder to make (default runs/kaggle/RUN)")
    parser.add_argument("--user", metavar="NAME", help="your name on Kaggle; auto: that of the credentials")
    parser.add_argument("--wheels", action="store_true", help="pack wheels, so that the notebook needs no internet")
    parser.add_argument("--dry-run", action="store_true", help="make the folder, push nothing")
    values = parser.parse(argv)
    slug = competition_slug(values.competition)

    from competition import kaggle, kaggle_notebook

    client = None if values.dry_run and values.user else kaggle.open_client()
    user = values.user or kaggle.user_name(client)
    plan = kaggle_notebook.make_folders(values.run, slug, user, values.out, values.wheels)
    for note in plan.notes:
        print(f"note: {note}")
    if values.dry_run:
        print(f"{plan.folder}: made, not pushed; the same command without --dry-run pushes it")
        return 0
    print(kaggle_notebook.push(client, plan))
    return 0


def competition_slug(text: str) -> str:
    """Return the competition's short name from it or from its address; raises UserError."""
    address = re.search(r"(?:^|/)(?:c|competitions)/([^/?#]+)", text)
    slug = address[1] if address else text.strip().rstrip("/")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]*", slug):
        raise UserError(f"{text!r} is no competition: give the last part of its address, as in kaggle.com/c/titanic")
    return slug


def _seconds(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError:
        raise UserError(f"--wait {text}: expected a time such as 90s, 10m or 1h") from None


def _told(entry: Any) -> str:
    if entry.status == "failed":
        return f"{entry.submission}: failed: {entry.reason}"
    if entry.status == "pending":
        return f"{entry.submission}: not scored yet; ask again later: {PROGRAM} scores {entry.competition}"
    scores = [
        f"{part} {getattr(entry, part):.5f}" for part in ("public", "private") if getattr(entry, part) is not None
    ]
    return f"{entry.submission}: {', '.join(scores) or 'scored, and the score is hidden'}"
