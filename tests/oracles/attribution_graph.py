"""Attribution graphs again, in plain loops, straight from their sources.

A graph is a list of layers in order of computation, counts ``{layer: [count]}``, and
arcs ``{(target layer, target, source layer, source): value}``.
"""

import itertools
import math

import networkx as nx
import numpy as np
from scipy import sparse

from nnviz.graphs.full_graph import FullGraph


def random_graph(seed, sizes, *, density=0.4, largest=20, skips=False):
    """Return a full graph with random counts and arcs between neighbouring layers."""
    rng = np.random.default_rng(seed)
    layers = tuple(f"layer{i}" for i in range(len(sizes)))
    counts = tuple(rng.integers(0, largest + 1, size) for size in sizes)
    arcs = {}
    for s, t in itertools.combinations(range(len(sizes)), 2):
        if t != s + 1 and not skips:
            continue
        values = rng.integers(1, largest + 1, (sizes[t], sizes[s]))
        values *= rng.random(values.shape) < density
        arcs[layers[t], layers[s]] = sparse.csr_array(values)
    return FullGraph(layers, counts, arcs, largest)


def arcs_of(graph):
    """Return all arcs as {(target layer, target, source layer, source): value}."""
    found = {}
    for (target, source), matrix in graph.arcs.items():
        for t, row in enumerate(matrix.toarray().tolist()):
            for s, value in enumerate(row):
                if value:
                    found[target, t, source, s] = value
    return found


def flat(graph, scores):
    """Return scores {(layer, channel): score} in the order of the nodes."""
    return [
        scores.get((layer, channel), 0.0)
        for layer, counts in zip(graph.layers, graph.counts, strict=True)
        for channel in range(len(counts))
    ]


def widest(outer, inner):
    """Return max over b of min(outer[j][b], inner[b][i])."""
    n_inner, n_sources = len(inner), len(inner[0])
    return [
        [
            max(min(row[b], inner[b][i]) for b in range(n_inner))
            for i in range(n_sources)
        ]
        for row in outer
    ]


def truncated(outer, direct):
    """Cut rows of `outer` as ``gen_full_graph`` cuts channels behind a bottleneck."""
    degrees = [sum(value > 0 for value in row) for row in direct]
    with_sources = [degree for degree in degrees if degree]
    result = []
    for row, degree in zip(outer, degrees, strict=True):
        ranked = sorted(
            ((i, value) for i, value in enumerate(row) if value),
            key=lambda item: item[1],
            reverse=True,
        )
        if with_sources and not degree:
            ranked = ranked[: math.floor(sum(with_sources) / len(with_sources))]
        kept = dict(ranked)
        result.append([kept.get(i, 0) for i in range(len(row))])
    return result


def summit_pagerank(graph, damping=0.85):
    """Return what ``nx.pagerank(G, personalization, alpha)`` converges to."""
    network = nx.Graph()
    for (t_layer, t, s_layer, s), value in arcs_of(graph).items():
        network.add_edge((t_layer, t), (s_layer, s), weight=value)
    personalization = {}
    for layer, counts in zip(graph.layers, graph.counts, strict=True):
        for channel, count in enumerate(counts.tolist()):
            if (layer, channel) in network:
                personalization[layer, channel] = count / max(1, *counts.tolist())
    scores = nx.pagerank(
        network,
        alpha=damping,
        personalization=personalization,
        weight="weight",
        tol=1e-16,
        max_iter=2000,
    )
    return flat(graph, scores)


def downward_pagerank(graph, personalization, damping=0.85):
    """Return what ``nx.pagerank`` converges to on arcs from targets to sources."""
    network = nx.DiGraph()
    names = []
    for layer, counts in zip(graph.layers, graph.counts, strict=True):
        names += [(layer, channel) for channel in range(len(counts))]
    network.add_nodes_from(names)
    for (t_layer, t, s_layer, s), value in arcs_of(graph).items():
        network.add_edge((t_layer, t), (s_layer, s), weight=value)
    scores = nx.pagerank(
        network,
        alpha=damping,
        personalization=dict(zip(names, personalization, strict=True)),
        weight="weight",
        tol=1e-16,
        max_iter=2000,
    )
    return flat(graph, scores)


def share_of_paths(graph, start):
    """Return the probability that a walk from one node passes each, path by path."""
    arcs = arcs_of(graph)
    passing = {}

    def walk(node, probability):
        passing[node] = passing.get(node, 0.0) + probability
        out = {
            (s_layer, s): value
            for (t_layer, t, s_layer, s), value in arcs.items()
            if (t_layer, t) == node
        }
        for source, value in out.items():
            walk(source, probability * value / sum(out.values()))

    walk(start, 1.0)
    return flat(graph, passing)


def kept_by_summit(values, p):
    """Return the channels that ``get_threshold`` keeps of one layer."""
    ordered = sorted(values, reverse=True)
    total, index = 0.0, 0
    while index < len(ordered):
        total += ordered[index]
        index += 1
        if total >= p * sum(ordered):
            break
    threshold = ordered[index] if index < len(ordered) else 0.0
    return [channel for channel, value in enumerate(values) if value > threshold]


def kept_with_raised_shares(graph, scores, p):
    """Return the nodes of SUMMIT's main loop, for layers with one layer below."""
    arcs = arcs_of(graph)
    shares = dict.fromkeys(graph.layers, p)
    while True:
        kept = set()
        for layer in graph.layers:
            values = scores[graph.span(layer)].tolist()
            kept |= {(layer, c) for c in kept_by_summit(values, min(1, shares[layer]))}
        changed = False
        for below, layer in itertools.pairwise(graph.layers):
            has_arc = any(
                (t_layer, t) in kept and (s_layer, s) in kept
                for t_layer, t, s_layer, s in arcs
                if t_layer == layer
            )
            if not has_arc and min(shares[layer], shares[below]) < 1:
                changed = True
                shares[layer] += 0.005
                shares[below] += 0.005
        if not changed:
            return kept


def arcs_that_continue(graph, kept):
    """Return the arcs that ``get_prev_nodes_with_valid_edges`` leaves."""
    candidates = [
        ((t_layer, t), (s_layer, s))
        for t_layer, t, s_layer, s in arcs_of(graph)
        if (t_layer, t) in kept and (s_layer, s) in kept
    ]
    with_sources = {target for target, _ in candidates}
    return {
        (target, source)
        for target, source in candidates
        if source[0] == graph.layers[0] or source in with_sources
    }


def crossings(rows, arcs, x):
    """Return how many pairs of arcs between the same two rows cross."""
    found = 0
    for (a, b), (c, d) in itertools.combinations(arcs, 2):
        same = rows[a] == rows[c] and rows[b] == rows[d]
        found += same and (x[a] - x[c]) * (x[b] - x[d]) < 0
    return found
