"""Which tensors does a network's output hold, and which one are the logits?

Networks return a tensor, a tuple, a dictionary or a dataclass; auxiliary heads are
ignored: the main output is ``logits``, ``out`` or ``last_hidden_state`` where the
output has such a name, else the first tensor.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

import torch

__all__ = ["iter_tensors", "logits_of", "main_output"]

_MAIN_NAMES = ("logits", "out", "last_hidden_state", "prediction", "predictions")


def iter_tensors(value: object) -> Iterator[torch.Tensor]:
    """Yield the tensors of a nested value in the order in which they are held."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from iter_tensors(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from iter_tensors(item)
    elif isinstance(value, slice):
        yield from iter_tensors((value.start, value.stop, value.step))
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from iter_tensors(getattr(value, field.name))


def main_output(output: object) -> torch.Tensor | None:
    """Return the tensor that a network's output is about, without auxiliary heads.

    Parameters
    ----------
    output
        What the network returned.

    Returns
    -------
    torch.Tensor or None
        None if the output holds no tensor.
    """
    for name in _MAIN_NAMES:
        item = (
            output.get(name)
            if isinstance(output, Mapping)
            else getattr(output, name, None)
        )
        if isinstance(item, torch.Tensor) and not isinstance(output, torch.Tensor):
            return item
    return next(iter_tensors(output), None)


def logits_of(output: object) -> torch.Tensor | None:
    """Return the class scores of a network's output.

    Parameters
    ----------
    output
        What the network returned.

    Returns
    -------
    torch.Tensor or None
        Float tensor (instance, class), of a single number for each instance
        (instance, 1); None if the network is not a classifier, that is, if its main
        output has other axes.
    """
    tensor = main_output(output)
    if tensor is None or not tensor.is_floating_point():
        return None
    if tensor.ndim == 1:
        return tensor[:, None]
    # Fully convolutional heads keep positions of extent one: (N, K, 1, 1).
    if tensor.ndim > 2 and all(extent == 1 for extent in tensor.shape[2:]):
        tensor = tensor.flatten(1)
    return tensor if tensor.ndim == 2 else None
