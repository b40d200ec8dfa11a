"""What does the neuron matrix show of one layer? Rows, columns, and single cells.

Symbols: R rows, C channels of the layer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nnviz.results.neuron_matrix import ColumnContrast, Measure
from nnviz_dashboards.matrix.rows import MatrixRow

__all__ = ["Cell", "MatrixState"]

LEVEL = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class MatrixState:
    """Rows and columns as they are shown; cells are asked for by their place."""

    version: int
    """Another one means other cells."""
    layer: str
    measure: Measure
    rows: tuple[MatrixRow, ...]
    """All rows but those of classes, first to last."""
    classes: NDArray[np.int64]
    """Classes of the rows that follow, first to last."""
    columns: NDArray[np.int64]
    """Channel of each column, first to last, (C,)."""
    contrast: ColumnContrast | None
    """Of A and B by channel; None where they are not counted."""
    dead: NDArray[np.bool_]
    """Which channels no instance excites, (C,)."""
    bounds: tuple[float, float]
    """What is drawn lightest and darkest, where all channels have one shading."""
    sorted_by: str
    """What the columns are really sorted by."""

    @property
    def n_rows(self) -> int:
        """R."""
        return len(self.rows) + len(self.classes)

    @property
    def is_significant(self) -> NDArray[np.bool_]:
        """Which channels differ between A and B at 5 %, (C,)."""
        if self.contrast is None:
            return np.zeros(len(self.columns), dtype=np.bool_)
        return np.nan_to_num(self.contrast.p_value, nan=1.0) < LEVEL


@dataclass(frozen=True, slots=True)
class Cell:
    """The numbers of one cell, and of its channel."""

    row: str
    n_instances: int
    channel: int
    called: str
    """The channel's name, or else its number."""
    value: float
    a: float
    b: float
    effect: float
    p_value: float
    is_dead: bool
