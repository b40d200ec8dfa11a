"""A published graph beside ours of the same class."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

import nnviz
from nnviz.cli.main import main
from nnviz.errors import ConfigError, ShapeError
from nnviz.graphs.making import attribution_graph
from nnviz.graphs.published import compare_published
from nnviz.graphs.summit_files import from_summit_json, to_summit_json
from nnviz.store.store import Store
from tests.planted_stores import RUN

pytestmark = pytest.mark.slow

NAME = RUN.names[1]


@pytest.fixture(scope="module")
def store(graph_url):
    return Store.open(graph_url)


@pytest.fixture(scope="module")
def published(store):
    """Return our own graph of a class as SUMMIT's file has it."""
    graph = attribution_graph(store, NAME, preset="summit", share=0.9)
    return json.loads(to_summit_json(graph))


def read(value):
    return from_summit_json(json.dumps(value), subset="published")


def test_published__that_is_ours__agrees_in_everything(store, published):
    theirs = read(published)

    found = compare_published(store, NAME, theirs, preset="summit", share=0.9)

    assert found.similarity.node_jaccard == 1
    assert found.second.score.tolist() == found.first.score.tolist()
    assert found.node_parts.first_count.tolist() == theirs_counts(found, theirs)
    assert "correlation of 1.00 in" in found.remarks()[-1]
    assert found.is_empty()


def theirs_counts(found, theirs):
    counts = dict(zip(theirs.keys(), theirs.count.tolist(), strict=True))
    return [counts[node] for node in found.nodes]


def test_published__with_fewer_layers_and_nodes__is_compared_where_both_are(
    store, published
):
    value = {name: nodes[:3] for name, nodes in published.items() if name != "output"}
    kept = {(name, node["channel"]) for name, nodes in value.items() for node in nodes}
    for nodes in value.values():
        for node in nodes:
            node["prev_channels"] = []
            node["pagerank"] = -node["pagerank"]
    value = {"logits": [], **value}

    found = compare_published(store, NAME, read(value), preset="summit", share=0.9)

    ours = attribution_graph(store, NAME, preset="summit", share=0.9)
    mine = {node for node in ours if node[0] in value}
    assert set(found.nodes) == mine | kept
    assert found.similarity.node_jaccard == len(kept) / len(mine)
    assert found.arc_parts.in_second.sum() == 0
    scores = dict(zip(ours.keys(), ours.score.tolist(), strict=True))
    wanted = [scores[node] for node in found.second]
    np.testing.assert_allclose(found.second.score, wanted)
    assert "correlation of -1.00 in" in found.remarks()[-1]


def test_published__of_another_network__is_refused(store, published):
    first = next(iter(published))
    node = {**published[first][0], "channel": 10**6, "prev_channels": []}

    with pytest.raises(ShapeError, match="another network"):
        compare_published(store, NAME, read({first: [node]}))
    with pytest.raises(ConfigError, match="whose layers have these names"):
        compare_published(store, NAME, read({"elsewhere": []}))


def test_command__compares_with_a_file(store, published, tmp_path):
    path = tmp_path / "ag-1.json"
    path.write_text(json.dumps(published))
    arguments = ["compare", store.url, NAME, "--published", str(path)]
    options = ["--preset", "summit", "--share", "0.9", "--json"]

    result = CliRunner().invoke(main, [*arguments, *options])
    both = CliRunner().invoke(main, [*arguments, "--other-store", store.url])

    assert result.exit_code == 0, result.output
    value = json.loads(result.stdout)
    assert (value["second"], value["node_jaccard"]) == ("ag-1", 1)
    assert both.exit_code == 2
    found = nnviz.compare(store, NAME, published=path, preset="summit", share=0.9)
    assert found.similarity.arc_jaccard == value["arc_jaccard"]
    with pytest.raises(ConfigError, match="name a graph that SUMMIT published"):
        nnviz.compare(store, NAME, published=tmp_path / "none.json")
