"""What are a network's layers and edges? One forward pass finds them."""

from __future__ import annotations

from torch import Tensor, nn

from nnviz.errors import ModelError
from nnviz.network.architecture import Architecture
from nnviz.network.channels import follow_channels
from nnviz.network.graph import OperationGraph, record_operations
from nnviz.network.layers import name_layers
from nnviz.network.outputs import logits_of, main_output
from nnviz.network.sites import find_sites

__all__ = ["trace"]


def trace(model: nn.Module, batch: Tensor) -> Architecture:
    """Find the layers and edges of a network.

    Parameters
    ----------
    model
        The network in evaluation mode; it is run and not changed.
    batch
        Normalised network input (instance, ...), real or random, of 1 or 2 instances.

    Returns
    -------
    Architecture
        Layers in order of computation.

    Raises
    ------
    ModelError
        If the network cannot be run on the batch, returns no tensor, or has no layer.
    """
    if model.training:
        msg = (
            "the network is in training mode, so its output depends on chance and on "
            "the other instances of a batch; call model.eval() first"
        )
        raise ModelError(msg)
    try:
        graph = record_operations(model, batch)
    except (RuntimeError, TypeError, ValueError, IndexError, KeyError) as error:
        msg = (
            f"the network cannot be run on a batch of shape {tuple(batch.shape)} and "
            f"type {batch.dtype}: {error}; check preprocessing and the model's source"
        )
        raise ModelError(msg) from error
    output = main_output(graph.output)
    if output is None:
        msg = (
            f"the network returned {type(graph.output).__name__} without a tensor; "
            "it must return a tensor, or a tuple, dictionary or dataclass of tensors"
        )
        raise ModelError(msg)
    flow = follow_channels(graph)
    named = name_layers(flow, find_sites(flow))
    if not named:
        msg = (
            "no layer was found: the output depends on no convolution, linear map, sum "
            "or concatenation that torch functions make from the input"
        )
        raise ModelError(msg)
    logits = logits_of(graph.output)
    return Architecture(
        layers=tuple(item.layer for item in named),
        input_shape=tuple(batch.shape[1:]),
        output_shape=tuple((output if logits is None else logits).shape[1:]),
        problems=tuple(_unknown_operations(graph, flow.unknown)),
    )


def _unknown_operations(graph: OperationGraph, unknown: object) -> list[str]:
    return []
