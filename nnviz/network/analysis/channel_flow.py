"""What is known of the channels of an operation graph while they are followed?

Every value gets a *marker* (see :mod:`nnviz.network.analysis.markers`) and a *root*:
the value from which it was made by operations that keep all channels and positions
(non-linearities, normalisation, permutations).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nnviz.network.analysis.markers import Marker, Origin, origin_marker
from nnviz.network.analysis.operations import Operation, OperationGraph
from nnviz.runs.architecture import LayerKind

if TYPE_CHECKING:
    from nnviz.network.analysis.value_paths import ValuePath, Weighing

__all__ = ["ChannelFlow"]


@dataclass(slots=True)
class ChannelFlow:
    """Origins, markers and roots of one operation graph."""

    graph: OperationGraph
    origins: dict[int, Origin] = field(default_factory=dict)
    """Origin by its value."""
    kinds: dict[int, LayerKind] = field(default_factory=dict)
    """What an origin's operation does, by its value."""
    markers: dict[int, Marker | None] = field(default_factory=dict)
    """Marker by value; None where it is not known."""
    roots: dict[int, int] = field(default_factory=dict)
    """Root by value."""
    families: defaultdict[int, list[int]] = field(
        default_factory=lambda: defaultdict(list)
    )
    """Values by root, in order of computation."""
    weighings: dict[int, Weighing] = field(default_factory=dict)
    """Operations that weigh values by an attention's pattern, by what they make."""
    value_paths: dict[int, ValuePath] = field(default_factory=dict)
    """What the heads of an attention are made of, by their origin."""
    unknown: list[Operation] = field(default_factory=list)
    """Operations that nnviz does not take apart, in order."""
    n_channels: int = 0

    def origin_of(self, number: float) -> tuple[Origin, int] | None:
        """Return origin and channel of a channel number; None if it is no channel."""
        if number <= 0:
            return None
        for origin in self.origins.values():
            channel = int(number) - origin.first
            if 0 <= channel < origin.n_channels:
                return origin, channel
        return None

    def add_origin(
        self,
        operation: Operation | None,
        value: int,
        axis: int,
        kind: LayerKind,
    ) -> None:
        """Let channels begin at a value, along an axis."""
        shape = self.graph.values[value].shape
        first = self.n_channels + 1
        n_channels = shape[axis] if shape else 1
        index = None if operation is None else operation.index
        self.origins[value] = Origin(index, value, first, n_channels, axis)
        self.kinds[value] = kind
        self.n_channels += n_channels
        self.mark(value, origin_marker(shape, axis, first) if shape else None)

    def mark(
        self, value: int, marker: Marker | None, source: int | None = None
    ) -> None:
        """Give a value its marker, and `source`'s root if it keeps all elements."""
        if value in self.roots:
            self.families[self.roots[value]].remove(value)
        self.markers[value] = marker
        root = value if source is None else self.roots.get(source, source)
        self.roots[value] = root
        self.families[root].append(value)
