"""Published graphs scored anew, against networkx and orders made by hand."""

import json
from itertools import pairwise

import networkx as nx
import numpy as np
import pytest
from click.testing import CliRunner

import nnviz
from nnviz.cli.main import main
from nnviz.errors import ConfigError, StoreFormatError
from nnviz.graphs.rescoring import Rescored, rescored_graph
from nnviz.graphs.summit_files import from_summit_json

LAYERS = ("top", "middle", "bottom")


def made(seed):
    """Return a file of SUMMIT's schema: five nodes a layer, and sources not kept."""
    draw = np.random.default_rng(seed)
    value = {
        name: [
            {
                "channel": channel,
                "layer": name,
                "count": int(draw.integers(1, 500)),
                "pagerank": float(draw.random()),
                "prev_channels": [],
                "attr_channels": [],
            }
            for channel in draw.permutation(30)[:5].tolist()
        ]
        for name in LAYERS
    }
    for target, source in pairwise(LAYERS):
        for node in value[target]:
            kept = [x["channel"] for x in value[source] if draw.random() < 0.6]
            weights = {x: int(draw.integers(1, 900)) for x in kept}
            node["prev_channels"] = [
                {"prev_channel": x, "inf": inf} for x, inf in weights.items()
            ]
            strongest = [*kept[:2], 40 + int(draw.integers(3))]
            node["attr_channels"] = [
                {"prev_channel": str(x), "inf": weights.get(x, 7)} for x in strongest
            ]
    return value


def walked(value):
    """Return networkx's PageRank of all arcs of the file, by layer and channel."""
    network = nx.Graph()
    for target, source in pairwise(LAYERS):
        for node in value[target]:
            for arc in (*node["attr_channels"], *node["prev_channels"]):
                end = (source, int(arc["prev_channel"]))
                network.add_edge((target, node["channel"]), end, weight=arc["inf"])
    starts = {}
    for name in LAYERS:
        largest = max(node["count"] for node in value[name])
        for node in value[name]:
            if (name, node["channel"]) in network:
                starts[name, node["channel"]] = node["count"] / largest
    return nx.pagerank(network, personalization=starts, tol=1e-14, max_iter=1_000)


@pytest.mark.parametrize("seed", range(5))
def test_rescored__has_the_scores_of_networkx(seed):
    value = made(seed)

    found = rescored_graph(from_summit_json(json.dumps(value)))

    wanted = walked(value)
    expected = [wanted.get(node, 0.0) for node in found.graph.keys()]  # noqa: SIM118
    np.testing.assert_allclose(found.score, expected, rtol=1e-7, atol=1e-10)
    assert sum(expected) < 1  # the sources that were not kept have some of it


def test_rescored__agreement_is_of_the_ranks_in_each_layer():
    value, other = made(0), made(1)
    scores = walked(value)
    for name, sign in zip(LAYERS, (1, -1, 1), strict=True):
        for node in value[name]:
            node["pagerank"] = 0.5 + sign * scores.get((name, node["channel"]), 0.0)
    other["middle"] = other["middle"][:2]  # too few for an order
    for node in other["top"]:
        node["prev_channels"] = []
    graphs = [from_summit_json(json.dumps(x), subset="x") for x in (value, other)]

    found = Rescored(tuple(map(rescored_graph, graphs)))

    bottom, middle, top = found.layers
    assert [one.layer for one in found.layers] == list(LAYERS[::-1])
    assert (middle.n_graphs, middle.score) == (1, pytest.approx(-1))
    assert np.isnan(middle.score_error)
    assert top.n_graphs == bottom.n_graphs == 2
    by_hand = ranks_agree(graphs[1], "top", found.graphs[1].score)
    assert top.score == pytest.approx((1 + by_hand) / 2)
    assert top.score_error == pytest.approx(abs(1 - by_hand) / 2)
    assert found.to_json()["layers"][1]["score_error"] is None
    assert "middle" in repr(found)
    assert "<table" in found._repr_html_()


def ranks_agree(graph, layer, scores):
    """Return one less six times the squared differences of ranks, by n (n² - 1)."""
    rows = graph.nodes_of(layer)
    ranks = [np.argsort(np.argsort(x[rows])) for x in (graph.score, scores)]
    n = len(rows)
    return 1 - 6 * ((ranks[0] - ranks[1]) ** 2).sum() / (n * (n**2 - 1))


def test_rescore__reads_files__in_python_and_by_the_command(tmp_path):
    paths = []
    for seed in range(2):
        paths.append(tmp_path / f"ag-{seed}.json")
        paths[-1].write_text(json.dumps(made(seed)), encoding="utf-8")

    found = nnviz.rescore(*paths)
    done = CliRunner().invoke(main, ["rescore", *map(str, paths), "--json"])

    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == json.loads(json.dumps(found.to_json()))
    assert json.loads(done.stdout)["graphs"] == ["ag-0", "ag-1"]
    printed = CliRunner().invoke(main, ["rescore", str(paths[0])]).stdout
    assert printed.startswith("1 published graph: rank correlation")


def test_rescore__of_nothing_or_another_file__says_what_to_name(tmp_path):
    with pytest.raises(ConfigError, match="no file is named"):
        nnviz.rescore()
    with pytest.raises(ConfigError, match="cannot read"):
        nnviz.rescore(tmp_path / "none.json")
    (tmp_path / "other.json").write_text('{"a": 1}', encoding="utf-8")
    with pytest.raises(StoreFormatError, match="not a graph file of SUMMIT"):
        nnviz.rescore(tmp_path / "other.json")
