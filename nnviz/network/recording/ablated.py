"""What would the network put out without some of its channels? Replace them by a mean.

A channel is replaced where it is read: at the place of its layer, so that all that
follows, shortcuts too, sees the replacement. It becomes a constant, its own mean over
data, and not zero: zero may be a value that the layers above never met, and then the
harm would be that of a strange input and not of a lost channel [1]_, [2]_.

References
----------
.. [1] Morcos et al., "On the importance of single directions for generalization", ICLR
   2018, section 2: single channels are clamped to a fixed value, zero or their mean.
.. [2] Wang et al., "Interpretability in the Wild", ICLR 2023, section 2: mean ablation
   over a reference distribution, many nodes at once.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nnviz.errors import ModelError
from nnviz.runs.architecture import Layer

__all__ = ["ChannelMeans", "Replacement"]


class ChannelMeans:
    """Take each channel's mean over what counts; for ``on_layer`` of a run."""

    def __init__(self) -> None:
        self.values: dict[str, NDArray[np.float64]] = {}
        """Of the last batch, by layer, shape (instance, channel)."""

    def __call__(
        self,
        layer: Layer,
        output: Tensor,
        activations: Tensor,
        counted: Tensor | None = None,
    ) -> None:
        """Keep the means of one layer's output."""
        rows = output.movedim(layer.channel_axis, -1)
        rows = rows[:, None] if rows.ndim == 2 else rows.flatten(1, -2)
        if counted is None:
            means = rows.mean(1, dtype=torch.float64)
        else:
            taken = counted.flatten(1)[..., None]
            total = torch.where(taken, rows, 0.0).sum(1, dtype=torch.float64)
            means = total / taken.sum(1)
        self.values[layer.name] = means.cpu().numpy()


class Replacement:
    """Replace channels by constants while the network runs; for ``on_layer`` of a run.

    Parameters
    ----------
    channels
        Channels to replace, by layer; layers without an entry stay as they are.
    means
        What they are replaced by: a value for each channel of a layer, shape (C,).

    Raises
    ------
    ModelError
        When it is called, if a layer's output is one value seen at many places.
    """

    def __init__(
        self,
        channels: Mapping[str, NDArray[np.integer]],
        means: Mapping[str, NDArray[np.float64]],
    ) -> None:
        self._replaced: dict[str, tuple[Tensor, Tensor]] = {}
        for name, numbers in channels.items():
            if len(numbers):
                is_replaced = torch.zeros(len(means[name]), dtype=torch.bool)
                is_replaced[torch.from_numpy(np.asarray(numbers, np.int64))] = True
                self._replaced[name] = is_replaced, torch.from_numpy(means[name])

    def __call__(
        self,
        layer: Layer,
        output: Tensor,
        activations: Tensor,
        counted: Tensor | None = None,
    ) -> None:
        """Write into the output of one layer, also where it does not count."""
        if layer.name not in self._replaced:
            return
        is_replaced, means = self._replaced[layer.name]
        values = output.movedim(layer.channel_axis, -1)
        try:
            # Written in place: the network may hold the tensor under several names, or
            # not use what the layer's own call returns.
            torch.where(
                is_replaced.to(values.device),
                means.to(values.device, values.dtype),
                values,
                out=values,
            )
        except RuntimeError as error:
            msg = (
                f"channels of layer {layer.name!r} cannot be replaced: {error}; leave "
                "the layer out of [extraction] layers, or show others"
            )
            raise ModelError(msg) from error
