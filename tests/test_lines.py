"""The lines benchmark's metrics, by hand."""

import numpy as np
import pytest

from benchmarks.lines import draw_lines, nearest_lines, roughness, score_paths


def test_a_line_runs_from_the_centre_to_the_right():
    (picture,) = draw_lines(np.array([0.0]))
    assert picture.shape == (32, 32)
    assert (picture[15:17, 17:30] == 1).all()
    assert (picture[:, :14] == -1).all()
    assert (picture[:13] == -1).all()


def test_a_quarter_turn_of_the_angle_turns_the_picture():
    right, down = draw_lines(np.array([0.0, np.pi / 2]))
    np.testing.assert_allclose(down, right.T, atol=1e-5)


def test_true_lines_are_their_own_nearest():
    angles = np.array([0.0, 1.0, 3.0, 6.0])
    distances, found = nearest_lines(draw_lines(angles))
    assert distances.max() < 1e-5
    np.testing.assert_allclose(found, angles, atol=2e-3)


def test_the_distance_is_that_of_the_cosine():
    empty = np.full((1, 32, 32), -1.0, np.float32)
    line = draw_lines(np.arange(10_000) * (2 * np.pi / 10_000)).reshape(10_000, -1)
    likeness = -line.sum(axis=1) / (32 * np.linalg.norm(line, axis=1))
    assert nearest_lines(empty)[0][0] == pytest.approx(1 - likeness.max(), abs=1e-5)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ([0.0, 1.0, 2.0, 3.0], 0.0),  # equal steps
        ([0.0, 0.0, 0.0, 3.0], 1 - 1 / 3),  # one jump
        ([0.0, 2.0, 3.0, 4.0], 0.5 - 1 / 3),
        ([6.0, 6.2, 0.2, 0.4], 0.2832 / 0.6832 - 1 / 3),  # across the full turn
    ],
)
def test_roughness(path, value):
    assert roughness(np.array([path]))[0] == pytest.approx(value, abs=1e-4)


def test_a_path_between_equal_ends_has_no_roughness():
    assert np.isnan(roughness(np.array([[1.0, 2.0, 1.0]]))[0])


def test_true_rotations_score_zero_and_cross_fades_do_not():
    starts = np.array([0.5, 2.0, 4.0])
    turning = np.stack([draw_lines(start + np.linspace(0, 1.5, 8)) for start in starts])
    distance, smoothness = score_paths(turning)
    assert distance < 1e-4
    assert smoothness < 0.01
    shares = np.linspace(1, 0, 8, dtype=np.float32)[None, :, None, None]
    fading = shares * turning[:, :1] + (1 - shares) * turning[:, -1:]
    distance, smoothness = score_paths(fading)
    assert distance > 5e-3
    assert smoothness > 0.4
