"""How does a network with one logit for two classes get an output for each of them?

A classifier of two classes often has one output, the logit :math:`z` of its second
class: the sigmoid of :math:`z` is that class's probability. The same network with two
outputs, :math:`-z/2` and :math:`z/2`, has the same probabilities, since their softmax
is the sigmoid of :math:`z`; and each class has an output of its own, which rests on
what speaks for this class. So the linear layer that makes the logit gets a second row:
half of its weights for the second class, and minus half of them for the first. A
network that applies the sigmoid itself gets whole weights: its outputs are then
:math:`1 - p` and :math:`p`.

Whether a layer is the one that makes the logit, and what follows it keeps the two
apart, is seen by trying: the outputs have to be these on a batch.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import skip_init

from nnviz.network.analysis.outputs import main_output
from nnviz.network.arguments import inputs_of
from nnviz.network.recording.normalizing import normalize
from nnviz.runs.config import PreprocessingConfig

__all__ = ["TwoOutputs", "find_two_outputs", "with_two_outputs"]

TOLERANCE = 1e-4
"""Largest difference between outputs, relative to the largest of them."""

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True, slots=True)
class TwoOutputs:
    """Which layer makes the logit of two classes."""

    module: str
    """Its name in the network."""
    are_probabilities: bool
    """Whether the outputs are probabilities of the classes, not logits."""


def find_two_outputs(
    module: nn.Module, values: NDArray[Any], preprocessing: PreprocessingConfig
) -> TwoOutputs | None:
    """Find the layer that makes the only output of a network.

    Parameters
    ----------
    module
        The network, in evaluation mode, on the CPU, with one output for an instance.
    values
        Prepared instances, shape (instance, ...).
    preprocessing
        Says how they are normalised.

    Returns
    -------
    TwoOutputs or None
        None if no linear layer with one output makes it, by itself or before a sigmoid.
    """
    batch = torch.from_numpy(values)
    if inputs_of(module) is None:
        batch = normalize(batch, preprocessing)
    single = _flat(_run(module, batch))
    if single is None or len(single) != len(batch):
        return None
    for name, layer in reversed(list(module.named_modules())):
        if not _has_one_output(layer):
            continue
        for are_probabilities in (False, True):
            found = TwoOutputs(name, are_probabilities)
            pair = _run(with_two_outputs(module, found), batch)
            if pair is not None and _is_pair(pair, single, found):
                return found
    return None


def with_two_outputs(module: nn.Module, found: TwoOutputs) -> nn.Module:
    """Return a copy of a network that has an output for each of its two classes.

    Parameters
    ----------
    module
        The network with one output for an instance.
    found
        The layer that makes it.
    """
    factor = 1.0 if found.are_probabilities else 0.5
    layer = _with_two_rows(module.get_submodule(found.module), factor)
    if found.module:
        parent, _, name = found.module.rpartition(".")
        module = copy.deepcopy(module)
        setattr(module.get_submodule(parent), name, layer)
    else:
        module = layer
    module.register_forward_hook(_by_instance)
    return module


def _by_instance(_module: nn.Module, _inputs: object, output: object) -> object:
    """Undo what a network does to a single output: to drop its axis."""
    is_flat = isinstance(output, Tensor) and output.ndim == 1
    return output.reshape(-1, 2) if is_flat else output  # type: ignore[attr-defined]


def _has_one_output(layer: nn.Module) -> bool:
    if isinstance(layer, nn.Linear):
        return layer.out_features == 1
    return isinstance(layer, _CONVOLUTIONS) and layer.out_channels == 1


def _with_two_rows(layer: nn.Module, factor: float) -> nn.Module:
    """Return a layer like this one, with minus its weights before its weights."""
    assert isinstance(layer, (nn.Linear, *_CONVOLUTIONS))
    weight, bias = layer.weight.detach(), layer.bias
    has_bias, dtype = bias is not None, weight.dtype
    # Without initial weights, which would draw from the caller's random numbers.
    if isinstance(layer, nn.Linear):
        new: nn.Module = skip_init(
            nn.Linear, layer.in_features, 2, bias=has_bias, dtype=dtype
        )
    else:
        new = skip_init(
            next(kind for kind in _CONVOLUTIONS if isinstance(layer, kind)),
            layer.in_channels,
            2,
            layer.kernel_size,
            stride=layer.stride,
            padding=layer.padding,
            dilation=layer.dilation,
            bias=has_bias,
            padding_mode=layer.padding_mode,
            dtype=dtype,
        )
    signs = torch.tensor([-factor, factor], dtype=dtype)
    rows = weight * signs.reshape(2, *[1] * (weight.ndim - 1))
    new.weight = nn.Parameter(rows, requires_grad=False)
    if bias is not None:
        new.bias = nn.Parameter(bias.detach() * signs, requires_grad=False)
    return new.eval()


def _run(module: nn.Module, batch: Tensor) -> Tensor | None:
    try:
        with torch.inference_mode():
            output = main_output(module(batch))
    except Exception:  # noqa: BLE001  a network may count on its one output
        return None
    return output


def _flat(output: Tensor | None) -> NDArray[np.float64] | None:
    if output is None or not output.is_floating_point():
        return None
    return output.double().numpy().reshape(-1)


def _is_pair(output: Tensor, single: NDArray[np.float64], found: TwoOutputs) -> bool:
    """Whether outputs are those of two classes, by the single output of the network."""
    values = output.double().numpy()
    if values.ndim < 2 or values.reshape(len(values), -1).shape != (len(single), 2):
        return False
    values = values.reshape(-1, 2)
    wanted = np.stack([-single / 2, single / 2], axis=1)
    if found.are_probabilities:
        wanted = np.stack([1 - single, single], axis=1)
    if not np.isfinite(wanted).all():
        return False
    allowed = TOLERANCE * np.abs(wanted).max(initial=1e-30)
    return bool(np.abs(values - wanted).max(initial=0.0) <= allowed)
