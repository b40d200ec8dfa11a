"""A second network's graph, and published ones, beside those of the run."""

import json

import numpy as np
import pytest

from nnviz.errors import ConfigError, ShapeError
from nnviz.graphs.making import attribution_graph
from nnviz.graphs.summit_files import to_summit_json
from nnviz.results.graphs_beside import AS_PUBLISHED, BY_NUMBER, MATCHED, GraphsBeside
from nnviz.results.run_results import RunResults
from nnviz.store.store import Store
from nnviz.testing import PlantedRun, write_store
from nnviz_dashboards.graph.model import GraphModel
from nnviz_dashboards.graph.view import GraphView
from tests.dashboards.selections import choose
from tests.planted_stores import NAMES

CAT = 6


@pytest.fixture(scope="module")
def store(graph_url):
    return Store.open(graph_url)


@pytest.fixture(scope="module")
def folder(store, tmp_path_factory):
    """Return a folder with our own graph of a class, without its strongest channel."""
    value = json.loads(to_summit_json(attribution_graph(store, "cat")))
    late = max(value["late"], key=lambda node: node["pagerank"])
    value["late"].remove(late)
    for node in value["output"]:
        node["prev_channels"] = [
            arc
            for arc in node["prev_channels"]
            if arc["prev_channel"] != late["channel"]
        ]
    folder = tmp_path_factory.mktemp("published")
    (folder / f"ag-{CAT}.json").write_text(json.dumps(value))
    return folder, late["channel"]


def made(store, **beside):
    results = RunResults(store, GraphsBeside(store, **beside))
    collections = results.graphs.collections(results.kind)
    selection = choose(results, subset=CAT, collections=collections)
    return GraphModel(results, results.graphs, selection), selection


def test_network__that_is_the_same_one__agrees_in_everything(store):
    model, selection = made(store, other=store)

    selection.choose(versus=MATCHED)

    assert [key for key, _ in model.choices.beside] == [MATCHED, BY_NUMBER]
    assert model.drawing.subset == "cat here"
    assert model.drawing.versus.startswith("cat in ")
    assert model.drawing.is_equal
    assert {node.contrast.side for node in model.drawing.nodes} == {"both"}
    values = {name: store.activations(name) for name in ("early", "middle", "late")}
    n_checked = 0
    for node in model.drawing.nodes:
        if node.layer not in values:
            assert node.partner is None
        elif np.nanstd(values[node.layer][:, node.channel].astype(float)) > 0:
            assert node.partner == (node.channel, pytest.approx(1, abs=1e-3))
            n_checked += 1
    assert n_checked > 5
    selection.choose(versus=BY_NUMBER)
    assert model.drawing.is_equal
    assert not any(node.partner for node in model.drawing.nodes)
    assert "match=False" in model.code


def test_network__walked_through__stays_and_its_lines_give_the_same(store):
    model, selection = made(store, other=store)
    selection.choose(versus=MATCHED)

    selection.choose(subset=1)

    assert selection.versus == MATCHED
    assert f"versus={MATCHED.replace(':', '%3A')}" in selection.address()
    assert model.drawing.subset == "wolf here"
    lines = {}
    exec(model.code, lines)
    assert lines["comparison"].nodes == tuple(model.drawing.keys)
    written = model.files("csv")
    nodes = next(text for name, text in written.items() if name.endswith("nodes.csv"))
    head, *rows = nodes.decode().splitlines()
    assert head.endswith("other_channel,correlation")
    assert len(rows) == len(model.drawing.nodes)


def test_network__on_its_card__says_with_what_a_channel_is_matched(store):
    model, selection = made(store, other=store)
    selection.choose(versus=MATCHED)
    view = GraphView(model, pictures="", layers={})
    said = []
    view._panel._send_msg = said.append
    late = next(i for i, n in enumerate(model.drawing.nodes) if n.layer == "late")

    view._send_numbers(node=late, version=view._version)

    channel = model.drawing.nodes[late].channel
    facts = said[0]["numbers"]["facts"]
    assert facts["partner"] == f"its channel {channel} (1.00)"
    assert set(facts) <= set(view._panel.graph["node_terms"])


def test_published__of_the_class__shows_what_it_lacks(store, folder):
    path, lacking = folder
    model, selection = made(store, published=path)

    selection.choose(versus=AS_PUBLISHED)

    drawing = model.drawing
    assert drawing.versus == "cat as published"
    sides = {(n.layer, n.channel): n.contrast.side for n in drawing.nodes}
    assert sides.pop(("late", lacking)) == "first"
    assert set(sides.values()) == {"both"}
    graph = GraphView(model, pictures="", layers={})._panel.graph
    assert graph["title"].endswith(" and cat as published")
    lines = {}
    exec(model.code, lines)
    assert lines["comparison"].nodes == tuple(drawing.keys)


def test_published__not_of_this_class__says_so_and_is_not_offered(store, folder):
    model, selection = made(store, published=folder[0])
    selection.choose(versus=AS_PUBLISHED)

    selection.choose(subset=1)

    assert model.missing.title == "SUMMIT's graph of 'wolf' is not here"
    assert model.choices.beside == ()
    selection.choose(subset=CAT)
    assert model.drawing.versus == "cat as published"


def test_beside__that_does_not_fit__is_refused_with_the_reason(store, tmp_path):
    layers = (("early", 32, (16, 16)), ("late", 96, (4, 4)))
    run = PlantedRun(n_classes=4, n_instances=40, layers=layers)
    other = write_store(tmp_path / "o.zarr", run)
    (tmp_path / "ag-99.json").write_text("{}")

    with pytest.raises(ShapeError, match="other layers"):
        GraphsBeside(store, other=other)
    with pytest.raises(ConfigError, match=r"ag-99\.json; call them ag-N\.json by"):
        GraphsBeside(store, published=tmp_path)
    with pytest.raises(ConfigError, match="no graph of SUMMIT at"):
        GraphsBeside(store, published=tmp_path / "none")
    assert len(NAMES) <= 99
