"""Which parts do the graphs of many subsets share? Motifs, the most surprising first.

A motif is a set of arcs that hangs together, with all graphs that have every one of
them. It is closed: no arc that touches it is in all of these graphs, too. Arcs that all
graphs have tell nothing apart, and are in no motif.

1. Search: pairs of arcs that meet in a node, the most surprising ones
   (:mod:`nnviz.graphs.motif_chance`), grow by the neighbouring arc that leaves the
   surprise largest, as long as enough graphs share the whole. Everything on the way is
   a candidate.
2. Choice: the most surprising candidate, then the one that is most surprising when what
   the first says is known, and so on: what is known has no chance, but certainty, in
   eq. (1) there. So a list of ten are ten different things.
3. The same search in shuffled graphs says which surprise chance reaches: with 19 of
   them anything at all is listed in one of 20 tables without shared parts.

Symbols: S graphs, V nodes, E arcs.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nnviz.errors import ConfigError
from nnviz.graphs.attribution_graph import AttributionGraph
from nnviz.graphs.kept_parts import (
    KeptParts,
    Words,
    kept_parts,
    members,
    n_members,
)
from nnviz.graphs.motif_chance import Chance, chance_of, shuffled_parts, surprise
from nnviz.graphs.motifs import Motif, Motifs

__all__ = ["AT_LEAST", "MOST", "SHUFFLES", "find_motifs"]

AT_LEAST, MOST, SHUFFLES = 3, 20, 19
"""What is looked for if nothing else is asked for, and stored by derivation."""

SEEDS = 500
"""Pairs of arcs from which motifs grow, at most."""

SEEDS_AT_NODE = 20
"""Of these, at one node at most: others would all find the same."""

_TINY = np.finfo(np.float64).tiny

_Closure = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Arcs, and the nodes at their ends."""


@dataclass(frozen=True, slots=True, eq=False)
class _Candidate:
    shared: Words
    graphs: NDArray[np.int64]
    nodes: NDArray[np.int64]
    arcs: NDArray[np.int64]
    bits: float


def find_motifs(
    graphs: Sequence[AttributionGraph],
    subsets: str,
    *,
    at_least: int = AT_LEAST,
    most: int = MOST,
    shuffles: int = SHUFFLES,
    seed: int = 0,
) -> Motifs:
    """Return the parts that graphs share.

    Parameters
    ----------
    graphs
        Over the same layers; those without an arc are left out.
    subsets
        Name of their collection.
    at_least
        Graphs that share a motif, 2 or more.
    most
        Motifs, at most.
    shuffles
        Shuffled tables that say what is surprising; with n of them something is listed
        in one of n + 1 tables without shared parts. 0: everything is listed.
    seed
        Of the shuffles.

    Raises
    ------
    ConfigError
        If one of the numbers is too small.
    """
    for name, value, least in (
        ("at_least", at_least, 2),
        ("most", most, 1),
        ("shuffles", shuffles, 0),
    ):
        if value < least:
            msg = f"{name} is {value}; it is {least} or more"
            raise ConfigError(msg)
    parts = kept_parts(graphs, at_least)
    random = np.random.default_rng(seed)
    chance = chance_of(parts)
    by_chance = 0.0
    found = list(_Search(parts, chance, at_least).candidates())
    for _ in range(shuffles if found else 0):
        search = _Search(*shuffled_parts(parts, chance, random), at_least)
        largest = max((one.bits for one in search.candidates()), default=0.0)
        by_chance = max(by_chance, largest)
    return Motifs(
        subsets=subsets,
        preset=graphs[0].preset if graphs else "",
        n_graphs=len(parts.names),
        at_least=at_least,
        shuffles=shuffles,
        by_chance=by_chance,
        motifs=tuple(_chosen(parts, chance, found, by_chance, most)),
    )


class _Search:
    def __init__(self, parts: KeptParts, chance: Chance, at_least: int) -> None:
        self._chance, self._at_least, self._n = chance, at_least, len(parts.names)
        support = n_members(parts.graphs)
        usable = (support >= at_least) & (support < self._n)
        self._arcs = np.flatnonzero(usable)
        self._source, self._target = (
            ends[self._arcs] for ends in (parts.source, parts.target)
        )
        self._words = parts.graphs[self._arcs]
        # In the search, as if all graphs had nodes alike; candidates are told exactly.
        self._log_node = _log_mean(chance.log_node)
        self._log_arc = chance.log_arc[self._arcs]
        self._at = _incident(self._source, self._target)
        self._closures: dict[bytes, dict[int, _Closure]] = {}

    def candidates(self) -> Iterator[_Candidate]:
        """Yield closed motifs, each once."""
        seen: set[bytes] = set()
        for pair in self._seeds():
            yield from self._grown(pair, seen)

    def _seeds(self) -> list[tuple[int, int]]:
        """Return the most surprising pairs of arcs that meet in a node."""
        found: list[tuple[float, int, int]] = []
        for node, arcs in self._at.items():
            if len(arcs) < 2:
                continue
            first, second = _pairs(len(arcs))
            has = members(self._words[arcs], self._n).astype(np.float32)
            shared = (has @ has.T)[first, second]
            own = self._log_arc[arcs] + self._log_node[self._others(arcs, node)]
            expected = self._n * np.exp(own[first] + own[second] + self._log_node[node])
            bits = _surprises(shared, expected, self._n)
            bits[shared < self._at_least] = 0.0
            best = np.argsort(-bits, kind="stable")[:SEEDS_AT_NODE]
            found += [
                (-float(bits[i]), int(arcs[first[i]]), int(arcs[second[i]]))
                for i in best.tolist()
                if bits[i] > 0
            ]
        return [(one, two) for _, one, two in heapq.nsmallest(SEEDS, found)]

    def _others(self, arcs: NDArray[np.int64], node: int) -> NDArray[np.int64]:
        source = self._source[arcs]
        return np.where(source == node, self._target[arcs], source)

    def _grown(self, pair: tuple[int, int], seen: set[bytes]) -> Iterator[_Candidate]:
        shared = self._words[pair[0]] & self._words[pair[1]]
        arcs, nodes = self._closed(shared, pair)
        while True:
            key = arcs.tobytes()
            if key in seen:
                return  # what comes after it was seen, too
            seen.add(key)
            found = self._candidate(shared, arcs, nodes)
            yield found
            step = self._next(shared, arcs, nodes)
            if step is None:
                return
            shared = shared & self._words[step]
            arcs, nodes = self._closed(shared, (*arcs.tolist(), step))

    def _next(
        self, shared: Words, arcs: NDArray[np.int64], nodes: NDArray[np.int64]
    ) -> int | None:
        """Return the arc beside a motif that leaves it most surprising."""
        is_near = np.zeros(len(self._arcs), dtype=np.bool_)
        is_near[self._around(nodes)] = True
        is_near[arcs] = False
        near = np.flatnonzero(is_near)
        n_shared = n_members(self._words[near] & shared)
        near, n_shared = (x[n_shared >= self._at_least] for x in (near, n_shared))
        if not len(near):
            return None
        known = self._log_node[nodes].sum() + self._log_arc[arcs].sum()
        log_node = self._log_node.copy()
        log_node[nodes] = 0.0
        log = known + self._log_arc[near]
        for ends in (self._source[near], self._target[near]):
            log = log + log_node[ends]
        bits = _surprises(n_shared, self._n * np.exp(log), self._n)
        return int(near[np.argmax(bits)])

    def _closed(self, shared: Words, arcs: Sequence[int]) -> _Closure:
        """Return the arcs of all these graphs that hang together with some, and ends.

        Most pairs lead to the same few graphs, of which each part is looked for once.
        """
        known = self._closures.setdefault(shared.tobytes(), {})
        if arcs[0] not in known:
            closure = self._hanging_together(shared, arcs)
            known.update(dict.fromkeys(closure[0].tolist(), closure))
        return known[arcs[0]]

    def _around(self, nodes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the arcs at nodes; those between two of them come twice."""
        return np.concatenate([self._at[node] for node in nodes.tolist()])

    def _hanging_together(self, shared: Words, arcs: Sequence[int]) -> _Closure:
        is_found = np.zeros(len(self._arcs), dtype=np.bool_)
        is_end = np.zeros(len(self._log_node), dtype=np.bool_)
        more = np.array(arcs)
        while len(more):
            is_found[more] = True
            is_fresh = np.zeros_like(is_end)
            is_fresh[self._source[more]] = is_fresh[self._target[more]] = True
            is_fresh &= ~is_end
            is_end |= is_fresh
            if not is_fresh.any():
                break
            near = self._around(np.flatnonzero(is_fresh))
            near = near[~is_found[near]]
            more = near[((self._words[near] & shared) == shared).all(axis=1)]
        return np.flatnonzero(is_found), np.flatnonzero(is_end)

    def _candidate(
        self, shared: Words, arcs: NDArray[np.int64], nodes: NDArray[np.int64]
    ) -> _Candidate:
        graphs = np.flatnonzero(members(shared, self._n))
        log = self._chance.log_node[:, nodes].sum(axis=1) + self._log_arc[arcs].sum()
        bits = surprise(len(graphs), float(np.exp(log).sum()), self._n)
        return _Candidate(shared, graphs, nodes, self._arcs[arcs], bits)


def _chosen(
    parts: KeptParts,
    chance: Chance,
    candidates: Sequence[_Candidate],
    by_chance: float,
    most: int,
) -> Iterator[Motif]:
    """Yield the candidates that say most when those before them are known."""
    is_known_node = np.zeros_like(parts.has_node)
    known_arcs = np.zeros_like(parts.graphs)
    n = len(parts.names)
    # New bits can only become fewer, so that those of the first of the heap, told anew,
    # are the most there are if it stays the first.
    heap = [(-one.bits, i) for i, one in enumerate(candidates)]
    heapq.heapify(heap)
    told = 0
    while heap and told < most and -heap[0][0] > by_chance:
        one = candidates[heap[0][1]]
        is_known = is_known_node[:, one.nodes]
        log = np.where(is_known, 0.0, chance.log_node[:, one.nodes]).sum(axis=1)
        is_known = members(known_arcs[one.arcs], n).T
        log += np.where(is_known, 0.0, chance.log_arc[one.arcs]).sum(axis=1)
        bits = surprise(len(one.graphs), float(np.exp(log).sum()), n)
        _, i = heapq.heapreplace(heap, (-bits, heap[0][1]))
        if heap[0][1] != i:
            continue
        heapq.heappop(heap)
        if bits <= by_chance:
            return
        is_known_node[np.ix_(one.graphs, one.nodes)] = True
        known_arcs[one.arcs] |= one.shared
        told += 1
        yield Motif(
            subsets=tuple(parts.names[x] for x in one.graphs.tolist()),
            nodes=tuple(parts.nodes[x] for x in one.nodes.tolist()),
            arcs=tuple(
                (parts.nodes[parts.source[x]], parts.nodes[parts.target[x]])
                for x in one.arcs.tolist()
            ),
            bits=one.bits,
            new_bits=bits,
        )


def _pairs(n: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return all i < j < n in their order, as ``np.triu_indices``, without a matrix."""
    n_each = np.arange(n - 1, -1, -1)
    first = np.repeat(np.arange(n), n_each)
    return first, np.arange(len(first)) + np.repeat(n - n_each.cumsum(), n_each)


def _surprises(
    n_shared: NDArray[np.integer | np.floating], expected: NDArray[np.float64], n: int
) -> NDArray[np.float64]:
    """Return eq. (2) of many motifs."""
    x = n_shared / n
    y = np.minimum(np.maximum(expected / n, _TINY), 1 - 1e-12)
    with np.errstate(divide="ignore", invalid="ignore"):
        rest = np.where(x < 1, (1 - x) * np.log((1 - x) / (1 - y)), 0.0)
    bits = n * (x * np.log(np.maximum(x, _TINY) / y) + rest) / np.log(2)
    return np.asarray(np.where(x > y, bits, 0.0))


def _log_mean(log_node: NDArray[np.float64]) -> NDArray[np.float64]:
    mean = np.exp(log_node).mean(axis=0) if len(log_node) else log_node.sum(axis=0)
    return np.asarray(np.log(np.maximum(mean, _TINY)))


def _incident(
    source: NDArray[np.int64], target: NDArray[np.int64]
) -> dict[int, NDArray[np.int64]]:
    """Return the arcs at each node."""
    ends = np.concatenate([source, target])
    arcs = np.tile(np.arange(len(source)), 2)
    order = np.argsort(ends, kind="stable")
    nodes, starts = np.unique(ends[order], return_index=True)
    return (
        dict(
            zip(nodes.tolist(), np.split(arcs[order], starts[1:].tolist()), strict=True)
        )
        if len(nodes)
        else {}
    )
