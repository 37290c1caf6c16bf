"""Ranges and choices: what they hold, what they draw, what a grid goes through."""

import optuna
import pytest

from competition.tuning.dimensions import Choices, Dimension, Range, is_multiple


def draw(values, seeds=20):
    """Some draws of a dimension's values."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    return [values.suggest(study.ask(), "x") for _ in range(seeds)]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (Range(0.0, 1.0), None),
        (Range(1e-4, 1e-2, log=True), None),
        (Range(1, 4, is_whole=True), [1, 2, 3, 4]),
        (Range(1, 64, is_whole=True, log=True), None),
        (Range(16, 64, is_whole=True, step=16), [16, 32, 48, 64]),
        (Range(0.0, 0.3, step=0.1), [0.0, 0.1, 0.2, 0.3]),
        (Range(1, 10**9, is_whole=True), None),
        (Choices(("a", None, 3)), ["a", None, 3]),
        (Choices(((64, 128), [96], {"a": 1})), ["[64, 128]", "[96]", '{"a": 1}']),
    ],
)
def test_a_grid_is_every_value_or_none(values, expected):
    assert values.grid() == expected


@pytest.mark.parametrize(
    ("values", "value", "expected"),
    [
        (Range(0.0, 1.0), 0, 0.0),
        (Range(0.0, 1.0), 1.0, 1.0),
        (Range(0.0, 0.3, step=0.1), 0.2, 0.2),
        (Range(1, 4, is_whole=True), 4.0, 4),
        (Choices(("a", None)), None, None),
        (Choices(((64, 128),)), [64, 128], "[64, 128]"),
    ],
)
def test_a_value_inside_has_a_key(values, value, expected):
    assert values.key_of(value) == expected
    assert type(values.key_of(value)) is type(expected)


@pytest.mark.parametrize(
    ("values", "value"),
    [
        (Range(0.0, 1.0), 1.1),
        (Range(0.0, 1.0), -0.1),
        (Range(0.0, 1.0), None),
        (Range(0.0, 1.0), True),
        (Range(0.0, 1.0), "0.5"),
        (Range(0.0, 0.3, step=0.1), 0.25),
        (Range(1, 4, is_whole=True), 2.5),
        (Choices(("a", "b")), "c"),
        (Choices(("a", "b")), None),
    ],
)
def test_a_value_outside_has_none(values, value):
    with pytest.raises(ValueError):  # noqa: PT011 (its message is never shown)
        values.key_of(value)


def test_draws_stay_inside_and_have_the_right_type():
    for drawn in draw(Range(2, 8, is_whole=True, step=2)):
        assert drawn in (2, 4, 6, 8)
        assert type(drawn) is int
    floats = draw(Range(1e-4, 1.0, log=True), 200)
    assert all(1e-4 <= drawn <= 1 for drawn in floats)
    assert sum(drawn < 1e-2 for drawn in floats) == pytest.approx(100, abs=25)  # half of them, on a log scale
    assert set(map(str, draw(Choices(([64, 128], [96], None)), 50))) == {"[64, 128]", "[96]", "None"}


def test_all_conditions_must_hold():
    dimension = Dimension("c", Choices((1, 2)), {"a": ("x", "y"), "b": (True,)})
    assert dimension.is_searched({"a": "y", "b": True})
    assert not dimension.is_searched({"a": "z", "b": True})
    assert not dimension.is_searched({"a": "x"})


@pytest.mark.parametrize(
    ("dimension", "plain"),
    [
        (Dimension("a", Range(0.1, 1.0, log=True)), {"low": 0.1, "high": 1.0, "log": True}),
        (Dimension("a", Choices(("x", (1, 2)))), ["x", [1, 2]]),
        (Dimension("a", Choices((1,)), {"b": (2,)}), {"choices": [1], "when": {"b": [2]}}),
    ],
)
def test_plain_values_are_those_of_the_file(dimension, plain):
    assert dimension.plain() == plain


@pytest.mark.parametrize(
    ("length", "step", "answer"), [(0.3, 0.1, True), (0.35, 0.1, False), (0, 5, True), (7, 2, False)]
)
def test_multiples_but_for_rounding(length, step, answer):
    assert is_multiple(length, step) == answer
