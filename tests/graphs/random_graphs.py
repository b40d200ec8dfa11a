"""Graphs that share nothing but what is frequent, and planted parts."""

from __future__ import annotations

import itertools

import numpy as np

from nnviz.graphs.attribution_graph import AttributionGraph


def random_graphs(
    seed, n_graphs, *, layers=4, channels=20, kept=4, planted=(), crowded=1
):
    """Return graphs whose nodes and arcs are drawn by frequencies of their own.

    ``planted`` are pairs of numbers of graphs and a path of (layer, channel) that all
    of these have; every second graph keeps ``crowded`` times as many nodes.
    """
    random = np.random.default_rng(seed)
    weights = random.permutation(np.arange(1, channels + 1) ** -0.7)
    rules = random.random((layers, channels, channels))
    return [
        graph_of(number, *_drawn(random, number, weights, rules, planted, size))
        for number in range(n_graphs)
        for size in [kept * (crowded if number % 2 else 1)]
    ]


def _drawn(random, number, weights, rules, planted, size):
    n_layers, n_channels = rules.shape[:2]
    chance = weights / weights.sum()
    nodes = [
        set(random.choice(n_channels, size, replace=False, p=chance).tolist())
        for _ in range(n_layers)
    ]
    arcs = set()
    for members, path in planted:
        if number in members:
            for layer, channel in path:
                nodes[layer].add(channel)
            arcs.update(itertools.pairwise(path))
    for layer in range(n_layers - 1):
        for source in nodes[layer]:
            for target in nodes[layer + 1]:
                if random.random() < rules[layer, source, target]:
                    arcs.add(((layer, source), (layer + 1, target)))
    return nodes, arcs


def graph_of(number, nodes, arcs):
    """Return a graph with some channels of each layer, and some arcs."""
    keys = [
        (layer, c) for layer, of_layer in enumerate(nodes) for c in sorted(of_layer)
    ]
    place = {key: i for i, key in enumerate(keys)}
    ends = np.array([[place[a], place[b]] for a, b in sorted(arcs)]).reshape(-1, 2)
    n, e = len(keys), len(ends)
    return AttributionGraph(
        subset=f"class {number}",
        preset="directed",
        n_instances=10,
        n_total=100,
        layers=tuple(f"layer {i}" for i in range(len(nodes))),
        layer=np.array([layer for layer, _ in keys], dtype=np.int32),
        channel=np.array([channel for _, channel in keys], dtype=np.int32),
        count=np.ones(n, dtype=np.int64),
        base_count=np.ones(n, dtype=np.int64),
        score=np.ones(n),
        source=ends[:, 0].astype(np.int32),
        target=ends[:, 1].astype(np.int32),
        arc_count=np.ones(e, dtype=np.int64),
        arc_base_count=np.ones(e, dtype=np.int64),
        strongest_layer=np.full((n, 3), -1, dtype=np.int32),
        strongest_channel=np.full((n, 3), -1, dtype=np.int32),
        strongest_count=np.zeros((n, 3), dtype=np.int64),
    )
