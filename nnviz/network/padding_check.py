"""Does padding change what is computed of an instance? It is run at several lengths.

An instance is run at its own number of tokens, and padded further. Where nothing that
counts differs (outputs, and layers at the positions that count), batches may be padded
as it suits; where something does (windows that end in padding, a network that reads
backwards), every instance must be padded to the same number of tokens, or what is
stored of it would depend on its neighbours.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from nnviz.errors import ModelError, TaskMemoryError
from nnviz.network.arguments import inputs_of
from nnviz.network.independence import (
    LARGEST_ERROR,
    LARGEST_ERROR_FLOAT64,
    SURE_ERROR,
    LayerRunner,
    LayerValues,
    relative_difference,
)
from nnviz.runs.architecture import Layer
from nnviz.runs.network_inputs import NetworkInputs
from nnviz.runs.padding import PaddingCheck

__all__ = ["check_padding"]


def check_padding(
    model: nn.Module, layers: tuple[Layer, ...], batch: Tensor
) -> PaddingCheck | None:
    """Find out whether batches may be padded to different numbers of tokens.

    Parameters
    ----------
    model
        The network, in evaluation mode; it is not changed.
    layers
        Those of which values are recorded.
    batch
        Packed network input, of a few instances.

    Returns
    -------
    PaddingCheck or None
        None where instances have no tokens.
    """
    inputs = inputs_of(model)
    if inputs is None or not inputs.has_tokens:
        return None
    runner, largest, longest = LayerRunner(model, layers), 0.0, 0
    for one in batch.split(1):
        length = _own_length(one, inputs)
        try:
            length, alone = _unpadded(runner, one, inputs, length)
        except ModelError:
            return _one_length(f"it cannot be run on {length} tokens alone")
        for longer in _longer(length, inputs.n_tokens):
            try:
                found = runner.what_counts(_padded(one, inputs, longer))
            except ModelError:
                if longer <= inputs.n_tokens:
                    return _one_length(
                        f"it cannot be run on {length} tokens padded to {longer}"
                    )
                continue
            longest = max(longest, longer)
            differences = _differences(alone, found)
            largest = max(largest, max(differences.values(), default=0.0))
            beyond = [x for x, size in differences.items() if not size <= SURE_ERROR]
            if beyond and _is_sure(model, layers, one, (length, longer)):
                size = differences[beyond[0]]
                if not math.isfinite(size):
                    return _one_length(
                        f"{_place(beyond[0])} has other positions that see a token "
                        "that counts"
                    )
                return PaddingCheck("one length", size, _place(beyond[0]))
    if not longest:
        return _one_length("the network takes one number of tokens only")
    return PaddingCheck("buckets", largest, longest=longest)


def _one_length(reason: str) -> PaddingCheck:
    return PaddingCheck("one length", None, reason)


def _place(layer: str) -> str:
    return f"layer {layer!r}" if layer else "the network's output"


def _own_length(one: Tensor, inputs: NetworkInputs) -> int:
    """Return the number of tokens of an instance behind which all is padding."""
    length = inputs.tokens_of(one.shape[1])
    while length > 1:
        shorter = _padded(one, inputs, length - 1)
        if not torch.equal(
            _padded(shorter, inputs, length), _padded(one, inputs, length)
        ):
            break
        length -= 1
    return length


def _unpadded(
    runner: LayerRunner, one: Tensor, inputs: NetworkInputs, length: int
) -> tuple[int, LayerValues]:
    """Return what counts of an instance without padding, and its length.

    Where the network takes another way without padding there is one token of it, as in
    all batches of a run.
    """
    try:
        return length, runner.what_counts(_padded(one, inputs, length))
    except ModelError:
        return length + 1, runner.what_counts(_padded(one, inputs, length + 1))


def _padded(one: Tensor, inputs: NetworkInputs, n_tokens: int) -> Tensor:
    return torch.from_numpy(inputs.repacked(one.cpu().numpy(), n_tokens))


def _longer(length: int, n_tokens: int) -> Iterator[int]:
    """Yield the numbers of tokens to which an instance is padded."""
    yield from sorted({length + 1, 2 * length, max(n_tokens, length + 1) + 1})


def _differences(wanted: LayerValues, found: LayerValues) -> dict[str, float]:
    """Return how far two runs differ, by layer; outputs of each token are layers."""
    return {
        name: relative_difference(values, found[name])
        for name, values in wanted.items()
        if name or values.shape == found[name].shape
    }


def _is_sure(
    model: nn.Module, layers: tuple[Layer, ...], one: Tensor, lengths: tuple[int, int]
) -> bool:
    """Return whether two lengths differ by more than rounding, in float64 if it can."""
    inputs = inputs_of(model)
    assert inputs is not None  # only networks with tokens are asked about
    batches = [_padded(one, inputs, length) for length in lengths]
    try:
        wide = LayerRunner(copy.deepcopy(model).double(), layers)
        alone, found = (wide.what_counts(batch) for batch in batches)
        limit = LARGEST_ERROR_FLOAT64
    except (ModelError, TaskMemoryError, RuntimeError, TypeError, ValueError):
        runner = LayerRunner(model, layers)
        alone, found = (runner.what_counts(batch) for batch in batches)
        limit = LARGEST_ERROR
    return any(not size <= limit for size in _differences(alone, found).values())
