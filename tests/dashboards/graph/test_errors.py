"""How sure the numbers of a graph are: what the page says is what notebooks get."""

import math

import numpy as np
import pytest

from nnviz.graphs.making import attribution_graph
from nnviz.graphs.making_comparisons import compare_subsets
from nnviz.results.run_results import RunResults
from nnviz.store.store import Store
from nnviz_dashboards.graph.model import GraphModel
from nnviz_dashboards.graph.view import GraphView
from nnviz_dashboards.shared.selection import Selection
from tests import planted_network as planted
from tests.planted_network_run import aggregated_store

pytestmark = pytest.mark.slow

NAMES = planted.CLASS_NAMES


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """Return the place of a run that knows the influences of every instance."""
    folder = tmp_path_factory.mktemp("sure")
    return aggregated_store(folder).url


@pytest.fixture
def selection(url):
    layers = {x.name: x.n_channels for x in Store.open(url).shown_layers}
    return Selection(layers, range(4), layer="second", subset=2)


@pytest.fixture
def model(url, selection):
    results = RunResults(Store.open(url))
    return GraphModel(results, results.graphs, selection)


def test_errors__are_those_of_the_jackknife(model, selection, url):
    assert all(math.isnan(node.score_error) for node in model.drawing.nodes)
    view = GraphView(model, pictures="p", layers={"second": "second"})
    panel, sent = view.__panel__(), []
    panel._send_msg = sent.append

    model.set_option("errors", "blocks")

    errors = attribution_graph(Store.open(url), NAMES[2], jackknife=20).errors
    nodes, arcs = model.drawing.nodes, model.drawing.arcs
    np.testing.assert_allclose([n.score_error for n in nodes], errors.score)
    np.testing.assert_array_equal([n.replication for n in nodes], errors.replication)
    kept = [a.replication for a in arcs]
    np.testing.assert_array_equal(kept, errors.arc_replication)
    assert "two random halves share" in panel.graph["note"]
    assert "jackknife=20" in model.code
    view._send_numbers(node=1, version=panel.graph["version"])
    facts = sent[-1]["numbers"]["facts"]
    assert " ± " in facts["score"]
    assert facts["replication"].endswith(" %")
    assert "errors=blocks" in selection.address()


def test_errors__of_a_comparison__test_the_scores(model, selection, url):
    selection.choose(versus=NAMES[1], errors="blocks")

    store = Store.open(url)
    scores = compare_subsets(store, NAMES[2], NAMES[1], jackknife=20).scores
    nodes = model.drawing.nodes
    np.testing.assert_allclose([n.score_difference for n in nodes], scores.difference)
    np.testing.assert_allclose([n.score_error for n in nodes], scores.error)
    found = [n.score_p for n in nodes]
    np.testing.assert_allclose(found, scores.adjusted_p_value)
