"""Predict the test images with every fold of one or more runs and write a submission CSV.

Examples:
  python predict.py runs/NAME                        test images of the data the run was trained on
  python predict.py runs/A runs/B --data PATH --out submissions/NAME.csv
  python predict.py studies/NAME --ensemble greedy   the finished trials of a study

What a fold predicted is kept in its folder, so another ensemble of the same runs costs no forward pass.
Beside the CSV lies NAME.json: runs, folds, weights and scores that made it.
"""

from collections.abc import Sequence

from competition.cli import Parser, parse_settings, run_command
from competition.errors import counted
from competition.prediction.settings import PredictSettings


def main(argv: Sequence[str] | None = None) -> int:
    """Runs + test images -> ensemble -> submissions/NAME.csv."""
    parser = Parser(__doc__ or "", prog="predict.py")
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run folders, such as runs/NAME")
    settings, values = parse_settings(parser, PredictSettings, argv)

    # Late: torch is not needed to refuse a flag.
    from competition.prediction.fitting import fit_decision, fit_ensemble
    from competition.prediction.members import open_members
    from competition.prediction.steps import open_test, output_path, predict_test, write_outputs
    from competition.prediction.views import choose_views

    members = open_members(values.runs, settings.allow_partial, settings.view_count)
    catalog = open_test(settings, members)
    path = output_path(settings, values.runs, catalog)
    members = choose_views(settings, members)
    ensemble = fit_ensemble(members, settings.ensemble)
    decision = fit_decision(ensemble, settings.decide)
    predictions = predict_test(settings, ensemble, catalog)
    rows = write_outputs(path, settings, ensemble, decision, catalog, predictions)
    networks = sum(len(member.fold_folders) for member in ensemble.used)
    print(f"{path}: {counted(rows, 'row')} from {counted(networks, 'network')}")
    return 0


if __name__ == "__main__":
    run_command(main)
