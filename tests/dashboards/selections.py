"""What a visitor of a planted run has chosen."""

from __future__ import annotations

from nnviz_dashboards.shared.selection import Selection
from tests.planted_stores import NAMES


def choose(results, *, layer="late", subset=1, collections=("label",)):
    """Return the selection of a visitor who looks at one class in one layer."""
    layers = {layer.name: layer.n_channels for layer in results.layers}
    return Selection(
        layers, range(len(NAMES)), layer=layer, subset=subset, collections=collections
    )
