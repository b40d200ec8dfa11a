"""Peaks of the run, and the boxes that a position sees."""

import numpy as np
import pytest

from nnviz.derivation.examples import (
    Examples,
    Peaks,
    input_boxes,
    merge_peaks,
    pack_pictures,
)
from nnviz.errors import UnknownNameError
from nnviz.runs.architecture import Layer, ReceptiveField


def peaks(*channels):
    """Return peaks from (instance, value) pairs of each channel, rank by rank."""
    instance = np.array([[pair[0] for pair in pairs] for pairs in channels], np.int64)
    value = np.array([[pair[1] for pair in pairs] for pairs in channels], np.float32)
    return Peaks(
        instance, np.where(instance < 0, -1, instance * 10).astype("i4"), value
    )


def test_merge_peaks__keeps_the_strongest_with_their_positions():
    merged = merge_peaks([peaks([(0, 5), (1, 1)]), peaks([(7, 9), (5, 3)])], 3)

    assert merged.instance.tolist() == [[7, 0, 5]]
    assert merged.position.tolist() == [[70, 0, 50]]
    assert merged.value.tolist() == [[9, 5, 3]]


def test_merge_peaks__breaks_ties_by_the_lower_instance():
    merged = merge_peaks([peaks([(9, 1), (4, 1)]), peaks([(2, 1), (3, 2)])], 4)

    assert merged.instance.tolist() == [[3, 2, 4, 9]]


def test_merge_peaks__puts_nobody_last_also_below_negative_values():
    nobody = (-1, np.nan)

    merged = merge_peaks([peaks([nobody, nobody]), peaks([(3, -2), (1, -np.inf)])], 3)

    assert merged.instance.tolist() == [[3, 1, -1]]
    assert np.isnan(merged.value[0, 2])


def test_merge_peaks__does_not_depend_on_the_cut():
    rng = np.random.default_rng(0)
    values = rng.integers(0, 4, (3, 40))
    parts = [
        peaks(*[[(i, row[i]) for i in range(start, start + 10)] for row in values])
        for start in range(0, 40, 10)
    ]

    once = merge_peaks(parts, 5)
    twice = merge_peaks([merge_peaks(parts[:3], 5), parts[3]], 5)

    assert once.instance.tobytes() == twice.instance.tobytes()
    order = np.lexsort((np.tile(np.arange(40), (3, 1)), -values), axis=1)[:, :5]
    np.testing.assert_array_equal(once.instance, order)


FIELD = ReceptiveField((5, 7), (2.0, 4.0), (-2.0, -3.0))


def test_input_boxes__go_through_the_receptive_field_and_end_at_the_border():
    layer = Layer("a", "a", "sum", 1, (3, 4), receptive_field=FIELD)

    boxes = input_boxes(layer, np.array([[0, 6, 11, -1]]), (8, 12))

    assert boxes.tolist() == [
        [[0, 0, 4, 3], [5, 0, 12, 5], [9, 2, 12, 7], [0, 0, 12, 8]]
    ]


@pytest.mark.parametrize(
    "layer",
    [
        pytest.param(Layer("a", "a", "sum", 1, (3, 4)), id="sees-everything"),
        pytest.param(Layer("a", "a", "linear", 1), id="no-positions"),
        pytest.param(
            Layer(
                "a",
                "a",
                "sum",
                1,
                (9,),
                receptive_field=ReceptiveField((3,), (1,), (0,)),
            ),
            id="one-axis",
        ),
    ],
)
def test_input_boxes__are_the_whole_input_where_a_position_does_not_tell(layer):
    assert (
        input_boxes(layer, np.array([2, -1]), (8, 12)).tolist() == [[0, 0, 12, 8]] * 2
    )


def test_examples__return_their_pictures():
    packed = pack_pictures([b"one", b"", b"two!", b"3"])
    shape = np.zeros((2, 2))
    examples = Examples(shape, shape, shape, np.zeros((2, 2, 4)), *packed)

    pictures = [
        examples.picture(channel, rank) for channel in (0, 1) for rank in (0, 1)
    ]

    assert pictures == [b"one", b"", b"two!", b"3"]
    with pytest.raises(UnknownNameError, match="no example 2 of channel 0"):
        examples.picture(0, 2)
