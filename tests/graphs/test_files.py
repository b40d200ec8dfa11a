"""Graphs as other tools read them."""

import csv
import io
import json
import math
import xml.etree.ElementTree as ET

import networkx as nx
import pytest

from nnviz.errors import DatasetError
from nnviz.graphs.files import graph_files, network_file, table_file, to_networkx
from nnviz.graphs.layout import arrange_graph
from nnviz.graphs.presets import summit_graph
from nnviz.graphs.summit_files import from_summit_json
from tests.oracles import attribution_graph as oracle

EMPTY = from_summit_json('{"late": [], "early": []}', subset="none")


@pytest.fixture
def graph():
    full = oracle.random_graph(5, (7, 8, 6))
    everything = oracle.random_graph(6, (7, 8, 6), largest=200, density=1.0)
    return summit_graph(full, subset="some", everything=everything, share=0.5)


def test_networkx__has_every_node_and_arc_with_its_numbers(graph):
    network = to_networkx(graph)

    assert network.number_of_nodes() == graph.n_nodes
    assert network.number_of_edges() == graph.n_arcs
    layer, channel = graph.keys()[0]
    node = network.nodes[f"{layer}-{channel}"]
    assert (node["count"], node["score"]) == (graph.count[0], graph.score[0])
    assert node["base_rate"] == graph.base_rate[0]
    assert node["lift_low"] <= node["lift"] <= node["lift_high"]
    (s_layer, s), (t_layer, t) = graph.arc_keys()[0]
    arc = network.edges[f"{s_layer}-{s}", f"{t_layer}-{t}"]
    assert arc["count"] == graph.arc_count[0]
    assert nx.is_directed_acyclic_graph(network)


def test_json__is_what_networkx_reads(graph):
    (content,) = graph_files(graph, "g", "json").values()

    network = nx.node_link_graph(json.loads(content), edges="links")

    assert nx.utils.graphs_equal(network, to_networkx(graph))


def test_graphml__is_what_networkx_reads(graph):
    (content,) = graph_files(graph, "g", "graphml").values()

    network = nx.read_graphml(io.BytesIO(content))

    assert dict(network.nodes(data=True)) == dict(to_networkx(graph).nodes(data=True))
    assert set(network.edges) == set(to_networkx(graph).edges)


def test_csv__has_a_table_of_nodes_and_one_of_arcs(graph):
    files = graph_files(graph, "g", "csv", layout=arrange_graph(graph))

    nodes, arcs = (
        list(csv.DictReader(io.StringIO(files[f"g-{name}.csv"].decode())))
        for name in ("nodes", "arcs")
    )

    assert [int(row["count"]) for row in nodes] == graph.count.tolist()
    assert [int(row["count"]) for row in arcs] == graph.arc_count.tolist()
    assert {row["source"] for row in arcs} <= {row["node"] for row in nodes}


def test_summit__is_what_summits_page_reads(graph):
    (content,) = graph_files(graph, "g", "summit").values()

    assert list(json.loads(content)) == list(graph.layers[::-1])


@pytest.mark.parametrize("format_", ["json", "graphml", "csv", "summit"])
def test_files__of_a_graph_without_nodes__are_written(format_):
    assert all(graph_files(EMPTY, "g", format_).values())


def test_json__of_unknown_base_rates__leaves_them_out():
    graph = summit_graph(oracle.random_graph(0, (4, 4)), subset="some", share=0.9)

    (content,) = graph_files(graph, "g", "json").values()

    assert "base_rate" not in json.loads(content)["nodes"][0]


@pytest.mark.parametrize("character", ["\x01", "\x0b", "\ufffe", "\ud800"])
def test_network_file__refuses_by_name_what_xml_cannot_hold(character):
    network = nx.DiGraph(subset=f"c{character}d")

    with pytest.raises(DatasetError, match=rf"U\+{ord(character):04X}.*json or csv"):
        network_file(network, "g", "graphml")


def test_table_file__runs_no_name_in_a_spreadsheet():
    rows = [{"node": "=cmd|' /C calc'!A0", "x": -1.5}, {"node": "a\r@b", "x": math.nan}]

    data = table_file(["node", "x"], rows).decode()

    assert list(csv.reader(io.StringIO(data, newline=""))) == [
        ["node", "x"],
        ["'=cmd|' /C calc'!A0", "-1.5"],
        ["a\r@b", ""],
    ]


@pytest.mark.parametrize(
    "text", ["<a>&\"'", "]]>", "\t\n", "a\rb", "ä\U0001f600", "a\u2028b"]
)
def test_network_file__writes_every_other_text(text):
    network = nx.DiGraph(subset=text)
    network.add_node(text, layer=text)

    (data,) = network_file(network, "g", "graphml").values()

    found = [element.text for element in ET.fromstring(data).iter() if element.text]
    assert found.count(text) == 2
