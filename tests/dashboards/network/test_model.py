"""The network as a plain object: what is open, and what its shades say."""

import numpy as np
import pytest
from scipy import stats

from nnviz.results.run_results import RunResults
from nnviz.store.store import Store
from nnviz_dashboards.graph.model import GraphModel
from nnviz_dashboards.network.model import NetworkModel
from nnviz_dashboards.subsets.model import SubsetPairModel
from tests.dashboards.selections import choose


@pytest.fixture
def network(graph_url):
    results = RunResults(Store.open(graph_url))
    selection = choose(results)
    pairs = SubsetPairModel(results, selection)
    graph = GraphModel(results, results.graphs, selection)
    return NetworkModel(results, pairs, graph)


def test_drawing__is_made_when_it_is_looked_at(network):
    assert network.drawing is None

    network.selection.choose(view="model")

    names = {layer.name for layer in network.results.store.plan.architecture.layers}
    tensors = {node.layer for node in network.drawing.graph.nodes if node.layer}
    assert tensors <= names
    assert network.drawing.layout.boxes.keys() == {
        node.key for node in network.drawing.graph.nodes
    }


def test_drawing__for_a_high_window_is_higher(network):
    network.selection.choose(view="model")
    network.open_all()
    wide = network.drawing.layout

    network.fit(is_narrow=True)

    high = network.drawing.layout
    assert high.boxes.keys() == wide.boxes.keys()
    assert high.width / high.height < 0.7 * wide.width / wide.height
    network.fit(is_narrow=False)
    assert network.drawing.layout == wide


def test_dead__is_the_share_of_channels_that_nothing_excites(network):
    network.selection.choose(view="model", overlay="dead")

    store = network.results.store
    usable = store.usable()
    for layer in network.results.layers:
        values = store.activations(layer.name)[usable]
        share = np.mean(~(values > 0).any(axis=0))
        assert network.shading.shades[layer.name].share == pytest.approx(share)


def test_a_b__is_darkest_where_most_channels_differ(network):
    network.selection.choose(view="model", overlay="a-b", measure="share")

    counted = network._pairs.counted
    differing = {layer.name: 0 for layer in network.results.layers}
    for one in counted.channels:
        differing[one.layer] += one.p_value < 0.05
    shares = {
        layer.name: differing[layer.name] / layer.n_channels
        for layer in network.results.layers
    }
    most = max(shares.values())
    assert most > 0
    for name, share in shares.items():
        assert network.shading.shades[name].share == pytest.approx(share / most)


@pytest.mark.parametrize("measure", ["mean", "maximum"])
def test_a_b__compares_means_as_the_sentence_does(network, measure):
    network.selection.choose(view="model", overlay="a-b", measure="share")
    network.selection.choose(measure=measure)

    found = network._pairs.counted
    for layer in network.results.layers:
        values = network.results.store.activations(layer.name).astype(np.float64)
        one, other = values[found.subset.instances], values[found.against.instances]
        # Welch's test where there is one, adjusted after Benjamini and Hochberg.
        p = stats.ttest_ind(one, other, equal_var=False).pvalue
        differs = stats.false_discovery_control(np.nan_to_num(p, nan=1.0)) < 0.05
        said = f"{differs.sum()} of {layer.n_channels} channels "
        text = network.shading.shades[layer.name].text
        assert text.startswith(said)
        assert "by their mean" in text


def test_reach__is_that_of_the_class_graph(network):
    network.selection.choose(view="model", overlay="reach")

    graph = network.results.store
    drawn = network._graph.drawing.files
    assert graph.class_names[1] == drawn.subset
    assert {
        name: shade.share for name, shade in network.shading.shades.items()
    } == pytest.approx(dict(zip(drawn.layers, drawn.reach.tolist(), strict=True)))

    network.selection.choose(preset="summit")
    assert network.shading.shades == {}
    assert "directed" in network.shading.note


def test_address__that_asks_for_blocks_that_are_not_there(network):
    network.selection.choose(view="model", blocks="nothing,<script>")

    assert network.opened == frozenset()
    assert network.drawing is not None


def test_look_at__chooses_the_layer_for_all_views(network):
    network.selection.choose(view="model")

    network.look_at("middle")

    assert network.selection.layer == "middle"
    assert network.selection.matrix == "open"


def test_lines__give_the_layers_and_what_they_are_shaded_by(network):
    network.selection.choose(view="model", overlay="reach")

    made = {}
    exec(network.code, made)

    layers = network.results.store.plan.architecture.layers
    assert made["layers"] == layers
    assert made["graph"].subset == network.shading.note.split("for ")[1].split(" ")[0]
