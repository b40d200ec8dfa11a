"""What tells one pair of subsets from another."""

import itertools

import pytest

from nnviz.engine.wanted import NotWantedError, while_wanted
from nnviz.results.run_results import RunResults
from nnviz.store.store import Store

WOLVES = "label = wolf"


@pytest.mark.parametrize(
    ("a", "b"),
    [("wolf", ""), (f"not (not ({WOLVES}))", ""), (WOLVES, f"not ({WOLVES})")],
)
def test_key__is_that_of_the_same_instances(results, a, b):
    assert results.pairs.pair(a, b).key == results.pairs.pair(WOLVES).key


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("label = cat", ""),
        (f"{WOLVES} and correct", ""),
        (WOLVES, "label = cat"),
        (f"not ({WOLVES})", WOLVES),
    ],
)
def test_key__is_another_one_of_other_instances(results, a, b):
    assert results.pairs.pair(a, b).key != results.pairs.pair(WOLVES).key


def test_pair__has_every_usable_instance_once(results):
    found = results.pairs.finder.find(WOLVES)
    kept = found.instances[results.pairs.finder.columns.usable[found.instances]]

    pair = results.pairs.pair(WOLVES)

    assert pair.found.subset.instances.tolist() == kept.tolist()
    both = {*pair.found.subset.instances, *pair.found.against.instances}
    assert len(both) == int(results.pairs.finder.columns.usable.sum())


@pytest.mark.parametrize("n_asked", [2, 4, 8])
def test_suggestions__that_nobody_waits_for__end_and_are_found_when_asked_again(
    finished_url, n_asked
):
    pairs = RunResults(Store.open(finished_url)).pairs
    asked = itertools.count()

    with pytest.raises(NotWantedError), while_wanted(lambda: next(asked) < n_asked):
        _ = pairs.suggestions

    assert next(asked) == n_asked + 1  # it ended where it was told
    assert pairs.suggestions
    assert pairs.suggestions is pairs.suggestions  # searched for once
