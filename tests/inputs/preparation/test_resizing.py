"""The inside of a resized picture, against all of it: Pillow's, cut afterwards."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from nnviz.inputs.preparation.preprocessing import Preprocessing
from nnviz.inputs.preparation.resizing import resized_inside
from nnviz.runs.config import PreprocessingConfig

FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


def noise(random, width, height):
    """Every value next to every other: no rounding stays unseen."""
    return random.integers(0, 256, (height, width, 3), dtype=np.uint8)


def bitmap(pixels):
    """A file without losses, and without a computation."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "BMP")
    return stream.getvalue()


def across_then_down(pixels, size, interpolation):
    """Pillow's two passes, one by one: it has another order for tall pictures."""
    image = Image.fromarray(pixels)
    across = image.resize((size[0], image.height), FILTERS[interpolation])
    return np.asarray(across.resize(size, FILTERS[interpolation]))


@pytest.mark.parametrize("interpolation", FILTERS)
@pytest.mark.parametrize("seed", range(8))
def test_resized_inside__any_sizes_and_parts__equals_pillow(seed, interpolation):
    random = np.random.default_rng(seed)
    for _ in range(40):
        width, height, *size = (int(n) for n in random.integers(1, 300, 4))
        left, right = sorted(random.choice(size[0] + 1, 2, replace=False).tolist())
        top, bottom = sorted(random.choice(size[1] + 1, 2, replace=False).tolist())
        pixels = noise(random, width, height)

        found = resized_inside(
            pixels, tuple(size), (left, top, right, bottom), interpolation
        )

        wanted = across_then_down(pixels, tuple(size), interpolation)
        np.testing.assert_array_equal(found, wanted[top:bottom, left:right])


@pytest.mark.parametrize("interpolation", FILTERS)
@pytest.mark.parametrize("value", [0, 255])
def test_resized_inside__extremes__stay_what_they_are(value, interpolation):
    pixels = np.full((77, 91, 3), value, np.uint8)

    found = resized_inside(pixels, (64, 33), (0, 0, 64, 33), interpolation)

    assert (found == value).all()


def test_resized_inside__view_with_gaps__is_read_right():
    random = np.random.default_rng(0)
    pixels = noise(random, 80, 60)[::2, ::-1]

    found = resized_inside(pixels, (20, 10), (0, 0, 20, 10), "bilinear")

    wanted = across_then_down(np.ascontiguousarray(pixels), (20, 10), "bilinear")
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("interpolation", FILTERS)
@pytest.mark.parametrize("seed", range(4))
def test_prepare__any_size_of_photograph__equals_pillow(seed, interpolation):
    """Wide, tall, small: whichever way it takes, the pixels are Pillow's."""
    random = np.random.default_rng(100 + seed)
    for _ in range(25):
        width, height = (int(n) for n in random.integers(20, 400, 2))
        resize = int(random.choice([40, 64, 97, 128]))
        crop = int(random.choice([32, 56, resize, 150]))
        pixels = noise(random, width, height)
        config = PreprocessingConfig(
            resize=resize, crop=crop, interpolation=interpolation
        )

        found = Preprocessing(config).prepare(bitmap(pixels))

        shorter, longer = sorted((width, height))
        other = int(resize * longer / shorter)
        size = (resize, other) if width <= height else (other, resize)
        whole = Image.fromarray(pixels).resize(size, FILTERS[interpolation])
        left, top = (
            -((crop - n) // 2) if crop > n else round((n - crop) / 2) for n in size
        )
        wanted = whole.crop((left, top, left + crop, top + crop))
        np.testing.assert_array_equal(found, np.asarray(wanted))
