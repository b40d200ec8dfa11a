"""The drawing without a page: the same numbers as the page's, and whole."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from nnviz.graphs import svg
from nnviz.graphs.attribution_graph import AttributionGraph

SCENE = Path("dashboards/nnviz_dashboards/graph/graph_scene.js")
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


def test_numbers__are_those_of_the_page():
    text = (Path(__file__).parents[2] / SCENE).read_text(encoding="utf-8")
    found = dict(re.findall(r"^const ([A-Z_]+) = (\d+)", text, re.MULTILINE))

    for name in ("SLOT", "LEAST", "GAP", "ROW_GAP", "WIDEST"):
        assert getattr(svg, name) == int(found[name]), name


def test_svg__has_every_node_and_arc(graph):
    drawn = ET.fromstring(svg.graph_svg(graph, {}, ("dog", "cat")))

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

    drawn = svg.graph_svg(graph, {("low", 7): picture})

    assert drawn.count("<image") == 1
    assert "data:image/png;base64,iVBORyByZXN0" in drawn


def test_graph__in_a_notebook_escapes_names(graph):
    assert "&lt;cat&gt;" in graph._repr_html_()
    assert "<cat>" not in graph._repr_html_()


def test_graph__says_why_a_node_without_instances_is_kept(graph):
    assert repr(graph).endswith("low 9: on top in 0 of 10, source in 4")
