"""What do the operations of one forward pass say about layers and edges?"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from nnviz.network.analysis.channel_flow import ChannelFlow, follow_channels
from nnviz.network.analysis.edges import NetworkEdges, find_edges
from nnviz.network.analysis.layer_names import NamedSite, name_layers
from nnviz.network.analysis.layers import find_sites
from nnviz.network.analysis.operations import OperationGraph
from nnviz.network.analysis.replay import replay

__all__ = ["Analysis", "analyse", "validate"]

LARGEST_ERROR = 1e-4
"""Relative difference up to which a pre-activation is taken as validated: float32
rounding of long sums; wrong edges differ by far more."""


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
        From :func:`nnviz.network.analysis.operations.record_operations`.
    """
    flow = follow_channels(graph)
    sites = find_sites(flow)
    named = name_layers(flow, sites)
    return Analysis(flow, named, find_edges(flow, named, sites))


def validate(analysis: Analysis, batch: Tensor) -> float | None:
    """Give up the edges that do not compute the network's own values.

    Parameters
    ----------
    analysis
        Its targets are changed where they are wrong.
    batch
        What the network received.

    Returns
    -------
    float or None
        Largest difference of what is left, relative to the largest value of a layer or
        of the output; None if there is no edge.
    """
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
