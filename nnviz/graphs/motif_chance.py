"""How surprising is it that so many graphs share these arcs? By what chance would do.

Chance gives a graph s the node v with a probability p(s, v) that keeps both how many
graphs have the node and how many nodes the graph has in that layer, in the mean (the
Rasch model [1]_), each node by itself; and an arc with a probability r(a) where both of
its ends are there. So an arc is no news where its ends always bring it along, and
neither is what all graphs share. Graph s then has all of a set of arcs with

    P(s) = product of p(s, v) over its nodes * product of r(a) over its arcs,   eq. (1)

and with m the sum of P(s) over all S graphs, that k of them have it has at most the
chance (Hoeffding [2]_)

    exp(-S (x log(x / y) + (1 - x) log((1 - x) / (1 - y)))),  x = k / S, y = m / S,

whose negative logarithm in base 2 is the surprise, in bits.                    eq. (2)

Real graphs have a structure beyond their margins, and there are many sets of arcs to
find one in: what surprise is worth telling is read from shuffled graphs, in which nodes
are dealt anew within each layer, keeping both margins (the curveball algorithm [3]_),
and arcs by r.

References
----------
.. [1] Rasch, "Probabilistic models for some intelligence and attainment tests", 1960.
.. [2] Hoeffding, "Probability inequalities for sums of bounded random variables",
   Journal of the American Statistical Association 58, 1963; and "On the distribution of
   the number of successes in independent trials", Annals of Mathematical Statistics 27,
   1956, for unequal P(s).
.. [3] Strona et al., "A fast and unbiased procedure to randomize ecological binary
   matrices with fixed row and column totals", Nature Communications 5, 2014.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nnviz.graphs.kept_parts import KeptParts, n_members, sets_of

__all__ = ["Chance", "chance_of", "most_expected", "shuffled_parts", "surprise"]

ROUNDS = 1000
"""Of fitting a layer's probabilities, at most."""

HALVINGS = 60
"""Of an interval of logarithms, until it is nothing."""

TRADES = 10
"""Of each graph with others: by then shuffled graphs have forgotten what they were made
from [3]_."""


@dataclass(frozen=True, slots=True, eq=False)
class Chance:
    """Probabilities of nodes and arcs in graphs that share nothing but margins."""

    log_node: NDArray[np.float64]
    """Natural logarithm of p(s, v), shape (S, V)."""
    log_arc: NDArray[np.float64]
    """Natural logarithm of r(a), shape (E,)."""


def chance_of(parts: KeptParts) -> Chance:
    """Return what chance gives the graphs of a table."""
    log_node = np.zeros(parts.has_node.shape)
    for layer in np.unique(parts.layer).tolist():
        columns = np.flatnonzero(parts.layer == layer)
        log_node[:, columns] = np.log(_margin_model(parts.has_node[:, columns]))
    return Chance(log_node, _log_arc(parts))


def surprise(n_shared: int, expected: float, n: int) -> float:
    """Return eq. (2) in bits; 0 where no more share it than are expected to.

    Examples
    --------
    >>> round(surprise(14, 0.2, 1000), 1)
    66.0
    >>> surprise(3, 3.0, 10)
    0.0
    """
    if n_shared <= expected:
        return 0.0
    x, y = n_shared / n, max(expected / n, math.ulp(0.0))
    rest = (1 - x) * math.log((1 - x) / (1 - y)) if x < 1 else 0.0
    return max(0.0, n * (x * math.log(x / y) + rest) / math.log(2))


def most_expected(n_shared: int, bits: float, n: int) -> float:
    """Return from how many graphs, expected by chance, a surprise has so many bits.

    Parameters
    ----------
    n_shared
        Graphs that share a set of arcs.
    bits
        Surprise, above 0.
    n
        Graphs.

    Returns
    -------
    float
        The most for which :func:`surprise` reaches `bits`; 0 where nothing does.

    Examples
    --------
    >>> round(most_expected(14, 66.0, 1000), 2)
    0.2
    """
    low, high = math.log(math.ulp(0.0)), math.log(max(n_shared, 1))
    if surprise(n_shared, math.exp(low), n) < bits:
        return 0.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        enough = surprise(n_shared, math.exp(middle), n) >= bits
        low, high = (middle, high) if enough else (low, middle)
    return math.exp(low)


def shuffled_parts(
    parts: KeptParts, chance: Chance, random: np.random.Generator
) -> tuple[KeptParts, Chance]:
    """Deal nodes and arcs anew, so that graphs share what chance lets them share.

    Parameters
    ----------
    parts, chance
        What is shuffled.
    random
        Generator of random numbers.

    Returns
    -------
    tuple
        A table with the same number of graphs for each node, and of nodes of each layer
        for each graph; and what chance gives its graphs.
    """
    has_node = _traded(parts.has_node, parts.layer, random)
    # Every arc that begins at a node of a graph, and ends there, too.
    order = np.argsort(parts.source, kind="stable")
    n_from = np.bincount(parts.source, minlength=len(parts.nodes))
    first = np.cumsum(n_from) - n_from
    rows, nodes = np.nonzero(has_node)
    n_each = n_from[nodes]
    within = np.arange(n_each.sum()) - np.repeat(np.cumsum(n_each) - n_each, n_each)
    rows, arcs = (
        np.repeat(rows, n_each),
        order[np.repeat(first[nodes], n_each) + within],
    )
    both = has_node[rows, parts.target[arcs]]
    rows, arcs = rows[both], arcs[both]
    dealt = random.random(len(arcs)) < np.exp(chance.log_arc)[arcs]
    shape = len(parts.source), len(parts.names)
    graphs = sets_of(arcs[dealt], rows[dealt], shape)
    shuffled = dataclasses.replace(parts, has_node=has_node, graphs=graphs)
    return shuffled, Chance(chance.log_node, _log_arc(shuffled))


def _log_arc(parts: KeptParts) -> NDArray[np.float64]:
    """Return the logarithm of how often an arc is there where its ends are, (E,)."""
    rows, nodes = np.nonzero(parts.has_node)
    of_node = sets_of(nodes, rows, parts.has_node.shape[::-1])
    both = n_members(of_node[parts.source] & of_node[parts.target])
    ratio = n_members(parts.graphs) / np.maximum(both, 1)
    return np.log(np.maximum(ratio, np.finfo(float).tiny))


def _margin_model(has: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return p = x y / (1 + x y) whose sums over rows and columns are those of a table.

    Rows with one sum have one y, columns with one sum one x, so that few are fitted.
    The odds of full rows and columns have no end: they would grow as long as one looks,
    and the others with them. They are set apart, and so are empty ones.
    """
    tiny = np.finfo(float).tiny
    rows, columns = (has.any(axis) & ~has.all(axis) for axis in (1, 0))
    if not (rows.all() and columns.all()):
        p = np.where(has.all(axis=1, keepdims=True) | has.all(axis=0), 1.0, tiny)
        if rows.any() and columns.any():
            p[np.ix_(rows, columns)] = _margin_model(has[np.ix_(rows, columns)])
        return np.asarray(p)
    row_sum, of_row = np.unique(has.sum(axis=1), return_inverse=True)
    column_sum, of_column = np.unique(has.sum(axis=0), return_inverse=True)
    n_rows, n_columns = np.bincount(of_row), np.bincount(of_column)
    if len(row_sum) == 1:
        p = np.maximum(column_sum / len(has), tiny)[None]
        return np.asarray(p[of_row][:, of_column])
    y = row_sum / np.sqrt(max(1, has.sum()))
    x = column_sum / np.sqrt(max(1, has.sum()))
    for _ in range(ROUNDS):
        before = x
        y = row_sum / np.maximum((n_columns * x / (1 + np.outer(y, x))).sum(1), tiny)
        weight = n_rows[:, None] * y[:, None] / (1 + np.outer(y, x))
        x = column_sum / np.maximum(weight.sum(axis=0), tiny)
        if np.allclose(x, before, rtol=1e-6):
            break
    odds = np.outer(y, x)
    p = np.maximum(odds / (1 + odds), tiny)
    return np.asarray(p[of_row][:, of_column])


def _traded(
    has: NDArray[np.bool_], layer: NDArray[np.int64], random: np.random.Generator
) -> NDArray[np.bool_]:
    """Let pairs of graphs trade what only one of them has, again and again.

    How many graphs have a node, and how many nodes of a layer a graph has, stay.
    """
    has, n = has.copy(), len(has)
    n_layers = int(layer.max(initial=0)) + 1
    for _ in range(TRADES):
        order = random.permutation(n)
        one, two = order[: n // 2], order[n // 2 : 2 * (n // 2)]
        pair, node = np.nonzero(has[one] != has[two])
        group = pair * n_layers + layer[node]
        is_mine = has[one[pair], node]
        n_mine = np.bincount(group, is_mine, minlength=len(one) * n_layers)
        mixed = np.lexsort((random.random(len(group)), group))
        first = np.searchsorted(group[mixed], group[mixed])
        to_one = np.arange(len(mixed)) - first < n_mine[group[mixed]]
        pair, node = pair[mixed], node[mixed]
        has[one[pair], node], has[two[pair], node] = to_one, ~to_one
    return has
