"""Which channels of an instance are stronger than is usual?

Symbols: C channels of a layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nnviz.aggregation.aggregates import aggregates_of
from nnviz.aggregation.index_channels import activation_row
from nnviz.store.store import Store

__all__ = ["StandingOut", "standing_out"]


@dataclass(frozen=True, slots=True)
class StandingOut:
    """A channel of an instance that is stronger than usual."""

    channel: int
    value: float
    deviations: float
    """Standard deviations above the mean of all instances."""


def standing_out(
    store: Store, number: int, layers: Sequence[str], n: int = 5
) -> dict[str, list[StandingOut]]:
    """Return the channels of an instance that are strongest for what is usual.

    Parameters
    ----------
    store
        That was aggregated.
    number
        Of the instance.
    layers
        Names of layers.
    n
        Channels of each layer, at most; those below the mean of all instances are left
        out.

    Raises
    ------
    MissingDataError
        If nothing has been aggregated.
    """
    usual = aggregates_of(store, "all")
    found = {}
    for layer in layers:
        values = activation_row(store, layer, number)
        mean, variance = usual.mean(layer)[0], usual.variance(layer)[0]
        with np.errstate(divide="ignore", invalid="ignore"):
            z = (values.astype(np.float64) - mean) / np.sqrt(variance)
        z = np.where(np.isfinite(z), z, 0.0)
        best = np.argsort(-z, kind="stable")[:n]
        found[layer] = [
            StandingOut(int(c), float(values[c]), float(z[c])) for c in best if z[c] > 0
        ]
    return found
