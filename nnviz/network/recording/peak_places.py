"""Where is a target strongest? In the layer's own output, where that has the same grid.

To find the peak of a pre-activation by computing it again takes many times as long as
the forward pass. Where the positions of a layer's output are those of the operations
that enter it, its output is read instead. Which layers these are is tried once.

Symbols: N instances, P positions, C channels of a layer.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nnviz.compiling import compiled
from nnviz.network.influence.inputs import EdgeInput
from nnviz.network.influence.memory_layout import flat
from nnviz.network.influence.on_device import peak_positions, preactivations
from nnviz.network.recording.recorder import Recorder
from nnviz.runs.architecture import Layer

__all__ = ["layers_of_one_grid", "peaks_of_pairs", "places_of_peaks"]

VALUES_AT_ONCE = 2**22
"""Maps that are looked through together."""

TOLERANCE = 1e-3
"""Of the largest pre-activation: how far below it a peak may lie by rounding."""

Indices = NDArray[np.int64]


def places_of_peaks(
    layer: Layer,
    output: Tensor,
    pairs: tuple[Indices, Indices],
    counted: Tensor | None = None,
    *,
    activations: NDArray[np.float32],
    since: Tensor | None = None,
) -> Indices:
    """Return where in a layer's output each target is largest; the first of equals.

    Parameters
    ----------
    layer
        The layer.
    output
        Its output with an axis for all instances, as ``on_layer`` has it.
    pairs
        Instance and channel of each pair, sorted by instance.
    counted
        Which positions count, bool, shape (N, ...); None: all.
    activations
        The output's maxima over what counts, shape (N, C).
    since
        A position from which on each maximum is found, int32 (N, C); None: the first.

    Returns
    -------
    ndarray
        Flat index into the positions, shape (pairs,).
    """
    rows = _rows(layer, output)
    kept = None if counted is None else counted.reshape(len(rows), -1)
    if rows.device.type != "cpu":
        return _places_on_device(rows, pairs, kept)
    places = np.zeros(len(pairs[0]), np.int64)
    values, strides = flat(rows.movedim(-1, 1))
    # Without rows: all positions count.
    masked = np.ones((0, 0), np.bool_) if kept is None else kept.numpy()
    find_places(
        values,
        (strides[0], strides[1], strides[4]),
        rows.shape[1],
        pairs,
        np.ascontiguousarray(masked),
        activations,
        np.zeros(activations.shape, np.int32) if since is None else since.numpy(),
        places,
    )
    return places


def _places_on_device(
    rows: Tensor, pairs: tuple[Indices, Indices], kept: Tensor | None
) -> Indices:
    instance, target = pairs
    places = np.empty(len(instance), np.int64)
    at_once = max(1, VALUES_AT_ONCE // rows.shape[1])
    for first in range(0, len(instance), at_once):
        part = slice(first, first + at_once)
        n = torch.from_numpy(instance[part]).to(rows.device)
        maps = rows[n, :, torch.from_numpy(target[part]).to(rows.device)]
        if kept is not None:
            maps = maps.masked_fill(~kept[n], -torch.inf)
        places[part] = maps.float().cpu().numpy().argmax(1)
    return places


@compiled
def find_places(
    values: NDArray[np.float32],
    strides: tuple[int, int, int],
    n_positions: int,
    pairs: tuple[Indices, Indices],
    counted: NDArray[np.bool_],
    largest: NDArray[np.float32],
    since: NDArray[np.int32],
    places: Indices,
) -> None:
    """Find where each pair's channel is as large as its maximum, for the first time.

    `strides` are those of instance, channel and position; `largest` and `since` have
    shape (N, C), and `places` is full of 0.
    """
    instance, target = pairs
    for m in range(len(instance)):
        n, c = instance[m], target[m]
        start = n * strides[0] + c * strides[1]
        for q in range(since[n, c], n_positions):
            if len(counted) and not counted[n, q]:
                continue
            if values[start + q * strides[2]] == largest[n, c]:
                places[m] = q
                break


def peaks_of_pairs(
    layer: Layer,
    output: Tensor,
    counted: Tensor | None,
    inputs: list[EdgeInput],
    activations: NDArray[np.float32],
    pairs: tuple[Indices, Indices],
    since: Tensor | None = None,
) -> Indices:
    """Return where each target is strongest; of those that are not active, computed.

    What is not active has no peak in its output: a rectified map is 0 everywhere.

    Parameters
    ----------
    layer, output, counted, pairs, since
        As in :func:`places_of_peaks`, of a layer of one grid.
    inputs
        What enters the layer.
    activations
        Its maxima, shape (N, C).
    """
    places = places_of_peaks(
        layer, output, pairs, counted, activations=activations, since=since
    )
    (other,) = np.nonzero(~(activations[pairs] > 0))
    if len(other):
        places[other] = peak_positions(inputs, pairs[0][other], pairs[1][other])
    return places


def layers_of_one_grid(recorder: Recorder, batch: Tensor) -> frozenset[str]:
    """Return the layers whose outputs peak where their pre-activations do.

    Parameters
    ----------
    recorder
        Of the network, with what influences need.
    batch
        Instances that differ from position to position.
    """
    outputs: dict[str, Tensor] = {}
    found: set[str] = set()

    def keep(
        layer: Layer, output: Tensor, activations: Tensor, counted: Tensor | None
    ) -> None:
        outputs.clear()
        outputs[layer.name] = output

    def compare(layer: Layer, activations: Tensor, inputs: list[EdgeInput]) -> None:
        if _peaks_agree(layer, outputs[layer.name], activations[0], inputs):
            found.add(layer.name)

    recorder.run(batch, on_layer=keep, on_target=compare)
    return frozenset(found)


def _peaks_agree(
    layer: Layer, output: Tensor, maxima: Tensor, inputs: list[EdgeInput]
) -> bool:
    """Compare the peaks of the first instance's active channels."""
    wanted = preactivations(inputs, 0).double().cpu().numpy()
    n_channels, n_positions = wanted.shape
    if n_positions != _rows(layer, output).shape[1] or n_channels != len(maxima):
        return False
    activations = maxima[None].float().cpu().numpy()
    active = np.flatnonzero(activations[0] > 0)
    pairs = np.zeros_like(active), active
    places = places_of_peaks(layer, output, pairs, activations=activations)
    largest = wanted[active].max(axis=1, initial=-np.inf)
    margin = TOLERANCE * np.abs(wanted).max(initial=0.0)
    return bool((wanted[active, places] >= largest - margin).all())


def _rows(layer: Layer, output: Tensor) -> Tensor:
    """Return an output as (N, P, C)."""
    rows = output.movedim(layer.channel_axis, -1)
    return rows[:, None] if rows.ndim == 2 else rows.flatten(1, -2)
