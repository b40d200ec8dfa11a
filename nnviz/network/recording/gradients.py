"""What does a channel's activation do for an output? Gradients, summed over positions.

One backward pass, from what is explained of each instance's outputs, meets the gradient
of every watched layer. What is kept of a channel are four numbers, not its map:

- the *product*, the sum over positions of gradient times activation;
- the *gradient*, its sum over positions;
- the *mean* of its activation over positions;
- the *norm* of the gradient, Euclidean over positions. In the sum, positions of
  opposite signs cancel; the norm says how much the output can change at all: to first
  order by at most the norm times that of the change of the channel's map. It is the
  size of the derivative, the saliency of [1]_, of a channel in place of a pixel.

With them the relevance against any reference ``r`` is ``product - r * gradient``: what
the output would change, to first order, if the channel were ``r`` everywhere.

Nothing below the first watched layer is differentiated: the graph begins there.

Symbols: N instances, P positions, C channels of a layer, K outputs.

References
----------
.. [1] Simonyan, Vedaldi and Zisserman, "Deep inside convolutional networks", ICLR
   workshop 2014, section 3.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nnviz.compiling import compiled
from nnviz.errors import ModelError
from nnviz.runs.architecture import Layer

__all__ = [
    "ChannelSignal",
    "Explained",
    "GradientPass",
    "GraphBytes",
    "LayerGradients",
    "SignalOf",
    "output_weights",
]

SignalOf = Literal["label", "prediction", "output"]


class ChannelSignal(Protocol):
    """What a channel is said to do for an output, from its activation and gradient."""

    def __call__(
        self, activation: Tensor, gradient: Tensor, counted: Tensor | None
    ) -> Tensor:
        """Return one number for each channel.

        Parameters
        ----------
        activation
            Output of a layer, shape (N, P, C); P is 1 for a layer without positions.
        gradient
            Of what is explained with respect to it, of the same shape. A network whose
            backward pass follows other rules puts other values here.
        counted
            Which positions count, bool, shape (N, P); None where all do. Others must
            not change the result.

        Returns
        -------
        Tensor
            Shape (N, C), of any float type.
        """


class LayerGradients(NamedTuple):
    """What is kept of one layer, each of shape (N, C), float32, on the device."""

    product: Tensor
    """Sum over positions of gradient times activation, or the signal in its place."""
    gradient: Tensor
    """Sum over positions of the gradient."""
    mean: Tensor
    """Mean over positions of the activation."""
    norm: Tensor
    """Euclidean norm over positions of the gradient."""


@dataclass(frozen=True, slots=True)
class Explained:
    """What is differentiated of each instance's outputs."""

    of: SignalOf
    """The output of the label (of the prediction where there is none), of the
    prediction, or those of `outputs`."""
    outputs: tuple[int, ...] = ()
    """One output, or two: the first less the second."""
    signal: ChannelSignal | None = None
    """What is kept in place of the product; None: the product."""


def output_weights(
    logits: Tensor, explained: Explained, labels: NDArray[np.integer] | None
) -> Tensor:
    """Return with which factor each output is explained, shape (N, K).

    Parameters
    ----------
    logits
        Shape (N, K). A single output is explained itself, whatever is asked for.
    explained
        What is asked for.
    labels
        True classes, shape (N,); -1 where there is none. None: none has any.
    """
    weights = torch.zeros_like(logits)
    if logits.shape[1] == 1:
        return weights + 1
    if explained.of == "output":
        for output, sign in zip(explained.outputs, (1, -1), strict=False):
            weights[:, output] += sign
        return weights
    chosen = logits.argmax(dim=1)
    if explained.of == "label" and labels is not None:
        known = torch.from_numpy(np.asarray(labels, np.int64)).to(logits.device)
        chosen = torch.where(known >= 0, known, chosen)
    return weights.scatter_(1, chosen[:, None], 1)


class GradientPass:
    """The gradients of one batch: layers are watched, and met on the way back.

    Parameters
    ----------
    n_instances
        N.
    signal
        What is kept in place of the product; None: the product.
    copied
        Layers whose output the network overwrites later on, so that it is copied.
    """

    def __init__(
        self,
        n_instances: int,
        *,
        signal: ChannelSignal | None = None,
        copied: frozenset[str] = frozenset(),
    ) -> None:
        self._n = n_instances
        self._signal = signal
        self._copied = copied
        self._anchor = torch.zeros((), requires_grad=True)
        self._watched: dict[str, _Watched] = {}
        self.found: dict[str, LayerGradients] = {}
        """By layer, once it was run."""
        self.reached: set[str] = set()
        """Layers at which the gradient arrived; it is zero in others."""

    def watch(
        self, layer: Layer, values: Tensor, *, counted: Tensor | None = None
    ) -> None:
        """Meet the gradient of a layer's output, on the way down.

        Parameters
        ----------
        layer
            The layer.
        values
            Its output, as the network goes on with it.
        counted
            Which positions count, bool, shape (N, ...) with the axes of the positions
            in the layer's order; None: all.
        """
        may_arrive = values.is_floating_point() and torch.is_grad_enabled()
        if may_arrive and not values.requires_grad:
            # Here the graph begins. The tensor itself enters it: the network may hold
            # it under several names.
            anchor = self._anchor.to(values.device)
            _Beginning.apply(values, anchor)  # type: ignore[no-untyped-call] # torch's
        kept = values.detach()
        if layer.name in self._copied:
            kept = kept.clone()
        if counted is not None:
            counted = counted.reshape(self._n, -1)
        watched = _Watched(layer, kept, kept._version, counted)
        self._watched[layer.name] = watched
        if may_arrive:
            values.register_hook(lambda gradient: self._meet(watched, gradient))

    def overwritten(self) -> list[str]:
        """Return the layers whose output has been written since it was watched."""
        return [
            name
            for name, one in self._watched.items()
            if one.values._version != one.version
        ]

    def run(self, logits: Tensor, weights: Tensor) -> None:
        """Differentiate outputs, with these factors, with respect to watched layers.

        Parameters
        ----------
        logits
            Outputs of the network, shape (N, K).
        weights
            As :func:`output_weights` returns them, shape (N, K).

        Raises
        ------
        ModelError
            If a layer's output was overwritten, so that its values are gone.
        """
        if written := self.overwritten():
            msg = (
                f"the network writes over the output of layer {written[0]!r} for some "
                "inputs, so that its relevance is not known; leave the layer out of "
                "[extraction] shown, or set relevance = 'none'"
            )
            raise ModelError(msg)
        if logits.requires_grad:
            torch.autograd.grad(logits, [self._anchor], weights, allow_unused=True)
        for name, one in self._watched.items():
            if name not in self.reached:
                self._meet(one, torch.zeros_like(one.values), arrived=False)
        self._watched.clear()

    def _meet(self, one: _Watched, gradient: Tensor, *, arrived: bool = True) -> Tensor:
        if gradient.stride() != one.values.stride():
            # Means and slices give gradients in another order of memory, which would
            # slow down every operation on the way down.
            gradient = torch.empty_like(one.values).copy_(gradient)
        axis, n = one.layer.channel_axis, self._n
        both = (x.movedim(one.layer.instance_axis, 0) for x in (one.values, gradient))
        a, g = (_rows(part, n, axis) for part in both)
        self.found[one.layer.name] = _summed(a, g, one.counted, self._signal)
        if arrived:
            self.reached.add(one.layer.name)
        return gradient


@dataclass(frozen=True, slots=True, eq=False)
class _Watched:
    """The output of a layer on the way up."""

    layer: Layer
    values: Tensor
    version: int
    """How often it had been written."""
    counted: Tensor | None


class GraphBytes(torch.autograd.graph.saved_tensors_hooks):
    """Add up what a forward pass keeps for the backward pass; used in a ``with``."""

    def __init__(self) -> None:
        self._storages: dict[int, int] = {}
        super().__init__(self._keep, lambda kept: kept)

    def _keep(self, saved: Tensor) -> Tensor:
        storage = saved.untyped_storage()
        self._storages[storage.data_ptr()] = storage.nbytes()
        return saved

    def add_layer(
        self,
        layer: Layer,
        output: Tensor,
        activations: Tensor,
        counted: Tensor | None,
    ) -> None:
        """Count a layer's output, which is kept if it is watched; for ``on_layer``."""
        if layer.shown:
            self._keep(output)

    def without(self, others: Iterable[Tensor]) -> int:
        """Return the bytes, but those of other tensors: weights, for instance."""
        known = {tensor.untyped_storage().data_ptr() for tensor in others}
        return sum(n for place, n in self._storages.items() if place not in known)


class _Beginning(torch.autograd.Function):
    """Make a tensor, in place and with its values, one that gradients arrive at.

    It is the first argument: where it is a view of another tensor, autograd takes the
    first one for what is written, and goes on to the others alone.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, anchor: Tensor) -> Tensor:
        ctx.mark_dirty(values)
        return values

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, None]:
        return None, None


def _rows(values: Tensor, n_instances: int, channel_axis: int) -> Tensor:
    """Return a layer's output, or its gradient, as (N, P, C)."""
    rows = values.movedim(channel_axis, -1)
    if rows.ndim == 2:
        rows = rows[:, None]
    # Windows or heads of an instance follow each other on the first axis.
    return rows.reshape(n_instances, -1, rows.shape[-1])


def _summed(
    activation: Tensor,
    gradient: Tensor,
    counted: Tensor | None,
    signal: ChannelSignal | None,
) -> LayerGradients:
    """Return the sums of a layer, all of shape (N, P, C) but `counted`, (N, P)."""
    n_counted: int | Tensor = activation.shape[1]
    a, g = activation, gradient
    if counted is not None:
        left_out = ~counted[:, :, None]
        a, g = a.masked_fill(left_out, 0), g.masked_fill(left_out, 0)
        n_counted = counted.sum(dim=1, keepdim=True)
    sums = _sums_of_rows(a, g)
    if sums is None:
        a, g = a.float(), g.float()
        # Squares of small gradients are below the range of float32.
        norm = torch.linalg.vector_norm(g, dim=1, dtype=torch.float64).float()
        sums = (a * g).sum(1), g.sum(1), a.sum(1), norm
    product, total, mass, norm = sums
    if signal is not None:
        product = signal(activation, gradient, counted).float()
    return LayerGradients(product, total, mass / n_counted, norm)


def _sums_of_rows(
    activation: Tensor, gradient: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor] | None:
    """Return sums and norm in one pass; None for another device, type or layout."""
    both = activation, gradient
    is_simple = all(
        x.device.type == "cpu" and x.dtype == torch.float32 and x.is_contiguous()
        for x in both
    )
    if not is_simple:
        return None
    shape = (4, activation.shape[0], activation.shape[2])
    sums = np.empty(shape, np.float32)
    _sum_rows(activation.numpy(), gradient.numpy(), sums)
    product, total, mass, norm = torch.from_numpy(sums)
    return product, total, mass, norm


@compiled
def _sum_rows(activation: Any, gradient: Any, sums: Any) -> None:
    # Float64 while it is summed: maps have up to ten thousand positions.
    n_rows, n_channels = activation.shape[1], activation.shape[2]
    product, total = np.empty(n_channels), np.empty(n_channels)
    mass, squares = np.empty(n_channels), np.empty(n_channels)
    for n in range(activation.shape[0]):
        product[:] = 0.0
        total[:] = 0.0
        mass[:] = 0.0
        squares[:] = 0.0
        for p in range(n_rows):
            a, g = activation[n, p], gradient[n, p]
            for c in range(n_channels):
                x, y = np.float64(a[c]), np.float64(g[c])
                product[c] += x * y
                total[c] += y
                mass[c] += x
                squares[c] += y * y
        for c in range(n_channels):
            sums[0, n, c], sums[1, n, c] = product[c], total[c]
            sums[2, n, c], sums[3, n, c] = mass[c], np.sqrt(squares[c])
