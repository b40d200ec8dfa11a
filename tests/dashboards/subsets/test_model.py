"""Subsets A and B as plain objects, on a real store; counted again with NumPy."""

import numpy as np
import pytest

from nnviz.engine.wanted import NotWantedError
from nnviz.results.query_pool import NOT_WANTED
from nnviz.results.run_results import RunResults
from nnviz.results.subset_pairs import SubsetPairs
from nnviz.store.store import Store
from nnviz_dashboards.subsets.model import SubsetPairModel
from nnviz_dashboards.subsets.sentence import said_of_sizes
from tests.dashboards.selections import choose
from tests.planted_stores import LARGE_RUN, NAMES, RUN, write_large

USABLE = ~RUN.is_unreadable
IS_WOLF = USABLE & (RUN.labels == 1)
IS_RIGHT = RUN.labels == RUN.predictions


@pytest.fixture
def pairs(results, selection):
    return SubsetPairModel(results, selection)


def sizes(pairs):
    return pairs.pair.found.n_instances, len(pairs.pair.found.against)


def test_pairs__begin_with_the_class_against_all_others(pairs):
    assert pairs.queries == ("label = wolf", "")
    assert pairs.pair.names == ("wolf", "all others")
    assert sizes(pairs) == (IS_WOLF.sum(), USABLE.sum() - IS_WOLF.sum())


def test_pairs__of_class__are_its_parts_with_their_sizes(pairs):
    # A wrong prediction is always the next class.
    n_wrong = int((IS_WOLF & ~IS_RIGHT).sum())

    found = [(one.query, one.n_instances) for one in pairs.of_class]

    assert found == [
        ("label = wolf", IS_WOLF.sum()),
        ("label = wolf and correct", IS_WOLF.sum() - n_wrong),
        ("label = wolf and not correct", n_wrong),
        ("label = wolf and prediction = 2", n_wrong),
    ]
    assert pairs.of_class[3].name == "wolf taken for crane"


@pytest.mark.parametrize("index", range(len(NAMES)))
def test_pairs__the_query_of_a_class__means_this_class(results, index):
    query = results.pairs.class_query(index)

    found = results.pairs.pair(query).found.subset.instances

    np.testing.assert_array_equal(found, np.flatnonzero(USABLE & (RUN.labels == index)))


def test_pairs__a_confusion__is_compared_with_what_is_right(pairs, selection):
    pairs.compare_confusion(2)

    assert sizes(pairs) == ((IS_WOLF & ~IS_RIGHT).sum(), (IS_WOLF & IS_RIGHT).sum())
    assert pairs.pair.names == ("wolf taken for crane", "wolf, predicted right")
    assert (selection.a, selection.b) == (
        "label = wolf and prediction = 2",
        "label = wolf and correct",
    )


def test_sentence__of_another_class_than_the_chosen_one__counts_of_its_own(
    results, pairs
):
    is_member = USABLE & (RUN.labels == np.arange(len(NAMES))[:, None])
    is_taken = is_member & (RUN.predictions != RUN.labels)
    sizes = is_member.sum(axis=1)
    index = next(
        i for i in range(len(NAMES)) if is_taken[i].any() and sizes[i] != IS_WOLF.sum()
    )
    (other,) = set(RUN.predictions[is_taken[index]].tolist())
    pairs.write("a", results.pairs.confusion_query(index, other))

    said = said_of_sizes(pairs.pair)

    wanted = f"{is_taken[index].sum()} of {sizes[index]} instances of {NAMES[index]} "
    assert said.startswith(wanted)


def test_pairs__another_class__ends_what_was_asked(pairs, selection):
    pairs.compare_confusion(2)

    selection.choose(subset=6)

    assert pairs.queries == ("label = cat", "")
    assert pairs.pair.names[0] == "cat"


def test_pairs__counted__is_the_contrast_of_the_two(results, pairs):
    pairs.write("a", "label = cat")
    pairs.write("b", "label = dog")

    best = max(
        (c for c in pairs.counted.channels if c.layer == "late"),
        key=lambda c: abs(c.effect),
    )
    top = results.pairs.finder.columns.channels.is_top("late", best.channel)
    a, b = (USABLE & (RUN.labels == i) for i in (6, 7))
    assert (best.count, best.other_count) == (top[a].sum(), top[b].sum())


def test_next_class__is_counted_without_waiting(results, selection):
    waiting = []
    pairs = SubsetPairModel(
        results, selection, run_later=lambda *query: waiting.append(query)
    )
    for work, done in waiting:
        done(work())
    waiting.clear()

    selection.choose(subset=6)

    assert not waiting
    assert not pairs.is_loading
    means = pairs.counted.means("late")
    values = results.store.activations("late").astype(np.float64)
    is_cat = USABLE & (RUN.labels == 6)
    for mean, rows in zip(means, (is_cat, USABLE & ~is_cat), strict=True):
        np.testing.assert_allclose(mean, values[rows].mean(axis=0), rtol=1e-6)


def test_write__what_is_no_query__says_so_and_changes_nothing(pairs):
    before = pairs.queries

    pairs.write("a", "label = wulf")

    assert pairs.queries == before
    assert (pairs.problem.side, pairs.problem.query) == ("a", "label = wulf")
    assert "did you mean 'wolf'?" in pairs.problem.text
    assert "^^^^" in pairs.problem.text

    pairs.write("a", "label = cat")
    assert pairs.problem is None


@pytest.mark.parametrize("query", ["confidence >", "x" * 5000, "no such name"])
def test_write__nonsense__is_a_problem(pairs, query):
    pairs.write("b", query)

    assert pairs.problem is not None


def test_address__of_what_is_no_query__is_taken_away(pairs, selection):
    selection.choose(a="label = (", b="label = cat")

    assert (selection.a, selection.b) == ("", "label = cat")
    assert pairs.problem.query == "label = ("
    assert pairs.pair.names == ("wolf", "cat")


def test_swap__exchanges_a_and_b(pairs):
    pairs.swap()
    assert pairs.queries == ("label = wolf", "")

    pairs.write("b", "label = cat")
    pairs.swap()
    assert pairs.queries == ("label = cat", "label = wolf")


def test_pairs__an_empty_subset__is_not_counted(pairs):
    pairs.write("a", "confidence > 2")

    assert pairs.pair.found.n_instances == 0
    assert pairs.counted is None
    assert not pairs.is_loading


def test_pairs__what_takes_long__is_made_later(results, selection):
    waiting = []
    pairs = SubsetPairModel(
        results, selection, run_later=lambda work, done: waiting.append((work, done))
    )
    assert pairs.is_loading
    assert pairs.counted is None

    selection.choose(subset=6)
    (work, done), (later_work, later_done) = waiting
    with pytest.raises(NotWantedError):
        work()
    done(NOT_WANTED)
    assert (pairs.counted, pairs.missing) == (None, None)  # another class is chosen

    later_done(later_work())
    assert pairs.counted.n_instances == (USABLE & (RUN.labels == 6)).sum()
    assert not pairs.is_loading


@pytest.mark.slow
def test_pairs__of_a_large_store_without_an_index__are_estimated_first(tmp_path):
    results = RunResults(Store.open(write_large(str(tmp_path / "large")).url))
    selection, waiting = choose(results), []
    selection.choose(a="correct")  # a class is in the aggregates, and read at once
    pairs = SubsetPairModel(
        results, selection, run_later=lambda work, done: waiting.append((work, done))
    )

    work, done = waiting.pop()
    done(work())
    a, b = pairs.estimated
    assert pairs.counted is None
    assert pairs.is_loading
    values = results.store.activations("late").astype(np.float64)
    is_a = LARGE_RUN.labels == LARGE_RUN.predictions
    for estimates, rows in ((a, is_a), (b, ~is_a)):
        near = np.abs(estimates["late"].mean - values[rows].mean(axis=0))
        inside = near <= estimates["late"].mean_error
        assert inside.mean() > 0.8
        assert 0 < estimates["late"].n_sampled < estimates["late"].n_instances

    work, done = waiting.pop()
    done(work())
    assert pairs.counted.answered_by == "chunks"
    assert not pairs.is_loading
    np.testing.assert_allclose(
        pairs.counted.means("late")[0], values[is_a].mean(axis=0), rtol=1e-5
    )


def test_pairs__counted_once__is_there_at_once(finished):
    pairs = SubsetPairs(finished, "label")
    pair = pairs.pair("label = cat", "label = dog")
    assert not pairs.is_counted(pair)

    counted = pairs.count(pair)

    again = pairs.pair("label in (cat)", "dog")
    assert pairs.is_counted(again)
    assert pairs.count(again) is counted


def test_complete__offers_words(pairs):
    assert [one.text for one in pairs.complete("label = wo", 10)] == ["wolf"]
    assert pairs.complete("x" * 5000, 3) == []


def test_suggest__are_queries_with_their_sizes(pairs):
    pairs.suggest()

    assert isinstance(pairs.suggested, tuple)
    for one in pairs.suggested:
        pairs.write("a", one.subset.query)
        assert pairs.problem is None
