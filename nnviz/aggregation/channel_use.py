"""How often are the channels of one layer on top in one subset? A table of them."""

from __future__ import annotations

import dataclasses
import html
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from nnviz.formatting import html_table, text_table

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["LEAST_SHARE", "ChannelUse", "Ranking"]

Ranking = Literal["count", "lift"]

LEAST_SHARE = 0.1
"""Channels below this share of a subset are no candidates for the most specific."""


@dataclass(frozen=True, slots=True, eq=False)
class ChannelUse:
    """How often channels of one layer are top channels in a subset's instances.

    Every column has one value for each channel: shape (n,).
    """

    subset: str
    layer: str
    n_instances: int
    """Usable instances of the subset."""
    channel: NDArray[np.int64]
    count: NDArray[np.int64]
    """In how many of the subset's instances it is a top channel."""
    share: NDArray[np.float64]
    """`count` as a fraction of the subset's instances."""
    base_rate: NDArray[np.float64]
    """The same fraction over all instances of the run."""
    lift: NDArray[np.float64]
    """`share` divided by `base_rate`."""
    mean: NDArray[np.float64]
    """Mean activation over the subset's instances."""
    name: NDArray[np.object_] | None = None
    """Of each channel, where channels have names: a table's columns."""
    note: str = ""
    """That the store has grown since these were counted; else empty."""

    def __len__(self) -> int:
        return len(self.channel)

    def best(self, n: int, *, by: Ranking = "count") -> NDArray[np.int64]:
        """Return the places of the channels that are used most, the best first.

        Parameters
        ----------
        n
            At most this many; channels with no count are left out.
        by
            ``count``: the largest counts first. ``lift``: the most specific first,
            among those of at least :data:`LEAST_SHARE` of the instances (or of the
            largest share, if that is less); the others after them. Equal ones by place.
        """
        key = self.share
        if by == "lift":
            least = min(LEAST_SHARE, float(self.share.max(initial=0)))
            is_specific = (self.share >= least) & (self.count > 0)
            key = np.where(is_specific, self.lift, -1.0)
        best = np.argsort(-key, kind="stable")[:n]
        return best[self.count[best] > 0]

    def take(self, order: NDArray[np.integer]) -> ChannelUse:
        """Return some of the channels, in another order, by their places here."""
        columns = {name: values[order] for name, values in self.columns()}
        return dataclasses.replace(self, **columns)

    def to_frame(self) -> pd.DataFrame:
        """Return the columns as a table."""
        import pandas as pd  # noqa: PLC0415  slow to import, and needed here only

        return pd.DataFrame(dict(self.columns()))

    def columns(self) -> list[tuple[str, NDArray[np.generic]]]:
        """Return name and values of every column, in their order."""
        names = ["channel", "count", "share", "base_rate", "lift", "mean"]
        if self.name is not None:
            names.insert(1, "name")
        return [(name, getattr(self, name)) for name in names]

    def _title(self) -> str:
        return (
            f"top channels of {self.layer} for {self.subset!r}, "
            f"{self.n_instances:,} instances"
        )

    def __repr__(self) -> str:
        table = text_table(self._title(), self.columns())
        return f"{table}\n{self.note}" if self.note else table

    def _repr_html_(self) -> str:
        return html_table(self._title(), self.columns()) + html.escape(self.note)
