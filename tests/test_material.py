"""What is trained on: where the fold table is, and a holdout that cannot be scored."""

import pytest

from competition.config import TrainSettings
from competition.errors import UserError
from competition.training.material import fold_path, refuse_unusable_holdout


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({}, "folds/sample-5-seed0.csv"),
        ({"data": "x/cats.zip", "folds": 3, "seed": 2}, "folds/cats-3-seed2.csv"),
        ({"data": "x/cats", "repeats": 2, "holdout": True}, "folds/cats-5-holdout-x2-seed0.csv"),
        ({"fold_file": "mine"}, "folds/mine.csv"),
        ({"fold_file": "there/mine.csv"}, "there/mine.csv"),
    ],
)
def test_where_the_fold_table_is(settings, name):
    assert str(fold_path(TrainSettings(**settings))) == name


@pytest.mark.parametrize(
    ("held_out", "said"), [(set(), "no validation split"), ({"cat", "fox"}, "only the validation split has .*: fox")]
)
def test_a_holdout_that_cannot_be_scored_is_refused(held_out, said):
    with pytest.raises(UserError, match=said):
        refuse_unusable_holdout(held_out, {"cat", "dog"})
