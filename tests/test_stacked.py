"""The regression against scikit-learn, its gradient, and its penalty."""

import numpy as np
import pytest
from scipy.optimize import check_grad
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from competition.ensemble.combination import FLOOR, Combination
from competition.ensemble.stacked import MOST_MEMBERS, PENALTIES, Regression, choose_penalty, fit_stacked
from tests.synthetic_members import make_stack


def regression_of(stack):
    logs = np.log(np.maximum(stack.probabilities.astype(np.float64), FLOOR)).transpose(1, 2, 0)
    classes = np.tile(np.arange(len(stack.class_names)), (len(stack.labels), 1))
    return Regression(logs, classes, stack.labels, len(stack.class_names))


def test_two_classes_are_logistic_regression():
    stack = make_stack(3, 400, 2, skill=(0.2, 1))
    regression = regression_of(stack)
    fitted = regression.fit(1e-6, regression.start())
    model = LogisticRegression(C=1e8, tol=1e-10, max_iter=10_000)
    model.fit(regression.logs[:, 1] - regression.logs[:, 0], stack.labels)
    np.testing.assert_allclose(fitted[:3], model.coef_[0], atol=2e-3)
    assert fitted[4] - fitted[3] == pytest.approx(model.intercept_[0], abs=2e-3)


def test_the_loss_is_cross_entropy_and_the_gradient_its_slope():
    stack = make_stack(3, 60, 5)
    regression = regression_of(stack)
    parameters = np.random.default_rng(0).normal(size=8)
    logits = regression.logs @ parameters[:3] + parameters[3:]
    expected = log_loss(stack.labels, np.exp(log_softmax(logits, axis=1)), normalize=False)
    assert regression.loss(parameters)[0] == pytest.approx(expected, rel=1e-6)
    assert check_grad(lambda p: regression.loss(p)[0], lambda p: regression.loss(p)[1], parameters) < 1e-3


def test_a_large_penalty_leaves_the_geometric_mean():
    regression = regression_of(make_stack(4, 100, 3))
    np.testing.assert_allclose(regression.fit(1e9, regression.start()), regression.start(), atol=1e-5)


def test_where_the_geometric_mean_is_right_the_penalty_is_largest():
    shares = np.random.default_rng(0).dirichlet(np.ones(8), size=60)
    labels = np.array([np.random.default_rng(row).choice(8, p=share) for row, share in enumerate(shares)])
    regression = Regression(np.log(shares)[:, :, None], np.tile(np.arange(8), (60, 1)), labels, 8)
    assert choose_penalty(regression, np.arange(60) % 5) == PENALTIES[0]
    assert choose_penalty(regression, np.zeros(60)) == PENALTIES[0]


def test_where_the_members_are_far_from_calibrated_it_is_small():
    stack = make_stack(2, 3000, 4, skill=(-2, 3))
    assert choose_penalty(regression_of(stack), stack.folds) < PENALTIES[0]


@pytest.mark.parametrize("classes", [4, 26])
def test_the_fit_is_better_than_the_geometric_mean(classes):
    stack = make_stack(4, 1500, classes, skill=(-0.5, 3))
    weights, bias = fit_stacked(stack.shortlist, np.flatnonzero(stack.folds != 0), stack.folds)
    unseen = np.flatnonzero(stack.folds == 0)
    found = Combination("stacked", "log", weights, bias).apply(stack.probabilities, unseen)
    geometric = Combination("geometric", "log", np.full(4, 0.25)).apply(stack.probabilities, unseen)
    losses = [log_loss(stack.labels[unseen], values, labels=range(classes)) for values in (found, geometric)]
    assert losses[0] < losses[1] - 0.1
    assert weights[0] < weights[3]


def test_no_more_than_so_many_members_are_used():
    stack = make_stack(MOST_MEMBERS + 6, 80, 3)
    weights, bias = fit_stacked(stack.shortlist, np.arange(80), stack.folds)
    assert np.count_nonzero(weights) == MOST_MEMBERS
    assert bias.shape == (3,)
