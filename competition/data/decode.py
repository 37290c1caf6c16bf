"""One image's bytes -> RGB pixels and what is worth knowing about them; damage is a fact, not an exception.

A disk that fails or memory that runs out says nothing about the image, and may be over the next time: a UserError.

Decided here: transparency is laid on white, EXIF orientation is applied, an animation gives its first frame,
16-bit and float images are scaled to 8 bits. 20,000 x 20,000 pixels decode, one such image at a time: a PNG takes
1.9 GB while it lasts, 3.4 GB with transparency and 3.8 GB as a palette with a transparent colour. Above ``MAX_PIXELS``
an image is refused by its ``error``.
"""

import errno
import hashlib
import io
import threading
import warnings
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from competition.data.archive import DamagedError, read_bytes
from competition.errors import UserError

DECODER_VERSION = 3  # raise it when the same file would give other pixels or facts
MAX_PIXELS = 500_000_000
BIG_PIXELS = 32_000_000  # from here on an image is decoded alone and reduced before anything else
THUMBNAIL = 8  # pixels on a side, RGB
PAD_VALUE = 128  # mid grey: nearest to what normalisation turns into zero
_NO_FILE = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP}

Resize = Literal["squash", "crop", "letterbox"]

warnings.filterwarnings("ignore", module=r"PIL\.")  # remarks on damaged headers; what is wrong is told in `error`
Image.MAX_IMAGE_PIXELS = None  # PIL would refuse at 179 million; MAX_PIXELS above is checked instead
big_image: AbstractContextManager[Any] = threading.Lock()  # who decodes in processes shares another among them


@dataclass(frozen=True)
class Decoded:
    """Pixels (S, S, 3) uint8 RGB, black when ``error`` is not empty, and the facts of one image."""

    pixels: np.ndarray
    error: str = ""  # "KIND: detail"; KIND is missing, empty, truncated, not an image, too large or unreadable
    width: int = 0  # pixels as stored, before EXIF orientation
    height: int = 0
    mode: str = ""  # PIL's name: RGB, L, P, RGBA, CMYK, I;16 ...
    format: str = ""  # PNG, JPEG, WEBP ...
    content_hash: int = 0  # 64 bits of BLAKE2b over the file
    pixel_hash: int = 0  # ... over the RGB pixels at full size
    perceptual_hash: int = 0  # 64 signs of the lowest cosine frequencies
    brightness: float = 0.0  # mean grey, 0..255
    contrast: float = 0.0  # standard deviation of grey
    sharpness: float = 0.0  # variance of the Laplacian of grey at cache size
    thumbnail: bytes = bytes(THUMBNAIL * THUMBNAIL * 3)


def decode_file(path: str, image_size: int, resize: Resize) -> Decoded:
    """Read and decode one file; what is wrong with it is told in ``error``.

    Raises UserError when the system lacks the right, the memory or a sound disk to read it.
    """
    blank = np.zeros((image_size, image_size, 3), np.uint8)
    data, error_text = _read(path)
    if error_text:
        return Decoded(blank, error_text)
    try:
        return _decode(data, image_size, resize)
    except UnidentifiedImageError:
        error_text = f"not an image: begins with {data[:8]!r}"
    except _TooLargeError as error:
        error_text = f"too large: {error}"
    except MemoryError:
        raise _out_of_memory(path) from None
    except Exception as error:  # PIL's readers raise OSError, SyntaxError, ValueError, struct.error and more
        kind = "truncated" if _sounds_truncated(str(error)) else "unreadable"
        error_text = f"{kind}: {error}"
    return Decoded(blank, error_text, content_hash=_hash(data))


def decode_pixels(path: str, image_size: int, resize: Resize) -> np.ndarray:
    """Return the pixels of ``decode_file`` alone, bit for bit, without computing the facts; raises as it does."""
    data, _ = _read(path)
    try:
        return resize_image(_full_size(_open(data)), image_size, resize)
    except MemoryError:
        raise _out_of_memory(path) from None
    except Exception:  # whatever is wrong was told in the facts; its place in the batch is black
        return np.zeros((image_size, image_size, 3), np.uint8)


def _read(path: str) -> tuple[bytes, str]:
    """Return (bytes, what is wrong with them for good or nothing); UserError when they cannot be read this time."""
    try:
        data = read_bytes(path)
    except MemoryError:
        raise _out_of_memory(path) from None
    except PermissionError:
        raise UserError(f"{path}: permission denied. Make the file readable (chmod u+r).") from None
    except OSError as error:
        if error.errno in _NO_FILE:
            return b"", "missing: no such file"
        reason = (error.strerror or str(error)).lower()
        if isinstance(error, DamagedError):
            return b"", f"unreadable: {reason}"
        raise UserError(
            f"{path}: the system could not read it: {reason}. The image may be sound, so nothing is noted about it; "
            "run the same command again, or remove the file if this goes on."
        ) from None
    return data, "" if data else "empty: 0 bytes"


def _out_of_memory(path: str) -> UserError:
    return UserError(f"{path}: not enough memory to decode it. End other programs, or shrink the image.")


def size_of(path: str) -> tuple[int, int] | None:
    """Return (width, height) as stored, without decoding the pixels; None for what is damaged in any way."""
    try:
        with Image.open(io.BytesIO(read_bytes(path))) as image:
            return image.size
    except Exception:  # see `decode_file`, which tells what is wrong
        return None


def full_pixels(path: str) -> np.ndarray:
    """Return an image at its own size, (H, W, 3) uint8 RGB; raises what its reader raises."""
    return _full_size(_open(read_bytes(path)))


def to_png(pixels: np.ndarray) -> bytes:
    """Return the bytes of a PNG file. (H, W, 3) uint8 RGB."""
    return bytes(cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))[1])


class _TooLargeError(Exception):
    pass


def _sounds_truncated(message: str) -> bool:
    return any(word in message.lower() for word in ("truncated", "broken", "incomplete", "eof", "unexpected end"))


def _hash(*parts: "bytes | memoryview") -> int:
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        digest.update(part)
    return int.from_bytes(digest.digest(), "big")


def _open(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    pixels = image.width * image.height
    if pixels > MAX_PIXELS:
        raise _TooLargeError(
            f"{image.width} x {image.height} = {pixels / 1e6:,.0f} megapixels, limit {MAX_PIXELS / 1e6:,.0f}; shrink it"
        )
    return image


def _decode(data: bytes, image_size: int, resize: Resize) -> Decoded:
    image = _open(data)
    width, height, mode = image.width, image.height, image.mode
    full = _full_size(image)
    pixels = resize_image(full, image_size, resize)
    small_grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    side = 32  # the hash looks at the whole image, whatever the resize policy cuts away
    square = cv2.resize(full, (side, side), interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(square, cv2.COLOR_RGB2GRAY).astype(np.float32)
    thumbnail = cv2.resize(square, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
    return Decoded(
        pixels,
        width=width,
        height=height,
        mode=mode,
        format=image.format or "",
        content_hash=_hash(data),
        pixel_hash=_hash(repr(full.shape).encode(), full.data),
        perceptual_hash=_perceptual_hash(grey),
        brightness=float(grey.mean()),
        contrast=float(grey.std()),
        sharpness=float(cv2.Laplacian(small_grey, cv2.CV_32F).var()),
        thumbnail=thumbnail.tobytes(),
    )


def _perceptual_hash(grey: np.ndarray) -> int:
    """The 8 x 8 lowest cosine frequencies against their median, the mean left out: (32, 32) -> 64 bits."""
    frequencies = cv2.dct(grey)[:8, :8].ravel()
    frequencies[0] = 0.0
    return int.from_bytes(np.packbits(frequencies > np.median(frequencies)).tobytes(), "big")


# ---- colours ----


def _full_size(image: Image.Image) -> np.ndarray:
    """Return (H, W, 3) uint8 RGB, upright; images above ``BIG_PIXELS`` come reduced."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # palette and EXIF remarks; the pixels are what counts
        if image.width * image.height <= BIG_PIXELS:
            return _to_rgb(_upright(image))
        with big_image:
            return _to_rgb(_upright(_reduced(image)))


def _reduced(image: Image.Image) -> Image.Image:
    """Shrink by a whole factor until at most ``BIG_PIXELS`` are left; JPEG does it while decoding."""
    orientation = image.getexif().get(0x0112)
    if image.format == "JPEG":
        image.draft(None, (4096, 4096))
    factor = 1
    while (image.width // factor) * (image.height // factor) > BIG_PIXELS:
        factor += 1
    if factor > 1:
        if image.mode in ("P", "1"):  # averaging palette indices would mix up colours
            image = image.convert("RGBA" if "transparency" in image.info else "RGB")
        image = image.convert("I").reduce(factor).convert("I;16") if _is_deep(image) else image.reduce(factor)
        if orientation:
            image.getexif()[0x0112] = orientation
    return image


def _is_deep(image: Image.Image) -> bool:
    """Whether it has grey values of 16 bits, in either byte order: PIL cannot reduce them as they are."""
    return image.mode.startswith("I;16")


def _upright(image: Image.Image) -> Image.Image:
    if image.getexif().get(0x0112, 1) == 1:
        return image
    return ImageOps.exif_transpose(image)


def _to_rgb(image: Image.Image) -> np.ndarray:
    if image.mode == "RGB" and "transparency" not in image.info:
        return np.asarray(image)
    if image.mode.startswith(("I", "F")):
        grey = _to_eight_bits(np.asarray(image))
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return np.asarray(Image.alpha_composite(white, rgba).convert("RGB"))
    return np.asarray(image.convert("RGB"))


def _to_eight_bits(values: np.ndarray) -> np.ndarray:
    """Scale grey values of 16 or 32 bits or floating point to 0..255.

    Their full scale is not stored in the file, so it is the smallest usual one that holds the largest value:
    1 (floats only), 255 (not for 16 bits), 65,535 or 2^31 - 1.
    """
    if values.dtype.kind == "u" and values.dtype.itemsize == 2:  # in either byte order
        return np.rint(values / 257.0).astype(np.uint8)  # 65,535 / 255
    largest = values.max(initial=0)
    if not np.isfinite(largest):
        raise ValueError("holds infinite or undefined values")
    scales = (1.0, 255.0, 65535.0) if values.dtype.kind == "f" else (255.0, 65535.0)
    full = next((scale for scale in scales if largest <= scale), 2.0**31 - 1)
    return np.rint(np.clip(values, 0, full) * (255.0 / full)).astype(np.uint8)


# ---- size ----


def resize_image(image: np.ndarray, image_size: int, resize: Resize) -> np.ndarray:
    """(H, W, 3) -> (S, S, 3) uint8: area averages when shrinking (no aliasing), cubic when growing."""
    height, width = image.shape[:2]
    if resize == "crop" and height != width:
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        image = image[top : top + side, left : left + side]
    if resize != "letterbox" or height == width:
        return _scale(image, image_size, image_size)
    scale = image_size / max(height, width)
    new_height, new_width = max(1, round(height * scale)), max(1, round(width * scale))
    boxed = np.full((image_size, image_size, 3), PAD_VALUE, np.uint8)
    top, left = (image_size - new_height) // 2, (image_size - new_width) // 2
    boxed[top : top + new_height, left : left + new_width] = _scale(image, new_width, new_height)
    return boxed


def _scale(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """Each axis with the filter that suits it: shrink first, then grow."""
    old_height, old_width = image.shape[:2]
    smaller = (min(width, old_width), min(height, old_height))
    if smaller != (old_width, old_height):
        image = cv2.resize(np.ascontiguousarray(image), smaller, interpolation=cv2.INTER_AREA)
    if smaller != (width, height):
        image = cv2.resize(np.ascontiguousarray(image), (width, height), interpolation=cv2.INTER_CUBIC)
    return np.ascontiguousarray(image)
