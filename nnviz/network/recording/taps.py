"""Which tensors of the forward pass do the influences need, and where do they appear?

A network is analysed once more on the worker, as it is run there (folded), so that
every weight is the one that is used. A tap then names a call of a torch function and
the argument to keep until the target layer is read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nnviz.errors import ModelError
from nnviz.network.analysis.analysis import Analysis
from nnviz.network.analysis.channel_flow import ChannelFlow
from nnviz.network.analysis.edges import SourcedOperation, TargetEdges
from nnviz.network.analysis.entering import EnteringOperation
from nnviz.network.analysis.functions import category_of
from nnviz.network.analysis.layers import settled
from nnviz.network.analysis.operations import Operation, Reference, leaves_of
from nnviz.network.analysis.outputs import iter_tensors
from nnviz.network.analysis.summands import PreActivation
from nnviz.network.influence.channel_operations import (
    ChannelOperation,
    Identity,
    output_positions,
)
from nnviz.network.influence.inputs import EdgeInput
from nnviz.runs.architecture import Architecture

__all__ = ["EdgeTaps", "Tap"]

_NOT_NEGATIVE = frozenset(
    {"abs", "exp", "hardsigmoid", "relu", "relu6", "sigmoid", "softmax", "square"}
)


@dataclass(frozen=True, slots=True)
class Tap:
    """One tensor of one function call."""

    place: str
    """The call, as :mod:`nnviz.network.analysis.module_calls` names it."""
    argument: int | None
    """Number of the tensor among the call's tensors; None for what it returns."""
    copies: bool
    """Whether the network writes into the tensor later on."""

    def take(self, arguments: Any, options: Any, result: Any) -> Tensor:
        """Return the tensor of a call."""
        if self.argument is None:
            found = next(iter_tensors(result))
        else:
            found = list(iter_tensors((arguments, options)))[self.argument]
        found = found.detach()
        return found.clone() if self.copies else found


@dataclass(frozen=True, slots=True)
class _TappedOperation:
    tap: Tap
    entering: EnteringOperation
    operation: ChannelOperation
    sources: NDArray[np.int32]
    targets: NDArray[np.int32]
    same_as: str | None
    """Layer whose recorded output the input is, if it is never negative."""
    token_axis: int | None
    """Which position axis of the output runs over tokens, counted from the last."""
    beside: tuple[Tap | Tensor, ...] = ()
    """The tensors of the call that weighs values; those that are known as they are."""

    @property
    def taps(self) -> tuple[Tap, ...]:
        return (self.tap, *(item for item in self.beside if isinstance(item, Tap)))

    def positions(self, n_along: int | None) -> tuple[int, ...] | None:
        """Return the positions of the sum that it enters, with so many for tokens."""
        known = self.entering.positions
        if not known or n_along is None or self.token_axis is None:
            return None
        axis = len(known) + self.token_axis
        return (*known[:axis], n_along, *known[axis + 1 :])

    def counted(self, along: Tensor | None, x: Tensor) -> Tensor | None:
        """Return which output positions count, (instance, position), of an input."""
        if along is None or self.token_axis is None:
            return None
        extents = output_positions(self.operation, x.shape[2:])
        if extents[self.token_axis] != along.shape[1]:
            return None  # the same at every token
        shape = [1] * len(extents)
        shape[self.token_axis] = -1
        return along.view(len(along), *shape).expand(-1, *extents).flatten(1)


class EdgeTaps:
    """Everything that the influences of a network need of a forward pass.

    Parameters
    ----------
    analysis
        Of the network as it is run, still on the CPU.
    architecture
        Of the plan; its edges number the sources.
    device
        Where weights are kept.
    excluded
        Channels that are no sources, by layer.

    Raises
    ------
    ModelError
        If the network has other layers than the plan.
    """

    def __init__(
        self,
        analysis: Analysis,
        architecture: Architecture,
        *,
        device: torch.device | str = "cpu",
        excluded: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        self._excluded = excluded or {}
        self._flow = analysis.flow
        self._tokens = analysis.tokens
        self._layers = {layer.name: layer for layer in architecture.layers}
        self._read_values = {
            item.layer.name: settled(analysis.flow, item.site.read_value)
            for item in analysis.layers
        }
        missing = [
            x.name for x in architecture.layers if x.name not in self._read_values
        ]
        if missing:
            msg = (
                f"the network has no layer {missing[0]!r}, which the plan has; give "
                "the network that the plan was made from"
            )
            raise ModelError(msg)
        self._device = torch.device(device)
        self._tapped = {
            target.layer: list(self._tap(architecture, target))
            for target in analysis.targets
            if any(edge.target == target.layer for edge in architecture.edges)
        }
        del self._flow, self._tokens
        self.taps: Mapping[str, list[Tap]] = self._by_place()
        """Taps by the place of the call."""
        last = {
            tap: name
            for name, items in self._tapped.items()
            for item in items
            for tap in item.taps
        }
        self._last: defaultdict[str, list[Tap]] = defaultdict(list)
        for tap, name in last.items():
            self._last[name].append(tap)

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the layers into which influence is available."""
        return tuple(name for name, tapped in self._tapped.items() if tapped)

    def inputs(
        self,
        target: str,
        taken: Mapping[Tap, Tensor],
        n_instances: int,
        activations: Callable[[str], Tensor | None],
        *,
        extents: tuple[int, ...] = (),
        counted: Tensor | None = None,
    ) -> list[EdgeInput]:
        """Return what enters a layer in the batch that has just reached it.

        Parameters
        ----------
        target
            Name of the layer.
        taken
            What the taps have kept.
        n_instances
            Size of the batch.
        activations
            Maxima of a layer, shape (instance, channel), where they are known.
        extents
            Of the layer's position axes in this batch; read where it has tokens.
        counted
            Which of its positions count, bool (instance, *extents); None: all.
        """
        inputs = []
        axis = self._layers[target].token_axis
        n_along = None if axis is None else extents[axis]
        along = None
        if counted is not None and axis is not None:
            others = [i for i in range(1, counted.ndim) if i != 1 + axis]
            along = counted.any(others) if others else counted
        for item in self._tapped[target]:
            beside = [taken[t] if isinstance(t, Tap) else t for t in item.beside]
            read, path = taken[item.tap], item.entering.summand.path
            make = make_extremes = None
            if path is None:
                x = item.entering.input_of(
                    read, n_instances, positions=item.positions(n_along)
                )
            else:
                shape = path.shape_of_mixed(read, beside, n_instances)
                x = torch.empty(shape, device="meta")
                make = partial(path.mixed, read, beside, n_instances)
                if read.device.type == "cpu":
                    make_extremes = partial(path.extremes, read, beside, n_instances)
            largest = None if item.same_as is None else activations(item.same_as)
            inputs.append(
                EdgeInput(
                    x=x,
                    operation=item.operation,
                    sources=item.sources,
                    targets=item.targets,
                    extremes=(
                        None
                        if largest is None
                        else (largest, torch.zeros_like(largest))
                    ),
                    counted=item.counted(along, x),
                    make=make,
                    make_extremes=make_extremes,
                )
            )
        return inputs

    def last_taps(self, target: str) -> list[Tap]:
        """Return the taps that no layer after this one needs."""
        return self._last[target]

    def _by_place(self) -> dict[str, list[Tap]]:
        taps: defaultdict[str, list[Tap]] = defaultdict(list)
        for tapped in self._tapped.values():
            for tap in (tap for item in tapped for tap in item.taps):
                if tap not in taps[tap.place]:
                    taps[tap.place].append(tap)
        return dict(taps)

    def _tap(
        self, architecture: Architecture, target: TargetEdges
    ) -> Iterator[_TappedOperation]:
        offsets = _source_offsets(architecture, target.layer)
        token_axes = {
            id(entering): self._token_axis(pre_activation, entering)
            for pre_activation, some in target.pre_activations
            for entering in some
        }
        for sourced in target.operations:
            entering = sourced.entering
            yield _TappedOperation(
                tap=self._tap_of(entering.summand.operation, entering.summand.value),
                entering=entering,
                operation=_moved_to(entering.operation, self._device),
                sources=_numbered(sourced, offsets, self._excluded),
                targets=entering.targets.numpy().astype(np.int32),
                same_as=self._same_layer(sourced, target.layer),
                token_axis=token_axes[id(entering)],
                beside=self._beside(entering),
            )

    def _token_axis(
        self, pre_activation: PreActivation, entering: EnteringOperation
    ) -> int | None:
        value, channel = pre_activation.value, pre_activation.axis
        if value is None:
            value, channel = entering.summand.value, entering.summand.axis
        axis = self._tokens.position_axis(self._flow, value, channel)
        if axis is None:
            return None
        graph = self._flow.graph
        shape = graph.instance_shape(value)
        has_rows = shape[0] != graph.n_instances
        return axis - (len(shape) - 2 + has_rows)

    def _count_alike(self, source: str, target: str) -> bool:
        if source not in self._layers:
            return False
        one, other = self._layers[source], self._layers[target]
        is_without = one.token_axis is None and other.token_axis is None
        is_with = one.token_axis is not None and other.token_axis is not None
        return is_without or (is_with and one.token_field == other.token_field)

    def _beside(self, entering: EnteringOperation) -> tuple[Tap | Tensor, ...]:
        """Return what else an attention's heads are made of, call by call."""
        path = entering.summand.path
        if path is None:
            return ()
        found: list[Tap | Tensor] = []
        for number, item in enumerate(leaves_of(path.product)):
            if isinstance(item, Reference):
                copies = self._is_written_later(item.value)
                found.append(Tap(path.product.place, number, copies))
            else:
                found.append(item.detach().to(self._device))
        return tuple(found)

    def _is_written_later(self, value: int) -> bool:
        return any(
            value in later.written
            or (later.name == "view_write" and value in later.inputs)
            for later in self._flow.graph.operations
        )

    def _tap_of(self, operation: Operation, value: int) -> Tap:
        copies = self._is_written_later(value)
        if value in operation.outputs:
            return Tap(operation.place, None, copies)
        if value not in operation.inputs:
            # Affine maps lie between what is read and the sum that it enters.
            graph = self._flow.graph
            operation = graph.operations[graph.values[value].consumers[0]]
        number = leaves_of(operation).index(Reference(value))
        return Tap(operation.place, number, copies)

    def _same_layer(self, sourced: SourcedOperation, target: str) -> str | None:
        """Return the layer whose output the input is, channel by channel.

        The same positions have to count in it and in the target.
        """
        entering = sourced.entering
        if (
            len(sourced.layers) != 1
            or entering.order is not None
            or entering.summand.path is not None
        ):
            return None
        name = sourced.layers[0]
        n = len(sourced.channel)
        if (
            entering.indices_per_source != 1
            or not self._count_alike(name, target)
            or not np.array_equal(sourced.channel, np.arange(n))
            or settled(self._flow, entering.summand.value) != self._read_values[name]
            or not _is_not_negative(self._flow, self._read_values[name])
        ):
            return None
        return name


def _source_offsets(
    architecture: Architecture, target: str
) -> dict[tuple[str, str], int]:
    """Return the number of each entering edge's channel 0, by (source, node)."""
    offsets: dict[tuple[str, str], int] = {}
    total = 0
    for edge in architecture.edges:
        if edge.target == target:
            if edge.operation != "gate":
                offsets[edge.source, edge.node] = total
            total += architecture.layer(edge.source).n_channels
    return offsets


def _numbered(
    sourced: SourcedOperation,
    offsets: dict[tuple[str, str], int],
    excluded: Mapping[str, Sequence[int]],
) -> NDArray[np.int32]:
    numbers = np.full(len(sourced.channel), -1, np.int32)
    for index, source in enumerate(sourced.layers):
        offset = offsets.get((source, sourced.node))
        mine = sourced.layer == index
        mine &= ~np.isin(sourced.channel, excluded.get(source, ()))
        if offset is not None:
            numbers[mine] = sourced.channel[mine] + offset
    return numbers


def _moved_to(operation: ChannelOperation, device: torch.device) -> ChannelOperation:
    bias = None if operation.bias is None else operation.bias.to(device)
    if isinstance(operation, Identity):
        scale = None if operation.scale is None else operation.scale.to(device)
        return replace(operation, scale=scale, bias=bias)
    return replace(operation, weight=operation.weight.to(device), bias=bias)


def _is_not_negative(flow: ChannelFlow, value: int) -> bool:
    """Return whether a value can be seen never to be negative."""
    operation: Operation | None = flow.graph.producer(value)
    if operation is None:
        return False
    if operation.name in _NOT_NEGATIVE:
        return True
    moves = category_of(operation.name) in ("movement", "pooling")
    keeps = moves or operation.name in ("add", "mul")
    depends = flow.graph.activation_inputs(operation)
    others = len(depends) != len(operation.inputs)
    return keeps and not others and all(_is_not_negative(flow, v) for v in depends)
