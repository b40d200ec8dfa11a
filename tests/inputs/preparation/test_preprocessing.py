"""Preprocessing against torchvision's transforms, pixel by pixel."""

from __future__ import annotations

import dataclasses
import io
import pickle

import numpy as np
import pytest
from PIL import Image

from nnviz.errors import ConfigError, UnreadableInstanceError
from nnviz.inputs.preparation.preprocessing import Preprocessing
from nnviz.runs.config import PreprocessingConfig

rng = np.random.default_rng(1)


def picture(width, height):
    """Smooth colours with some noise, as photographs have both."""
    across = np.linspace(0, 200, width)[None, :, None]
    down = np.linspace(0, 50, height)[:, None, None] * np.array([1.0, 0.5, 0.2])
    noise = rng.uniform(-20, 20, (height, width, 3))
    return Image.fromarray(np.clip(across + down + noise, 0, 255).astype(np.uint8))


def png(image):
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def prepare(image, **options):
    return Preprocessing(PreprocessingConfig(**options)).prepare(png(image))


def vision():
    """Return torchvision's transforms, or skip: it may be absent or broken."""
    try:
        from torchvision.transforms.v2 import functional
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"torchvision cannot be imported: {error}")
    return functional


SIZES = [(64, 64), (500, 375), (375, 500), (333, 77), (224, 224), (225, 251), (40, 33)]


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("resize", [256, 97, (120, 90)], ids=str)
def test_resize__equals_torchvision_on_pillow_images(size, interpolation, resize):
    functional = vision()
    image = picture(*size)

    pixels = prepare(image, resize=resize, interpolation=interpolation)

    wanted = functional.resize(
        image,
        [resize] if isinstance(resize, int) else list(resize),
        interpolation=functional.InterpolationMode(interpolation),
    )
    np.testing.assert_array_equal(pixels, np.asarray(wanted))


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("crop", [224, (33, 40), (300, 20), 600, (3, 700)], ids=str)
def test_crop__equals_torchvision_and_pads_small_images(size, crop):
    functional = vision()
    image = picture(*size)

    pixels = prepare(image, crop=crop)

    size_of_crop = [crop, crop] if isinstance(crop, int) else list(crop)
    wanted = functional.center_crop(image, size_of_crop)
    np.testing.assert_array_equal(pixels, np.asarray(wanted))


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_resize_without_antialias__equals_torchvision_on_tensors(size, interpolation):
    """Tensors of floats: how it resizes those of uint8 depends on the processor."""
    functional = vision()
    image = picture(*size)

    pixels = prepare(image, resize=80, interpolation=interpolation, antialias=False)

    wanted = functional.resize(
        functional.pil_to_tensor(image).float(),
        [80],
        interpolation=functional.InterpolationMode(interpolation),
        antialias=False,
    )
    rounded = wanted.round().clamp(0, 255).permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(pixels, rounded.astype(np.uint8))


def test_resize_without_antialias__is_another_image_when_it_shrinks():
    image = picture(500, 375)

    smooth = prepare(image, resize=50)
    aliased = prepare(image, resize=50, antialias=False)

    assert aliased.std() > smooth.std()


def test_resize_and_crop__have_the_published_preprocessing_of_imagenet():
    image = picture(500, 375)

    pixels = prepare(image, resize=256, crop=224)

    wanted = image.resize((341, 256), Image.Resampling.BILINEAR)
    wanted = wanted.crop((58, 16, 282, 240))
    np.testing.assert_array_equal(pixels, np.asarray(wanted))
    assert (pixels.dtype, pixels.shape) == (np.uint8, (224, 224, 3))


def test_channel_order__bgr_reverses_rgb():
    image = picture(20, 10)

    pixels = prepare(image, channel_order="bgr")

    np.testing.assert_array_equal(pixels, np.asarray(image)[:, :, ::-1])


def test_channel_order__grey_has_one_channel_and_keeps_grey_files():
    image = picture(20, 10).convert("L")

    pixels = prepare(image, channel_order="grey")

    np.testing.assert_array_equal(pixels[:, :, 0], np.asarray(image))
    assert pixels.shape == (10, 20, 1)


def test_channel_order__grey_is_resized_without_antialias_too():
    pixels = prepare(picture(20, 10), channel_order="grey", resize=5, antialias=False)

    assert pixels.shape == (5, 10, 1)


def test_prepare__turns_by_exif_when_asked():
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    picture(40, 20).save(buffer, "JPEG", exif=exif)
    preprocessing = Preprocessing(PreprocessingConfig(exif_rotation=True))

    assert preprocessing.prepare(buffer.getvalue()).shape == (40, 20, 3)


def test_prepare__refuses_an_image_that_a_resize_would_blow_up():
    needle = Image.new("RGB", (200_000, 1))

    with pytest.raises(UnreadableInstanceError, match="too long"):
        prepare(needle, resize=256)


@pytest.mark.parametrize(
    ("shape", "layout", "expected"),
    [
        pytest.param((8, 9), "as-is", (8, 9, 3), id="grey"),
        pytest.param((8, 9, 1), "as-is", (8, 9, 3), id="one-channel"),
        pytest.param((8, 9, 3), "as-is", (8, 9, 3), id="channels-last"),
        pytest.param((3, 8, 9), "as-is", (8, 9, 3), id="channels-first"),
        pytest.param((3, 8, 3), "CHW", (8, 3, 3), id="stated-channels-first"),
        pytest.param((3, 8, 3), "HWC", (3, 8, 3), id="stated-channels-last"),
        pytest.param((8, 9, 4), "as-is", (8, 9, 3), id="alpha"),
    ],
)
def test_prepare__takes_arrays_as_images(shape, layout, expected):
    raw = rng.integers(0, 256, shape, dtype=np.uint8)
    preprocessing = Preprocessing(PreprocessingConfig(layout=layout))

    assert preprocessing.prepare(raw).shape == expected


@pytest.mark.parametrize(
    ("raw", "layout", "shape", "dtype"),
    [
        pytest.param(np.ones((3, 4, 5)), "CHW", (3, 4, 5), np.float32, id="chw"),
        pytest.param(np.ones((4, 5, 3)), "HWC", (3, 4, 5), np.float32, id="hwc"),
        pytest.param(np.ones((4, 5)), "HW", (1, 4, 5), np.float32, id="hw"),
        pytest.param(np.ones(7), "as-is", (7,), np.float32, id="row"),
        pytest.param(np.ones(7, np.int32), "as-is", (7,), np.int64, id="words"),
        pytest.param(np.ones((4, 5), np.uint8), "HW", (1, 4, 5), np.float32, id="u8"),
        pytest.param(np.ones(3, np.bool_), "as-is", (3,), np.float32, id="truth"),
    ],
)
def test_prepare__puts_the_axes_of_arrays_in_order(raw, layout, shape, dtype):
    config = PreprocessingConfig(kind="array", layout=layout)

    prepared = Preprocessing(config).prepare(raw)

    assert (prepared.shape, prepared.dtype) == (shape, dtype)


@pytest.mark.parametrize("layout", ["as-is", "HW"])
@pytest.mark.parametrize("dtype", ["float32", "int64"])
def test_prepare__gives_arrays_the_stated_dtype(layout, dtype):
    config = PreprocessingConfig(kind="array", layout=layout, dtype=dtype)

    for raw in (
        np.full((2, 2), 3, np.uint8),
        np.full((2, 2), 3.0),
        np.eye(2, dtype=int),
    ):
        prepared = Preprocessing(config).prepare(raw)

        assert prepared.dtype == dtype
        np.testing.assert_array_equal(np.squeeze(prepared), raw)


@pytest.mark.parametrize(
    ("config", "raw", "message"),
    [
        pytest.param(
            PreprocessingConfig(kind="array", dtype="int64"),
            np.array([1.0, 2.5]),
            "2.5 is not a whole number",
            id="fraction",
        ),
        pytest.param(
            PreprocessingConfig(), np.ones((4, 4)), 'kind to "array"', id="floats"
        ),
        pytest.param(
            PreprocessingConfig(),
            np.ones((4, 4, 7), np.uint8),
            "not an image",
            id="seven-channels",
        ),
        pytest.param(
            PreprocessingConfig(kind="array"), b"bytes", 'kind to "image"', id="bytes"
        ),
        pytest.param(
            PreprocessingConfig(kind="array", layout="CHW"),
            np.ones((4, 4)),
            "has not the axes CHW",
            id="axes",
        ),
    ],
)
def test_prepare__says_what_does_not_fit(config, raw, message):
    with pytest.raises(UnreadableInstanceError, match=message):
        Preprocessing(config).prepare(raw)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"resize": 0}, "resize", id="resize"),
        pytest.param({"crop": (3, -1)}, "crop", id="crop"),
        pytest.param(
            {"resize": 9, "jpeg_reduction": 0.5}, "1 or more", id="jpeg-reduction"
        ),
        pytest.param({"jpeg_reduction": 2.0}, "no preproc", id="reduction-of-nothing"),
        pytest.param({"std": (0.0,)}, "zero", id="std"),
        pytest.param({"mean": (0.1, 0.2)}, "2 values", id="mean"),
        pytest.param(
            {"channel_order": "grey", "std": (1.0, 1.0, 1.0)}, "3 values", id="grey"
        ),
        pytest.param(
            {"interpolation": "lanczos", "antialias": False}, "lanczos", id="lanczos"
        ),
    ],
)
def test_preprocessing__refuses_what_cannot_work(options, message):
    with pytest.raises(ConfigError, match=message):
        Preprocessing(PreprocessingConfig(**options))


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="as-it-is"),
        pytest.param({"resize": 64}, id="resize"),
        pytest.param({"resize": (50, 80)}, id="squeeze"),
        pytest.param({"resize": 64, "crop": 48}, id="resize-and-crop"),
        pytest.param({"crop": 400}, id="padded"),
    ],
)
def test_crop_of__finds_a_mark_where_it_was(options):
    """A white square in the original appears where the inverse mapping says."""
    width, height, box = 300, 200, (120, 60, 180, 130)
    image = Image.new("RGB", (width, height))
    image.paste((255, 255, 255), box)
    preprocessing = Preprocessing(PreprocessingConfig(**options))
    rows, columns = np.nonzero(preprocessing.prepare(png(image))[:, :, 0] > 127)
    seen = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)

    mapped = preprocessing.crop_of(seen, (width, height))

    scale = max(width / 64, 1.0) if options else 1.0
    assert np.abs(np.subtract(mapped, box)).max() <= scale


def test_crop_of__stays_inside_the_original():
    preprocessing = Preprocessing(PreprocessingConfig(crop=100))

    assert preprocessing.crop_of((-50, -50, 500, 500), (40, 60)) == (0, 0, 40, 60)


def jpeg(image, **options):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90, **options)
    return buffer.getvalue()


def test_jpeg_reduction__half_of_the_size__is_libjpegs_own_half():
    """Pillow's draft mode asks libjpeg for the same half."""
    data = jpeg(picture(512, 512))
    config = PreprocessingConfig(resize=256, crop=224, jpeg_reduction=1.0)

    pixels = Preprocessing(config).prepare(data)

    half = Image.open(io.BytesIO(data))
    half.draft("RGB", (256, 256))
    assert half.size == (256, 256)
    wanted = half.crop((16, 16, 240, 240))
    np.testing.assert_array_equal(pixels, np.asarray(wanted))


@pytest.mark.parametrize("size", [(500, 375), (375, 500), (1500, 1003), (640, 257)])
@pytest.mark.parametrize("reduction", [1.0, 1.5, 2.0])
def test_jpeg_reduction__any_size__has_the_same_part_of_the_picture(size, reduction):
    data = jpeg(picture(*size))
    config = PreprocessingConfig(resize=128, crop=112)
    reduced = dataclasses.replace(config, jpeg_reduction=reduction)

    pixels = Preprocessing(config).prepare(data).astype(int)
    found = Preprocessing(reduced).prepare(data).astype(int)

    # A shift by one pixel of the result would change the mean by more than one.
    assert found.shape == pixels.shape
    assert abs((found - pixels).mean()) < 0.6


def test_jpeg_reduction__more_than_there_is__decodes_in_full():
    data = jpeg(picture(300, 200))
    config = PreprocessingConfig(resize=128, crop=112)
    reduced = dataclasses.replace(config, jpeg_reduction=2.0)

    pixels = Preprocessing(reduced).prepare(data)

    np.testing.assert_array_equal(pixels, Preprocessing(config).prepare(data))


def test_jpeg_reduction__turned_or_no_jpeg__decodes_in_full():
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = jpeg(picture(600, 400), exif=exif)
    config = PreprocessingConfig(resize=(50, 80), exif_rotation=True)
    reduced = dataclasses.replace(config, jpeg_reduction=1.0)

    for data in (turned, png(picture(600, 400))):
        pixels = Preprocessing(reduced).prepare(data)

        np.testing.assert_array_equal(pixels, Preprocessing(config).prepare(data))


def test_preprocessing__can_be_pickled():
    config = PreprocessingConfig(resize=32)

    assert pickle.loads(pickle.dumps(Preprocessing(config))).config == config
