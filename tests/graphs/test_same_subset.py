"""What a query is in another network's store, against the stores' own columns."""

import dataclasses

import numpy as np
import pytest

import nnviz
from nnviz.aggregation.aggregation import aggregate
from nnviz.errors import MissingDataError, QueryError
from nnviz.graphs.same_subset import same_subset
from nnviz.subsets.lookup import SubsetFinder
from nnviz.subsets.naming import named_subsets
from nnviz.testing import PlantedRun, write_store

RUN = PlantedRun(
    n_classes=4,
    n_instances=120,
    influence_ranks=3,
    accuracy=0.9,
    metadata={"shift": np.arange(120) % 7},
)
NAME = RUN.names[1]


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Return stores of two networks, of which the second is wrong more often."""
    folder = tmp_path_factory.mktemp("two")
    worse = dataclasses.replace(RUN, accuracy=0.5, metadata={}, n_unreadable=5)
    made = [write_store(folder / f"{run.accuracy}", run) for run in (RUN, worse)]
    for store in made:
        aggregate(store, [named_subsets(store, "label")])
    return made


def found(stores, query, *, is_asked=True):
    subset = SubsetFinder(stores[0]).find(query)
    return subset, *same_subset(*stores, subset, query=query if is_asked else "")


@pytest.mark.parametrize(
    "query", [f'label = "{NAME}" and not correct', "confidence < 0.5", NAME]
)
def test_query__of_columns__is_asked_of_the_other_networks_own(stores, query):
    _, there, how = found(stores, query)

    second = stores[1]
    label, prediction = second.column("label"), second.column("prediction")
    wanted = {
        f'label = "{NAME}" and not correct': (label == 1) & (prediction != 1),
        "confidence < 0.5": second.column("confidence") < 0.5,
        NAME: label == 1,
    }[query]
    usable = second.usable()
    chosen = there.instances[usable[there.instances]]
    np.testing.assert_array_equal(chosen, np.flatnonzero(wanted & usable))
    assert how.endswith(f"has {len(there):,} (as its own columns say)")


@pytest.mark.parametrize(
    ("query", "is_asked"),
    [
        pytest.param("instance in (3, 70, 71)", True, id="numbers"),
        pytest.param(
            f'label = "{NAME}" and activation(late, 2) > 0', True, id="channel"
        ),
        pytest.param(f'label = "{NAME}"', False, id="no-query"),
    ],
)
def test_query__of_numbers__means_the_same_instances(stores, query, is_asked):
    here, there, how = found(stores, query, is_asked=is_asked)

    ids = [store.column("id") for store in stores]
    usable = set(ids[1][stores[1].usable()])
    wanted = [name for name in ids[0][here.instances] if name in usable]
    assert sorted(ids[1][there.instances]) == sorted(wanted)
    assert "(the same instances)" in how


def test_query__that_the_other_store_cannot_answer__says_so(stores):
    with pytest.raises(QueryError, match=r"cannot be asked of the other .*'?shift"):
        found(stores, "shift = 3")
    unusable = nnviz.Subset("odd", np.flatnonzero(~stores[1].usable())[:1])
    with pytest.raises(MissingDataError, match="no instance is in 'odd'"):
        same_subset(*stores, unusable)


def test_comparison__of_a_query__counts_each_networks_own(stores):
    query = f'label = "{NAME}" and not correct'

    compared = nnviz.compare(stores[0], query, other_store=stores[1], match=False)

    n_wrong = [len(SubsetFinder(store).find(query)) for store in stores]
    assert [compared.first.n_instances, compared.second.n_instances] == n_wrong
    assert n_wrong[0] != n_wrong[1]
    assert any("as its own columns say" in note for note in compared.notes)
