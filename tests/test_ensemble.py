"""Means of probabilities, and runs that cannot be averaged."""

import numpy as np
import pytest

from competition.ensemble import mean, refuse_different_classes
from competition.errors import UserError


def test_mean():
    parts = [np.array([[0.2, 0.8]], dtype=np.float32), np.array([[0.6, 0.4]], dtype=np.float32)]
    np.testing.assert_allclose(mean(parts), [[0.4, 0.6]], atol=1e-7)
    assert mean(parts).dtype == np.float32


def test_runs_with_other_classes_are_refused_by_name():
    refuse_different_classes(["a", "b"], [("cat", "dog"), ("dog", "cat")])
    with pytest.raises(UserError, match="only runs/b knows fox; only runs/a knows dog"):
        refuse_different_classes(["runs/a", "runs/b"], [("cat", "dog"), ("cat", "fox")])
