"""Which instances of a chunk excite each channel most, and where?

The position of a maximum is looked for in few maps only: those whose activation is
among the strongest of the chunk so far. The flat position counts the position axes in
order, the last one fastest; tokens come before all others, so that it does not depend
on how far an instance is padded, and of a layer without other axes it is the token.

Symbols: N instances of a batch, C channels, K ranks, P positions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nnviz.compiling import compiled
from nnviz.network.recording.padding_masks import tokens_first

__all__ = ["ChunkPeaks", "PeakTracker"]


@dataclass(frozen=True, slots=True)
class ChunkPeaks:
    """The strongest instances of each channel of one layer, strongest first."""

    instance: NDArray[np.int64]
    """Shape (C, K); -1 where there are fewer instances."""
    position: NDArray[np.int32]
    """Flat position of the maximum, the first if there are several; -1 where none."""
    value: NDArray[np.float32]
    """The activation; NaN where there is none."""


class PeakTracker:
    """Keep the K strongest instances of every channel while batches go by.

    Of equal activations the lower instance wins, whenever it came. Activations that are
    not finite never count.

    Parameters
    ----------
    ranks
        Instances to keep for each channel (K).
    """

    def __init__(self, ranks: int) -> None:
        if ranks < 1:
            msg = f"ranks={ranks} keeps no instance; give at least 1"
            raise ValueError(msg)
        self._ranks = ranks
        self._on_cpu: dict[str, _State] = {}
        self._on_device: dict[str, _DeviceState] = {}

    def update(
        self,
        layer: str,
        values: Tensor,
        activations: Tensor,
        *,
        instances: NDArray[np.int64],
        channel_axis: int = 1,
        token_axis: int | None = None,
        counted: Tensor | None = None,
        since: Tensor | None = None,
    ) -> None:
        """Take in one batch of one layer.

        Parameters
        ----------
        layer
            Name of the layer.
        values
            The layer's output, axes (instance, ..., channel, ...).
        activations
            Its maxima, shape (N, C), float32, from exactly these values.
        instances
            Number of each instance of the batch, shape (N,); in any order, each once.
        channel_axis
            Axis of the channels in `values`.
        token_axis
            Which of the position axes runs over tokens; None: none.
        counted
            Which positions count, bool (N, *positions); None: all.
        since
            From which position on each maximum is found, int32 (N, C), its axes in the
            order of `values`; None: from the first on.
        """
        maps = values.detach().movedim(channel_axis, 1)
        maps = tokens_first(maps, token_axis, start=2)
        if counted is not None:
            counted = tokens_first(counted, token_axis, start=1)
        if values.device.type == "cpu" and values.dtype == torch.float32:
            state = self._on_cpu.get(layer)
            if state is None:
                state = _State.empty(activations.shape[1], self._ranks)
                self._on_cpu[layer] = state
            if since is None or token_axis:  # in another order
                since = torch.zeros(activations.shape, dtype=torch.int32)
            _update(
                maps.numpy(), activations.numpy(), since.numpy(), instances,
                None if counted is None else np.ascontiguousarray(counted.numpy()),
                state.value, state.instance, state.position,
            )  # fmt: skip
            return
        device_state = self._on_device.get(layer)
        if device_state is None:
            device_state = _DeviceState.empty(activations, self._ranks)
        self._on_device[layer] = device_state.updated(
            maps, activations, instances, counted
        )

    def result(self, layer: str) -> ChunkPeaks:
        """Return what was kept of a layer."""
        if layer in self._on_device:
            return self._on_device[layer].peaks()
        state = self._on_cpu[layer]
        value = np.where(state.instance >= 0, state.value, np.float32(np.nan))
        return ChunkPeaks(state.instance.copy(), state.position.copy(), value)


@dataclass(frozen=True, slots=True)
class _State:
    """Arrays (C, K), written in place by the compiled kernel."""

    value: NDArray[np.float32]
    instance: NDArray[np.int64]
    position: NDArray[np.int32]

    @classmethod
    def empty(cls, n_channels: int, ranks: int) -> _State:
        shape = (n_channels, ranks)
        return cls(
            np.full(shape, -np.inf, np.float32),
            np.full(shape, -1, np.int64),
            np.full(shape, -1, np.int32),
        )


@compiled
def _update(
    maps: Any,
    activations: Any,
    since: Any,
    instances: Any,
    counted: Any,
    value: Any,
    instance: Any,
    position: Any,
) -> None:
    n_instances, n_channels = activations.shape
    n_positions, ranks = maps.shape[2], value.shape[1]
    for n in range(n_instances):
        for c in range(n_channels):
            a = activations[n, c]
            number, rank = instances[n], ranks - 1
            # Comparisons are false for NaN.
            if not (
                a < np.inf
                and (
                    a > value[c, rank]
                    or (a == value[c, rank] and number < instance[c, rank])
                )
            ):
                continue
            while rank > 0 and (
                a > value[c, rank - 1]
                or (a == value[c, rank - 1] and number < instance[c, rank - 1])
            ):
                value[c, rank] = value[c, rank - 1]
                instance[c, rank] = instance[c, rank - 1]
                position[c, rank] = position[c, rank - 1]
                rank -= 1
            value[c, rank] = a
            instance[c, rank] = number
            # Looked for only if it is still there after the batch.
            position[c, rank] = -2 - n
    for c in range(n_channels):
        for rank in range(ranks):
            if position[c, rank] < -1:
                n = -2 - position[c, rank]
                position[c, rank] = 0
                for p in range(since[n, c], n_positions):
                    if counted is not None and not counted[n, p]:
                        continue
                    if maps[n, c, p] == value[c, rank]:
                        position[c, rank] = p
                        break


@dataclass(frozen=True, slots=True)
class _DeviceState:
    """Tensors (K, C) on the device of the layer; nothing waits for the device."""

    value: Tensor
    instance: Tensor
    position: Tensor

    @classmethod
    def empty(cls, activations: Tensor, ranks: int) -> _DeviceState:
        shape, device = (ranks, activations.shape[1]), activations.device
        return cls(
            torch.full(shape, -torch.inf, device=device),
            torch.full(shape, -1, dtype=torch.int64, device=device),
            torch.full(shape, -1, dtype=torch.int64, device=device),
        )

    def updated(
        self,
        maps: Tensor,
        activations: Tensor,
        instances: NDArray[np.int64],
        counted: Tensor | None,
    ) -> _DeviceState:
        ranks, n_channels = self.value.shape
        new = torch.where(activations.isfinite(), activations, -torch.inf)
        values = torch.cat([self.value, new])
        numbers = torch.from_numpy(instances).to(new.device)
        known = torch.cat([self.instance, numbers[:, None].expand(-1, n_channels)])
        # Two stable sorts: by instance, then by value.
        order = torch.argsort(known, dim=0, stable=True)
        value, rows = torch.sort(
            values.gather(0, order), dim=0, descending=True, stable=True
        )
        value, rows = value[:ranks], order.gather(0, rows[:ranks])
        batch = (rows - ranks).clamp_min(0)
        channels = torch.arange(n_channels, device=rows.device).expand_as(rows)
        # The K candidates' maps of every channel, whether they are new or not: reading
        # these few costs less than asking the device which ones are new.
        candidates = maps[batch, channels]
        if counted is not None:
            candidates = torch.where(counted[batch], candidates, -torch.inf)
        found = candidates.max(dim=2).indices
        old_rows = rows.clamp_max(ranks - 1)
        is_old = rows < ranks
        instance = torch.where(
            is_old, self.instance.gather(0, old_rows), numbers[batch]
        )
        position = torch.where(is_old, self.position.gather(0, old_rows), found)
        nothing = value == -torch.inf
        return _DeviceState(
            value, instance.masked_fill(nothing, -1), position.masked_fill(nothing, -1)
        )

    def peaks(self) -> ChunkPeaks:
        value = self.value.masked_fill(self.instance < 0, torch.nan)
        return ChunkPeaks(
            self.instance.T.cpu().numpy(),
            self.position.T.cpu().numpy().astype(np.int32),
            value.T.cpu().numpy(),
        )
