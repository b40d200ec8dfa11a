"""How does a network of several inputs get them out of one packed batch?

A hook in front of the network takes the batch apart and calls ``forward`` with its
keywords. Whoever runs ``model(batch)`` needs to know nothing of it, the paths of
modules stay the same, and copies of the network have the hook, too.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nnviz.errors import ModelError
from nnviz.runs.network_inputs import InputPart, NetworkInputs

__all__ = [
    "Parameters",
    "bind_inputs",
    "calling_with",
    "counted_of",
    "inputs_of",
    "parameters_of",
    "received_names",
]


@dataclass(frozen=True, slots=True)
class Parameters:
    """What a network's ``forward`` can be called with."""

    names: tuple[str, ...]
    takes_any_name: bool = False
    """Whether it takes keywords of any name (``**inputs``)."""
    takes_any_number: bool = False
    """Whether it takes any number of positional arguments (``*inputs``)."""


class _Unpacking:
    """The hook: from a packed batch to the arguments of ``forward``."""

    def __init__(self, inputs: NetworkInputs) -> None:
        self.inputs = inputs
        self.is_paused = False

    def __call__(
        self, module: nn.Module, arguments: tuple[Any, ...], options: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        if self.is_paused or options or len(arguments) != 1:
            return None
        # Not seen by whoever follows the network's functions.
        with torch._C.DisableTorchFunction():
            return _arguments(module, arguments[0], self.inputs)


def bind_inputs(module: nn.Module, inputs: NetworkInputs | None) -> None:
    """Let a network take packed batches.

    Parameters
    ----------
    module
        The network; it still takes its own arguments, by keywords, as before.
    inputs
        What is packed; None leaves the network as it is.

    Raises
    ------
    ModelError
        If the network is compiled code, which takes no hooks.
    """
    if inputs is None:
        return
    if isinstance(module, torch.jit.ScriptModule):
        msg = (
            "the network is a ScriptModule, which takes several inputs and cannot be "
            "hooked; put it into a torch.nn.Module whose forward calls it"
        )
        raise ModelError(msg)
    known = _hook_of(module)
    if known is not None:
        known.inputs = inputs
        return
    module.register_forward_pre_hook(_Unpacking(inputs), with_kwargs=True)


def inputs_of(module: nn.Module) -> NetworkInputs | None:
    """Return what a network's packed batches hold; None if it takes plain ones."""
    hook = _hook_of(module)
    return None if hook is None else hook.inputs


@contextlib.contextmanager
def calling_with(
    module: nn.Module, batch: Tensor
) -> Iterator[tuple[tuple[Tensor, ...], dict[str, Tensor]]]:
    """Lend the arguments of a call, unpacked; in the block they pass as they are.

    Parameters
    ----------
    module
        The network.
    batch
        Packed where the network takes packed batches, else its one input.
    """
    hook = _hook_of(module)
    if hook is None:
        yield (batch,), {}
        return
    found = _arguments(module, batch, hook.inputs)
    hook.is_paused = True
    try:
        yield found
    finally:
        hook.is_paused = False


def received_names(module: nn.Module, batch: Tensor) -> tuple[str, ...]:
    """Return what each tensor is called that a network is given.

    Parameters
    ----------
    module
        The network.
    batch
        Packed where the network takes packed batches, else its one input.

    Returns
    -------
    tuple of str
        Parameters of ``forward``, those without a name first; else numbers from 0 on.
    """
    known = parameters_of(module).names
    with calling_with(module, batch) as (arguments, options):
        positional = [
            known[i] if i < len(known) else str(i) for i in range(len(arguments))
        ]
        return (*positional, *options)


def counted_of(packed: Tensor, inputs: NetworkInputs | None) -> Tensor | None:
    """Return which positions of a batch count.

    Parameters
    ----------
    packed
        Shape (instance, length).
    inputs
        What is packed; None for a plain batch.

    Returns
    -------
    Tensor or None
        bool, shape (instance, token), on the batch's device; None: all positions count.
    """
    if inputs is None or inputs.counted is None:
        return None
    part = inputs.counted
    return dict(_parts(packed, inputs))[part].bool()


def parameters_of(module: nn.Module) -> Parameters:
    """Return the parameters of a network's ``forward``.

    A network whose signature cannot be read takes anything.
    """
    try:
        signature = inspect.signature(module.forward)
    except (TypeError, ValueError):
        return Parameters((), takes_any_name=True, takes_any_number=True)
    kinds = inspect.Parameter
    found = signature.parameters.values()
    return Parameters(
        names=tuple(
            p.name
            for p in found
            if p.kind in (kinds.POSITIONAL_OR_KEYWORD, kinds.KEYWORD_ONLY)
        ),
        takes_any_name=any(p.kind is kinds.VAR_KEYWORD for p in found),
        takes_any_number=any(p.kind is kinds.VAR_POSITIONAL for p in found),
    )


def _hook_of(module: nn.Module) -> _Unpacking | None:
    hooks: Mapping[int, Any] = getattr(module, "_forward_pre_hooks", {})
    return next((h for h in hooks.values() if isinstance(h, _Unpacking)), None)


def _arguments(
    module: nn.Module, packed: Tensor, inputs: NetworkInputs
) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
    dtype = next((p.dtype for p in module.parameters() if p.is_floating_point()), None)
    positional: list[Tensor] = []
    named: dict[str, Tensor] = {}
    for part, values in _parts(packed, inputs):
        if part.role == "counted":
            continue
        wanted = getattr(torch, part.dtype)
        if part.dtype == "float32" and dtype is not None:
            wanted = dtype  # of the weights: half of the precision, or twice
        values = values.to(wanted)
        if part.name is None:
            positional.append(values)
        else:
            named[part.name] = values
    return tuple(positional), named


def _parts(packed: Tensor, inputs: NetworkInputs) -> Iterator[tuple[InputPart, Tensor]]:
    """Yield each part with its values, shape (instance, *shape), as views."""
    n, length = packed.shape
    n_tokens = inputs.tokens_of(length)
    start = 0
    for part in inputs.parts:
        stop = start + part.n_elements(n_tokens)
        shape = [n_tokens if size < 0 else size for size in part.shape]
        yield part, packed[:, start:stop].reshape(n, *shape)
        start = stop
