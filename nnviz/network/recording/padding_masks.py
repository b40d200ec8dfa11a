"""Which positions of a layer count, in a batch whose instances have tokens?

Padding counts nowhere, nor do special tokens unless they are asked for: not in maxima,
not as the place of a maximum, not where influences are looked for. Which tokens count
comes with the batch; where a layer's positions are no tokens but windows of them, a
position counts if any token that it sees does.

Symbols: N instances, T tokens, P positions along a layer's token axis.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor

from nnviz.errors import ModelError
from nnviz.runs.architecture import Layer, ReceptiveField

__all__ = ["CountedTokens", "tokens_first"]


class CountedTokens:
    """The tokens of a batch that count, and so the positions of every layer.

    Parameters
    ----------
    tokens
        bool, shape (N, T).
    """

    def __init__(self, tokens: Tensor) -> None:
        self._tokens = tokens
        self._along: dict[tuple[int, ReceptiveField | None], Tensor] = {}
        self._known: dict[tuple[str, tuple[int, ...]], Tensor] = {}

    def of_layer(self, layer: Layer, extents: tuple[int, ...]) -> Tensor | None:
        """Return which positions of a layer count.

        Parameters
        ----------
        layer
            Says which of its axes runs over tokens.
        extents
            Of its position axes in this batch.

        Returns
        -------
        Tensor or None
            bool, shape (N, *extents), on the device of the tokens; None: all count.

        Raises
        ------
        ModelError
            If the layer has another number of positions than its tokens give.
        """
        axis = layer.token_axis
        if axis is None:
            return None
        key = layer.name, extents
        if key not in self._known:
            along = self._of_positions(layer, extents[axis])
            shape = [n if i == axis else 1 for i, n in enumerate(extents)]
            self._known[key] = along.view(len(along), *shape).expand(-1, *extents)
        return self._known[key]

    def _of_positions(self, layer: Layer, n_positions: int) -> Tensor:
        """Return which positions along the token axis count, (N, P)."""
        key = n_positions, layer.token_field
        if key not in self._along:
            self._along[key] = self._seen_by(layer, n_positions)
        return self._along[key]

    def _seen_by(self, layer: Layer, n_positions: int) -> Tensor:
        n_tokens = self._tokens.shape[1]
        seen = layer.token_field
        if seen is None:
            if n_positions != n_tokens:
                msg = (
                    f"layer {layer.name!r} has {n_positions} positions for {n_tokens} "
                    "tokens, and had one for each when the run was planned; pad all "
                    "instances to one length"
                )
                raise ModelError(msg)
            return self._tokens
        first, stop = _bounds(seen, n_positions, n_tokens)
        before = self._before
        return before[:, stop.to(before.device)] > before[:, first.to(before.device)]

    @functools.cached_property
    def _before(self) -> Tensor:
        """How many tokens before each one count, and of all, shape (N, T + 1)."""
        return torch.nn.functional.pad(self._tokens.long().cumsum(1), (1, 0))


@functools.lru_cache(maxsize=512)
def _bounds(
    seen: ReceptiveField, n_positions: int, n_tokens: int
) -> tuple[Tensor, Tensor]:
    """Return the first and the past-last token that each position sees."""
    boxes = np.array([seen.box((p,))[0] for p in range(n_positions)]).reshape(-1, 2)
    first = np.floor(boxes[:, 0]).clip(0, n_tokens).astype(np.int64)
    stop = np.ceil(boxes[:, 1]).clip(0, n_tokens).astype(np.int64)
    return torch.from_numpy(first), torch.from_numpy(stop)


def tokens_first(values: Tensor, token_axis: int | None, *, start: int) -> Tensor:
    """Return positions in the order in which they are stored: tokens before others.

    Parameters
    ----------
    values
        Axes before `start`, then one for each of a layer's position axes.
    token_axis
        Which of these runs over tokens; None leaves their order.
    start
        First axis of the positions.

    Returns
    -------
    Tensor
        The position axes as one, a view where it can be.
    """
    if values.ndim <= start:
        return values.unsqueeze(start)
    if token_axis:
        values = values.movedim(start + token_axis, start)
    return values.flatten(start)
