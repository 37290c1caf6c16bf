"""Decisions for macro F1: what they win, what they do not lose, and that each gain is nested."""

import json
from typing import get_args

import numpy as np
import pytest
from sklearn.metrics import f1_score, log_loss

from competition import decision
from competition.decision import Kind, Trial, fit_decision, fit_temperature
from competition.errors import UserError
from competition.metrics import Interval

CLASSES = 10
EVEN = np.zeros(CLASSES)
MAJORITY = np.log(np.geomspace(20, 1, CLASSES))  # the model thinks class 0 twenty times as common as class 9


def model_output(rng, rows, favour=EVEN, sharpness=1.0, separation=2.0):
    """Return (probabilities, labels): Bayes' rule for Gaussian features, then ``favour`` added to the logits.

    Labels are balanced, so without ``favour`` and with sharpness 1 the probabilities are exactly calibrated.
    """
    labels = rng.integers(0, CLASSES, rows)
    features = rng.normal(size=(rows, CLASSES)) + separation * np.eye(CLASSES)[labels]
    raised = np.exp(sharpness * (separation * features + favour))
    return (raised / raised.sum(axis=1, keepdims=True)).astype(np.float32), labels


def macro_f1(labels, predicted):
    return f1_score(labels, predicted, average="macro", labels=list(range(CLASSES)), zero_division=0)


def oracle(probabilities, labels, sweeps=2):
    """Return the gain of the best weights known to nobody: by trying many, one class after another, on the truth."""
    logs, weights = np.log(probabilities), np.zeros(CLASSES)
    argmax = best = macro_f1(labels, logs.argmax(axis=1))
    for k in list(range(CLASSES)) * sweeps:
        for weight in np.linspace(-1.6, 1.6, 17):
            trial = np.where(np.arange(CLASSES) == k, weight, weights)
            found = macro_f1(labels, (logs + trial).argmax(axis=1))
            if found > best:
                best, weights = found, trial
    return best - argmax


def folds_of(rows):
    return np.arange(rows) % 5


def gains(truth, favour, kind, rows, draws):
    """Return the true gain of each of several fitted decisions over argmax."""
    probabilities, labels = truth
    argmax = macro_f1(labels, probabilities.argmax(axis=1))
    found = []
    for seed in range(draws):
        fitted = fit_decision(kind, *model_output(np.random.default_rng(seed), rows, favour), folds_of(rows))
        if fitted.kind == "argmax":
            found.append(0.0)
        else:
            found.append(macro_f1(labels, fitted.apply(probabilities)) - argmax)
    return np.array(found)


def test_a_calibrated_balanced_problem_loses_nothing():
    truth = model_output(np.random.default_rng(1000), 20_000)
    assert gains(truth, EVEN, "auto", 500, 50).mean() > -0.002
    assert gains(truth, EVEN, "auto", 1500, 5).mean() > -0.002  # rows enough for weights to be tried
    # The test could fail: a free weight per class, taken whatever it gains, does lose.
    assert gains(truth, EVEN, "weights", 500, 10).mean() < -0.002


def test_a_biased_model_wins_most_of_what_an_oracle_could():
    truth = model_output(np.random.default_rng(1000), 10_000, MAJORITY)
    possible = oracle(*truth)
    assert possible > 0.05
    assert gains(truth, MAJORITY, "auto", 1000, 5).mean() > 0.75 * possible
    assert gains(truth, MAJORITY, "prior", 300, 5).mean() > 0.6 * possible


def test_chance_alone_is_rarely_kept():
    # An interval of 95 % lies above 0 by chance in 1 of 40. A prior that had seen the judged rows, even without
    # their labels, was kept in 5 of these 40.
    draws = [model_output(np.random.default_rng(100 + seed), 1000) for seed in range(40)]
    fitted = [fit_decision("auto", *draw, folds_of(1000)) for draw in draws]
    assert sum(one.kind != "argmax" for one in fitted) <= 2


def test_the_rows_of_a_fold_are_decided_without_their_labels():
    seen = []

    def fit(scores, labels):
        seen.append(set(labels.tolist()))
        return np.array([0.0, len(seen)])

    scores = np.array([[0.5, 0.0], [0.5, 0.0], [2.5, 0.0], [1.5, 0.0]], np.float32)
    decided = decision._nested(fit, scores, np.arange(4), np.array([7, 9, 9, 7]))
    assert seen == [{1, 2}, {0, 3}]
    assert decided.tolist() == [1, 1, 0, 0]  # fold 7 with bias 1, fold 9 with bias 2


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 2.0])
def test_temperature_undoes_sharpening(sharpness):
    probabilities, labels = model_output(np.random.default_rng(0), 20_000, sharpness=sharpness)
    temperature = fit_temperature(probabilities, labels)
    assert temperature == pytest.approx(sharpness, rel=0.03)

    def loss(t):
        raised = probabilities.astype(np.float64) ** (1 / t)
        return log_loss(labels, raised / raised.sum(axis=1, keepdims=True))

    assert loss(temperature) < min(loss(temperature * 0.98), loss(temperature * 1.02))


def test_a_model_that_is_always_right_has_a_temperature():
    probabilities = np.eye(3, dtype=np.float32)[[0, 1, 2, 0]]
    assert 0 < fit_temperature(probabilities, np.array([0, 1, 2, 0])) <= 1


def test_the_prior_does_what_its_formula_says():
    probabilities, labels = model_output(np.random.default_rng(0), 1000, MAJORITY)
    fitted = fit_decision("prior", probabilities, labels, folds_of(1000))
    raised = probabilities.astype(np.float64) ** (1 / fitted.temperature)
    prior = (raised / raised.sum(axis=1, keepdims=True)).mean(axis=0)
    expected = (raised * prior**-fitted.tau).argmax(axis=1)
    assert fitted.tau > 0.3
    assert (fitted.apply(probabilities) == expected).mean() > 0.999  # float32 may round a tie the other way
    assert np.exp(np.log(fitted.weights).mean()) == pytest.approx(1)


@pytest.mark.parametrize("kind", get_args(Kind))
def test_plain_data_and_words_of_every_kind(kind):
    probabilities, labels = model_output(np.random.default_rng(0), 300, MAJORITY)
    fitted = fit_decision(kind, probabilities, labels, folds_of(300))
    plain = json.loads(json.dumps(fitted.plain()))
    assert plain["asked"] == kind
    assert plain["kind"] == fitted.kind == (fitted.kind if kind == "auto" else kind)
    assert len(plain["weights"]) == CLASSES
    assert [trial["kind"] for trial in plain["tried"]] == {"argmax": [], "auto": ["prior"]}.get(kind, [kind])
    assert fitted.describe().startswith(fitted.kind)
    assert fitted.apply(probabilities[:7]).shape == (7,)


def test_words():
    probabilities, labels = model_output(np.random.default_rng(0), 1000, MAJORITY)
    folds = folds_of(1000)
    assert (
        ", kept; weights not tried: the rarest class has"
        in fit_decision("auto", probabilities, labels, folds).describe()
    )
    calm, truth = model_output(np.random.default_rng(2), 1000)
    assert ", not kept; weights not tried" in fit_decision("auto", calm, truth, folds).describe()
    assert "kept, as asked for though chance could give as much" in fit_decision("prior", calm, truth, folds).describe()


def test_weights_are_tried_where_rows_allow():
    probabilities, labels = model_output(np.random.default_rng(0), 1500)
    enough = fit_decision("auto", probabilities, labels, folds_of(1500))
    assert [trial.kind for trial in enough.trials] == ["prior", "weights"]
    assert enough.skipped == ""


def test_refusals():
    probabilities, labels = model_output(np.random.default_rng(0), 50)
    with pytest.raises(UserError, match="needs two at least"):
        fit_decision("auto", probabilities, labels, np.zeros(50, np.int64))
    assert fit_decision("argmax", probabilities, labels, np.zeros(50, np.int64)).kind == "argmax"


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.01, 0.05, "kept"),
        (-0.01, 0.05, "kept, as asked for though chance could give as much"),
        (-0.3, -0.1, "kept, as asked for though it costs more than chance would"),
    ],
)
def test_what_is_kept_because_it_was_asked_for_says_what_is_against_it(low, high, said):
    assert Trial("prior", "argmax", 0.02, Interval(low, high), kept=True).describe().endswith(f"], {said}")
