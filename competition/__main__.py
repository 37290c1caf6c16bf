"""``python -m competition VERB``: everything beside training, prediction and tuning."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from competition.cli import Parser, add_settings, read_settings, run_command
from competition.config import CheckSettings, DataSettings
from competition.errors import UserError, did_you_mean


def check(argv: Sequence[str]) -> int:
    """Look for everything wrong with a data set before any training."""
    parser = Parser(check.__doc__ or "", prog="python -m competition check")
    parser.add_argument("path", nargs="?", metavar="DATA", help="folder or zip; without it, the embedded sample")
    add_settings(parser, CheckSettings)
    values = vars(parser.parse(argv))
    path = values.pop("path")
    settings = read_settings(CheckSettings, values | ({"data": path} if path else {}))

    from competition.data.checks import check as find_problems
    from competition.data.checks import format_report
    from competition.data.prepare import decode, find_data, natural_size

    catalog = find_data(settings)
    store = decode(settings, catalog, natural_size(catalog), "squash")
    problems = find_problems(catalog, store.facts, folds=settings.folds)
    print(format_report(problems, catalog))
    return 2 if any(problem.severity == "error" for problem in problems) else 0


def score(argv: Sequence[str]) -> int:
    """Score a submission CSV against a truth CSV with macro F1, its interval, and each class."""
    parser = Parser(score.__doc__ or "", prog="python -m competition score")
    parser.add_argument("submission", metavar="CSV", type=Path)
    parser.add_argument("--truth", metavar="CSV", type=Path, help="ids and labels; without it, the embedded sample's")
    parser.add_argument("--id-column", metavar="NAME", help="column of ids (default: the first)")
    parser.add_argument("--label-column", metavar="NAME", help="column of labels (default: the other one)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    values = parser.parse(argv)

    from competition.submission import format_score, score_files, score_json

    truth = values.truth or _sample_truth()
    result = score_files(values.submission, truth, values.id_column, values.label_column)
    print(score_json(result) if values.json else format_score(result))
    return 0


def _sample_truth() -> Path:
    from competition.data.prepare import sample_folder
    from competition.data.sample import render_sample, sample_truth

    return sample_truth(render_sample(sample_folder(DataSettings())))


VERBS: dict[str, Callable[[Sequence[str]], int]] = {"check": check, "score": score}


def main(argv: Sequence[str] | None = None) -> int:
    """Find the verb and run it."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        print("usage: python -m competition VERB ... (VERB --help explains)\n")
        for name, verb in VERBS.items():
            print(f"  {name:<8} {(verb.__doc__ or '').splitlines()[0]}")
        return 0
    if words[0] not in VERBS:
        raise UserError(f"unknown verb {words[0]!r}{did_you_mean(words[0], VERBS)}; there are {', '.join(VERBS)}")
    return VERBS[words[0]](words[1:])


if __name__ == "__main__":
    run_command(main)
