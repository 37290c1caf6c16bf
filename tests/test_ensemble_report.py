"""An ensemble in words."""

import numpy as np

from competition.ensemble import report
from competition.ensemble.combination import Combination
from competition.ensemble.selection import Difference, Estimate, Selection
from competition.metrics import Interval

NOTHING = np.empty((0, 2), np.float32)


def selection(chosen, scores, errors):
    estimates = [
        Estimate(method, score, Interval(score - 0.01, score + 0.01), NOTHING) for method, score in scores.items()
    ]
    differences = [
        Difference(score - scores[chosen], Interval(-0.02, 0.01), error)
        for score, error in zip(scores.values(), errors, strict=True)
    ]
    return Selection(Combination(chosen, "probability", np.ones(2)), estimates, differences)


SCORES = {"best": 0.7, "mean": 0.74, "greedy": 0.741}


def test_the_table_has_one_line_per_method():
    lines = report.table(selection("mean", SCORES, [0.01, 0, 0.004])).splitlines()
    assert lines[0].split() == ["method", "macro", "F1", "95", "%", "interval", "compared", "with", "mean"]
    assert lines[1].split() == ["best", "0.7000", "[0.690,", "0.710]", "-0.0400", "[-0.020,", "0.010]"]
    assert lines[2].split() == ["mean", "0.7400", "[0.730,", "0.750]", "chosen"]
    assert len(lines) == 4


def test_the_reason_names_what_it_was_compared_with():
    assert report.reason(selection("mean", SCORES, [0.01, 0, 0.004])) == (
        "mean: the simplest method within one standard error (0.0040) of the best (greedy, 0.7410)"
    )
    assert "more than one standard error above anything simpler" in report.reason(
        selection("greedy", SCORES, [0.01, 0.0005, 0])
    )
    assert report.reason(selection("best", {"best": 0.7, "mean": 0.6}, [0, 0.01])) == "best: the best estimate"


def test_weights_are_named_largest_first():
    weights = Combination("greedy", "probability", np.array([0.25, 0, 0.75]))
    assert report.weights(weights, ["a", "b", "c"]) == "c 0.750, a 0.250; 1 member not used"
    many = Combination("mean", "probability", np.full(12, 1 / 12))
    assert report.weights(many, [f"m{n}" for n in range(12)]).endswith("m9 0.083 and 2 members more")
