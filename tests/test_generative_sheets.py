"""Sheets and curves."""

import cv2
import numpy as np
import pytest

from competition.generative.sheets import draw_curve, enlarge, loss_columns, tile, write_losses


def test_pictures_lie_in_rows_with_gaps():
    pictures = np.stack([np.full((4, 4, 3), value, np.uint8) for value in (10, 20, 30)])
    sheet = tile(pictures, 2)
    assert sheet.shape == (4 * (2 * 6 + 2), 4 * (2 * 6 + 2), 3)
    small = sheet[::4, ::4]
    assert small[2, 2].tolist() == [10] * 3
    assert small[2, 8].tolist() == [20] * 3
    assert small[8, 2].tolist() == [30] * 3
    assert small[8, 8].tolist() == [255] * 3  # nothing there
    assert small[0, 0].tolist() == [255] * 3


def test_large_sheets_are_not_enlarged():
    assert tile(np.zeros((1, 700, 700, 3), np.uint8), 1).shape == (704, 704, 3)
    assert enlarge(np.zeros((2, 3, 3), np.uint8), 2).shape == (4, 6, 3)


HISTORY = [
    {"step": 1, "epoch": 0.5, "images": 8, "learning_rate": 0.1, "loss": 2.0, "seconds": 1, "images_per_second": 8},
    {"step": 1, "diversity": 0.5},
    {"step": 2, "epoch": 1.0, "images": 16, "learning_rate": 0.1, "loss": 1.0, "seconds": 1, "images_per_second": 8},
]


def test_losses_as_table_and_picture(tmp_path):
    assert loss_columns(HISTORY) == ["loss", "diversity"]
    write_losses(tmp_path, HISTORY)
    assert (tmp_path / "losses.csv").read_text() == "step,loss,diversity\n1,2.0,\n1,,0.5\n2,1.0,\n"
    assert cv2.imread(str(tmp_path / "losses.png")).shape == (480, 720, 3)


def test_nothing_to_draw(tmp_path):
    write_losses(tmp_path, [])
    assert not list(tmp_path.iterdir())


def test_a_falling_curve_falls():
    panel = draw_curve("loss", [(0, 1.0), (10, 0.0)])
    assert (panel[30:45, 30:60].min(axis=2) < 200).any()
    assert (panel[190:210, 670:690].min(axis=2) < 200).any()


@pytest.mark.parametrize("value", [0.25, float("nan")])
def test_a_curve_of_one_point_is_a_dot(value):
    panel = draw_curve("loss", [(5, value)])
    assert panel[204, 36].tolist() == [31, 95, 180]
