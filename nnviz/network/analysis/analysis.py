"""What do the operations of one forward pass say about layers and edges?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from nnviz.network.analysis.channel_flow import ChannelFlow
from nnviz.network.analysis.edges import NetworkEdges, find_edges
from nnviz.network.analysis.following import follow_channels
from nnviz.network.analysis.layers import FoundLayer, find_sites, name_layers
from nnviz.network.analysis.operations import OperationGraph
from nnviz.network.analysis.replay import replay
from nnviz.network.analysis.single_channels import single_channel_errors
from nnviz.network.analysis.token_axes import OtherLength, TokenAxes, find_token_axes
from nnviz.network.analysis.transformer_roles import with_roles
from nnviz.runs.architecture import LARGEST_ERROR

__all__ = ["Analysis", "analyse", "validate"]


@dataclass(frozen=True, slots=True)
class Analysis:
    """Layers and edges of one forward pass, with all that is known of them."""

    flow: ChannelFlow
    layers: list[FoundLayer]
    """The layers, in order of computation."""
    targets: NetworkEdges
    """What enters each layer, in the same order."""
    tokens: TokenAxes
    """Where the tokens of an instance lie."""


def analyse(
    graph: OperationGraph,
    other: OtherLength | None = None,
    inputs: Mapping[int, str] | None = None,
) -> Analysis:
    """Find layers and edges in the operations of one forward pass.

    Parameters
    ----------
    graph
        From :func:`nnviz.network.analysis.operations.record_operations`.
    other
        From :func:`nnviz.network.analysis.token_axes.record_other_length`; None where
        instances have no tokens.
    inputs
        Which of the values that the network receives are layers, and their names.
    """
    flow = follow_channels(graph)
    sites = find_sites(flow, inputs or ())
    tokens = find_token_axes(flow, other)
    layers = [
        replace(item, layer=tokens.of_layer(flow, item.layer, item.site.read_value))
        for item in name_layers(flow, sites, inputs)
    ]
    targets = find_edges(flow, layers, sites)
    return Analysis(flow, with_roles(flow, layers, targets), targets, tokens)


def validate(analysis: Analysis) -> float | None:
    """Give up the edges that do not compute the network's own values.

    Parameters
    ----------
    analysis
        Its targets are changed where they are wrong.

    Returns
    -------
    float or None
        Largest difference of what is left, relative to the largest value of a layer or
        of the output; None if there is no edge.
    """
    flow, targets = analysis.flow, analysis.targets
    if not any(target.operations for target in targets):
        return None
    output = flow.graph.output
    try:
        errors = replay(flow, targets, output)
    except (RuntimeError, TypeError, ValueError, IndexError, KeyError) as failure:
        for target in targets:
            target.give_up(f"the network's operations cannot be run again: {failure}")
        return None
    alone = single_channel_errors(flow, targets)
    for target in targets:
        error = errors.by_layer.get(target.layer, 0.0)
        single = alone.get(target.layer, 0.0)
        if math.isinf(error):
            target.give_up(
                "its edges cannot be run again at its place: their values have another "
                "shape, or are not finite"
            )
        elif not error < LARGEST_ERROR:
            target.give_up(
                f"its edges add up to values that differ from the network's by "
                f"{error:.2g} of the largest"
            )
        elif not single < LARGEST_ERROR:
            target.give_up(
                f"what single channels add to it differs from what its edges say by "
                f"{single:.2g} of the largest"
            )
    left = {target.layer for target in targets if target.operations}
    if len(left) < len(errors.by_layer):
        errors = replay(flow, targets, output)
    singles = [error for layer, error in alone.items() if layer in left]
    return _largest([errors.output, *errors.by_layer.values(), *singles])


def _largest(errors: list[float]) -> float:
    """Return the largest error, which is NaN where one is."""
    return next((error for error in errors if math.isnan(error)), max(errors))
