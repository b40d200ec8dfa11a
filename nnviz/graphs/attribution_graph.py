"""What is an attribution graph? Kept channels, kept arcs, and their numbers.

A value of parallel arrays: everything that is drawn, compared or written is read from
here. ``graph_presets`` makes one from a full graph, ``summit_files`` from a published
file.

Symbols: V kept nodes, E kept arcs.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nnviz.errors import ShapeError, UnknownNameError
from nnviz.formatting import html_table, text_table
from nnviz.statistics import lift_interval

__all__ = ["N_STRONGEST", "AttributionGraph", "GraphErrors", "reach_text"]

SHOWN_SOURCES = 5
"""Of the nodes that are on top nowhere, so many are explained in print."""

N_STRONGEST = 3
"""Strongest sources that are kept for every node, whether kept themselves or not."""

UNKNOWN = -1

WEAK_REACH = 0.01
"""Share of the evidence below which a layer's nodes say little."""

SHOWN_LAYERS = 3

LIKELY = 0.9
"""Of resampled graphs, in which a node has to be kept to be called stable."""

ROUGH_BELOW = 100
"""Instances; of fewer, errors by blocks are off by more than a tenth."""

Arrays: TypeAlias = tuple[NDArray[Any], ...]


@dataclass(frozen=True, slots=True, eq=False)
class GraphErrors:
    """How sure the numbers of one graph are: what other instances would change."""

    n_blocks: int
    """B: random blocks of the subset's instances, each of which was left out once."""
    score: NDArray[np.float64]
    """Standard error of each node's score, by the jackknife, shape (V,)."""
    replication: NDArray[np.float64]
    """In which fraction of graphs of resampled blocks (bootstrap) each node is kept,
    shape (V,)."""
    arc_replication: NDArray[np.float64]
    """In which fraction of them each arc is kept, shape (E,)."""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, GraphErrors):
            return NotImplemented
        return _equal(self, other)

    __hash__ = None  # type: ignore[assignment]  # the arrays are not hashable


@dataclass(frozen=True, slots=True)
class HalfLikeness:
    """How alike the graphs of two random halves of a subset are.

    Graphs of two subsets differ by more than chance where they are less alike than the
    halves of each.
    """

    nodes: float
    """Jaccard index of the nodes: shared ones by all; NaN where there are none."""
    arcs: float
    """The same of the arcs."""


@dataclass(frozen=True, slots=True, eq=False)
class AttributionGraph:
    """The channels that matter most in one subset, and what they rest on.

    Two graphs are equal if all of their fields are, but for pictures, the names of
    channels, and how alike halves are.
    """

    subset: str
    preset: str
    """``summit``, ``directed``, or where else it comes from."""
    n_instances: int
    """Usable instances of the subset; -1 where it is not known."""
    n_total: int
    """Usable instances of the store, for base rates; -1 where it is not known."""
    layers: tuple[str, ...]
    """Names in order of computation; a layer may have no node."""
    layer: NDArray[np.int32]
    """Index into `layers` of each node, shape (V,)."""
    channel: NDArray[np.int32]
    """Shape (V,)."""
    count: NDArray[np.int64]
    """In how many of the subset's instances it is a top channel, shape (V,)."""
    base_count: NDArray[np.int64]
    """In how many of all instances, shape (V,); -1 where it is not known."""
    score: NDArray[np.float64]
    """What nodes were kept by, shape (V,)."""
    source: NDArray[np.int32]
    """Node that each arc comes from, shape (E,)."""
    target: NDArray[np.int32]
    """Node that each arc leads to, nearer to the output, shape (E,)."""
    arc_count: NDArray[np.int64]
    """In how many of the subset's instances the source is among the strongest, (E,)."""
    arc_base_count: NDArray[np.int64]
    """In how many of all instances, shape (E,); -1 where it is not known."""
    strongest_layer: NDArray[np.int32]
    """Layers of each node's strongest sources, kept or not, (V, 3); -1 for none."""
    strongest_channel: NDArray[np.int32]
    """Their channels, shape (V, 3); -1 for none."""
    strongest_count: NDArray[np.int64]
    """Their influence counts, shape (V, 3)."""
    problems: tuple[str, ...] = ()
    """What is not as one would expect; one sentence each."""
    errors: GraphErrors | None = None
    """How sure scores and selection are; None where that was not computed."""
    halves: HalfLikeness | None = None
    """How alike the graphs of two random halves of the subset are; None where that was
    not computed."""
    pictures: Mapping[tuple[str, int], bytes] = field(default_factory=dict)
    """What excites nodes most, as PNG or JPEG files, where it was asked for."""
    reach: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    """Which share of the evidence that starts at the output arrives at each layer,
    shape (L,); empty where the preset walks otherwise, or it is not known."""
    output_names: tuple[str, ...] = ()
    """Of the channels of the last layer, if they are classes; for drawings, too."""
    channel_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By layer, of those whose channels have names: a table's columns."""

    def __post_init__(self) -> None:
        n, e = len(self.layer), len(self.source)
        per_node: Arrays = (self.channel, self.count, self.base_count, self.score)
        per_arc: Arrays = (self.target, self.arc_count, self.arc_base_count)
        strongest = (self.strongest_layer, self.strongest_channel, self.strongest_count)
        if self.errors is not None:
            per_node = (*per_node, self.errors.score, self.errors.replication)
            per_arc = (*per_arc, self.errors.arc_replication)
        fits = (
            all(values.shape == (n,) for values in per_node)
            and all(values.shape == (e,) for values in per_arc)
            and all(values.shape == (n, N_STRONGEST) for values in strongest)
            and self.reach.shape in ((0,), (len(self.layers),))
        )
        if not fits:
            msg = (
                f"arrays of a graph with {n} nodes and {e} arcs have other lengths; "
                f"nodes have {n} rows, arcs {e}, strongest sources {N_STRONGEST} "
                f"columns, and reach {len(self.layers)} rows or none"
            )
            raise ShapeError(msg)

    @property
    def n_nodes(self) -> int:
        """Kept nodes."""
        return len(self.layer)

    @property
    def n_arcs(self) -> int:
        """Kept arcs."""
        return len(self.source)

    @property
    def share(self) -> NDArray[np.float64]:
        """Counts as fractions of the subset, shape (V,); NaN without instances."""
        return _fraction(self.count, self.n_instances)

    @property
    def base_rate(self) -> NDArray[np.float64]:
        """Base counts as fractions of all, shape (V,); NaN where not known."""
        return _fraction(self.base_count, self.n_total)

    @property
    def lift(self) -> NDArray[np.float64]:
        """Shares divided by base rates, shape (V,); NaN where not known."""
        return _quotient(self.share, self.base_rate)

    @property
    def arc_share(self) -> NDArray[np.float64]:
        """Arc counts as fractions of the subset, shape (E,)."""
        return _fraction(self.arc_count, self.n_instances)

    @property
    def arc_base_rate(self) -> NDArray[np.float64]:
        """Arc base counts as fractions of all, shape (E,); NaN where not known."""
        return _fraction(self.arc_base_count, self.n_total)

    @property
    def arc_lift(self) -> NDArray[np.float64]:
        """Arc shares divided by their base rates, shape (E,); NaN where not known."""
        return _quotient(self.arc_share, self.arc_base_rate)

    def lift_interval(
        self, level: float = 0.95
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the ends of exact intervals of the nodes' lifts, each (V,)."""
        return lift_interval(
            np.maximum(self.count, 0), max(0, self.n_instances), self.base_rate, level
        )

    def arc_lift_interval(
        self, level: float = 0.95
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the ends of exact intervals of the arcs' lifts, each (E,)."""
        n = max(0, self.n_instances)
        return lift_interval(
            np.minimum(np.maximum(self.arc_count, 0), n), n, self.arc_base_rate, level
        )

    def keys(self) -> list[tuple[str, int]]:
        """Return (layer, channel) of every node."""
        names = [self.layers[i] for i in self.layer.tolist()]
        return list(zip(names, self.channel.tolist(), strict=True))

    def arc_keys(self) -> list[tuple[tuple[str, int], tuple[str, int]]]:
        """Return (source, target) of every arc, each as (layer, channel)."""
        keys = self.keys()
        pairs = zip(self.source.tolist(), self.target.tolist(), strict=True)
        return [(keys[source], keys[target]) for source, target in pairs]

    def called(self, layer: str, channel: int) -> str:
        """Return what people read of a channel: its name, or else its number."""
        names = self.channel_names.get(layer, ())
        return names[channel] if names else str(channel)

    def node(self, layer: str, channel: int) -> int:
        """Return the index of a kept node.

        Raises
        ------
        UnknownNameError
            If it is not kept.
        """
        try:
            return self.keys().index((layer, channel))
        except ValueError:
            msg = (
                f"channel {channel} of layer {layer!r} is not in the graph of "
                f"{self.subset!r}; keep more nodes with a larger share"
            )
            raise UnknownNameError(msg) from None

    def nodes_of(self, layer: str) -> NDArray[np.int64]:
        """Return the indices of a layer's nodes."""
        return np.flatnonzero(self.layer == self.layers.index(layer))

    def __iter__(self) -> Iterator[tuple[str, int]]:
        return iter(self.keys())

    def __len__(self) -> int:
        return self.n_nodes

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, AttributionGraph):
            return NotImplemented
        return _equal(self, other)

    __hash__ = None  # type: ignore[assignment]  # the arrays are not hashable

    def _title(self) -> str:
        n = "an unknown number of" if self.n_instances < 0 else f"{self.n_instances:,}"
        return (
            f"<nnviz.AttributionGraph {self.subset!r}> {self.preset}, {n} "
            f"{'instance' if self.n_instances == 1 else 'instances'}: "
            f"{self.n_nodes:,} nodes, {self.n_arcs:,} arcs"
            + ("; the subset is empty" if self.n_instances == 0 else "")
        )

    def _columns(self) -> list[tuple[str, list[object]]]:
        errors, rows = self.errors, []
        for index, name in reversed(list(enumerate(self.layers))):
            nodes = np.flatnonzero(self.layer == index)
            best = nodes[np.argsort(-self.score[nodes], kind="stable")][:3]
            text = ", ".join(
                f"{self.called(name, self.channel[i])} ({self.count[i]:,})"
                for i in best
            )
            n_arcs = int((self.layer[self.target] == index).sum())
            row: tuple[object, ...] = (name, len(nodes), n_arcs, text)
            if len(self.reach):
                row = (*row, reach_text(float(self.reach[index])))
            if errors is not None:
                sure = "".join(
                    f"{self.score[i]:.3f} ± {errors.score[i]:.3f}" for i in best[:1]
                )
                row = (*row, sure, int((errors.replication[nodes] >= LIKELY).sum()))
            rows.append(row)
        headings = ["layer", "nodes", "arcs", "highest scores (count)"]
        if len(self.reach):
            headings.append("reach")
        if errors is not None:
            headings += ["first score ± error", f"kept again in {LIKELY:.0%}"]
        return [
            (heading, [row[i] for row in rows]) for i, heading in enumerate(headings)
        ]

    def _as_sources(self) -> list[str]:
        """Return why nodes are kept that are on top in no instance, a line each."""
        lines = []
        for node in np.flatnonzero(self.count == 0).tolist():
            counts = self.arc_count[self.source == node]
            if len(counts) and self.n_instances > 1:
                layer = self.layers[self.layer[node]]
                lines.append(
                    f"{layer} {self.called(layer, self.channel[node])}: on top in 0 of "
                    f"{self.n_instances:,}, source in {counts.max():,}"
                )
        rest = len(lines) - SHOWN_SOURCES
        more = [f"and {rest:,} more such nodes"] if rest > 0 else []
        return lines[:SHOWN_SOURCES] + more

    def weak_layers(self) -> tuple[str, ...]:
        """Return the layers at which less than 1 % of the evidence arrives."""
        return tuple(
            name
            for name, reach in zip(
                self.layers[: len(self.reach)], self.reach, strict=True
            )
            if reach < WEAK_REACH
        )

    def remarks(self) -> list[str]:
        """Return what a reader should know before believing it, a sentence each."""
        found = self.cautions()
        if self.halves is not None and np.isfinite(self.halves.nodes):
            nodes, arcs = self.halves.nodes, self.halves.arcs
            found.append(
                f"graphs of two random halves share {nodes:.0%} of their nodes"
                + (f" and {arcs:.0%} of their arcs" if np.isfinite(arcs) else "")
            )
        return found

    def cautions(self) -> list[str]:
        """Return what speaks against believing all of it, a sentence each."""
        found = []
        if weak := self.weak_layers():
            shown = ", ".join(weak[::-1][:SHOWN_LAYERS])
            more = len(weak) - SHOWN_LAYERS
            shown += f" and {more:,} more layers" if more > 0 else ""
            found.append(
                f"less than 1 % of the evidence arrives at {shown}: their nodes say "
                "little about the output"
            )
        if self.errors is not None and 0 <= self.n_instances < ROUGH_BELOW:
            found.append(
                f"errors of {self.n_instances:,} instances are rough themselves"
            )
        return found

    def __repr__(self) -> str:
        table = text_table(self._title(), self._columns())
        lines = [*self._as_sources(), *self.problems, *self.remarks()]
        return "\n".join([table, *(f"  {line}" for line in lines)])

    def _repr_html_(self) -> str:
        # The drawing is made of this class.
        from nnviz.graphs.drawing import draw_graph  # noqa: PLC0415
        from nnviz.graphs.svg import drawing_svg  # noqa: PLC0415

        problems = "".join(
            f"<div>{html.escape(text)}</div>"
            for text in (*self.problems, *self.remarks())
        )
        if not self.n_nodes:
            return html_table(self._title(), self._columns()) + problems
        drawing = draw_graph(self, self.output_names)
        drawn = drawing_svg(drawing, self.pictures)
        return f"<b>{html.escape(self._title())}</b>{problems}<div>{drawn}</div>"


def reach_text(reach: float) -> str:
    """Return the share of the evidence that arrives at a layer, for people.

    Examples
    --------
    >>> reach_text(1.0), reach_text(0.062), reach_text(5e-7)
    ('100 %', '6.2 %', '< 0.1 %')
    """
    if reach < 0.001:
        return "< 0.1 %" if reach > 0 else "0 %"
    return f"{100 * reach:.3g} %" if reach < 0.995 else "100 %"


def _fraction(counts: NDArray[np.int64], n: int) -> NDArray[np.float64]:
    known = np.where(counts >= 0, counts.astype(np.float64), np.nan)
    fraction: NDArray[np.float64] = known / (n if n > 0 else np.nan)
    return fraction


def _quotient(
    values: NDArray[np.float64], by: NDArray[np.float64]
) -> NDArray[np.float64]:
    return values / np.where(by > 0, by, np.nan)


def _equal(first: object, second: object) -> bool:
    """Return whether all fields of two values of one class are equal."""
    for name in type(first).__slots__:  # type: ignore[attr-defined]  # dataclasses
        if name in ("pictures", "output_names", "channel_names", "halves"):
            continue
        mine, yours = getattr(first, name), getattr(second, name)
        if isinstance(mine, np.ndarray):
            is_float = mine.dtype.kind == "f"
            if not np.array_equal(mine, yours, equal_nan=is_float):
                return False
        elif mine != yours:
            return False
    return True
