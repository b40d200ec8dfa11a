"""Where is a layer read that is an input of the network? In front of ``forward``.

The network goes on with a copy: what is read may be written, by an ablation, and
gradients arrive there, without any change of the caller's batch.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from nnviz.network.analysis.layers import RECEIVED
from nnviz.runs.architecture import Architecture

__all__ = ["hook_received", "received_layers"]


def received_layers(architecture: Architecture) -> dict[int, str]:
    """Return the names of layers that are inputs, by their numbers among these."""
    return {
        int(layer.node.removeprefix(RECEIVED)): layer.name
        for layer in architecture.layers
        if layer.kind == "input"
    }


def hook_received(
    model: nn.Module,
    places: Collection[str],
    record: Callable[[str, Tensor], None],
) -> list[RemovableHandle]:
    """Let the inputs of a network be recorded when it is called.

    Parameters
    ----------
    model
        The network; packed batches are taken apart before.
    places
        Nodes of layers; those that are inputs are recorded.
    record
        Called with the node and the input.

    Returns
    -------
    list of RemovableHandle
        One, or none where no input is a layer.
    """
    wanted = {
        int(place.removeprefix(RECEIVED)): place
        for place in places
        if place.startswith(RECEIVED)
    }
    if not wanted:
        return []

    def receive(
        module: nn.Module, arguments: tuple[Any, ...], options: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        del module
        found = [*arguments, *options.values()]
        for number, place in wanted.items():
            # Not seen by whoever follows the network's functions.
            with torch._C.DisableTorchFunction():
                found[number] = found[number].clone()
            record(place, found[number])
        n = len(arguments)
        return tuple(found[:n]), dict(zip(options, found[n:], strict=True))

    return [model.register_forward_pre_hook(receive, with_kwargs=True)]
