"""What is drawn of one node or one arc? Its numbers, and what its size goes by.

In a comparison the first subset's numbers are a part's own, and the second's stand in
its contrast.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

__all__ = ["Contrast", "DrawnArc", "DrawnNode", "Key", "Linked", "Side"]

Key = tuple[str, int]
"""Layer and channel."""

Side = Literal["both", "first", "second"]


@dataclass(frozen=True, slots=True)
class Contrast:
    """A node or arc in two subsets."""

    side: Side
    """Which graphs keep it."""
    second_count: int
    second_share: float
    difference: float
    """First share minus second, in [-1, 1]."""
    effect: float
    """Cohen's h."""
    adjusted_p: float
    """Of Fisher's exact test, adjusted for all nodes and arcs."""
    second_relative: float = math.nan
    """Second count by the largest one, where its share is not known; else NaN."""


@dataclass(frozen=True, slots=True)
class Linked:
    """A strong source or target of a node, kept or not."""

    layer: str
    channel: int
    count: int


@dataclass(frozen=True, slots=True)
class DrawnNode:
    """One channel of the graph."""

    layer: str
    channel: int
    row: int
    """0 is the last layer, at the top."""
    count: int
    share: float
    base_rate: float
    lift: float
    lift_low: float
    lift_high: float
    """Ends of the 95 % interval of the lift."""
    score: float
    """What it was kept by; NaN if the first graph does not keep it."""
    sources: tuple[Linked, ...]
    targets: tuple[Linked, ...]
    contrast: Contrast | None = None
    name: str = ""
    """Of the class, if the channel is an output of the network, or of the column that
    it is."""
    score_error: float = math.nan
    """Standard error of the score by blocks of instances, or in a comparison of the
    difference; NaN where that was not estimated."""
    replication: float = math.nan
    """In which fraction of graphs of resampled instances it is kept; NaN likewise."""
    score_difference: float = math.nan
    """In a comparison: first score minus second; NaN likewise."""
    score_p: float = math.nan
    """Adjusted, of that difference; NaN likewise."""
    partner: tuple[int, float] | None = None
    """Of two networks: the channel of the second that it is matched with, and the
    correlation of the two."""
    relative: float = math.nan
    """Count by the largest one, where its share is not known; else NaN."""

    @property
    def shown_share(self) -> float:
        """What its size goes by: the share, in a comparison the larger of the two."""
        return _larger(self)


@dataclass(frozen=True, slots=True)
class DrawnArc:
    """One arc, from a source to a target nearer to the output."""

    source: int
    target: int
    """Indices of nodes."""
    count: int
    share: float
    base_rate: float
    lift: float
    lift_low: float
    lift_high: float
    contrast: Contrast | None = None
    n_folded: int = 0
    """Layers that it leads through and that are not drawn; where there are any, its
    count is that of the weakest arc of the strongest path."""
    replication: float = math.nan
    """In which fraction of graphs of resampled instances it is kept; NaN where that was
    not estimated."""
    relative: float = math.nan
    """As of a node."""

    @property
    def shown_share(self) -> float:
        """What its width goes by: the share, in a comparison the larger of the two."""
        return _larger(self)


def _larger(part: DrawnNode | DrawnArc) -> float:
    shares, contrast = [part.share, part.relative], part.contrast
    if contrast is not None:
        shares += [contrast.second_share, contrast.second_relative]
    return max((s for s in shares if not math.isnan(s)), default=0.0)
