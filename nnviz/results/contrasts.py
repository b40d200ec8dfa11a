"""In what do two sets of instances differ? In a channel, or a value of a column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nnviz.formatting import said_p_value

__all__ = ["ChannelContrast", "RelevanceContrast", "ValueContrast", "channel_lines"]


@dataclass(frozen=True, slots=True)
class ChannelContrast:
    """One channel in two subsets."""

    layer: str
    channel: int
    count: int
    """In how many instances of A it is a top channel."""
    other_count: int
    """The same in B."""
    share: float
    other_share: float
    effect: float
    """Cohen's h of the two shares; positive if A has more."""
    interval: tuple[float, float]
    """95 % interval of `share` less `other_share`."""
    p_value: float
    """Adjusted over all channels of all shown layers."""
    mean: float
    """Mean activation in A."""
    other_mean: float
    name: str = ""
    """Of the channel, where it has one: the column of a table."""

    @property
    def called(self) -> str:
        """What people read: the name, or else the number."""
        return self.name or str(self.channel)


@dataclass(frozen=True, slots=True)
class RelevanceContrast:
    """The relevance of one channel in two subsets, and its gradient."""

    layer: str
    channel: int
    relevance: float
    """Mean in A, in the unit of the explained output."""
    other_relevance: float
    """Mean in B."""
    gradient: float
    """Mean gradient in A, summed over positions."""
    other_gradient: float
    gradient_norm: float
    """Mean norm of the gradient over positions in A; NaN where a run has none."""
    other_gradient_norm: float
    effect: float
    """Cohen's d of the signal in question, of the two relevances unless another was
    asked for; positive if A has more. NaN where it is not defined."""
    p_value: float
    """Of Welch's test, adjusted over all channels of all shown layers."""
    name: str = ""
    """Of the channel, where it has one: the column of a table."""

    @property
    def called(self) -> str:
        """What people read: the name, or else the number."""
        return self.name or str(self.channel)


@dataclass(frozen=True, slots=True)
class ValueContrast:
    """One value of a column of the instance table, in two subsets."""

    column: str
    value: str
    count: int
    other_count: int
    share: float
    other_share: float
    interval: tuple[float, float]
    """95 % interval of `share` less `other_share`."""
    p_value: float
    """Adjusted over all values of all columns."""


def channel_lines(channels: Sequence[ChannelContrast], other: str, n: int) -> list[str]:
    """Return in which channels two subsets differ, as lines for a terminal.

    Parameters
    ----------
    channels
        Of A against B.
    other
        Name of B.
    n
        How many channels have a line.
    """
    significant = [c for c in channels if c.p_value < 0.05]
    of = f"{len(significant):,} of {len(channels):,}"
    lines = [f"channels       {of} differ from {other} (p < 0.05)"]
    width = max((len(c.layer) for c in significant[:n]), default=0)
    lines += [
        f"  {c.layer:<{width}} {c.called:>5}  on top in {c.share:>6.1%}, "
        f"{c.other_share:>6.1%} there  effect {c.effect:+.2f}  "
        f"{said_p_value(c.p_value)}"
        for c in significant[:n]
    ]
    return lines
