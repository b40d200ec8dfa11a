"""What are a network's layers and edges? One forward pass finds them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from nnviz.errors import ModelError
from nnviz.network.architecture import Architecture
from nnviz.network.channels import ChannelFlow, follow_channels
from nnviz.network.edges import NetworkEdges, find_edges
from nnviz.network.graph import OperationGraph, record_operations
from nnviz.network.layers import NamedSite, name_layers
from nnviz.network.outputs import logits_of, main_output
from nnviz.network.replay import replay
from nnviz.network.sites import find_sites

__all__ = ["Analysis", "analyse", "trace"]

LARGEST_ERROR = 1e-4
"""Relative difference up to which a pre-activation is taken as validated: float32
rounding of long sums; wrong edges differ by far more."""


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
        Layers in order of computation, and the edges between them. What is not known of
        a layer's edges is named in `problems`; its activations are recorded all the
        same.

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
    analysis = analyse(graph)
    named = analysis.named
    if not named:
        msg = (
            "no layer was found: the output depends on no convolution, linear map, sum "
            "or concatenation that torch functions make from the input"
        )
        raise ModelError(msg)
    largest_error = _validate(analysis, batch)
    logits = logits_of(graph.output)
    problems = [problem for target in analysis.targets for problem in target.problems]
    return Architecture(
        layers=tuple(item.layer for item in named),
        edges=tuple(edge for target in analysis.targets for edge in target.edges),
        input_shape=tuple(batch.shape[1:]),
        input_dtype=str(batch.dtype).removeprefix("torch."),
        output_shape=tuple((output if logits is None else logits).shape[1:]),
        problems=tuple(problems),
        validation_error=largest_error,
    )


@dataclass(frozen=True, slots=True)
class Analysis:
    """Layers and edges of one forward pass, with all that is known of them."""

    flow: ChannelFlow
    named: list[NamedSite]
    """The layers, in order of computation."""
    targets: NetworkEdges
    """What enters each layer, in the same order."""


def analyse(graph: OperationGraph) -> Analysis:
    """Find layers and edges in the operations of one forward pass.

    Parameters
    ----------
    graph
        From :func:`nnviz.network.graph.record_operations`.
    """
    flow = follow_channels(graph)
    sites = find_sites(flow)
    named = name_layers(flow, sites)
    return Analysis(flow, named, find_edges(flow, named, sites))


def _validate(analysis: Analysis, batch: Tensor) -> float | None:
    """Give up what does not compute the network's own values; return the error."""
    flow, targets = analysis.flow, analysis.targets
    if not any(target.readings for target in targets):
        return None
    errors = replay(flow, targets, batch, flow.graph.output)
    wrong = {k: e for k, e in errors.by_layer.items() if not e < LARGEST_ERROR}
    for target in targets:
        if target.layer in wrong:
            target.give_up(
                f"its edges add up to values that differ from the network's by "
                f"{wrong[target.layer]:.2g} of the largest"
            )
    if wrong:
        errors = replay(flow, targets, batch, flow.graph.output)
    return max([errors.output, *errors.by_layer.values()])
