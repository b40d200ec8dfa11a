"""The list of channels as a plain object, on a real store."""

import csv

import numpy as np
import pytest

from nnviz.aggregation.aggregates import aggregates_of
from nnviz.results.run_results import RunResults
from nnviz.store.store import Store
from nnviz.testing import planted_channels
from nnviz_dashboards.channels.model import ChannelsModel
from nnviz_dashboards.subsets.model import SubsetPairModel
from tests.dashboards.selections import choose
from tests.planted_stores import NAMES, RUN


@pytest.fixture
def selection(results):
    return look(results)


def look(results):
    """Return the selection of a visitor who looks at the channels."""
    selection = choose(results)
    selection.choose(view="channels")
    return selection


@pytest.fixture
def channels(results, selection):
    return ChannelsModel(results, SubsetPairModel(results, selection))


def test_channels__are_those_that_were_planted(channels, selection):
    selection.choose(subset=6)

    found = {row.channel for row in channels.rows[:3]}

    assert found == set(planted_channels(RUN, "late", 6))


def test_channels__agree_with_the_query(finished, channels):
    top = aggregates_of(finished).top("late", "wolf", 30)

    assert [row.channel for row in channels.rows] == top.channel.tolist()
    assert [row.count for row in channels.rows] == top.count.tolist()
    for name in ("share", "base_rate", "lift"):
        values = [getattr(row, name) for row in channels.rows]
        np.testing.assert_allclose(values, getattr(top, name))


def test_channels__most_specific_first(channels):
    channels.rank("lift")

    lifts = [row.lift for row in channels.rows if row.share >= 0.1]
    assert lifts == sorted(lifts, reverse=True)
    assert len(lifts) >= 3


def test_channels__choosing_twice_is_choosing_none(channels, selection):
    channels.choose(4)
    assert selection.channel == 4

    channels.choose(4)
    assert selection.channel == -1


def test_channels__keep_the_chosen_channel_in_view(channels, selection):
    channel = planted_channels(RUN, "late", 9)[0]

    selection.choose(channel=channel)
    selection.choose(subset=0)

    row = channels.rows[-1]
    assert (row.channel, row.count) == (channel, 0)


def test_channels__uses_name_the_classes_of_the_chosen_channel(channels, selection):
    channel = planted_channels(RUN, "late", 6)[0]

    selection.choose(channel=channel)

    assert channels.uses[0].subset == 6
    assert [use.share for use in channels.uses] == sorted(
        (use.share for use in channels.uses), reverse=True
    )


def test_channels__examples_are_the_strongest_instances(finished, channels):
    row = channels.rows[0]

    values = np.nan_to_num(finished.activations("late")[:, row.channel], nan=-1)
    strongest = np.sort(values)[::-1][: len(row.examples)]
    assert [e.value for e in row.examples] == pytest.approx(strongest.tolist())
    assert [e.label for e in row.examples] == [
        NAMES[RUN.labels[e.instance]] for e in row.examples
    ]
    assert all(e.has_picture for e in row.examples)


def test_channels__without_aggregates_say_which_command_to_run(extracted_url):
    results = RunResults(Store.open(extracted_url))

    channels = ChannelsModel(results, SubsetPairModel(results, look(results)))

    assert channels.missing.command == f"nnviz aggregate {extracted_url}"
    assert channels.rows == []


def test_channels__without_derivation_have_no_examples(aggregated_url):
    results = RunResults(Store.open(aggregated_url))

    channels = ChannelsModel(results, SubsetPairModel(results, look(results)))

    assert channels.missing is None
    assert channels.missing_examples.command == f"nnviz derive {aggregated_url}"
    assert {len(row.examples) for row in channels.rows} == {0}


def most_of(activations, share):
    """Return which channels reach a share of the sum, the largest first, (N, C)."""
    order = np.argsort(-activations, axis=1, kind="stable")
    ordered = np.take_along_axis(activations, order, axis=1).astype(np.float64)
    before = np.cumsum(ordered, axis=1) - ordered
    is_needed = before < share * ordered.sum(axis=1, keepdims=True)
    found = np.zeros(activations.shape, dtype=bool)
    np.put_along_axis(found, order, is_needed & (ordered > 0), axis=1)
    return found


def test_channels__of_a_query__are_those_of_its_instances(
    finished, channels, selection
):
    selection.choose(a="label = cat and correct")

    usable = ~RUN.is_unreadable
    is_in = usable & (RUN.labels == 6) & (RUN.predictions == 6)
    top = most_of(finished.activations("late"), finished.plan.extraction.share)
    counts, base = top[is_in].sum(axis=0), top[usable].mean(axis=0)
    assert not channels.is_of_class
    for row in channels.rows:
        assert row.count == counts[row.channel] > 0
        assert row.share == pytest.approx(counts[row.channel] / is_in.sum())
        assert row.base_rate == pytest.approx(base[row.channel])
        own = {e.instance for e in row.examples if e.is_of_class}
        shown = {e.instance for e in row.examples}
        assert own == shown & set(np.flatnonzero(is_in).tolist())
    assert len(channels.rows) == min(30, int((counts > 0).sum()))


def test_channels__of_an_empty_query__say_so(channels, selection):
    selection.choose(a="label = cat and label = dog")

    assert channels.rows == []
    assert channels.missing.title == "There is nothing to count"
    selection.choose(a="")
    assert channels.missing is None
    assert channels.rows


def test_table__has_every_channel_of_the_layer(finished, channels, selection):
    top = aggregates_of(finished).channels("late", "wolf")

    rows = list(csv.DictReader(channels.table().csv().decode().splitlines()))

    assert [int(row["channel"]) for row in rows] == list(range(96))
    assert [int(row["count"]) for row in rows] == top.count.tolist()
    found = [float(row["mean"]) for row in rows]
    np.testing.assert_allclose(found, top.mean, rtol=1e-5)
    selection.choose(a="label = cat and label = dog")
    assert channels.table() is None
