"""Where does each tensor, operation and block of the network stand, left to right?

Every open block is laid out by itself, and is then one node of the block around it [1]_
[2]_: so opening one moves nothing inside of the others, and networks of a thousand
operations cost what is seen of them. In a block:

1. a node's column follows from the longest way that leads to it;
2. an arc over several columns gets a lane in each of those between;
3. nodes of a column are ordered so that few arcs cross;
4. heights follow the neighbours' as far as the order allows (isotonic regression).

What is outside of all blocks is broken into lines, as a text is: most networks are far
longer than wide.

References
----------
.. [1] Sugiyama and Misue, "Visualization of structural information: automatic drawing
   of compound digraphs", IEEE Transactions on SMC 21(4), 1991.
.. [2] Kahng et al., "ActiVis", IEEE TVCG 24(1), 2018, section 6.1.
"""

from __future__ import annotations

import bisect
import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from nnviz.graphs.layout import arrange_rows
from nnviz.results.network_graph import NetworkArc, NetworkGraph, NetworkNode

__all__ = ["Box", "NetworkLayout", "Point", "arrange_network"]

Point: TypeAlias = tuple[float, float]

COLUMN_GAP = 26.0
ROW_GAP = 14.0
LANE = 6.0
"""Height of an arc that passes a column."""
PADDING = 12.0
TITLE = 22.0
"""Height of what stands above an open block's contents."""
DIAMETER = 22.0
"""Of a tensor's circle."""
LINE = 15.0
"""Height of a line of text."""
CHARACTER = 6.3
"""Width of a letter of the small font, about."""
LONGEST = 16
"""Letters of a label, at most; the drawing cuts off what is longer."""
N_SWEEPS = 6
N_SHUFFLES = 1
"""Tries beside the order of computation, which is nearly always the best."""
STRAIGHT = 8.0
"""How much more a lane wants to be straight than a node wants to be near others."""
ASPECT = 2.2
"""Width by height that lines are broken for, unless another is asked for."""
LINE_GAP = 44.0
MARGIN = 16.0
"""Beside the lines, for ways from the end of one to the beginning of the next."""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle; y grows downwards."""

    x: float
    y: float
    width: float
    height: float

    def moved(self, dx: float, dy: float) -> Box:
        """Return the box elsewhere."""
        return Box(self.x + dx, self.y + dy, self.width, self.height)


@dataclass(frozen=True, slots=True)
class NetworkLayout:
    """A place for every node that is seen, and a way for every arc."""

    boxes: Mapping[str, Box]
    """By the node's key. The circle of a tensor is at the top of its box, in the
    middle, and has the diameter `DIAMETER`."""
    ways: Mapping[tuple[str, str], tuple[Point, ...]]
    """By (source, target): points from the source's right side to the target's left."""
    width: float
    height: float


def arrange_network(graph: NetworkGraph, *, aspect: float = ASPECT) -> NetworkLayout:
    """Lay out what is seen of a network.

    Parameters
    ----------
    graph
        From :meth:`nnviz.results.network_graph.NetworkGraph.shown`.
    aspect
        Width by height of the place that it is for: where it would be wider, it goes on
        in further lines.

    Returns
    -------
    NetworkLayout
        The same for the same graph; boxes do not overlap, but for a block's with those
        of what it holds.
    """
    return _Arrangement(graph, aspect).result()


@dataclass(slots=True)
class _Part:
    """What is laid out of a block: coordinates count from its upper left corner."""

    width: float = 0.0
    height: float = 0.0
    anchor: float = 0.0
    """At this height arcs meet it,"""
    inset: float = 0.0
    """and so far from its sides."""
    boxes: dict[str, Box] = field(default_factory=dict)
    entries: dict[tuple[str, str], list[Point]] = field(default_factory=dict)
    """Ways of arcs from outside, from the left border on; those of one source have
    their beginning in common."""
    exits: dict[str, list[Point]] = field(default_factory=dict)
    """Ways from nodes inside to the right border."""


class _Arrangement:
    def __init__(self, graph: NetworkGraph, aspect: float) -> None:
        self._aspect = aspect
        self._nodes = {node.key: node for node in graph.nodes}
        self._arcs = graph.arcs
        self._contents: defaultdict[str, list[str]] = defaultdict(list)
        for node in graph.nodes:
            self._contents[node.block].append(node.key)
        self._inside: dict[tuple[str, str], tuple[str, list[Point]]] = {}
        """Of arcs within a block: the block, and the way in its coordinates."""

    def result(self) -> NetworkLayout:
        whole = self._lay_out("")
        ways = {}
        for key, (block, way) in self._inside.items():
            corner = whole.boxes[block] if block else Box(0, 0, 0, 0)
            ways[key] = tuple((x + corner.x, y + corner.y) for x, y in way)
        return NetworkLayout(whole.boxes, ways, whole.width, whole.height)

    def _holder(self, key: str, block: str) -> str | None:
        """Return which of a block's direct contents holds a node, or is it."""
        while self._nodes[key].block != block:
            key = self._nodes[key].block
            if not key:
                return None
        return key

    def _lay_out(self, block: str) -> _Part:
        keys = self._contents[block]
        parts = {
            key: self._lay_out(key) if self._nodes[key].is_open else self._single(key)
            for key in keys
        }
        inner: list[tuple[NetworkArc, str, str]] = []
        enters: dict[tuple[str, str], str] = {}
        leaves: dict[str, str] = {}
        for arc in self._arcs:
            source = self._holder(arc.source, block)
            target = self._holder(arc.target, block)
            if source is not None and target is not None:
                if source != target:
                    inner.append((arc, source, target))
            elif target is not None:
                enters[arc.source, arc.target] = target
            elif source is not None:
                leaves[arc.source] = source
        grid = _Grid(
            {key: parts[key] for key in keys},
            [(source, target) for _, source, target in inner],
            [(source, holder) for (source, _), holder in enters.items()],
            list(leaves.items()),
            aspect=None if block else self._aspect,
        )
        part = self._framed(block, grid)
        dx, dy = (PADDING, TITLE) if block else (0.0, 0.0)
        for key in keys:
            corner = grid.boxes[key].moved(dx, dy)
            part.boxes[key] = corner
            for held, box in parts[key].boxes.items():
                part.boxes[held] = box.moved(corner.x, corner.y)

        def way_of(ends: tuple[str, str], arc: tuple[str, str]) -> list[Point]:
            """Return the way between two items, and inside of them to the nodes."""
            way = [(x + dx, y + dy) for x, y in grid.ways[ends]]
            first = parts[ends[0]].exits.get(arc[0]) if ends[0] in parts else None
            last = parts[ends[1]].entries.get(arc) if ends[1] in parts else None
            if first is not None:
                way = [*_moved(first, part.boxes[ends[0]]), *way[1:]]
            if last is not None:
                way = [*way[:-1], *_moved(last, part.boxes[ends[1]])]
            return way

        for arc, source, target in inner:
            ends = (arc.source, arc.target)
            self._inside[ends] = (block, way_of((source, target), ends))
        for ends, holder in enters.items():
            way = way_of(("<" + ends[0], holder), ends)
            part.entries[ends] = [(0.0, way[0][1]), *way]
        for source, holder in leaves.items():
            way = way_of((holder, ">" + source), (source, ""))
            part.exits[source] = [*way, (part.width, way[-1][1])]
        heights = [way[0][1] for way in part.entries.values()]
        heights += [way[-1][1] for way in part.exits.values()]
        part.anchor = heights[0] if heights else part.height / 2
        return part

    def _framed(self, block: str, grid: _Grid) -> _Part:
        if not block:
            return _Part(grid.width, grid.height)
        title = _text_width(self._nodes[block].label) + 3 * PADDING
        width = max(grid.width + 2 * PADDING, title)
        return _Part(width, grid.height + TITLE + PADDING)

    def _single(self, key: str) -> _Part:
        width, height = _size(self._nodes[key])
        if self._nodes[key].kind in ("tensor", "input"):
            return _Part(width, height, DIAMETER / 2, (width - DIAMETER) / 2)
        return _Part(width, height, height / 2)


def _size(node: NetworkNode) -> tuple[float, float]:
    label = _text_width(node.label)
    if node.kind in ("tensor", "input"):
        return max(DIAMETER, label), DIAMETER + LINE
    if node.kind == "block":
        return max(label, _text_width(node.detail, 40)) + 2 * PADDING, 2 * LINE + 12
    return label + 14, LINE + 7


def _text_width(text: str, longest: int = LONGEST) -> float:
    return CHARACTER * min(len(text), longest)


def _moved(way: list[Point], corner: Box) -> list[Point]:
    return [(x + corner.x, y + corner.y) for x, y in way]


class _Grid:
    """The contents of one block in columns.

    Parameters
    ----------
    parts
        Each item as it is laid out by itself, in order of computation.
    links
        Pairs of items.
    enters, leaves
        Nodes outside from which arcs enter, or inside from which they leave, with the
        item at the other end. Their ways begin, or end, at ``"<" + node`` or ``">" +
        node``.
    aspect
        Width by height that columns are broken into lines for; None: they are not.
    """

    def __init__(
        self,
        parts: Mapping[str, _Part],
        links: list[tuple[str, str]],
        enters: list[tuple[str, str]],
        leaves: list[tuple[str, str]],
        *,
        aspect: float | None,
    ) -> None:
        order = {key: n for n, key in enumerate(parts)}
        self._parts = dict(parts)
        forward = [(a, b) for a, b in dict.fromkeys(links) if order[a] < order[b]]
        back = [(a, b) for a, b in dict.fromkeys(links) if order[a] >= order[b]]
        column = _columns(list(parts), forward, first=bool(enters))
        ports = dict.fromkeys((f"<{node}", holder) for node, holder in enters)
        out = dict.fromkeys((holder, f">{node}") for node, holder in leaves)
        last = 1 + max(column.values(), default=0)
        column |= dict.fromkeys((port for port, _ in ports), 0)
        column |= dict.fromkeys((port for _, port in out), last)
        for port in [p for p, _ in ports] + [p for _, p in out]:
            self._parts[port] = _Part(0.0, LANE, LANE / 2)
        self._column = column
        self._chains: dict[tuple[str, str], list[str]] = {}
        for source, target in [*ports, *forward, *out]:
            self._chains[source, target] = self._chain(source, target)
        self._arrange(order)
        self._line = dict.fromkeys(self.boxes, 0)
        self._bottoms = [self.height]
        if aspect is not None:
            self._break(aspect)
        self.ways: dict[tuple[str, str], list[Point]] = {
            link: self._way(chain) for link, chain in self._chains.items()
        }
        for source, target in back:
            self.ways[source, target] = [self._right(source), self._left(target)]

    def _chain(self, source: str, target: str) -> list[str]:
        """Put lanes into the columns between two items."""
        lanes = []
        for column in range(self._column[source] + 1, self._column[target]):
            lane = f"lane:{source}:{target}:{column}"
            self._column[lane] = column
            self._parts[lane] = _Part(0.0, LANE, LANE / 2)
            lanes.append(lane)
        return [source, *lanes, target]

    def _arrange(self, order: Mapping[str, int]) -> None:
        keys = list(self._column)
        number = {key: n for n, key in enumerate(keys)}
        column = np.array([self._column[key] for key in keys], dtype=np.int64)
        start = np.array([order.get(key, n) for n, key in enumerate(keys)], float)
        steps = [
            (number[a], number[b])
            for chain in self._chains.values()
            for a, b in itertools.pairwise(chain)
        ]
        arcs = np.array(steps, dtype=np.int64).reshape(-1, 2).T
        place = arrange_rows(column, arcs, start, n_shuffles=N_SHUFFLES)
        parts = [self._parts[key] for key in keys]
        above = np.array([part.anchor for part in parts])
        below = np.array([part.height - part.anchor for part in parts])
        is_lane = np.array([part.width == 0 for part in parts])
        anchor = _heights(column, place, arcs, (above, below), is_lane)
        widths = np.zeros(int(column.max(initial=0)) + 1)
        for n, part in enumerate(parts):
            widths[column[n]] = max(widths[column[n]], part.width)
        left = np.concatenate([[0.0], np.cumsum(widths + COLUMN_GAP)])
        top = float((anchor - above).min(initial=0.0))
        self.width = float(left[-1]) - COLUMN_GAP
        self.height = float((anchor + below).max(initial=0.0)) - top
        self.boxes: dict[str, Box] = {}
        for n, (key, part) in enumerate(zip(keys, parts, strict=True)):
            c = int(column[n])
            width = part.width or float(widths[c])  # lanes are as wide as their column
            x = float(left[c] + (widths[c] - width) / 2)
            self.boxes[key] = Box(
                x, float(anchor[n] - above[n]) - top, width, part.height
            )

    def _break(self, aspect: float) -> None:
        """Go on in the next line where one is full."""
        if self.width <= aspect * self.height:
            return
        columns: defaultdict[int, list[str]] = defaultdict(list)
        for key in self.boxes:
            columns[self._column[key]].append(key)
        # Of n lines of equal length the whole has the aspect that is wanted.
        n_lines = max(1, round((self.width / (self.height + LINE_GAP) / aspect) ** 0.5))
        spans = [
            (
                min(self.boxes[key].x for key in columns[c]),
                max(self.boxes[key].x + self.boxes[key].width for key in columns[c]),
            )
            for c in sorted(columns)
        ]
        lines: defaultdict[int, list[str]] = defaultdict(list)
        for c, line, begin in zip(
            sorted(columns), *_lines(spans, n_lines), strict=True
        ):
            for key in columns[c]:
                self.boxes[key] = self.boxes[key].moved(MARGIN - begin, 0.0)
                self._line[key] = line
            lines[line] += columns[c]
        top, self._bottoms, self.width = 0.0, [], 0.0
        for number in sorted(lines):
            members = [self.boxes[key] for key in lines[number]]
            dy = top - min(box.y for box in members)
            for key in lines[number]:
                self.boxes[key] = self.boxes[key].moved(0.0, dy)
            bottom = max(self.boxes[k].y + self.boxes[k].height for k in lines[number])
            self._bottoms.append(bottom)
            ends = [self.boxes[k].x + self.boxes[k].width for k in lines[number]]
            self.width = max(self.width, *ends)
            top = bottom + LINE_GAP
        self.height = top - LINE_GAP
        self.width += MARGIN

    def _right(self, key: str) -> Point:
        box, part = self.boxes[key], self._parts[key]
        return box.x + box.width - part.inset, box.y + part.anchor

    def _left(self, key: str) -> Point:
        box, part = self.boxes[key], self._parts[key]
        return box.x + part.inset, box.y + part.anchor

    def _way(self, chain: list[str]) -> list[Point]:
        points: list[Point] = []
        for key, after in itertools.pairwise(chain):
            if points:
                points.append(self._left(key))
            points.append(self._right(key))
            line = self._line[key]
            if self._line[after] != line:
                # Around the end of the line, and below it back to the beginning.
                between = self._bottoms[line] + LINE_GAP / 2
                y = self._left(after)[1]
                points += [
                    (self.width, points[-1][1]),
                    (self.width, between),
                    (0.0, between),
                    (0.0, y),
                ]
        return [*points, self._left(chain[-1])]


def _lines(
    spans: Sequence[tuple[float, float]], n_lines: int
) -> tuple[list[int], list[float]]:
    """Return the line of each column, and where that line begins, for short lines."""

    def broken(longest: float) -> tuple[list[int], list[float]]:
        numbers, begins = [0], [spans[0][0]]
        for left, right in spans[1:]:
            is_full = right - begins[-1] > longest
            numbers.append(numbers[-1] + is_full)
            begins.append(left if is_full else begins[-1])
        return numbers, begins

    # The shortest length at which they are enough: one of those that lines can have.
    lengths = sorted({right - left for left, _ in spans for _, right in spans})
    widest = max(right - left for left, right in spans)
    enough = [length for length in lengths if length >= widest]
    n_enough = bisect.bisect_left(
        enough, -n_lines, key=lambda length: -1 - broken(length)[0][-1]
    )
    return broken(enough[min(n_enough, len(enough) - 1)])


def _columns(
    items: Sequence[str], links: Sequence[tuple[str, str]], *, first: bool
) -> dict[str, int]:
    """Return the column of each item: one more than the last that leads to it."""
    before: defaultdict[str, list[str]] = defaultdict(list)
    for source, target in links:
        before[target].append(source)
    column: dict[str, int] = {}
    for key in items:  # in order of computation, so sources are known
        known = [column[source] for source in before[key]]
        column[key] = 1 + max(known) if known else int(first)
    return column


def _heights(
    column: NDArray[np.int64],
    place: NDArray[np.float64],
    arcs: NDArray[np.int64],
    extent: tuple[NDArray[np.float64], NDArray[np.float64]],
    is_lane: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Return the height at which arcs meet each item: ways are nearly straight.

    `extent` is how far an item reaches above and below that.
    """
    from scipy.optimize import isotonic_regression  # noqa: PLC0415  few open the view

    middle = np.zeros(len(column))
    orders = []
    for c in np.unique(column):
        members = np.flatnonzero(column == c)
        members = members[np.argsort(place[members], kind="stable")]
        apart = extent[1][members][:-1] + extent[0][members][1:] + ROW_GAP
        offset = np.concatenate([[0.0], np.cumsum(apart)])
        orders.append((members, offset))
        middle[members] = offset - offset[-1] / 2
    if arcs.size == 0:
        return middle
    weight = np.where(is_lane, STRAIGHT, 1.0)
    for sweep in range(N_SWEEPS):
        backwards = sweep % 2 == 1
        ends = arcs[::-1] if backwards else arcs
        for members, offset in orders[::-1] if backwards else orders:
            into = np.isin(ends[1], members)
            if not into.any():
                continue
            pull = weight[ends[0][into]]
            sums = np.bincount(ends[1][into], pull * middle[ends[0][into]], len(column))
            total = np.bincount(ends[1][into], pull, len(column))
            wanted = np.where(total > 0, sums / np.maximum(total, 1e-12), middle)
            fitted = isotonic_regression(
                wanted[members] - offset, weights=weight[members]
            )
            middle[members] = np.asarray(fitted.x) + offset
    return middle
