"""Which part of a picture is a token? Of networks that take a picture for a sequence.

A vision transformer cuts the picture into patches by a convolution, lays them one after
another, row by row, and puts a class token before them. From there on a layer has one
axis of positions; each patch keeps its place on it, since all that follows adds to what
stands there. So the places are those of the convolution.

Symbols: T tokens, H and W rows and columns of patches.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nnviz.runs.architecture import Architecture, Layer, ReceptiveField

__all__ = ["PatchGrid", "patch_grid"]

MOST_BEFORE = 8
"""Tokens before the patches: one for the class, one of a teacher, some registers."""


@dataclass(frozen=True, slots=True)
class PatchGrid:
    """Where the tokens of a layer lie in the picture."""

    shape: tuple[int, int]
    """H and W."""
    n_before: int
    """Tokens before the patches, which have no place."""
    field: ReceptiveField
    """The part of the network's input that is a patch, by its row and column."""

    def by_place(self, values: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return the values of the patches, shape (H, W), of those of tokens, (T,)."""
        return values[self.n_before :].reshape(self.shape)

    def is_before(self, values: NDArray[np.floating]) -> bool:
        """Whether the largest of some tokens' values, (T,), is not that of a patch."""
        return int(np.nan_to_num(values, nan=-np.inf).argmax()) < self.n_before


def patch_grid(architecture: Architecture, layer: Layer) -> PatchGrid | None:
    """Return where the tokens of a layer lie in the picture; None where it is unknown.

    Parameters
    ----------
    architecture
        Of the network.
    layer
        One of its layers.

    Returns
    -------
    PatchGrid or None
        None of a layer whose positions are no tokens of a picture, of one before which
        no positions in the plane were recorded, or where these are not as many as the
        tokens, but for a few before them.
    """
    if len(layer.positions) != 1 or len(architecture.input_shape) != 3:
        return None
    before = _nearest_plane(architecture, layer)
    if before is None or before.receptive_field is None:
        return None
    height, width = before.positions
    n_before = layer.positions[0] - height * width
    if not 0 <= n_before <= MOST_BEFORE:
        return None
    return PatchGrid((height, width), n_before, before.receptive_field)


def _nearest_plane(architecture: Architecture, layer: Layer) -> Layer | None:
    """Return the nearest layer before one that has two axes of positions."""
    layers = {one.name: one for one in architecture.layers}
    waiting, seen = deque([layer.name]), {layer.name}
    while waiting:
        name = waiting.popleft()
        if len(layers[name].positions) == 2:
            return layers[name]
        for edge in architecture.edges:
            if edge.target == name and edge.source not in seen:
                seen.add(edge.source)
                waiting.append(edge.source)
    return None
