"""Which channels does a subset excite most often? A small table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nnviz.formatting import html_table, text_table

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["TopChannels"]


@dataclass(frozen=True, slots=True, eq=False)
class TopChannels:
    """The channels of one layer that are top channels in most of a subset's instances.

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

    def __len__(self) -> int:
        return len(self.channel)

    def to_frame(self) -> pd.DataFrame:
        """Return the columns as a table."""
        import pandas as pd  # noqa: PLC0415  slow to import, and needed here only

        return pd.DataFrame(dict(self._columns()))

    def _columns(self) -> list[tuple[str, NDArray[np.generic]]]:
        names = ("channel", "count", "share", "base_rate", "lift", "mean")
        return [(name, getattr(self, name)) for name in names]

    def _title(self) -> str:
        return (
            f"top channels of {self.layer} for {self.subset!r}, "
            f"{self.n_instances:,} instances"
        )

    def __repr__(self) -> str:
        return text_table(self._title(), self._columns())

    def _repr_html_(self) -> str:
        return html_table(self._title(), self._columns())
