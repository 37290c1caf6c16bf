"""Odd images are converted right; damaged ones become facts."""

import io
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from competition.data import decode
from competition.data.decode import decode_file, decode_pixels, resize_image
from tests.conftest import REPOSITORY

GREY_RAMP = np.arange(256, dtype=np.uint16).reshape(16, 16) * 257


def saved(path: Path, image: Image.Image, **options: object) -> str:
    image.save(path, **options)
    return str(path)


def solid(mode: str, colour: object) -> Image.Image:
    return Image.new(mode, (16, 16), colour)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "image", "expected"),
    [
        ("rgb.png", solid("RGB", (10, 20, 30)), (10, 20, 30)),
        ("rgb.bmp", solid("RGB", (10, 20, 30)), (10, 20, 30)),
        ("rgb.tiff", solid("RGB", (10, 20, 30)), (10, 20, 30)),
        ("grey.png", solid("L", 77), (77, 77, 77)),
        ("bits.png", solid("1", 1), (255, 255, 255)),
        ("palette.png", solid("RGB", (10, 20, 30)).quantize(4), (10, 20, 30)),
        ("palette.gif", solid("RGB", (10, 20, 30)).quantize(4), (10, 20, 30)),
        ("clear.png", solid("RGBA", (10, 20, 30, 0)), (255, 255, 255)),
        ("half.png", solid("RGBA", (0, 0, 0, 128)), (127, 127, 127)),
        ("grey_alpha.png", solid("LA", (50, 0)), (255, 255, 255)),
        ("cmyk.tiff", solid("CMYK", (255, 0, 0, 0)), (0, 255, 255)),
        ("cmyk.jpg", solid("CMYK", (255, 0, 0, 0)), (0, 255, 255)),
        ("lossless.webp", solid("RGB", (10, 20, 30)), (10, 20, 30)),
        ("float.tiff", solid("F", 0.5), (128, 128, 128)),
    ],
)
def test_colours(tmp_path: Path, name: str, image: Image.Image, expected: tuple[int, int, int]) -> None:
    path = saved(tmp_path / name, image, **({"lossless": True} if name.endswith("webp") else {}))
    one = decode_file(path, 16, "squash")
    assert one.error == ""
    assert np.abs(one.pixels.astype(int) - expected).max() <= 1
    assert (decode_pixels(path, 16, "squash") == one.pixels).all()
    assert (one.width, one.height) == (16, 16)


@pytest.mark.parametrize("name", ["deep.png", "deep.tiff"])
def test_sixteen_bits_keep_their_range(tmp_path: Path, name: str) -> None:
    one = decode_file(saved(tmp_path / name, Image.fromarray(GREY_RAMP)), 16, "squash")
    assert (one.pixels == np.arange(256).reshape(16, 16, 1)).all()


@pytest.mark.parametrize("mode", ["I;16", "I;16B"])
@pytest.mark.parametrize("largest", [200, 65_535])
def test_sixteen_bits_of_either_byte_order(tmp_path: Path, mode: str, largest: int) -> None:
    values = np.linspace(0, largest, 256).astype(np.uint16).reshape(16, 16)
    data = values.astype(">u2" if mode == "I;16B" else "<u2").tobytes()
    path = saved(tmp_path / "deep.tiff", Image.frombytes(mode, (16, 16), data))
    with Image.open(path) as image:
        assert image.mode == mode
    one = decode_file(path, 16, "squash")
    assert (one.pixels[:, :, 0] == np.rint(values / 257)).all()


@pytest.mark.parametrize("name", ["big.png", "big.tiff"])
def test_big_images_of_sixteen_bits_keep_their_range(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = saved(tmp_path / name, Image.fromarray(GREY_RAMP.repeat(8, 0).repeat(8, 1)))
    whole = decode_file(path, 16, "squash")
    monkeypatch.setattr(decode, "BIG_PIXELS", 64 * 64)
    reduced = decode_file(path, 16, "squash")
    assert (reduced.error, reduced.mode) == ("", "I;16")
    assert (whole.pixels == reduced.pixels).all()


def test_palette_with_a_transparent_colour(tmp_path: Path) -> None:
    image = solid("P", 0)
    image.putpalette([200, 0, 0, 0, 200, 0])
    assert decode_file(saved(tmp_path / "t.png", image, transparency=0), 16, "squash").pixels.min() == 255


def test_orientation_is_applied(tmp_path: Path) -> None:
    pixels = np.zeros((20, 10, 3), np.uint8)
    pixels[:10] = 255  # bright above
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    path = saved(tmp_path / "turned.png", Image.fromarray(pixels), exif=exif)
    assert decode_file(path, 10, "squash").pixels[:4].max() == 0


def test_animation_gives_its_first_frame(tmp_path: Path) -> None:
    frames = [solid("RGB", (200, 0, 0)), solid("RGB", (0, 0, 200))]
    for name in ("a.gif", "a.webp", "a.png"):
        path = saved(tmp_path / name, frames[0], save_all=True, append_images=frames[1:])
        red, _, blue = decode_file(path, 16, "squash").pixels[8, 8]
        assert red > 190
        assert blue < 10


@pytest.mark.parametrize("size", [(8, 16), (1024, 512)])
def test_images_of_the_same_bytes_but_another_shape_are_others(tmp_path: Path, size: tuple[int, int]) -> None:
    lying = decode_file(saved(tmp_path / "a.png", Image.new("RGB", size)), 8, "squash")
    standing = decode_file(saved(tmp_path / "b.png", Image.new("RGB", size[::-1])), 8, "squash")
    assert lying.pixel_hash != standing.pixel_hash


def test_images_that_are_equal_only_when_shrunk_are_others(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    turned = pixels.reshape(8, 8, 8, 8, 3)[:, ::-1, :, ::-1].reshape(64, 64, 3)  # within each block that is averaged
    for name, picture in (("a", pixels), ("b", turned)):
        Image.fromarray(picture).save(tmp_path / f"{name}.png")
    first, second = (decode_file(str(tmp_path / f"{name}.png"), 8, "squash") for name in "ab")
    assert np.array_equal(first.pixels, second.pixels)
    assert first.pixel_hash != second.pixel_hash


def test_one_pixel(tmp_path: Path) -> None:
    path = saved(tmp_path / "1.png", Image.new("RGB", (1, 1), (9, 8, 7)))
    for resize in ("squash", "crop", "letterbox"):
        one = decode_file(path, 32, resize)  # type: ignore[arg-type]
        assert one.error == ""
        assert (one.pixels == [9, 8, 7]).all()


def _png() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", "empty: 0 bytes"),
        (_png()[:3000], "truncated: "),
        (_png()[:20], "truncated: |unreadable: |not an image: "),
        (b"<html>not found</html>", "not an image: begins with b'<html>no'"),
    ],
)
def test_damage_is_a_fact(tmp_path: Path, data: bytes, error: str) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(data)
    one = decode_file(str(path), 8, "squash")
    assert any(one.error.startswith(start) for start in error.split("|"))
    assert one.pixels.max() == 0
    assert decode_pixels(str(path), 8, "squash").max() == 0


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "GIF"])
def test_truncation_of_other_formats(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x"
    Image.open(io.BytesIO(_png())).save(path, kind)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert decode_file(str(path), 8, "squash").error


@pytest.mark.parametrize("name", ["none.png", "x.png/1.png", "folder", "1" * 300, "loop.png"])
def test_missing_file(tmp_path: Path, name: str) -> None:
    (tmp_path / "x.png").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    assert decode_file(str(tmp_path / name), 8, "squash").error == "missing: no such file"
    assert decode_pixels(str(tmp_path / name), 8, "squash").max() == 0


def test_damage_inside_an_archive_is_a_fact(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("1.png", b"0123456789")
    path.write_bytes(path.read_bytes().replace(b"0123456789", b"0123456780"))
    assert decode_file(f"{path}::1.png", 8, "squash").error.startswith("unreadable: damaged inside its archive")
    assert decode_pixels(f"{path}::1.png", 8, "squash").max() == 0


def test_huge_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """20,000 x 20,000 in one bit is quick to write; in colour it takes the same way."""
    path = saved(tmp_path / "huge.png", Image.new("1", (20_000, 20_000), 1))
    monkeypatch.setattr(decode, "MAX_PIXELS", 399_000_000)
    assert decode_file(path, 8, "squash").error.startswith("too large: 20000 x 20000 = 400 megapixels")


@pytest.mark.parametrize("name", ["big.png", "big.jpg"])
def test_big_images_are_reduced_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    ramp = np.tile(np.linspace(0, 255, 600).astype(np.uint8)[None, :, None], (400, 1, 3))
    exif = Image.Exif()
    exif[0x0112] = 3
    path = saved(tmp_path / name, Image.fromarray(ramp), exif=exif)
    whole = decode_file(path, 16, "squash")
    monkeypatch.setattr(decode, "BIG_PIXELS", 10_000)
    reduced = decode_file(path, 16, "squash")
    assert (reduced.width, reduced.height) == (600, 400)
    assert np.abs(whole.pixels.astype(int) - reduced.pixels).max() <= 4
    assert reduced.pixels[0, 0, 0] > reduced.pixels[0, -1, 0]  # upside down


def test_resize_policies() -> None:
    image = np.zeros((10, 30, 3), np.uint8)
    image[:, 10:20] = 200
    # Area averages: each of the 10 columns is the mean of 3, and columns 3 and 6 are 2/3 of 200.
    assert resize_image(image, 10, "squash")[5, :, 0].tolist() == [0, 0, 0, 133, 200, 200, 133, 0, 0, 0]
    assert (resize_image(image, 10, "crop") == 200).all()
    boxed = resize_image(image, 30, "letterbox")
    assert (boxed[10:20] == image).all()
    assert (boxed[:10] == decode.PAD_VALUE).all()


def test_shrinking_does_not_alias() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    assert np.abs(resize_image(stripes, 16, "squash").astype(int) - 128).max() <= 1


def test_a_sliver_stays_small() -> None:
    for resize in ("squash", "crop", "letterbox"):
        assert resize_image(np.zeros((1, 100_000, 3), np.uint8), 16, resize).shape == (16, 16, 3)  # type: ignore[arg-type]


def test_a_damaged_header_is_told_by_us_alone(tmp_path: Path) -> None:
    """Pillow remarks on a TIFF whose directory was cut off, with a line of its own code."""
    stored = io.BytesIO()
    Image.new("RGB", (32, 32)).save(stored, "TIFF", compression="tiff_lzw")
    path = tmp_path / "a.tif"
    path.write_bytes(stored.getvalue()[:-60])
    code = f"from competition.data.decode import *; print(decode_file({str(path)!r}, 8, 'squash').error, size_of('x'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, check=True)
    assert done.stdout.startswith("not an image: ")
    assert done.stderr == ""
