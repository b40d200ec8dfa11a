"""Crops of photographs and of arrays."""

import io

import numpy as np
import pytest
from PIL import Image

from nnviz.derivation.pictures import PICTURE_SIDE, cut_picture, draw
from nnviz.errors import UnreadableInstanceError
from nnviz.runs.config import PreprocessingConfig

IMAGE = PreprocessingConfig()


def array(layout):
    return PreprocessingConfig(kind="array", layout=layout)


def photograph(width=300, height=200):
    """Return a PNG: red on the left half, green on the right."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 2, 0] = 255
    pixels[:, width // 2 :, 1] = 255
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def opened(picture):
    return Image.open(io.BytesIO(picture))


def test_cut_picture__shows_the_box_with_a_little_context():
    drawing = draw(photograph(), IMAGE)

    picture = opened(cut_picture(drawing, (120.0, 50.0, 140.0, 60.0)))

    assert picture.format == "JPEG"
    assert picture.size == (PICTURE_SIDE, PICTURE_SIDE)
    assert picture.getpixel((48, 48))[0] > 200


def test_cut_picture__grows_to_a_square_inside_of_the_image():
    drawing = draw(photograph(), IMAGE)

    picture = opened(cut_picture(drawing, (290.0, 0.0, 300.0, 10.0)))

    assert picture.size == (PICTURE_SIDE, PICTURE_SIDE)
    assert picture.getpixel((1, 1))[1] > 200


def test_cut_picture__of_the_whole_keeps_the_proportions():
    drawing = draw(photograph(), IMAGE)

    assert opened(cut_picture(drawing, (0.0, 0.0, 300.0, 200.0))).size == (96, 64)


@pytest.mark.parametrize("box", [(0, 0, 0, 0), (300, 200, 300, 200), (5, 5, 5.5, 5.2)])
def test_cut_picture__has_a_pixel_at_least(box):
    assert opened(cut_picture(draw(photograph(), IMAGE), box)).size == (96, 96)


def test_draw__box_goes_back_through_resize_and_crop():
    config = PreprocessingConfig(kind="image", resize=100, crop=100)
    drawing = draw(photograph(), config)

    box = drawing.box_of((0, 0, 100, 100), config)

    assert box == (50.0, 0.0, 250.0, 200.0)


@pytest.mark.parametrize(
    ("shape", "layout", "mode"),
    [
        pytest.param((8, 6), "as-is", "L", id="grey"),
        pytest.param((8, 6), "HW", "L", id="grey-stated"),
        pytest.param((1, 8, 6), "as-is", "L", id="grey-first"),
        pytest.param((3, 8, 6), "CHW", "RGB", id="colour-first"),
        pytest.param((8, 6, 3), "as-is", "RGB", id="colour-last"),
        pytest.param((8, 6, 4), "HWC", "RGB", id="alpha-is-dropped"),
    ],
)
@pytest.mark.parametrize("dtype", ["uint8", "float32", "int64", "bool"])
def test_draw__shows_arrays_as_pictures(shape, layout, mode, dtype):
    values = (np.arange(np.prod(shape)).reshape(shape) % 7).astype(dtype)

    drawing = draw(values, array(layout))

    assert (drawing.image.mode, drawing.size) == (mode, (6, 8))
    assert opened(cut_picture(drawing, (0, 0, 6, 8))).format == "PNG"


def test_draw__enlarges_arrays_without_smoothing():
    drawing = draw(np.eye(4), array("HW"))

    picture = np.asarray(opened(cut_picture(drawing, (0, 0, 4, 4))))

    assert sorted(np.unique(picture)) == [0, 255]
    assert picture.shape == (96, 96)


@pytest.mark.parametrize(
    ("values", "layout"),
    [
        pytest.param(np.arange(5), "as-is", id="tokens"),
        pytest.param(np.zeros((2, 8, 6)), "CHW", id="two-channels"),
        pytest.param(np.zeros((2, 3, 4, 5)), "as-is", id="four-axes"),
        pytest.param(np.zeros((0, 6)), "as-is", id="empty"),
        pytest.param(np.zeros((8, 6), complex), "HW", id="complex"),
        pytest.param(np.zeros((8, 6)), "CHW", id="other-axes"),
    ],
)
def test_draw__returns_none_for_what_is_no_picture(values, layout):
    assert draw(values, array(layout)) is None


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_draw__shows_constants_as_grey(value):
    drawing = draw(np.full((4, 4), value), array("HW"))

    assert drawing.image.getextrema() == (128, 128)


def test_draw__clips_boxes_of_arrays():
    drawing = draw(np.eye(4), array("HW"))

    assert drawing.box_of((-2, 1, 9, 9), array("HW")) == (0.0, 1.0, 4.0, 4.0)


def test_draw__says_why_bytes_are_no_image():
    with pytest.raises(UnreadableInstanceError):
        draw(b"hello", IMAGE)
