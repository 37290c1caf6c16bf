"""Arrays to pictures, pixel by pixel."""

import cv2
import numpy as np

from competition.analysis import pictures as draw


def test_a_png_keeps_every_pixel_and_the_order_of_the_colours():
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    decoded = cv2.imdecode(np.frombuffer(draw.png(picture), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert (decoded == picture).all()
    sheet = draw.tiled([picture, picture], columns=2)
    decoded = cv2.imdecode(np.frombuffer(draw.png(sheet), np.uint8), cv2.IMREAD_UNCHANGED)
    assert (decoded[..., [2, 1, 0, 3]] == sheet).all()


def test_enlarged_pixels_stay_square_and_a_shrunk_picture_keeps_its_shape():
    picture = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    large = draw.resized(picture, 6)
    assert (large == picture.repeat(3, axis=0).repeat(3, axis=1)).all()
    assert draw.resized(np.zeros((40, 20, 3), np.uint8), 10).shape == (10, 5, 3)


def test_signed_colours_are_white_at_zero_and_apart_for_each_sign():
    colours = draw.signed(np.array([[-2.0, 0.0, 2.0]]), 2.0)
    assert colours[0].tolist() == [list(draw.AGAINST), list(draw.NEUTRAL), list(draw.FOR)]
    assert (draw.signed(np.zeros((2, 2)), 0.0) == draw.NEUTRAL).all()


def test_maps_are_coloured_from_lowest_to_highest():
    colours = draw.coloured(np.array([[5.0, 6.0]]))
    assert colours[0, 0, 2] > colours[0, 0, 0]  # viridis begins blue
    assert colours[0, 1, 0] > 200  # and ends yellow
    assert (draw.coloured(np.array([[6.0]]), (0.0, 6.0)) == colours[:, 1]).all()
    assert (draw.coloured(np.ones((2, 2))) == draw.coloured(np.zeros((2, 2)))).all()


def test_tiles_lie_row_by_row_with_clear_gaps_and_sheets_below_one_another():
    tiles = [np.full((4, 3, 3), value, np.uint8) for value in (1, 2, 3)]
    sheet = draw.tiled(tiles, columns=2)
    assert sheet.shape == (2 * 4 + draw.GAP, 2 * 3 + draw.GAP, 4)
    assert (sheet[:4, :3] == [1, 1, 1, 255]).all()
    assert (sheet[:4, 3 + draw.GAP :] == [2, 2, 2, 255]).all()
    assert (sheet[4 + draw.GAP :, :3] == [3, 3, 3, 255]).all()
    assert not sheet[4 + draw.GAP :, 3:].any(), "white between pictures is glaring on a dark page"
    whole = draw.stacked([draw.tiled(tiles[:1], 1), sheet])
    assert whole.shape == (4 + 3 * draw.GAP + sheet.shape[0], sheet.shape[1], 4)
    assert not whole[:4, 3:].any()
