"""Synthetic members of an ensemble, for tests."""

import numpy as np

from competition.ensemble.stack import Stack
from competition.predictions import Predictions


def make_probabilities(members, rows, classes, seed=0, skill=(1.0, 2.5)):
    """Return (M, N, K) float16 probabilities of members whose skill differs, and (N,) labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, rows)
    logits = rng.normal(size=(members, rows, classes))
    logits[:, np.arange(rows), labels] += np.linspace(*skill, members)[:, None]
    odds = np.exp(logits)
    return (odds / odds.sum(axis=2, keepdims=True)).astype(np.float16), labels


def make_stack(members=5, rows=300, classes=4, seed=0, skill=(1.0, 2.5), folds=5):
    """Return a stack of such members."""
    probabilities, labels = make_probabilities(members, rows, classes, seed, skill)
    names = tuple(f"runs/{number}" for number in range(members))
    ids = np.array([f"{number:05d}.png" for number in range(rows)])
    return Stack(
        names, tuple("abcdefghijklmnopqrstuvwxyz"[:classes]), ids, labels, np.arange(rows) % folds, probabilities
    )


def make_predictions(stack, member):
    """Return one member's out-of-fold predictions."""
    values = stack.probabilities[member].astype(np.float32)
    return Predictions(stack.image_ids, stack.class_names, values, stack.labels, stack.folds)
