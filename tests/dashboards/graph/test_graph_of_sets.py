"""Graphs of A, and of A against B, against those of collections with the same sets."""

import numpy as np
import pytest

from nnviz.aggregation.aggregation import aggregate
from nnviz.aggregation.index import make_index
from nnviz.derivation.derivation import derive
from nnviz.graphs.making import attribution_graph
from nnviz.results.graph_results import OF_A, OF_PAIR
from nnviz.results.graphs_beside import BY_NUMBER, MATCHED, GraphsBeside
from nnviz.results.run_results import RunResults
from nnviz.store.store import Store
from nnviz.subsets.naming import named_subsets
from nnviz.testing import PlantedRun, write_store
from nnviz_dashboards.graph.captions import note
from nnviz_dashboards.graph.model import GraphModel
from nnviz_dashboards.shared.selection import Selection

RUN = PlantedRun(n_classes=4, n_instances=90, influence_ranks=3, accuracy=0.7)
NAME = RUN.names[1]
QUERY = f'label = "{NAME}" and correct'


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    store = write_store(tmp_path_factory.mktemp("sets") / "run.zarr", RUN)
    aggregate(store, [named_subsets(store, name) for name in ("label", "outcome")])
    make_index(store)
    derive(store)
    return RunResults(Store.open(store.url))


@pytest.fixture
def model(results):
    return made(results)


def made(results):
    layers = {layer.name: layer.n_channels for layer in results.layers}
    collections = results.graphs.collections("label")
    selection = Selection(
        layers, range(4), layer="late", subset=1, collections=collections
    )
    return GraphModel(results, results.graphs, selection)


def counts_of(drawing):
    return {(n.layer, n.channel): n.count for n in drawing.nodes}


def test_graph__of_a_query__counts_what_the_collection_counts(model, results):
    expected = attribution_graph(results.store, f"{NAME} correct", subsets="outcome")
    model.selection.choose(a=QUERY)

    model.choose_collection("subset:a")

    drawing = model.drawing
    keys, counts = expected.keys(), expected.count.tolist()
    assert counts_of(drawing) == dict(zip(keys, counts, strict=True))
    assert drawing.subset == f"{NAME}, predicted right"
    assert drawing.n_instances == expected.n_instances
    assert model.choices.member == drawing.subset


def test_graph__follows_a_and_begins_with_the_class(model):
    model.choose_collection("subset:a")
    assert model.drawing.subset == NAME

    model.selection.choose(a="confidence > 2")
    assert model.drawing is None
    assert model.missing.title == "No instance is in 'confidence > 2'"

    model.selection.choose(a=QUERY)
    assert model.drawing.subset == f"{NAME}, predicted right"


def test_difference__has_the_counts_of_both(model, results):
    other = f'label = "{NAME}" and not correct'
    wrong = attribution_graph(results.store, f"{NAME} wrong", subsets="outcome")
    model.selection.choose(a=QUERY, b=other)

    model.choose_collection("subset:a-b")

    drawing = model.drawing
    assert drawing.versus == f"{NAME}, predicted wrong"
    assert drawing.n_versus == wrong.n_instances
    second = {(n.layer, n.channel): n.contrast.second_count for n in drawing.nodes}
    for key, count in zip(wrong.keys(), wrong.count.tolist(), strict=True):
        assert second[key] == count
    sides = {n.contrast.side for n in drawing.nodes}
    assert sides <= {"both", "first", "second"}


def test_difference__from_all_others__has_the_rest_of_the_run(model):
    model.choose_collection("subset:a-b")

    usable = int((~RUN.is_unreadable).sum())
    assert model.drawing.versus == "all others"
    assert model.drawing.n_instances + model.drawing.n_versus == usable


def test_difference__tells_how_alike_random_halves_of_each_are(model, results):
    other = f'label = "{NAME}" and not correct'
    queries = [QUERY, other]
    halves = [attribution_graph(results.store, query).halves for query in queries]
    model.selection.choose(a=QUERY, b=other)

    model.choose_collection("subset:a-b")

    assert model.drawing.halves == tuple(halves)
    said = " and ".join(f"{100 * half.nodes:.1f} %" for half in halves)
    assert f"(random halves of each: {said})" in note(model.drawing)


def test_comparison_of_classes__tells_what_derivation_has_stored_of_halves(
    model, results
):
    names = RUN.names[1], RUN.names[2]
    halves = [attribution_graph(results.store, name).halves for name in names]

    model.compare_with(names[1])

    assert None not in halves
    assert model.drawing.halves == tuple(halves)
    assert "(random halves of each: " in note(model.drawing)


def test_network__of_a_query__is_offered_and_its_lines_give_the_same(results):
    beside = GraphsBeside(results.store, other=results.store)
    model = made(RunResults(results.store, beside))
    selection = model.selection

    selection.choose(a=QUERY, collection=OF_A, versus=MATCHED)

    assert [key for key, _ in model.choices.beside] == [MATCHED, BY_NUMBER]
    assert model.choices.hint.startswith("For B in the other network")
    drawing = model.drawing
    assert drawing.subset == f"{NAME}, predicted right here"
    assert drawing.versus.startswith(f"{NAME}, predicted right in ")
    assert drawing.is_equal
    assert any("as its own columns say" in text for text in drawing.problems)
    lines = {}
    exec(model.code, lines)
    assert lines["comparison"].nodes == tuple(drawing.keys)
    selection.choose(collection=OF_PAIR)
    assert selection.versus == ""
    assert model.choices.beside == ()
    assert "Of Subset A" in model.choices.hint


def test_code__of_a_query__makes_the_same_graph(model, results):
    model.selection.choose(a=QUERY)
    model.choose_collection("subset:a")
    lines = model.code.replace(repr(results.store.url), "URL").splitlines()

    assert lines[2] == f"graph = nnviz.attribution_graph(store, {QUERY!r})"
    model.choose_collection("subset:a-b")
    assert f"{QUERY!r}, ~store.subset({QUERY!r}))" in model.code


def test_class__is_shown_as_before__whatever_a_is(model):
    before = model.drawing

    model.selection.choose(a=QUERY)

    assert model.drawing is before
    assert np.isfinite([n.share for n in before.nodes]).all()
