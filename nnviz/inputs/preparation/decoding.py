"""How do the bytes of a file become an RGB image, and when are they refused?

1. The header is read by Pillow, among the formats of
   :data:`nnviz.inputs.datasets.image_formats.FORMATS` only; an image of more
   than `MAX_PIXELS` is refused here, before anything is decoded.
2. The file's structure is checked where the format allows it (see below).
3. The pixels are decoded and converted to RGB as torchvision's loader does it
   (``Image.convert("RGB")``): alpha is dropped, not blended; the first frame counts;
   values of 16 bit are scaled (65535 becomes 255), not clipped.

What is caught. A file that is empty, cut off, of another kind, too large, or that the
decoder rejects, always. Garbage inside: a PNG has checksums, all of which are
verified. A JPEG has none: where simplejpeg is installed, every warning of libjpeg
counts as damage (lost synchronisation, wrong codes, data left over or missing); without
it, only damage that shows in the sequence of markers does (a byte 0xFF that starts no
marker a decoder could meet here, restart markers out of order, segments that overlap).
WebP, GIF, TIFF, BMP and PPM are caught as far as their decoders complain. Damage that
leaves a valid stream (a changed coefficient) is seen in no format without checksums.

simplejpeg also decodes faster, to the same pixels; CMYK is always left to Pillow.
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from nnviz.errors import UnreadableInstanceError
from nnviz.inputs.datasets.image_formats import FORMATS

try:
    import simplejpeg
except ImportError:
    simplejpeg = None

__all__ = [
    "MAX_PIXELS",
    "can_scale",
    "decode_image",
    "decode_pixels",
]

MAX_PIXELS = 50_000_000
"""Larger images are refused before decoding: 150 MB of RGB."""

_ORIENTATION_TAG = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_SPARE_PNG_BYTES = 1 << 16
_MARKER = re.compile(rb"\xff+([^\x00\xff])", re.DOTALL)
# What may follow compressed data in a JPEG: DHT, EOI, SOS, DQT, DNL, DRI, APPn, COM.
_AFTER_SCAN = frozenset({0xC4, 0xD9, 0xDA, 0xDB, 0xDC, 0xDD, *range(0xE0, 0xF0), 0xFE})


Size = tuple[int, int]
"""Width and height in pixels, as Pillow's ``size``."""


def can_scale() -> bool:
    """Return whether a JPEG can be decoded at a part of its size."""
    return simplejpeg is not None


def decode_pixels(
    data: bytes,
    *,
    exif_rotation: bool = False,
    at_least: Callable[[Size], Size] | None = None,
) -> tuple[NDArray[np.uint8], Size]:
    """Decode an image file to pixels; a JPEG without the copy that Pillow needs.

    Parameters
    ----------
    data, exif_rotation
        As for :func:`decode_image`.
    at_least
        Tells from an image's size how large it has to be at the least: a JPEG is then
        decoded at an eighth, a quarter or a half of its size, the smallest that is not
        smaller, unless its orientation turns it. None decodes all in full.

    Returns
    -------
    ndarray
        uint8, shape (height, width, 3).
    tuple of int
        Size of the image in full.

    Raises
    ------
    UnreadableInstanceError
        As for :func:`decode_image`.
    """
    decoded, size = _decoded(data, exif_rotation=exif_rotation, at_least=at_least)
    return np.asarray(decoded), size


def decode_image(data: bytes, *, exif_rotation: bool = False) -> Image.Image:
    """Decode an image file to RGB.

    Parameters
    ----------
    data
        The whole file, of one of the formats that are read, told by content.
    exif_rotation
        Whether the camera's orientation mark turns the image, as viewers do; training
        pipelines usually do not.

    Returns
    -------
    Image.Image
        Mode RGB, 8 bit, fully loaded.

    Raises
    ------
    UnreadableInstanceError
        If the data is not such an image, is damaged or too large; the message is short
        and says why.
    """
    decoded, _ = _decoded(data, exif_rotation=exif_rotation, at_least=None)
    return decoded if isinstance(decoded, Image.Image) else Image.fromarray(decoded)


def _decoded(
    data: bytes, *, exif_rotation: bool, at_least: Callable[[Size], Size] | None
) -> tuple[Image.Image | NDArray[np.uint8], Size]:
    if not data:
        msg = "empty file"
        raise UnreadableInstanceError(msg)
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_size(image.size)
            turn = _turn(image) if exif_rotation else None
            size = image.size
            scaled = size if at_least is None or turn else _scaled(size, at_least(size))
            rgb = _decode(image, data, scaled)
    except UnreadableInstanceError:
        raise
    except UnidentifiedImageError as error:
        msg = f"not an image of a known format (starts with {data[:8]!r})"
        raise UnreadableInstanceError(msg) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        msg = f"too large: more than {MAX_PIXELS:,} pixels"
        raise UnreadableInstanceError(msg) from error
    except Exception as error:
        # Decoders raise anything at all; it concerns this one file.
        msg = f"damaged image: {_reason(error)}"
        raise UnreadableInstanceError(msg) from error
    if turn is None:
        return rgb, size
    whole = rgb if isinstance(rgb, Image.Image) else Image.fromarray(rgb)
    turned = whole.transpose(turn)
    return turned, turned.size


def _decode(
    image: Image.Image, data: bytes, size: Size
) -> Image.Image | NDArray[np.uint8]:
    if image.format in ("JPEG", "MPO"):
        if simplejpeg is not None and image.mode in ("RGB", "L"):
            pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(
                data,
                colorspace="RGB",
                min_width=size[0],
                min_height=size[1],
                strict=True,
            )
            return pixels
        _check_jpeg(data)
    elif image.format == "PNG":
        _check_png(data)
    image.load()
    return _to_rgb(image)


def _scaled(size: Size, least: Size) -> Size:
    """Return the size at which a JPEG is decoded: other parts of it are slower."""
    for part in (8, 4, 2):
        width, height = (-(-n // part) for n in size)
        if width >= least[0] and height >= least[1]:
            return width, height
    return size


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        msg = "floating-point image; 8 or 16 bits for a channel are read"
        raise UnreadableInstanceError(msg)
    if image.mode == "I" or image.mode.startswith("I;16"):
        return _scaled_to_8_bit(np.asarray(image)).convert("RGB")
    # convert() drops it all the same, but warns where it is a whole table.
    image.info.pop("transparency", None)
    return image if image.mode == "RGB" else image.convert("RGB")


def _scaled_to_8_bit(values: np.ndarray) -> Image.Image:
    """Map 0..65535 onto 0..255, to the nearest."""
    lowest, highest = int(values.min()), int(values.max())
    if lowest < 0 or highest > 0xFFFF:
        msg = f"grey values from {lowest} to {highest}; 8 or 16 bits are read"
        raise UnreadableInstanceError(msg)
    return Image.fromarray(((values.astype(np.uint32) + 128) // 257).astype(np.uint8))


def _check_size(size: tuple[int, int]) -> None:
    width, height = size
    if width * height > MAX_PIXELS:
        msg = f"too large: {width} x {height} pixels; {MAX_PIXELS:,} are read at most"
        raise UnreadableInstanceError(msg)


def _turn(image: Image.Image) -> Image.Transpose | None:
    orientation = image.getexif().get(_ORIENTATION_TAG)
    return _TURNS.get(orientation) if isinstance(orientation, int) else None


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text[:120]


def _check_png(data: bytes) -> None:
    """Verify the checksum of every chunk; Pillow skips those of the pixels."""
    view, at = memoryview(data), len(_PNG_SIGNATURE)
    allowed = n_packed = 0
    while True:
        if at + 12 > len(data):
            msg = "damaged image: cut off"
            raise UnreadableInstanceError(msg)
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 8 + length
        if end + 4 > len(data):
            msg = "damaged image: cut off"
            raise UnreadableInstanceError(msg)
        if zlib.crc32(view[at + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            msg = f"damaged image: wrong checksum of PNG chunk {kind!r}"
            raise UnreadableInstanceError(msg)
        if kind == b"IEND":
            return
        if kind == b"IHDR" and length == 13:
            allowed = _raw_png_bytes(view[at + 8 : end])
        elif kind == b"IDAT":
            n_packed += length
            # Packing lets pixels grow by less than a percent.
            if n_packed > 2 * allowed + _SPARE_PNG_BYTES:
                msg = "damaged image: more data than the pixels of its size"
                raise UnreadableInstanceError(msg)
        at = end + 4


def _raw_png_bytes(header: memoryview) -> int:
    """Return how many bytes the pixels of a PNG have, at least."""
    width, height, depth, colour = map(int, struct.unpack_from(">IIBB", header))
    n_channels = {2: 3, 4: 2, 6: 4}.get(colour, 1)
    return height * (width * n_channels * depth // 8 + 2)


def _check_jpeg(data: bytes) -> None:
    """Walk through the markers of a JPEG file, from SOI to EOI."""
    values = np.frombuffer(data, dtype=np.uint8)
    at_ff = np.flatnonzero(values[:-1] == 0xFF)
    after = values[at_ff + 1]
    # 0xFF before 0x00 is a value of compressed data, before 0xFF it fills.
    marks = at_ff[(after != 0x00) & (after != 0xFF)]
    at = 2
    while True:
        if data[at : at + 1] != b"\xff":
            msg = f"damaged image: no JPEG marker at byte {at}"
            raise UnreadableInstanceError(msg)
        found = _MARKER.match(data, at)
        if found is None:
            msg = "damaged image: cut off"
            raise UnreadableInstanceError(msg)
        marker = found[1][0]
        if marker == 0xD9:
            return
        at = found.end() + _segment_length(data, found.end())
        if marker == 0xDA:
            at = _end_of_scan(data, marks[np.searchsorted(marks, at) :])


def _segment_length(data: bytes, at: int) -> int:
    if at + 2 > len(data):
        msg = "damaged image: cut off"
        raise UnreadableInstanceError(msg)
    length = int.from_bytes(data[at : at + 2], "big")
    if length < 2:
        msg = f"damaged image: JPEG segment of {length} bytes at byte {at}"
        raise UnreadableInstanceError(msg)
    return length


def _end_of_scan(data: bytes, marks: NDArray[np.intp]) -> int:
    """Return where the first marker of `marks` is that ends compressed data."""
    n_restarts = 0
    for at in marks.tolist():
        marker = data[at + 1]
        if 0xD0 <= marker <= 0xD7:
            if marker != 0xD0 + n_restarts % 8:
                msg = f"damaged image: restart marker out of order at byte {at}"
                raise UnreadableInstanceError(msg)
            n_restarts += 1
        elif marker in _AFTER_SCAN:
            return int(at)
        else:
            msg = (
                f"damaged image: marker 0x{marker:02x} inside of compressed data at "
                f"byte {at}"
            )
            raise UnreadableInstanceError(msg)
    msg = "damaged image: cut off"
    raise UnreadableInstanceError(msg)
