"""On which axis of a value do the instances lie?

On the first one, but for networks that put time in front, as torch's recurrent and
transformer layers do unless they are told ``batch_first``: there instances are on axis
1. What looks like it is run once more with one instance more: the axis whose extent
changes is that of the instances.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from nnviz.errors import ModelError
from nnviz.network.analysis.operations import OperationGraph, record_operations

__all__ = ["record_by_instance"]

_FEWEST_AXES = 3
"""Time, instance, channel."""


def record_by_instance(model: nn.Module, batch: Tensor) -> OperationGraph:
    """Run the network and record its operations, knowing where instances lie.

    Parameters
    ----------
    model, batch
        As for :func:`nnviz.network.analysis.operations.record_operations`.

    Returns
    -------
    OperationGraph
        With its values that have time first.

    Raises
    ------
    ModelError
        With whatever the network raises.
    """
    graph = record_operations(model, batch)
    if not any(_may_be_time_first(value.shape, len(batch)) for value in graph.values):
        return graph
    try:
        more = record_operations(model, torch.cat([batch, batch[:1]]))
    except ModelError:  # of one number of instances
        return graph
    if [x.name for x in graph.operations] != [x.name for x in more.operations]:
        return graph
    time_first = frozenset(
        one.index
        for one, other in zip(graph.values, more.values, strict=True)
        if _may_be_time_first(one.shape, len(batch))
        and other.shape == (one.shape[0], len(batch) + 1, *one.shape[2:])
    )
    return replace(graph, time_first=time_first)


def _may_be_time_first(shape: tuple[int, ...], n_instances: int) -> bool:
    return (
        len(shape) >= _FEWEST_AXES
        and shape[0] != n_instances
        and shape[1] == n_instances
    )
