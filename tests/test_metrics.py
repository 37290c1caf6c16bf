"""Macro F1 against hand-worked tables and scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

from competition import metrics


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([[5, 0], [0, 5]], 1.0),
        ([[0, 5], [5, 0]], 0.0),
        # class 0: 2*3/(4+4), class 1: 2*2/(3+3)
        ([[3, 1], [1, 2]], (6 / 8 + 4 / 6) / 2),
        # class 2 is neither true nor predicted: it counts as 0
        ([[4, 0, 0], [0, 4, 0], [0, 0, 0]], 2 / 3),
        # class 1 is predicted but never true
        ([[3, 1], [0, 0]], (6 / 7) / 2),
    ],
)
def test_hand_worked_tables(counts, expected):
    assert metrics.macro_f1(np.array(counts)) == pytest.approx(expected, abs=1e-15)


def test_equals_scikit_learn_to_the_last_bit():
    rng = np.random.default_rng(0)
    for _ in range(200):
        classes = int(rng.integers(2, 40))
        true, predicted = rng.integers(0, classes, (2, int(rng.integers(1, 300))))
        counts = metrics.confusion(true, predicted, classes)
        labels = list(range(classes))
        assert metrics.macro_f1(counts) == f1_score(true, predicted, average="macro", labels=labels, zero_division=0)
        assert metrics.accuracy(counts) == pytest.approx(accuracy_score(true, predicted))


def test_confusion_counts_rows_as_truth():
    counts = metrics.confusion(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 0]), 3)
    assert counts.tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 0]]


def test_the_interval_has_the_width_that_chance_gives():
    # One fixed model on many test sets of 500 rows: the spread of its scores is what the interval must show.
    rng = np.random.default_rng(1)
    cells = rng.dirichlet(np.full(10, 0.3), size=10) * 0.3 + 0.7 * np.eye(10)
    cells /= cells.sum()
    scores = [metrics.macro_f1(rng.multinomial(500, cells.ravel()).reshape(10, 10)) for _ in range(1000)]
    low, high = np.percentile(scores, [2.5, 97.5])
    widths = []
    for seed in range(20):
        interval = metrics.bootstrap_interval(rng.multinomial(500, cells.ravel()).reshape(10, 10), 400, seed)
        widths.append(interval.high - interval.low)
    assert np.mean(widths) == pytest.approx(high - low, rel=0.15)


def test_the_interval_of_a_perfect_score_is_a_point():
    interval = metrics.bootstrap_interval(np.diag([10, 20]), 50)
    assert (interval.low, interval.high) == (1.0, 1.0)


def fixed_model(rng, classes=10):
    """Return the true share of each (true, predicted) cell."""
    cells = 0.35 * rng.dirichlet(np.full(classes, 0.3), size=classes) + 0.65 * np.eye(classes)
    return (cells / cells.sum()).ravel()


def as_a_leaderboard_scores(counts):
    """Return scikit-learn's macro F1: over the classes that are true or predicted."""
    occurs = counts.sum(axis=0) + counts.sum(axis=1) > 0
    return metrics.f1_per_class(counts)[occurs].mean()


def share_inside(reps, classes, rows, test_rows, interval):
    """Return how often a model's score on new rows lies in an interval made from its counts on other rows."""
    rng = np.random.default_rng(2)
    inside = []
    for _ in range(reps):
        cells = fixed_model(rng, classes)
        found = interval(rng.multinomial(rows, cells).reshape(classes, classes))
        score = as_a_leaderboard_scores(rng.multinomial(test_rows, cells).reshape(classes, classes))
        inside.append(found.low <= score <= found.high)
    return np.mean(inside)


@pytest.mark.parametrize(("reps", "classes", "rows", "test_rows"), [(150, 10, 500, 5000), (30, 200, 4000, 300)])
def test_leaderboard_scores_fall_into_the_band(reps, classes, rows, test_rows):
    def band(counts):
        return metrics.leaderboard_band(counts, test_rows, draws=150)

    assert 0.86 <= share_inside(reps, classes, rows, test_rows, band) <= 1


@pytest.mark.parametrize(("classes", "rows", "test_rows"), [(50, 500, 1000), (200, 1000, 300)])
def test_the_band_lies_around_the_leaderboards_scores(classes, rows, test_rows):
    """Compared with the counts' own score, of which both follow the ups and downs."""
    rng = np.random.default_rng(0)
    cells = fixed_model(rng, classes)

    def draw(rows):
        return rng.multinomial(rows, cells).reshape(classes, classes)

    expected = np.mean([as_a_leaderboard_scores(draw(test_rows)) - metrics.macro_f1(draw(rows)) for _ in range(200)])
    found = []
    for seed in range(16):
        counts = draw(rows)
        band = metrics.leaderboard_band(counts, test_rows, draws=60, seed=seed)
        found.append((band.low + band.high) / 2 - metrics.macro_f1(counts))
    assert np.mean(found) == pytest.approx(expected, abs=0.008)


@pytest.mark.parametrize("per_class", [1, 5])
def test_the_interval_of_many_small_classes_lies_around_the_score(per_class):
    rng = np.random.default_rng(4)
    for cells in (np.eye(100).ravel() / 100, fixed_model(rng, 100)):
        counts = rng.multinomial(100 * per_class, cells).reshape(100, 100)
        interval = metrics.bootstrap_interval(counts, 200)
        assert interval.low <= metrics.macro_f1(counts) <= interval.high


def test_the_interval_of_a_score_covers_it_where_classes_have_ten_rows():
    rng = np.random.default_rng(5)
    inside = []
    for _ in range(100):
        cells = fixed_model(rng, 50)
        interval = metrics.bootstrap_interval(rng.multinomial(500, cells).reshape(50, 50), 100)
        inside.append(interval.low <= metrics.macro_f1((cells * 10**9).reshape(50, 50)) <= interval.high)
    assert np.mean(inside) >= 0.8


def test_a_band_is_wider_on_fewer_rows_and_never_narrower_than_the_score_is_known():
    counts = np.random.default_rng(0).multinomial(1000, fixed_model(np.random.default_rng(1))).reshape(10, 10)

    def width(rows, share=1.0):
        band = metrics.leaderboard_band(counts, rows, share)
        return band.high - band.low

    known = metrics.bootstrap_interval(counts)
    assert width(300) > 1.5 * width(3000)
    assert width(10**7) == pytest.approx(known.high - known.low, rel=0.15)
    assert width(1000, 0.3) == width(300)


def test_a_band_without_rows_says_nothing():
    assert metrics.leaderboard_band(np.zeros((2, 2), np.int64), 10) == metrics.Interval(0, 1)
    assert metrics.leaderboard_band(np.diag([5, 5]), 10, 0.01) == metrics.Interval(0, 1)
    assert metrics.leaderboard_band(np.diag([50, 50]), 100) == metrics.Interval(1, 1)


def test_paired_draws_use_the_same_rows_for_all():
    truth, first, second = np.random.default_rng(0).integers(0, 4, (3, 200))
    draws = metrics.paired_f1_draws(truth, np.stack([first, second, first]), 4, draws=50)
    assert draws.shape == (50, 3, 4)
    assert (draws[:, 0] == draws[:, 2]).all()
    assert (draws[:, 0] != draws[:, 1]).any()


@pytest.mark.parametrize("rows", [100, 3000])  # few and many rows to a cell: drawn in two ways
def test_paired_draws_spread_as_drawing_the_rows_does(rows):
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 3, rows)
    predicted = np.where(rng.random((2, rows)) < 0.4, rng.integers(0, 3, (2, rows)), truth)
    found = metrics.paired_f1_draws(truth, predicted, 3, draws=1000).mean(axis=2)
    expected = np.empty((300, 2))
    for draw in range(300):
        drawn = rng.integers(0, rows, rows)
        expected[draw] = [f1_score(truth[drawn], one[drawn], average="macro") for one in predicted]
    np.testing.assert_allclose(found.mean(axis=0), expected.mean(axis=0), atol=4 * expected.std() / 300**0.5)
    assert np.diff(found).std() == pytest.approx(np.diff(expected).std(), rel=0.15)


def test_the_gain_is_scikit_learns():
    rng = np.random.default_rng(0)
    labels, below, above = rng.integers(0, 4, (3, 300))
    scores = [f1_score(labels, predicted, average="macro") for predicted in (below, above)]
    gain, interval = metrics.paired_gain(labels, below, above, 4)
    assert gain == pytest.approx(scores[1] - scores[0], abs=1e-15)
    assert interval.low < gain < interval.high


def test_the_interval_of_a_paired_difference_covers_it():
    rng = np.random.default_rng(3)

    def draw(rows):
        truth = rng.integers(0, 3, rows)
        wrong = np.where(rng.random(rows) < 0.5, np.array([[0.5], [0.42]]), 0.05)  # both fail on the same rows
        return truth, np.where(rng.random((2, rows)) < wrong, rng.integers(0, 3, (2, rows)), truth)

    truth, predicted = draw(200_000)
    true = np.diff([metrics.macro_f1(metrics.confusion(truth, one, 3)) for one in predicted])[0]
    inside = []
    for _ in range(150):
        interval = metrics.interval_of(np.diff(metrics.paired_f1_draws(*draw(300), 3, draws=150).mean(axis=2)))
        inside.append(interval.low <= true <= interval.high)
    assert 0.89 <= np.mean(inside) <= 0.99


def test_summary_names_each_class():
    score = metrics.summary(np.array([[3, 2], [1, 4]]), ["cat", "dog"])
    assert score["per_class"]["cat"] == {"f1": pytest.approx(6 / 9), "precision": 0.75, "recall": 0.6, "rows": 5}
    assert score["per_class"]["dog"] == {"f1": pytest.approx(8 / 11), "precision": 4 / 6, "recall": 0.8, "rows": 5}
    assert score["macro_f1"] == pytest.approx((6 / 9 + 8 / 11) / 2)
    assert score["accuracy"] == 0.7
    assert score["rows"] == 10


def test_the_interval_of_a_difference_shows_its_signs():
    assert metrics.Interval(-0.01, 0.2).signed() == "[-0.010, +0.200]"
    assert metrics.Interval(-0.01, 0.2).signed(4) == "[-0.0100, +0.2000]"
