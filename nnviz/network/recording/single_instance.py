"""What did a network do with one instance? All maps, gradients and peak sources of it.

A run keeps maxima and a few sources, because it meets a million instances. Of one
instance everything fits into memory: the output of every layer, the gradient of one of
the network's outputs with respect to it, and for every channel the sources that
contribute most where it is largest. One forward and one backward pass give all of it.

Symbols: C channels of a layer, J of them with sources, K sources of each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from nnviz.errors import ModelError
from nnviz.network.influence.inputs import EdgeInput, Strongest
from nnviz.network.influence.strongest_sources import strongest_sources
from nnviz.network.recording.gradients import Explained
from nnviz.network.recording.runtime import NetworkRuntime
from nnviz.runs.architecture import Layer

__all__ = ["RecordedInstance", "RecordedLayer", "record_instance"]


@dataclass(frozen=True, slots=True, eq=False)
class RecordedLayer:
    """One layer's output for one instance, and what it does for an output."""

    maps: NDArray[np.float32]
    """The layer's output, shape (C, *positions); NaN at positions that do not count."""
    activation: NDArray[np.float32]
    """Its maximum over the positions that count, shape (C,)."""
    product: NDArray[np.float32]
    """Sum over positions of gradient times activation, shape (C,); NaN where no
    gradient arrives at the layer, so that nobody knows."""
    gradient: NDArray[np.float32]
    """Sum over positions of the gradient, shape (C,); NaN likewise."""
    sources: Strongest | None
    """Sources of all channels that are not excluded, by their contributions where the
    channel is largest; None where no influence enters the layer."""


@dataclass(frozen=True, slots=True, eq=False)
class RecordedInstance:
    """What a network did with one instance."""

    logits: NDArray[np.float32]
    """What it puts out, shape (output,)."""
    layers: Mapping[str, RecordedLayer]
    """By the layer's name, in order of computation."""


def record_instance(
    runtime: NetworkRuntime, values: NDArray[Any], output: int
) -> RecordedInstance:
    """Run a network on one instance, forwards and backwards.

    Parameters
    ----------
    runtime
        The network, with all layers shown and gradients prepared.
    values
        The prepared instance, shape (1, ...).
    output
        Which of the network's outputs is differentiated.

    Raises
    ------
    ModelError
        If the network has no such output, or no gradients.
    """
    seen = _Seen(runtime)
    result = runtime.run(
        values,
        on_layer=seen.on_layer,
        on_target=seen.on_target,
        explained=Explained("output", (output,)),
    )
    logits = result.logits
    if logits is None or not 0 <= output < logits.shape[1]:
        n = 0 if logits is None else logits.shape[1]
        msg = (
            f"the network has {n} outputs, and output {output} was to be explained; "
            "a network that puts out classes or a value can be explained"
        )
        raise ModelError(msg)
    layers = {}
    for name, maps in seen.maps.items():
        product, gradient = (
            result.relevance[name][part][0] for part in ("product", "gradient")
        )
        if name not in result.reached:
            product, gradient = np.full((2, len(maps)), np.nan, np.float32)
        layers[name] = RecordedLayer(
            maps, result.activations[name][0], product, gradient, seen.sources.get(name)
        )
    return RecordedInstance(logits[0], layers)


class _Seen:
    """What is taken of each layer while its output exists."""

    def __init__(self, runtime: NetworkRuntime) -> None:
        self._runtime = runtime
        self.maps: dict[str, NDArray[np.float32]] = {}
        self.sources: dict[str, Strongest] = {}

    def on_layer(
        self,
        layer: Layer,
        output: Tensor,
        activations: Tensor,
        counted: Tensor | None,
    ) -> None:
        # Copied: the network may write over its output later on.
        maps = output.movedim(layer.channel_axis, 1)[0].detach().float().cpu()
        values = np.array(maps.numpy(), dtype=np.float32)
        if counted is not None:
            values[:, ~counted[0].cpu().numpy()] = np.nan
        self.maps[layer.name] = values

    def on_target(
        self, layer: Layer, activations: Tensor, inputs: list[EdgeInput]
    ) -> None:
        options = self._runtime.extraction
        excluded = options.excluded_channels.get(layer.name, ())
        target = np.setdiff1d(np.arange(layer.n_channels), excluded)
        self.sources[layer.name] = strongest_sources(
            inputs,
            (np.zeros_like(target), target),
            ranks=options.ranks,
            signal="peak",
            threads=options.threads_per_worker,
        )
