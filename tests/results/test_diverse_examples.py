"""Diverse examples: against plain loops, and against what derivation has stored."""

import numpy as np
import pytest

from nnviz.results.diverse_examples import (
    DiverseExamples,
    least_alike,
    strongest_instances,
)
from nnviz.results.instance_pictures import InstancePictures
from nnviz.results.run_results import RunResults
from nnviz.testing import PlantedDataset
from tests.planted_stores import RUN


def slowly_least_alike(rows, n):
    taken = [0]
    while len(taken) < min(n, len(rows)):
        worst = []
        for i in range(len(rows)):
            cosines = [
                float(rows[i] @ rows[j])
                / (np.linalg.norm(rows[i]) * np.linalg.norm(rows[j]))
                for j in taken
            ]
            worst.append((max(cosines), i))
        taken.append(min(pair for pair in worst if pair[1] not in taken)[1])
    return taken


@pytest.mark.parametrize("seed", range(5))
def test_least_alike__is_as_a_plain_loop_finds_it(seed):
    rows = np.random.default_rng(seed).gamma(1.0, size=(23, 7))

    taken, likeness = least_alike(rows, 6)

    assert taken == slowly_least_alike(rows, 6)
    assert np.isnan(likeness[0])
    assert likeness[1:] == sorted(likeness[1:])


@pytest.mark.parametrize("n", [1, 2, 4])
def test_least_alike__of_few_takes_them_all_and_of_equal_ones_the_first(n):
    rows = np.ones((n, 3))

    taken, likeness = least_alike(rows, 5)

    assert taken == list(range(n))
    assert likeness[1:] == pytest.approx([1.0] * (n - 1))


def test_strongest_instances__are_those_of_a_sort():
    values = np.random.default_rng(0).normal(size=4_000).round(1)
    values[::7] = np.nan

    found = strongest_instances(values.astype(np.float16))

    known = [(-value, i) for i, value in enumerate(values) if value == value]
    top = -min(known)[0]
    wanted = [i for value, i in sorted(known) if -value >= top / 2][:100]
    assert found.tolist() == wanted


@pytest.mark.parametrize("values", [[-1.0, -2.0], [0.0, 0.0], [np.nan, np.nan], []])
def test_strongest_instances__of_a_channel_that_is_never_above_0_are_none(values):
    assert len(strongest_instances(np.array(values, dtype=np.float32))) == 0


@pytest.fixture
def diverse(finished):
    results = RunResults(finished)
    pictures = InstancePictures(finished, PlantedDataset(RUN))
    return DiverseExamples(finished, results.pairs.channels, pictures, lambda *_: b"")


@pytest.mark.parametrize("layer", ["early", "middle", "late"])
def test_of__begins_with_the_strongest_and_follows_the_rule(diverse, finished, layer):
    values = finished.activations(layer).astype(np.float64)
    values[~finished.usable()] = np.nan
    n_found = 0
    for channel in range(0, values.shape[1], 5):
        found = diverse.of(layer, channel)

        candidates = strongest_instances(values[:, channel])
        order = slowly_least_alike(values[candidates], 5) if len(candidates) else []
        assert [one.instance for one in found] == candidates[order].tolist()
        for one in found:
            assert one.value == values[one.instance, channel]
            assert one.value >= found[0].value / 2
        n_found += len(found)
    assert n_found > 10


def test_picture__is_what_the_stored_example_shows(diverse, finished):
    results, n_same = RunResults(finished), 0
    examples = results.examples("late")
    for channel in range(finished.layer("late").n_channels):
        stored = examples.instance[channel].tolist()
        for place, one in enumerate(diverse.of("late", channel)):
            picture = diverse.picture("late", channel, place)
            assert one.has_picture
            assert picture
            if one.instance in stored:
                rank = stored.index(one.instance)
                assert picture == results.picture("late", channel, rank)
                n_same += 1
    assert n_same > 20


def test_picture__of_no_such_example_is_empty(diverse):
    assert diverse.picture("late", 0, 5) == b""
    assert diverse.picture("late", 0, -1) == b""
    assert diverse.of("late", 100_000) == ()


def test_picture__without_the_data_is_there_where_one_is_stored(results):
    """There are no data beside a planted store, and four examples of a channel."""
    seen = set()
    for channel in range(results.store.layer("late").n_channels):
        stored = results.examples("late").instance[channel].tolist()
        for place, one in enumerate(results.diverse.of("late", channel)):
            is_stored = one.instance in stored
            assert one.has_picture == is_stored
            assert bool(results.diverse.picture("late", channel, place)) == is_stored
            seen.add(is_stored)
    assert seen == {True, False}
