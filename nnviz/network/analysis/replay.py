"""Do the layers and edges that were found compute what the network computes?

The network is run again from its recorded operations, with the pre-activations of its
layers computed from their edges: once beside the network's own, once in their place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from nnviz.network.analysis.channel_flow import ChannelFlow
from nnviz.network.analysis.edges import TargetEdges
from nnviz.network.analysis.entering import EnteringOperation
from nnviz.network.analysis.markers import resolve
from nnviz.network.analysis.operations import Operation
from nnviz.network.analysis.outputs import main_output
from nnviz.network.analysis.summands import PreActivation
from nnviz.network.influence.channel_operations import (
    ChannelOperation,
    Convolution,
    Identity,
    Linear,
)

__all__ = ["ReplayErrors", "apply_operation", "replay"]

_SMALLEST_SCALE = 1e-3
"""Of the largest one; units are not undone where rounding would be magnified more."""

_MOST_AXES = 3
"""Position axes over which torch convolves."""


@dataclass(frozen=True, slots=True)
class ReplayErrors:
    """Largest differences between what was found and the network itself, relative."""

    output: float
    """Of the main output, if every pre-activation is computed from the edges."""
    by_layer: dict[str, float]
    """Of each layer's pre-activations, computed from the network's own inputs."""


def replay(
    flow: ChannelFlow, targets: Sequence[TargetEdges], output: object
) -> ReplayErrors:
    """Compute the network from its layers and edges, and compare.

    Parameters
    ----------
    flow
        Channels of one forward pass.
    targets
        The layers with all that enters them.
    output
        What it returned.
    """
    main = main_output(output)
    assert main is not None  # the tracer refuses such networks
    pre_activations = {
        pre_activation.value: (target.layer, pre_activation, operations)
        for target in targets
        for pre_activation, operations in target.pre_activations
        if pre_activation.value is not None and operations
    }
    own = _Replay(flow, pre_activations, substitute=False)
    own.output()
    # What cannot be computed from its edges is left as the network has it.
    pre_activations = {
        value: known
        for value, known in pre_activations.items()
        if math.isfinite(own.errors.get(known[0], math.inf))
    }
    replayed = _Replay(flow, pre_activations, substitute=True).output()
    return ReplayErrors(_difference(replayed, main), own.errors)


def _difference(found: Tensor, wanted: Tensor) -> float:
    """Return the largest difference, relative to the largest value that is wanted."""
    if not wanted.numel():
        return 0.0
    scale = wanted.abs().max().clamp_min(1e-30)
    return float((found - wanted).abs().max() / scale)


def apply_operation(operation: ChannelOperation, x: Tensor) -> Tensor:
    """Return what an operation adds to a pre-activation, shape (N, C, *positions).

    Parameters
    ----------
    operation
        Convolution, linear map or identity, with everything folded in.
    x
        Its true input, shape (N, C, *positions).
    """
    if isinstance(operation, Identity):
        for factor, is_scale in ((operation.scale, True), (operation.bias, False)):
            if factor is not None:
                wide = factor.view(-1, *[1] * (x.ndim - 2))
                x = x * wide if is_scale else x + wide
        return x
    if isinstance(operation, Linear):
        return functional.linear(
            x.movedim(1, -1), operation.weight, operation.bias
        ).movedim(-1, 1)
    return _convolve(operation, x)


def _convolve(operation: Convolution, x: Tensor) -> Tensor:
    n = operation.n_axes
    if n > _MOST_AXES:
        return _convolve_rows(operation, x)
    padding = [0] * n
    if operation.transposed:
        padding = _each(operation.padding, n)
    else:
        x = functional.pad(x, _pad_widths(operation))
    return torch.convolution(
        x, operation.weight, operation.bias, _each(operation.stride, n), padding,
        _each(operation.dilation, n), operation.transposed,
        _each(operation.output_padding, n), operation.groups,
    )  # fmt: skip


def _each(value: object, n: int) -> list[int]:
    """Return one number for each axis."""
    if isinstance(value, Sequence):
        return [int(item) for item in value]
    assert isinstance(value, int)  # transposed convolutions know no other padding
    return [value] * n


def _pad_widths(operation: Convolution) -> list[int]:
    """Return (before, after) of each axis, the last axis first, as torch wants it."""
    n, padding = operation.n_axes, operation.padding
    if padding == "valid":
        return [0] * (2 * n)
    if padding == "same":
        spans = [
            d * (k - 1)
            for d, k in zip(_each(operation.dilation, n), operation.kernel, strict=True)
        ]
        pairs = [(span // 2, span - span // 2) for span in spans]
    elif isinstance(padding, Sequence) and not isinstance(padding, str):
        pairs = [(p, p) if isinstance(p, int) else (p[0], p[1]) for p in padding]
    else:
        pairs = [(int(padding), int(padding))] * n
    return [side for pair in reversed(pairs) for side in pair]


def _convolve_rows(operation: Convolution, x: Tensor) -> Tensor:
    """Convolve over an axis more than torch can: the first is whole, or not mixed."""
    weight, n_taps = operation.weight, operation.kernel[0]
    n = operation.n_axes
    widths = _pad_widths(operation)
    inner = Convolution(
        weight.flatten(1, 2) if n_taps > 1 else weight.squeeze(2),
        operation.bias,
        stride=_each(operation.stride, n)[1:],
        padding=[(widths[2 * i], widths[2 * i + 1]) for i in range(n - 1)][::-1],
        dilation=_each(operation.dilation, n)[1:],
        groups=operation.groups,
    )
    if n_taps > 1:
        return _convolve(inner, x.flatten(1, 2)).unsqueeze(2)
    rows = x.transpose(1, 2)
    folded = _convolve(inner, rows.flatten(0, 1))
    return folded.reshape(*rows.shape[:2], *folded.shape[1:]).transpose(1, 2)


PreActivations = dict[int, tuple[str, PreActivation, list[EnteringOperation]]]


class _Replay:
    """Run a recorded graph, with pre-activations from edges or beside them."""

    def __init__(
        self,
        flow: ChannelFlow,
        pre_activations: PreActivations,
        *,
        substitute: bool,
    ) -> None:
        self._graph = flow.graph
        self._pre_activations = pre_activations
        self._substituted = frozenset(
            value
            for value, (_, known, _) in pre_activations.items()
            if substitute and _can_be_substituted(known)
        )
        self._values: dict[int, Tensor] = dict(flow.graph.received)
        self.errors: dict[str, float] = {}

    def output(self) -> Tensor:
        """Return the main output."""
        graph = self._graph
        wanted = [v.index for v in graph.values if v.is_output]
        needed = self._needed(wanted)
        last_use = self._last_uses(needed, wanted)
        with torch.no_grad():
            for value in sorted(needed):
                self._compute(value)
                for old in last_use.get(value, ()):
                    self._values.pop(old, None)
        return self._values[wanted[0]]

    def _compute(self, value: int) -> None:
        known = self._pre_activations.get(value)
        if known is not None and value in self._substituted:
            self._values[value] = _without_units(known[1], self._sum(*known[1:]))
            return
        operation = self._graph.producer(value)
        if operation is not None and value not in self._values:
            self._run(operation)
        if known is not None:
            layer, pre_activation, operations = known
            own = _in_units(pre_activation, self._values[value])
            try:
                error = _difference(self._sum(pre_activation, operations), own)
            except (RuntimeError, ValueError, IndexError):
                error = math.inf  # of other shapes than the edges have
            before = self.errors.get(layer, 0.0)
            self.errors[layer] = before if math.isnan(before) else max(error, before)

    def _sources(self, value: int) -> list[int]:
        known = self._pre_activations.get(value)
        sources = (
            [] if known is None else [v for r in known[2] for v in self._read_by(r)]
        )
        if value in self._substituted:
            return sources
        operation = self._graph.producer(value)
        return sources + ([] if operation is None else list(self._inputs(operation)))

    def _read_by(self, entering: EnteringOperation) -> list[int]:
        path = entering.summand.path
        beside = [] if path is None else list(self._inputs(path.product))
        return [entering.summand.value, *beside]

    def _inputs(self, operation: Operation) -> tuple[int, ...]:
        return self._graph.activation_inputs(operation)

    def _needed(self, wanted: list[int]) -> set[int]:
        needed, pending = set(wanted), list(wanted)
        while pending:
            for value in self._sources(pending.pop()):
                if value not in needed:
                    needed.add(value)
                    pending.append(value)
        return needed

    def _last_uses(self, needed: set[int], wanted: list[int]) -> dict[int, list[int]]:
        """Return, for each value, the values that are not needed after it."""
        last: dict[int, int] = {}
        for value in sorted(needed):
            for source in self._sources(value):
                last[source] = value
        by_user: dict[int, list[int]] = {}
        for source, user in last.items():
            if source not in wanted and source not in self._graph.received:
                by_user.setdefault(user, []).append(source)
        return by_user

    def _run(self, operation: Operation) -> None:
        arguments = {
            value: self._values[value].clone()
            if value in operation.written
            else self._values[value]
            for value in self._inputs(operation)
        }
        try:
            result = resolve(operation, self._graph, dict(arguments))
        except RuntimeError:
            # A view of what is contiguous in the network, and is not here.
            whole = {value: tensor.contiguous() for value, tensor in arguments.items()}
            result = resolve(operation, self._graph, whole)
        for value, tensor in zip(
            operation.outputs, (*result.made, *result.written), strict=True
        ):
            # Later writes go to copies, so a view of this tensor stays as it is.
            self._values[value] = tensor

    def _sum(
        self, pre_activation: PreActivation, operations: list[EnteringOperation]
    ) -> Tensor:
        """Add up the contributions to a pre-activation, in the value's own layout."""
        assert (
            pre_activation.value is not None
        )  # only such pre_activations are replayed
        shape = self._graph.instance_shape(pre_activation.value)
        n_instances = self._graph.n_instances
        total: Tensor | None = None
        where = {c: k for k, c in enumerate(pre_activation.channels.tolist())}
        for entering in operations:
            path = entering.summand.path
            leaves = [] if path is None else path.leaves(self._graph, self._values)
            value = self._values[entering.summand.value]
            x = entering.input_of(value, n_instances, leaves)
            x = x.float()  # as are the weights of every edge
            added = apply_operation(entering.operation, x)
            if total is None:
                n_rows = shape[0] // n_instances
                rest = [
                    n for i, n in enumerate(shape) if i not in (0, pre_activation.axis)
                ]
                windows = [n_rows] if shape[0] != n_instances else []
                total = added.new_zeros(
                    n_instances, shape[pre_activation.axis], *windows, *rest
                )
            places = [where.get(c, -1) for c in entering.targets.tolist()]
            kept = [i for i, place in enumerate(places) if place >= 0]
            index = torch.tensor([places[i] for i in kept])
            added = added[:, kept].reshape(n_instances, len(kept), *total.shape[2:])
            total.index_add_(1, index, added)
        assert total is not None  # every pre_activation has summands
        if shape[0] != n_instances:
            total = total.movedim(2, 1).flatten(0, 1)
        total = total.movedim(1, pre_activation.axis).reshape(shape)
        return self._graph.turned(pre_activation.value, total)


def _can_be_substituted(pre_activation: PreActivation) -> bool:
    """Return whether a pre-activation can be computed from what enters it alone."""
    if any(
        summand.value == pre_activation.value for summand in pre_activation.summands
    ):
        return False
    size = pre_activation.units.scale.abs()
    return bool((size > _SMALLEST_SCALE * size.max()).all())


def _in_units(pre_activation: PreActivation, own: Tensor) -> Tensor:
    """Return a pre-activation in the units of the layer as it is read."""
    if _is_same(pre_activation):
        return own
    view = [-1, *[1] * (own.ndim - 1 - pre_activation.axis)]
    scale, shift = (u.to(own.dtype).view(view) for u in _parts_of(pre_activation))
    return own * scale + shift


def _without_units(pre_activation: PreActivation, total: Tensor) -> Tensor:
    """Undo :func:`_in_units`."""
    if _is_same(pre_activation):
        return total
    view = [-1, *[1] * (total.ndim - 1 - pre_activation.axis)]
    scale, shift = (u.to(total.dtype).view(view) for u in _parts_of(pre_activation))
    return (total - shift) / scale


def _parts_of(pre_activation: PreActivation) -> tuple[Tensor, Tensor]:
    return pre_activation.units.scale, pre_activation.units.shift


def _is_same(pre_activation: PreActivation) -> bool:
    scale, shift = _parts_of(pre_activation)
    return bool((scale == 1).all()) and not bool(shift.any())
