"""The drawing without a page: the same numbers as the page's, and whole."""

from __future__ import annotations

import dataclasses
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from nnviz.graphs.attribution_graph import AttributionGraph
from nnviz.graphs.comparison import compare_graphs
from nnviz.graphs.drawing import draw_comparison, draw_graph
from nnviz.graphs.svg import drawing_svg

SPACE = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def graph():
    nothing = np.full((3, 3), -1, np.int32)
    return AttributionGraph(
        subset="<cat>",
        preset="directed",
        n_instances=10,
        n_total=20,
        layers=("low", "out"),
        layer=np.array([0, 0, 1], np.int32),
        channel=np.array([7, 9, 1], np.int32),
        count=np.array([10, 0, 5]),
        base_count=np.array([20, 1, 5]),
        score=np.array([0.6, 0.4, 1.0]),
        source=np.array([0, 1], np.int32),
        target=np.array([2, 2], np.int32),
        arc_count=np.array([10, 4]),
        arc_base_count=np.array([10, 4]),
        strongest_layer=nothing,
        strongest_channel=nothing,
        strongest_count=np.zeros((3, 3), np.int64),
    )


def test_svg__has_every_node_and_arc(graph):
    drawn = ET.fromstring(drawing_svg(draw_graph(graph, ("dog", "cat")), {}))

    titles = [node.text for node in drawn.iter(f"{SPACE}title")]
    widths = [p.get("stroke-width") for p in drawn.iter(f"{SPACE}path")]
    rows = [text.text for text in drawn.iter(f"{SPACE}text")][:2]
    assert titles == [
        "low, channel 7: on top in 10 of 10, lift 1.00",
        "low, channel 9: on top in 0 of 10, lift 0.00",
        "out, channel 1, cat: on top in 5 of 10, lift 2.00",
    ]
    assert widths == ["11.00", "4.40"]
    assert rows == ["out", "low"]


def test_svg__shows_pictures(graph):
    picture = b"\x89PNG rest"

    drawn = drawing_svg(draw_graph(graph), {("low", 7): picture})

    assert drawn.count("<image") == 1
    assert "data:image/png;base64,iVBORyByZXN0" in drawn


def test_graph__in_a_notebook_escapes_names(graph):
    assert "&lt;cat&gt;" in graph._repr_html_()
    assert "<cat>" not in graph._repr_html_()


def test_graph__says_why_a_node_without_instances_is_kept(graph):
    assert repr(graph).endswith("low 9: on top in 0 of 10, source in 4")


def test_svg__of_a_comparison_tells_the_sides_apart(graph):
    keeps = np.array([0, 2])
    other = dataclasses.replace(
        graph,
        subset="dog",
        n_instances=8,
        layer=graph.layer[keeps],
        channel=np.array([7, 0], np.int32),
        count=np.array([4, 8]),
        base_count=graph.base_count[keeps],
        score=graph.score[keeps],
        source=np.array([0], np.int32),
        target=np.array([1], np.int32),
        arc_count=np.array([4]),
        arc_base_count=np.array([4]),
        strongest_layer=graph.strongest_layer[keeps],
        strongest_channel=graph.strongest_channel[keeps],
        strongest_count=graph.strongest_count[keeps],
    )
    drawing = draw_comparison(compare_graphs(graph, other), ("dog", "cat"))

    drawn = ET.fromstring(drawing_svg(drawing, {}))

    sides = {
        node.find(f"{SPACE}title").text.split(":")[0]: node.get("class")
        for node in drawn.iter(f"{SPACE}g")
        if node.find(f"{SPACE}title") is not None
    }
    assert sides == {
        "low, channel 7": "node both",
        "low, channel 9": "node first",
        "out, channel 0, dog": "node second",
        "out, channel 1, cat": "node first",
    }
    texts = [text.text for text in drawn.iter(f"{SPACE}text")]
    assert texts[-3:] == ["both", "only <cat> (10 instances)", "only dog (8 instances)"]


def test_comparison__in_a_notebook_is_drawn_below_its_table(graph):
    shown = compare_graphs(graph, graph)._repr_html_()

    assert shown.index("<table") < shown.index("<svg")
    assert "<cat>" not in shown
