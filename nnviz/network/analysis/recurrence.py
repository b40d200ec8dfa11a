"""How is a call that runs several recurrent networks taken apart into one for each?

torch runs all layers and both directions of an LSTM or a GRU in one call, over time
first unless told otherwise. While a network is recorded, each layer and direction is a
call of its own, with instances first, so that its hidden channels over time are a layer
like any other. Values agree with torch's to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from nnviz.network.analysis.operations import Operation

__all__ = ["RECURRENT", "is_packed", "run_one_by_one", "runs_several"]

RECURRENT = frozenset({"gru", "lstm", "rnn_relu", "rnn_tanh"})
"""Functions that run a recurrent network over all of time."""
_N_AXES = 3
"""Of instances, or time, and of channels."""


@dataclass(frozen=True, slots=True)
class _Call:
    """The arguments of a call; the functions of torch take them without names."""

    input: Tensor
    state: tuple[Tensor, ...]
    """Each (layer and direction, instance, channel)."""
    weights: tuple[Tensor, ...]
    has_biases: bool
    n_layers: int
    dropout: float
    train: bool
    bidirectional: bool
    batch_first: bool

    @property
    def is_simple(self) -> bool:
        return self.n_layers == 1 and not self.bidirectional and self.batch_first


def _call(arguments: tuple[Any, ...]) -> _Call | None:
    """Return a call's arguments; None for sequences that are packed."""
    if len(arguments) != len(_Call.__slots__) or _of_packed(arguments):
        return None
    state = arguments[1]
    return _Call(
        arguments[0],
        (state,) if isinstance(state, Tensor) else tuple(state),
        tuple(arguments[2]),
        *arguments[3:],
    )


def is_packed(operation: Operation | None) -> bool:
    """Return whether an operation runs over sequences that are packed.

    Parameters
    ----------
    operation
        Any recorded operation.
    """
    return (
        operation is not None
        and operation.name in RECURRENT
        and _of_packed(operation.arguments)
    )


def _of_packed(arguments: tuple[Any, ...]) -> bool:
    # The sizes of the batch are one more argument in front of the weights.
    return isinstance(arguments[3], (list, tuple))


def runs_several(arguments: tuple[Any, ...], options: dict[str, Any]) -> bool:
    """Return whether a call runs more than one layer and direction, or time first.

    Parameters
    ----------
    arguments, options
        Of one of the functions of :data:`RECURRENT`.
    """
    call = None if options else _call(arguments)
    return (
        call is not None
        and call.input.ndim == _N_AXES
        and not call.is_simple
        and not (call.train and call.dropout)
    )


def run_one_by_one(
    function: Callable[..., Any], arguments: tuple[Any, ...]
) -> tuple[Tensor, ...]:
    """Compute what a recurrent function would return, layer by layer.

    Parameters
    ----------
    function
        One of :data:`RECURRENT`.
    arguments
        For which :func:`runs_several` is true.

    Returns
    -------
    tuple of Tensor
        The hidden channels of the last layer over time, and the final states.
    """
    call = _call(arguments)
    assert call is not None  # the caller has asked
    x = call.input if call.batch_first else call.input.transpose(0, 1)
    states: list[tuple[Tensor, ...]] = []
    parts = _parts(call)
    for _ in range(call.n_layers):
        found = []
        for backward in (False, True)[: 1 + call.bidirectional]:
            state, weights = next(parts)
            given = state[0] if len(state) == 1 else state
            read = x.flip(1) if backward else x
            how = (call.has_biases, 1, 0.0, False, False, True)
            out, _, *cells = function(read, given, weights, *how)
            out = out.flip(1) if backward else out
            found.append(out)
            # The final state is what was put out last, and so has its channels.
            last = out[:, :1] if backward else out[:, -1:]
            states.append((last.transpose(0, 1), *cells))
        x = torch.cat(found, 2) if call.bidirectional else found[0]
    x = x if call.batch_first else x.transpose(0, 1)
    several = len(states) > 1
    ends = (
        torch.cat(parts) if several else parts[0] for parts in zip(*states, strict=True)
    )
    return (x, *ends)


def _parts(call: _Call) -> Iterator[tuple[tuple[Tensor, ...], list[Tensor]]]:
    """Yield state and weights of each layer and direction, in torch's order."""
    n = call.n_layers * (1 + call.bidirectional)
    each = len(call.weights) // n
    for i in range(n):
        state = tuple(part[i : i + 1] for part in call.state)
        yield state, list(call.weights[each * i : each * (i + 1)])
