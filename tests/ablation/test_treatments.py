"""Which channels are ablated: as many as the graph has, drawn evenly and repeatably."""

import numpy as np
import pytest

from nnviz.ablation.treatments import (
    Treatment,
    ablated_channels,
    channel_sets,
    make_treatments,
)

KEPT = {"a": np.array([1, 4]), "b": np.array([0])}
SCORES = {"a": np.array([0.0, 0.5, 0.1, 0.0, 0.3]), "b": np.array([0.9, 0.2, 0.4])}
COUNTS = {"a": np.array([7, 3, 7, 0, 1]), "b": np.array([0, 0, 5])}
SIZES = {"a": 5, "b": 3}


def as_lists(channels):
    return {layer: values.tolist() for layer, values in channels.items()}


def test_channel_sets__have_as_many_channels_as_the_graph():
    sets = channel_sets(KEPT, SCORES, COUNTS, draws=3, seed=(0,))

    assert as_lists(sets["graph", 0]) == {"a": [1, 4], "b": [0]}
    assert as_lists(sets["least", 0]) == {"a": [0, 3], "b": [1]}
    assert as_lists(sets["active", 0]) == {"a": [0, 2], "b": [2]}
    assert as_lists(sets["none", 0]) == {"a": [], "b": []}
    assert as_lists(sets["all", 0]) == {"a": [0, 1, 2, 3, 4], "b": [0, 1, 2]}
    for draw in (1, 2, 3):
        channels = sets["random", draw]
        assert {x: len(set(v.tolist())) for x, v in channels.items()} == {
            "a": 2,
            "b": 1,
        }


def test_random_sets__take_every_channel_equally_often():
    sets = channel_sets(KEPT, SCORES, COUNTS, draws=4000, seed=(1, 2))

    drawn = np.concatenate([sets["random", draw]["a"] for draw in range(1, 4001)])
    counts = np.bincount(drawn, minlength=5)

    # 4,000 draws of 2 of 5: 1,600 times each, with a standard deviation of 31.
    assert (np.abs(counts - 1600) < 155).all()


def test_random_sets__of_a_smaller_graph__are_parts_of_those_of_a_larger_one():
    larger = {"a": np.array([0, 1, 2]), "b": np.array([0, 1])}

    small = channel_sets(KEPT, SCORES, COUNTS, draws=5, seed=(3,))
    large = channel_sets(larger, SCORES, COUNTS, draws=5, seed=(3,))

    for draw in range(1, 6):
        for layer in SIZES:
            part = small["random", draw][layer].tolist()
            assert set(part) < set(large["random", draw][layer].tolist())


@pytest.mark.parametrize(
    ("treatment", "expected"),
    [
        (Treatment("none"), {"a": [], "b": []}),
        (Treatment("graph"), {"a": [1, 4], "b": [0]}),
        (Treatment("graph", keeps=True), {"a": [0, 2, 3], "b": [1, 2]}),
        (Treatment("graph", layer="b"), {"b": [0]}),
        (Treatment("all"), {"a": [0, 1, 2, 3, 4], "b": [0, 1, 2]}),
    ],
    ids=["nothing", "graph", "only-the-graph", "one-layer", "all"],
)
def test_ablated_channels__of_a_treatment(treatment, expected):
    sets = channel_sets(KEPT, SCORES, COUNTS, draws=0, seed=(0,))

    assert as_lists(ablated_channels(treatment, sets, SIZES)) == expected


def test_make_treatments__none_first_and_every_one_once():
    with_layers = make_treatments(SIZES, draws=2, by_layer=True)
    without = make_treatments(SIZES, draws=0, by_layer=False)

    assert with_layers[0] == Treatment("none")
    assert len(set(with_layers)) == len(with_layers) == 1 + 5 + 3 + 1 + 2 * 5
    assert [(one.what, one.keeps) for one in without] == [
        ("none", False),
        ("graph", False),
        ("least", False),
        ("active", False),
        ("graph", True),
        ("all", False),
    ]
