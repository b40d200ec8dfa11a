"""How does a network compute the same, faster?

Batch normalisation in evaluation mode is one factor and one summand for each channel;
where a convolution's output goes nowhere else, they are multiplied into its weights.
Modules stay in place, so that layers keep their names.
"""

from __future__ import annotations

import copy
from collections import Counter
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import parametrize

from nnviz.errors import ModelError
from nnviz.network.analysis.functions import CONVOLUTIONS
from nnviz.network.analysis.operations import (
    Operation,
    OperationGraph,
    record_operations,
)
from nnviz.network.arguments import inputs_of
from nnviz.runs.architecture import Architecture

__all__ = ["optimize"]

_FOLDABLE = (
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
    nn.Linear,
)


def optimize(
    model: nn.Module,
    *,
    memory_format: Literal["channels_last", "contiguous"] = "channels_last",
    fold_batch_norm: bool = True,
    architecture: Architecture | None = None,
    batch: Tensor | None = None,
) -> nn.Module:
    """Return a copy of a network that computes the same, faster.

    Parameters
    ----------
    model
        The network in evaluation mode; it is not changed.
    memory_format
        ``"channels_last"``: weights of convolutions over two axes, and then all maps,
        have channels next to each other in memory.
    fold_batch_norm
        Multiply batch normalisation into the convolution or linear map before it,
        wherever one forward pass shows that nothing else reads their output. Values
        change by rounding, about 5e-7 of their size.
    architecture
        Its input shape is taken for that forward pass if there is no `batch`.
    batch
        One instance of the network's input, for networks whose input is not
        floating-point.

    Raises
    ------
    ModelError
        If there is batch normalisation to fold and neither `architecture` nor `batch`.
    """
    optimized = copy.deepcopy(model).eval()
    foldable = any(isinstance(module, _BatchNorm) for module in optimized.modules())
    if fold_batch_norm and foldable:
        if batch is None and architecture is None:
            msg = (
                "batch normalisation can be folded only where one forward pass shows "
                "what reads its input; give architecture= or batch="
            )
            raise ModelError(msg)
        if batch is None:
            assert architecture is not None  # refused above
            batch = torch.zeros(1, *architecture.input_shape)
        reference = next(optimized.parameters(), batch)
        batch = batch[:1].to(reference.device)
        if batch.is_floating_point() and inputs_of(optimized) is None:
            batch = batch.to(reference.dtype)
        _fold(optimized, record_operations(optimized, batch))
    if memory_format == "channels_last":
        _to_channels_last(optimized)
    return optimized


def _fold(model: nn.Module, graph: OperationGraph) -> None:
    modules = dict(model.named_modules())
    uses = Counter(
        id(parameter)
        for module in model.modules()
        for parameter in module._parameters.values()
        if parameter is not None
    )
    norms_after: dict[str, set[str]] = {}
    for operation in graph.operations:
        if operation.name in CONVOLUTIONS or operation.name == "linear":
            norms_after.setdefault(operation.call.path, set()).add(
                _norm_after(graph, operation)
            )
    n_uses = Counter(norm for norms in norms_after.values() for norm in norms)
    n_calls = Counter(
        operation.call.path
        for operation in graph.operations
        if operation.name == "batch_norm"
    )
    for path, norms in norms_after.items():
        (norm_path, *others) = norms
        if others or not norm_path or n_uses[norm_path] > 1:
            continue
        module, norm = modules[path], modules[norm_path]
        calls = sum(1 for o in graph.operations if o.call.path == path)
        if (
            type(module) in _FOLDABLE
            and isinstance(norm, _BatchNorm)
            and norm.running_mean is not None
            and norm.running_var is not None
            and not parametrize.is_parametrized(module)
            and all(
                uses[id(p)] == 1 for p in module._parameters.values() if p is not None
            )
            and (n_calls[norm_path] == 1 or n_calls[norm_path] == calls)
        ):
            _multiply_into(module, norm)
            _replace(model, norm_path, norm)


def _norm_after(graph: OperationGraph, operation: Operation) -> str:
    """Return the path of the normalisation that alone takes an output, or ""."""
    value = graph.values[operation.outputs[0]]
    if operation.call.has_children or value.is_output or len(value.consumers) != 1:
        return ""
    user = graph.operations[value.consumers[0]]
    is_norm = user.name == "batch_norm" and not user.call.has_children
    # Another consumer on which the output does not depend still has to see it.
    others = [
        o for o in graph.operations if value.index in o.inputs and o.index != user.index
    ]
    return user.call.path if is_norm and not others else ""


def _multiply_into(module: nn.Module, norm: _BatchNorm) -> None:
    """Multiply a normalisation's factors into the weights before it, in float64."""
    assert norm.running_mean is not None  # checked by the caller
    assert norm.running_var is not None
    weight = module.weight
    assert isinstance(weight, nn.Parameter)  # every foldable module has one
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight.detach().double()
    shift = -norm.running_mean.double() * scale
    if norm.bias is not None:
        shift = shift + norm.bias.detach().double()
    bias = module.bias
    if isinstance(bias, nn.Parameter):
        shift = shift + bias.detach().double() * scale
    wide = weight.detach().double()
    transposed = isinstance(
        module, (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
    )
    if transposed:
        groups = int(getattr(module, "groups", 1))
        per_group = wide.unflatten(0, (groups, -1))
        factor = scale.view([groups, 1, -1, *[1] * (wide.ndim - 2)])
        wide = (per_group * factor).flatten(0, 1)
    else:
        wide = wide * scale.view([-1, *[1] * (wide.ndim - 1)])
    dtype = weight.dtype
    module.weight = nn.Parameter(wide.to(dtype), requires_grad=False)
    module.bias = nn.Parameter(shift.to(dtype), requires_grad=False)


def _replace(model: nn.Module, path: str, norm: _BatchNorm) -> None:
    """Put a module that returns its input in the place of a normalisation.

    A normalisation with its own non-linearity (a subclass with another forward method)
    keeps it: only its statistics become those that change nothing.
    """
    if type(norm).forward is _BatchNorm.forward:
        parent, _, name = path.rpartition(".")
        setattr(model.get_submodule(parent) if parent else model, name, nn.Identity())
        return
    n = norm.num_features
    like = norm.running_mean
    assert like is not None  # checked by the caller
    with torch.no_grad():
        norm.running_mean = torch.zeros_like(like)
        norm.running_var = (
            torch.ones(n, dtype=like.dtype, device=like.device) - norm.eps
        )
        if norm.affine:
            norm.weight.fill_(1.0)
            norm.bias.zero_()


def _to_channels_last(model: nn.Module) -> None:
    for module in model.modules():
        layout: torch.memory_format
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            layout = torch.channels_last
        elif isinstance(module, (nn.Conv3d, nn.ConvTranspose3d)):
            layout = torch.channels_last_3d
        else:
            continue
        for parameter in module.parameters(recurse=False):
            if parameter.ndim == module.weight.ndim:
                parameter.data = parameter.data.contiguous(memory_format=layout)
