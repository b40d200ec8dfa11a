"""A channel's map over its picture: where the network saw it, and nowhere else."""

import io

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import map_coordinates

from nnviz.derivation.heat import heat_picture, heat_values
from nnviz.runs.architecture import ReceptiveField

FIELD = ReceptiveField(size=(7, 7), step=(4.0, 4.0), start=(-1.0, -1.0))


@pytest.mark.parametrize("field", [None, FIELD], ids=["spread", "field"])
def test_heat_values__stand_at_the_middle_of_what_each_position_sees(field):
    values = np.random.default_rng(0).normal(size=(6, 5)) * 3
    size, box, seen = (60, 40), (10.0, 5.0, 50.0, 35.0), (24, 20)

    found = heat_values(values, field, seen, size, box)

    start, step = (2.5, 4.0) if field is FIELD else (2.0, 4.0)
    y, x = np.mgrid[0:40, 0:60] + 0.5
    rows = ((y - 5) / 30 * 24 - start) / step
    columns = ((x - 10) / 40 * 20 - start) / step
    positive = np.maximum(values, 0) / values.max()
    wanted = map_coordinates(positive, [rows, columns], order=1, mode="nearest")
    inside = (x >= 10) & (x <= 50) & (y >= 5) & (y <= 35)
    np.testing.assert_allclose(found, np.where(inside, wanted, 0), atol=1e-12)
    assert found.max() <= 1
    assert found.min() == 0


def test_heat_values__of_a_silent_channel_are_zero():
    values = np.array([[np.nan, -1.0], [0.0, -2.0]])

    assert not heat_values(values, None, (8, 8), (8, 8), (0, 0, 8, 8)).any()


def test_heat_picture__is_opaque_where_it_is_strong():
    file = heat_picture(np.array([[0.0, 0.5, 1.0]]))

    pixels = np.asarray(Image.open(io.BytesIO(file)))
    assert pixels[0, :, 0].tolist() == [255] * 3
    assert pixels[0, [0, 2], 1].tolist() == [0, 255]
    assert 127 < pixels[0, 1, 1] < 255
