"""Graphs that derivation keeps in the store, and one layout for all of them."""

import numpy as np
import pytest

from nnviz.aggregation.aggregation import aggregate
from nnviz.derivation.derivation import derive
from nnviz.errors import MissingDataError
from nnviz.graphs.making import SubsetGraphs, attribution_graph
from nnviz.graphs.stored import stored_graphs
from nnviz.store.store import Store
from nnviz.subsets.naming import named_subsets
from nnviz.testing import PlantedRun, write_store

RUN = PlantedRun(n_classes=6, n_instances=120, influence_ranks=3, share=0.7)


def derived(url, client=None):
    store = write_store(url, RUN)
    aggregate(store, [named_subsets(store, "label")])
    summary = derive(store, client=client, pictures=False)
    assert summary.n_graphs == 2 * RUN.n_classes
    return Store.open(store.url)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return derived(tmp_path_factory.mktemp("stored") / "run.zarr")


@pytest.mark.parametrize("preset", ["directed", "summit"])
def test_stored_graphs__are_those_that_are_made_when_asked_for(store, preset):
    graphs, kept = SubsetGraphs(store), stored_graphs(store, "label", preset)

    for name in RUN.names:
        graph, layout = kept.graph(name)
        wanted = attribution_graph(store, name, preset=preset)
        assert graph == wanted
        np.testing.assert_array_equal(layout.x, graphs.layout(wanted).x)
        assert layout.n_crossings == graphs.layout(wanted).n_crossings


def test_stored_graphs__on_a_cluster__have_the_same_bytes(store, tmp_path, client):
    other = derived(tmp_path / "run.zarr", client)

    for preset in ("directed", "summit"):
        path = f"artifacts/attribution_graphs/label/{preset}"
        for name in store.groups.names(path):
            one, two = (s.groups.read(f"{path}/{name}") for s in (store, other))
            assert one.tobytes() == two.tobytes()


def test_stored_graphs__of_what_was_not_derived__say_what_to_run(store):
    with pytest.raises(MissingDataError, match="nnviz derive"):
        stored_graphs(store, "outcome")
    with pytest.raises(MissingDataError, match="those stored are of class 000"):
        stored_graphs(store).graph("other")


def test_layout__of_all_graphs__keeps_the_order_of_what_they_share(store):
    """Of the pairs of nodes that two graphs have in one row, most stand alike."""
    graphs = SubsetGraphs(store)
    made = [graphs.graph(name, share=0.6) for name in RUN.names]
    places = [graphs.layout(graph).order(graph) for graph in made]

    alike = total = 0
    for one in places:
        for two in places:
            shared = sorted(set(one) & set(two))
            for a in shared:
                for b in shared:
                    if a < b and a[0] == b[0]:
                        alike += (one[a] < one[b]) == (two[a] < two[b])
                        total += 1
    assert total > 100
    assert alike / total > 0.9
