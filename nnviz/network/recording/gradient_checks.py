"""Does a network have the gradients that relevance is made of? A few instances tell.

A layer at which no gradient arrives is either one that the outputs do not depend on,
and then its relevance is 0, or one behind which the network breaks the gradient, by
``detach`` or a choice; its relevance would be wrong. Which of the two it is shows when
the layer's output is replaced by noise.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nnviz.errors import ModelError, PlanError
from nnviz.network.recording.runtime import NetworkRuntime
from nnviz.runs.architecture import Layer

__all__ = ["check_gradients"]

INSTANCES = 4

_ADVICE = "leave relevance = 'none' in [extraction]"


def check_gradients(runtime: NetworkRuntime, values: NDArray[Any]) -> tuple[str, ...]:
    """Refuse a network without the gradients that its run is to record.

    Parameters
    ----------
    runtime
        With what is explained; nothing is checked where that is nothing.
    values
        Prepared instances, shape (instance, ...).

    Returns
    -------
    tuple of str
        What the reader should know: layers of which no channel has any relevance.

    Raises
    ------
    PlanError
        If the network has no outputs to explain, or its gradients are broken, with the
        layer behind which they are.
    """
    if runtime.explained is None:
        return ()
    values = values[:INSTANCES]
    try:
        result = runtime.run(values)
    except ModelError as error:
        msg = f"the network has no gradients for relevance: {error}; or {_ADVICE}"
        raise PlanError(msg) from error
    if result.logits is None:
        msg = (
            "relevance is that of an output, and the network's output is not of shape "
            f"(instance, output); {_ADVICE}"
        )
        raise PlanError(msg)
    shown = runtime.architecture.shown
    apart = [layer for layer in shown if layer.name not in result.reached]
    for layer in apart:
        replaced = runtime.run(values, on_layer=_Noise(layer.name)).logits
        assert replaced is not None  # as there were logits before
        if not np.array_equal(replaced, result.logits, equal_nan=True):
            msg = (
                f"the outputs depend on layer {layer.name!r}, but no gradient of "
                "theirs arrives there: the network breaks it behind the layer, by "
                "detach, a choice such as argmax, or an operation that has none; leave "
                f"the layer out of [extraction] shown, or {_ADVICE}"
            )
            raise PlanError(msg)
    names = ", ".join(layer.name for layer in apart)
    if not names:
        return ()
    return (f"relevance is 0 where no way leads to the outputs: {names}",)


class _Noise:
    """Replace a layer's output by noise of its size; for ``on_layer`` of a run."""

    def __init__(self, layer: str) -> None:
        self._layer = layer

    def __call__(
        self,
        layer: Layer,
        output: torch.Tensor,
        activations: torch.Tensor,
        counted: torch.Tensor | None,
    ) -> None:
        if layer.name == self._layer:
            generator = torch.Generator().manual_seed(0)
            noise = torch.randn(output.shape, generator=generator)
            output.copy_(noise.to(output.device) * (output.abs().amax() + 1))
