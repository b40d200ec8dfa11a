"""Tensors, operations and blocks of networks, against graphs of networkx."""

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.networks import resnet20, squeezenet1_0
from nnviz.network.tracing import trace_network
from nnviz.results.network_graph import default_open, network_graph
from nnviz.results.network_layout import DIAMETER, arrange_network
from nnviz.runs.architecture import Architecture, Edge, Layer
from nnviz.runs.config import PreprocessingConfig

ARRAYS = PreprocessingConfig(kind="array")


@pytest.fixture(scope="module")
def resnet():
    torch.manual_seed(0)
    values = np.random.default_rng(0).normal(size=(2, 3, 32, 32)).astype(np.float32)
    return trace_network(resnet20().eval(), values, ARRAYS)


def digraph(graph):
    found = nx.DiGraph()
    found.add_nodes_from(node.key for node in graph.nodes)
    found.add_edges_from((arc.source, arc.target) for arc in graph.arcs)
    return found


def reaching(edges, names):
    """Return which layers lead to which, from the plan's own edges."""
    found = nx.DiGraph()
    found.add_nodes_from(names)
    found.add_edges_from(edges)
    closure = nx.transitive_closure(found)
    return {(a, b) for a, b in closure.edges if a != b}


def test_graph__of_a_residual_network__has_its_maps_and_sums(resnet):
    graph = network_graph(resnet)

    kinds = [node.kind for node in graph.nodes]
    n_sums = sum(layer.kind == "sum" for layer in resnet.layers)
    n_maps = sum(edge.operation != "identity" for edge in resnet.edges)
    assert kinds.count("tensor") == len(resnet.layers) == 20
    assert kinds.count("operation") == n_maps + n_sums == 19 + 9
    assert {block.key for block in graph.blocks} == {
        f"block:layer{s}{b}" for s in (1, 2, 3) for b in ("", ".0", ".1", ".2")
    }
    labels = {node.label for node in graph.nodes if node.kind == "operation"}
    assert labels == {"conv 3×3", "conv 3×3 /2", "linear", "+"}
    (output,) = (n for n in graph.nodes if n.layer == "layer2.1")
    assert (output.block, output.label) == ("block:layer2.1", "output")


def test_graph__leads_from_layer_to_layer_as_the_edges_do(resnet):
    whole = digraph(network_graph(resnet))
    edges = {(e.source, e.target) for e in resnet.edges}
    names = [layer.name for layer in resnet.layers]

    tensors = {
        (a[7:], b[7:])
        for a, b in nx.transitive_closure(whole).edges
        if a.startswith("tensor:") and b.startswith("tensor:") and a != b
    }

    assert tensors == reaching(edges, names)
    assert nx.is_directed_acyclic_graph(whole)
    assert set(nx.descendants(whole, "input")) == set(whole) - {"input"} - {
        block.key for block in network_graph(resnet).blocks
    }


@pytest.mark.parametrize("opened", [(), ("layer2",), ("layer1", "layer1.1", "layer3")])
def test_shown__what_is_closed_stands_for_what_it_holds(resnet, opened):
    whole = network_graph(resnet)
    keys = {f"block:{name}" for name in opened}

    shown = whole.shown(keys)

    # The oracle contracts the blocks that are closed, by their names alone.
    closed = {b.key for b in whole.blocks} - keys

    def stands_for(key):
        holders, block = [], next(n.block for n in whole.nodes if n.key == key)
        while block:
            holders.append(block)
            block = next(n.block for n in whole.nodes if n.key == block)
        outer = [h for h in reversed(holders) if h in closed]
        return outer[0] if outer else key

    wanted = {
        (a, b)
        for arc in whole.arcs
        if (a := stands_for(arc.source)) != (b := stands_for(arc.target))
    }
    assert {(arc.source, arc.target) for arc in shown.arcs} == wanted
    assert {n.key for n in shown.nodes if n.kind == "tensor"} == {
        n.key for n in whole.nodes if n.kind == "tensor" and stands_for(n.key) == n.key
    }


def test_default_open__opens_whole_levels_while_there_is_room(resnet):
    graph = network_graph(resnet)

    assert default_open(graph, 5) == frozenset()
    assert default_open(graph) == {"block:layer1", "block:layer2", "block:layer3"}
    assert default_open(graph, 1000) == {block.key for block in graph.blocks}


def test_graph__layers_that_nothing_is_known_to_enter__are_said(resnet):
    layers = tuple(
        Layer(name, name, "convolution", 4) for name in ("a", "b", "c")
    )  # fmt: skip
    graph = network_graph(
        Architecture(
            layers,
            (Edge("b", "c", "convolution", "c"),),
            problems=("influence into 'b' is not available: strange",),
        )
    )

    assert {(a.source, a.target, a.kind) for a in graph.arcs} == {
        ("input", "tensor:a", "flow"),
        ("tensor:a", "tensor:b", "order"),
        ("tensor:b", "map:c:c", "flow"),
        ("map:c:c", "tensor:c", "flow"),
    }


def test_layout__nothing_overlaps_and_ways_end_at_their_nodes(resnet):
    graph = network_graph(resnet)
    for opened in (default_open(graph), {block.key for block in graph.blocks}):
        check_layout(graph.shown(opened))


def test_layout__of_concatenations():
    values = np.random.default_rng(0).normal(size=(1, 3, 64, 64)).astype(np.float32)
    graph = network_graph(trace_network(squeezenet1_0().eval(), values, ARRAYS))

    check_layout(graph.shown(block.key for block in graph.blocks))
    assert any(node.label == "concat" for node in graph.nodes)


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_layout__of_any_network_in_any_blocks(data):
    n = data.draw(st.integers(2, 14))
    paths = st.sampled_from(["", "p.", "p.q.", "p.r.", "s.", "s.t.u."])
    names = [f"{data.draw(paths)}n{i}" for i in range(n)]
    layers = tuple(
        Layer(name, name, data.draw(st.sampled_from(["convolution", "sum"])), 4)
        for name in names
    )
    edges = tuple(
        Edge(
            names[source],
            names[target],
            data.draw(st.sampled_from(["convolution", "identity"])),
            f"{names[target]}@{source}",
        )
        for target in range(1, n)
        for source in sorted(data.draw(st.sets(st.integers(0, target - 1), max_size=3)))
    )
    graph = network_graph(Architecture(layers, edges))
    opened = {b.key for b in graph.blocks if data.draw(st.booleans())}
    shown = graph.shown(opened)

    assert nx.is_directed_acyclic_graph(
        digraph(network_graph(Architecture(layers, edges)))
    )
    check_layout(shown)


def check_layout(graph):
    for aspect in (2.2, 0.5):
        check_one_layout(graph, arrange_network(graph, aspect=aspect))


def check_one_layout(graph, layout):
    nodes = {node.key: node for node in graph.nodes}
    assert layout.boxes.keys() == nodes.keys()
    assert layout.ways.keys() == {(arc.source, arc.target) for arc in graph.arcs}
    for key, box in layout.boxes.items():
        assert box.x >= -1e-6
        assert box.y >= -1e-6
        assert box.x + box.width <= layout.width + 1e-6
        assert box.y + box.height <= layout.height + 1e-6
        for other, second in layout.boxes.items():
            if key >= other:
                continue
            are_apart = (
                box.x + box.width <= second.x + 1e-6
                or second.x + second.width <= box.x + 1e-6
                or box.y + box.height <= second.y + 1e-6
                or second.y + second.height <= box.y + 1e-6
            )
            if holds(nodes, key, other) or holds(nodes, other, key):
                inner, outer = (
                    (second, box) if holds(nodes, key, other) else (box, second)
                )
                assert outer.x <= inner.x
                assert inner.x + inner.width <= outer.x + outer.width
                assert outer.y <= inner.y
                assert inner.y + inner.height <= outer.y + outer.height
            else:
                assert are_apart, (key, other)
    for (source, target), way in layout.ways.items():
        for key, (x, y), side in ((source, way[0], 1), (target, way[-1], 0)):
            box, width = layout.boxes[key], layout.boxes[key].width
            if nodes[key].kind in ("tensor", "input"):
                wanted = box.x + width / 2 + (side - 0.5) * DIAMETER
                assert (x, y) == pytest.approx((wanted, box.y + DIAMETER / 2))
            else:
                assert (x, y) == pytest.approx(
                    (box.x + side * width, box.y + box.height / 2)
                )


def holds(nodes, outer, inner):
    block = nodes[inner].block
    while block:
        if block == outer:
            return True
        block = nodes[block].block
    return False
