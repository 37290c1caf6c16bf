"""Score a submission CSV against a truth CSV with macro F1, its interval, and each class."""

import json
from collections.abc import Sequence
from pathlib import Path

from competition.cli import Parser
from competition.config import DataSettings


def main(argv: Sequence[str]) -> int:
    """Print the score of one CSV."""
    parser = Parser(__doc__ or "", prog="python -m competition score")
    parser.add_argument("submission", metavar="CSV", type=Path)
    parser.add_argument("--truth", metavar="CSV", type=Path, help="ids and labels; without it, the embedded sample's")
    parser.add_argument("--id-column", metavar="NAME", help="column of ids (default: the first)")
    parser.add_argument("--label-column", metavar="NAME", help="column of labels (default: the other one)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    values = parser.parse(argv)

    from competition.scoring import format_score, score_files

    truth = values.truth or _sample_truth()
    result = score_files(values.submission, truth, values.id_column, values.label_column)
    print(json.dumps(result, indent=2, ensure_ascii=False) if values.json else format_score(result))
    return 0


def _sample_truth() -> Path:
    from competition.data.prepare import sample_folder
    from competition.data.sample import render_sample, sample_truth

    return sample_truth(render_sample(sample_folder(DataSettings())))
