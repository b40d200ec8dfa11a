"""Shared parts of a few small graphs, by trying every set of them."""

from __future__ import annotations

import itertools

import networkx as nx


def closed_parts(arcs_of, at_least):
    """Return {arcs: graphs} of all closed connected sets of arcs.

    ``arcs_of`` gives the set of arcs of each graph. Arcs that all graphs have are in
    none.
    """
    everywhere = set.intersection(*arcs_of.values())
    found = {}
    for size in range(at_least, len(arcs_of) + 1):
        for names in itertools.combinations(arcs_of, size):
            shared = set.intersection(*(arcs_of[name] for name in names)) - everywhere
            graph = nx.Graph(list(shared))
            for nodes in nx.connected_components(graph):
                part = frozenset(arc for arc in shared if arc[0] in nodes)
                found[part] = {n for n, arcs in arcs_of.items() if part <= arcs}
    return found
