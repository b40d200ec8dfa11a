"""Images of every mode, and every way in which a file can lie."""

from __future__ import annotations

import contextlib
import io
import struct
import time
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

from nnviz.errors import UnreadableInstanceError
from nnviz.inputs.preparation.decoding import decode_image

try:
    import simplejpeg
except ImportError:
    simplejpeg = None

rng = np.random.default_rng(0)
SMOOTH = np.add.outer(np.arange(96), np.arange(128)).astype(np.uint8)
COLOURS = np.stack([SMOOTH, SMOOTH[::-1], 255 - SMOOTH], axis=2)
NOISE = rng.integers(0, 256, (96, 128, 3), dtype=np.uint8)


def saved(image, image_format, **options):
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def jpeg(pixels=NOISE, **options):
    return saved(Image.fromarray(pixels), "JPEG", **options)


def torchvision_loader(data):
    """What torchvision.datasets.folder.pil_loader does."""
    with Image.open(io.BytesIO(data)) as image:
        image.info.pop("transparency", None)
        return image.convert("RGB")


def with_alpha():
    return Image.fromarray(np.dstack([COLOURS, SMOOTH]), "RGBA")


def palette():
    return Image.fromarray(COLOURS).quantize(64)


def animation():
    frames = [Image.fromarray(np.full((20, 30, 3), v, np.uint8)) for v in (10, 200)]
    return frames[0], {"save_all": True, "append_images": frames[1:]}


MODES = {
    "rgb-jpeg": jpeg(COLOURS),
    "progressive-jpeg": jpeg(COLOURS, progressive=True),
    "restart-markers-jpeg": jpeg(COLOURS, restart_marker_blocks=4),
    "grey-jpeg": jpeg(SMOOTH),
    "cmyk-jpeg": saved(Image.fromarray(COLOURS).convert("CMYK"), "JPEG"),
    "rgb-png": saved(Image.fromarray(COLOURS), "PNG"),
    "grey-png": saved(Image.fromarray(SMOOTH), "PNG"),
    "one-bit-png": saved(Image.fromarray(SMOOTH).convert("1"), "PNG"),
    "alpha-png": saved(with_alpha(), "PNG"),
    "grey-alpha-png": saved(with_alpha().convert("LA"), "PNG"),
    "palette-png": saved(palette(), "PNG"),
    "palette-alpha-png": saved(palette(), "PNG", transparency=bytes(range(64))),
    "palette-one-clear-png": saved(palette(), "PNG", transparency=3),
    "rgb-one-clear-png": saved(Image.fromarray(COLOURS), "PNG", transparency=(1, 2, 3)),
    "webp": saved(Image.fromarray(COLOURS), "WEBP"),
    "alpha-webp": saved(with_alpha(), "WEBP"),
    "avif": saved(Image.fromarray(COLOURS), "AVIF"),
    "heif": saved(Image.fromarray(COLOURS), "HEIF"),
    "jpeg-2000": saved(Image.fromarray(COLOURS), "JPEG2000"),
    "bmp": saved(Image.fromarray(COLOURS), "BMP"),
    "gif": saved(palette(), "GIF"),
    "tiff": saved(Image.fromarray(COLOURS), "TIFF"),
    "compressed-tiff": saved(Image.fromarray(COLOURS), "TIFF", compression="tiff_lzw"),
    "ppm": saved(Image.fromarray(COLOURS), "PPM"),
    "animated-gif": saved(animation()[0], "GIF", **animation()[1]),
    "animated-png": saved(animation()[0], "PNG", **animation()[1]),
    "animated-webp": saved(animation()[0], "WEBP", **animation()[1]),
    "one-pixel": saved(Image.new("RGB", (1, 1), (1, 2, 3)), "PNG"),
}


@pytest.mark.parametrize("name", MODES)
def test_decode_image__equals_torchvisions_loader(name):
    image = decode_image(MODES[name])

    assert image.mode == "RGB"
    assert image.tobytes() == torchvision_loader(MODES[name]).tobytes()


def ramp_16_bit():
    return (np.arange(256, dtype=np.uint16)[None].repeat(4, 0) * 257).copy()


def png_16_bit(colour_type, samples):
    """Write a PNG that Pillow cannot write: 16 bit for each of several channels."""

    def chunk(kind, body):
        crc = zlib.crc32(kind + body)
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc)

    height, width = samples.shape[:2]
    rows = samples.astype(">u2").reshape(height, -1)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [
            chunk(b"IHDR", header),
            chunk(b"IDAT", zlib.compress(raw)),
            chunk(b"IEND", b""),
        ]
    )


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(png_16_bit(0, ramp_16_bit()), id="grey-png"),
        pytest.param(png_16_bit(2, np.dstack([ramp_16_bit()] * 3)), id="rgb-png"),
        pytest.param(png_16_bit(4, np.dstack([ramp_16_bit()] * 2)), id="grey-alpha"),
        pytest.param(png_16_bit(6, np.dstack([ramp_16_bit()] * 4)), id="rgba-png"),
        pytest.param(saved(Image.fromarray(ramp_16_bit()), "TIFF"), id="grey-tiff"),
        pytest.param(
            b"P5 256 4 65535\n" + ramp_16_bit().astype(">u2").tobytes(), id="pgm"
        ),
        pytest.param(
            saved(Image.fromarray(ramp_16_bit().astype(np.int32)), "TIFF"),
            id="32-bit-tiff-with-16-bit-values",
        ),
    ],
)
def test_decode_image__scales_16_bit_instead_of_clipping(data):
    pixels = np.asarray(decode_image(data))

    expected = np.arange(256, dtype=np.uint8)[None, :, None].repeat(4, 0).repeat(3, 2)
    np.testing.assert_array_equal(pixels, expected)


def test_decode_image__rounds_16_bit_to_the_nearest():
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)

    pixels = np.asarray(decode_image(png_16_bit(0, values)))[:, :, 0]

    np.testing.assert_array_equal(pixels, np.rint(values / 257.0).astype(np.uint8))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_decode_image__turns_by_exif_only_when_asked(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = jpeg(COLOURS, exif=exif)
    upright = torchvision_loader(jpeg(COLOURS))
    turned = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: a.transpose(1, 0, 2)[:, ::-1],
        7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1],
        8: lambda a: a.transpose(1, 0, 2)[::-1],
    }[orientation](np.asarray(upright))

    as_stored = decode_image(data)
    rotated = decode_image(data, exif_rotation=True)

    assert as_stored.tobytes() == upright.tobytes()
    np.testing.assert_array_equal(np.asarray(rotated), turned)


def garbage_png():
    data = bytearray(saved(Image.fromarray(NOISE), "PNG"))
    data[2000:2010] = rng.bytes(10)
    return bytes(data)


def png_of(width, height):
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunk = b"IHDR" + header
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + chunk
        + struct.pack(">I", zlib.crc32(chunk))
        + struct.pack(">I", 0)
        + b"IDAT"
        + struct.pack(">I", zlib.crc32(b"IDAT"))
        + struct.pack(">I", 0)
        + b"IEND"
        + struct.pack(">I", zlib.crc32(b"IEND"))
    )


CUT_OFF = "cut off|truncated|damaged|premature"
LIES = {
    "empty": (b"", "empty file"),
    "text": (b"hello, this is no picture\n" * 10, "not an image"),
    "html": (b"<html>404</html>", "not an image"),
    "pdf": (b"%PDF-1.7 ...", "not an image"),
    "eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
    "zeros": (bytes(1000), "not an image"),
    "jpeg-cut-off": (jpeg()[: len(jpeg()) * 6 // 10], CUT_OFF),
    "jpeg-without-end": (jpeg()[:-2], CUT_OFF),
    "jpeg-header-only": (jpeg()[:200], CUT_OFF),
    "png-cut-off": (saved(Image.fromarray(NOISE), "PNG")[:9000], CUT_OFF),
    "png-garbage": (garbage_png(), "checksum"),
    "webp-cut-off": (saved(Image.fromarray(NOISE), "WEBP")[:900], CUT_OFF),
    "bmp-cut-off": (saved(Image.fromarray(NOISE), "BMP")[:900], CUT_OFF),
    "tiff-cut-off": (saved(Image.fromarray(NOISE), "TIFF")[:900], CUT_OFF),
    "ppm-cut-off": (saved(Image.fromarray(NOISE), "PPM")[:900], CUT_OFF),
    "gif-cut-off": (saved(palette(), "GIF")[:900], CUT_OFF),
    "bomb": (png_of(20_000, 20_000), "too large"),
    "just-too-large": (png_of(7_072, 7_072), "too large"),
    "between-pillows-limits": (png_of(10_000, 10_000), "too large"),
    "float-tiff": (
        saved(Image.fromarray(SMOOTH.astype(np.float32)), "TIFF"),
        "floating-point",
    ),
    "32-bit-tiff": (
        saved(Image.fromarray(SMOOTH.astype(np.int32) * 10**6), "TIFF"),
        "grey values from",
    ),
}


@pytest.mark.parametrize("name", LIES)
def test_decode_image__refuses_with_a_short_reason(name):
    data, reason = LIES[name]

    with pytest.raises(UnreadableInstanceError, match=reason) as caught:
        decode_image(data)

    assert len(str(caught.value)) < 200


def with_garbage(data, seed, n_bytes):
    """Overwrite bytes inside of the compressed data, not at its end."""
    local = np.random.default_rng(seed)
    start = data.index(b"\xff\xda") + 12
    at = int(local.integers(start, len(data) - n_bytes - 200))
    return data[:at] + local.bytes(n_bytes) + data[at + n_bytes :]


def n_caught(files):
    caught = 0
    for data in files:
        try:
            decode_image(data)
        except UnreadableInstanceError:
            caught += 1
    return caught


def test_decode_image__notices_most_garbage_in_jpeg_without_simplejpeg():
    """CMYK goes through the walk of markers, whatever is installed."""
    whole = saved(Image.fromarray(NOISE).convert("CMYK"), "JPEG")
    damaged = [with_garbage(whole, seed, 1500) for seed in range(50)]

    assert n_caught([whole]) == 0
    assert n_caught(damaged) >= 48


@pytest.mark.skipif(simplejpeg is None, reason="simplejpeg is not installed")
def test_decode_image__notices_small_garbage_in_jpeg_with_simplejpeg():
    whole = jpeg(COLOURS, quality=95)
    damaged = [with_garbage(whole, seed, 50) for seed in range(50)]

    assert n_caught([whole]) == 0
    assert n_caught(damaged) >= 40


def test_decode_image__notices_a_lost_restart_marker():
    data = saved(
        Image.fromarray(NOISE).convert("CMYK"), "JPEG", restart_marker_blocks=4
    )
    at = data.index(b"\xff\xd3")

    with pytest.raises(UnreadableInstanceError, match="restart"):
        decode_image(data[:at] + data[at + 2 :])


def test_decode_image__accepts_what_follows_the_end_of_a_jpeg():
    """Telephones append previews and videos there."""
    data = jpeg(COLOURS)

    assert decode_image(data + b"appended").tobytes() == decode_image(data).tobytes()


def test_decode_image__refuses_a_bomb_at_once_and_in_little_memory():
    bomb = png_of(20_000, 20_000)

    tracemalloc.start()
    start = time.process_time()
    with pytest.raises(UnreadableInstanceError, match="too large"):
        decode_image(bomb)
    seconds = time.process_time() - start
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert seconds < 1
    assert peak_bytes < 200e6


@pytest.mark.parametrize("seed", range(200))
def test_decode_image__raises_nothing_else_on_random_damage(seed):
    local = np.random.default_rng(seed)
    data = bytearray(list(MODES.values())[seed % len(MODES)])
    for at in local.integers(0, len(data), 1 + seed % 20):
        data[at] = local.integers(0, 256)

    with contextlib.suppress(UnreadableInstanceError):
        assert decode_image(bytes(data), exif_rotation=True).mode == "RGB"
