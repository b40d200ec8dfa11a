"""The three operations through which channels reach channels, and where they read.

An operation is made once for an edge; it keeps what can be prepared before any data is
seen. Normalisation is folded into weight and bias by whoever makes it, so that
contributions plus bias are the target's pre-activation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from nnviz.errors import ShapeError

__all__ = [
    "Axis",
    "ChannelOperation",
    "Convolution",
    "ConvolutionArrays",
    "Identity",
    "Linear",
    "PaddingMode",
    "convolution_of",
    "output_positions",
]

PaddingMode = Literal["zeros", "reflect", "replicate", "circular"]
Pairs = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Axis:
    """One position axis of a convolution: which input elements meet which taps.

    Output `o` and tap `t` read the padded element ``o * stride + t * dilation``.
    """

    source: tuple[int, ...]
    """Input element of every padded element; -1 where the padding is zero."""
    stride: int
    dilation: int
    n_taps: int
    n_outputs: int

    @classmethod
    def whole(cls, size: int) -> Axis:
        """Return an axis that a single tap reads once, from end to end."""
        return cls(tuple(range(size)), 1, 1, 1, size)

    @property
    def evaluated(self) -> NDArray[np.int64]:
        """Input elements that are read, shape (n_outputs, n_taps), -1 for zero."""
        outputs = np.arange(self.n_outputs)[:, None] * self.stride
        taps = np.arange(self.n_taps)[None] * self.dilation
        read: NDArray[np.int64] = np.asarray(self.source, np.int64)[outputs + taps]
        return read


@dataclass(frozen=True, eq=False)
class ConvolutionArrays:
    """Weights of a plain convolution, float32."""

    weight: NDArray[np.float32]
    """Shape (targets, sources of a group, taps)."""
    sums: NDArray[np.float32]
    """Sums over taps of the positive and of the negative weights, shape (2, targets,
    sources of a group)."""

    @cached_property
    def by_tap(self) -> NDArray[np.float32]:
        """The weight with neighbouring sources, shape (targets, taps, sources)."""
        return np.ascontiguousarray(self.weight.transpose(0, 2, 1))


@dataclass(frozen=True, eq=False)
class Convolution:
    """A convolution over any number of position axes, or a transposed one."""

    weight: torch.Tensor
    """Shape (targets, sources / groups, *kernel); a transposed convolution keeps
    torch's (sources, targets / groups, *kernel). Any float type."""
    bias: torch.Tensor | None = None
    """Shape (targets,)."""
    stride: int | Sequence[int] = 1
    padding: int | str | Sequence[int] | Sequence[tuple[int, int]] = 0
    """As in torch; or one (before, after) for each axis."""
    padding_mode: PaddingMode = "zeros"
    dilation: int | Sequence[int] = 1
    groups: int = 1
    transposed: bool = False
    output_padding: int | Sequence[int] = 0

    @property
    def n_axes(self) -> int:
        """Number of position axes."""
        return self.weight.ndim - 2

    @property
    def kernel(self) -> tuple[int, ...]:
        """Number of taps along each axis."""
        return tuple(self.weight.shape[2:])

    @property
    def n_sources(self) -> int:
        """Input channels."""
        rows, columns = self.weight.shape[:2]
        return rows if self.transposed else columns * self.groups

    @property
    def n_targets(self) -> int:
        """Output channels."""
        rows, columns = self.weight.shape[:2]
        return columns * self.groups if self.transposed else rows

    @cached_property
    def direct_weight(self) -> torch.Tensor:
        """Weight of the equal plain convolution, (targets, sources / groups, taps).

        A transposed convolution is a plain one, with the kernel mirrored, over the
        input with zeros between its elements.
        """
        weight = self.weight.detach().float()
        if self.transposed:
            size = (self.groups, -1, *weight.shape[1:])
            weight = weight.reshape(size).transpose(1, 2).flatten(0, 1)
            weight = weight.flip(tuple(range(2, weight.ndim)))
        return weight.reshape(self.n_targets, -1, int(np.prod(self.kernel)))

    @cached_property
    def arrays(self) -> ConvolutionArrays:
        """The weights as the compiled kernels read them, made once."""
        weight = self.direct_weight.cpu().numpy()
        wide = weight.astype(np.float64)
        sums = np.stack([wide.clip(min=0).sum(2), wide.clip(max=0).sum(2)])
        return ConvolutionArrays(
            weight=np.ascontiguousarray(weight),
            sums=np.ascontiguousarray(sums, np.float32),
        )

    @cached_property
    def negated(self) -> Convolution:
        """The convolution whose largest contributions are this one's smallest."""
        return replace(self, weight=-self.weight.detach(), bias=None)

    def axes(self, positions: Sequence[int]) -> tuple[Axis, ...]:
        """Return where an input of these extents is read, one axis for each extent.

        Raises
        ------
        ShapeError
            If the input has another number of axes, or is too small.
        """
        # Asked for several times in each batch, whose extents are mostly the same.
        known, extents = self._known_axes, tuple(positions)
        if extents not in known:
            known[extents] = self._axes_of(extents)
        return known[extents]

    @cached_property
    def _known_axes(self) -> dict[tuple[int, ...], tuple[Axis, ...]]:
        return {}

    def _axes_of(self, positions: tuple[int, ...]) -> tuple[Axis, ...]:
        if len(positions) != self.n_axes:
            msg = (
                f"the convolution has {self.n_axes} position axes but its input has "
                f"{len(positions)}; give (instance, channel, *positions)"
            )
            raise ShapeError(msg)
        parts = zip(
            positions,
            self.kernel,
            self._each(self.stride),
            self._paddings(),
            self._each(self.dilation),
            self._each(self.output_padding),
            strict=True,
        )
        return tuple(
            _transposed_axis(*part) if self.transposed else self._axis(*part[:-1])
            for part in parts
        )

    def _axis(
        self, size: int, taps: int, stride: int, padding: tuple[int, int], dilation: int
    ) -> Axis:
        source = _padded(size, padding, self.padding_mode)
        n_outputs = (len(source) - dilation * (taps - 1) - 1) // stride + 1
        return _checked(Axis(source, stride, dilation, taps, n_outputs), size)

    def _each(self, value: int | Sequence[int]) -> tuple[int, ...]:
        if isinstance(value, int):
            return (value,) * self.n_axes
        return tuple(value)

    def _paddings(self) -> Pairs:
        if self.padding == "valid":
            return ((0, 0),) * self.n_axes
        if self.padding == "same":
            spans = zip(self._each(self.dilation), self.kernel, strict=True)
            totals = [dilation * (taps - 1) for dilation, taps in spans]
            return tuple((total // 2, total - total // 2) for total in totals)
        if isinstance(self.padding, int):
            return ((self.padding, self.padding),) * self.n_axes
        return tuple(
            (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))
            for value in self.padding
        )


@dataclass(frozen=True, eq=False)
class Linear:
    """A linear map of the channels, the same at every position."""

    weight: torch.Tensor
    """Shape (targets, sources)."""
    bias: torch.Tensor | None = None
    """Shape (targets,)."""

    @cached_property
    def as_convolution(self) -> Convolution:
        """The same map as a convolution without position axes."""
        return Convolution(self.weight, self.bias)


@dataclass(frozen=True, eq=False)
class Identity:
    """Each channel reaches one target: a residual sum, pooling, normalisation alone."""

    scale: torch.Tensor | None = None
    """Factor of a folded normalisation, shape (channels,); None: 1."""
    bias: torch.Tensor | None = None
    """Shape (channels,)."""

    def factors(self, n_channels: int) -> NDArray[np.float32]:
        """Return the scale as an array, shape (channels,)."""
        if self.scale is None:
            return np.ones(n_channels, np.float32)
        return np.asarray(self.scale.detach().float().cpu().numpy())


ChannelOperation = Convolution | Linear | Identity


def convolution_of(
    operation: Convolution | Linear, positions: Sequence[int]
) -> tuple[Convolution, tuple[Axis, ...]]:
    """Return an operation as a convolution, and where it reads an input.

    A linear map is a convolution with one tap that reads every position once.
    """
    if isinstance(operation, Convolution):
        return operation, operation.axes(positions)
    return operation.as_convolution, tuple(Axis.whole(size) for size in positions)


def output_positions(
    operation: ChannelOperation, positions: Sequence[int]
) -> tuple[int, ...]:
    """Return the extents of an operation's output for an input of some extents."""
    if not isinstance(operation, Convolution):
        return tuple(positions)
    return tuple(axis.n_outputs for axis in operation.axes(positions))


@lru_cache(maxsize=1024)
def _padded(size: int, padding: tuple[int, int], mode: PaddingMode) -> tuple[int, ...]:
    element = np.arange(-padding[0], size + padding[1])
    if mode == "zeros":
        source = np.where((element >= 0) & (element < size), element, -1)
    elif mode == "replicate":
        source = element.clip(0, size - 1)
    elif mode == "circular":
        source = element % size
    else:
        source = size - 1 - np.abs(size - 1 - np.abs(element))
    return tuple(source.tolist())


def _transposed_axis(
    size: int,
    taps: int,
    stride: int,
    padding: tuple[int, int],
    dilation: int,
    output_padding: int,
) -> Axis:
    spread = np.full((size - 1) * stride + 1, -1)
    spread[::stride] = np.arange(size)
    margin = dilation * (taps - 1)
    wide = np.pad(spread, (margin, margin + output_padding), constant_values=-1)
    source = wide[padding[0] : len(wide) - padding[1]]
    n_outputs = len(source) - margin
    return _checked(Axis(tuple(source.tolist()), 1, dilation, taps, n_outputs), size)


def _checked(axis: Axis, size: int) -> Axis:
    if axis.n_outputs < 1:
        msg = (
            f"the convolution has no position: its input has {size} elements along an "
            f"axis where the kernel spans {axis.dilation * (axis.n_taps - 1) + 1}; "
            "give a larger input"
        )
        raise ShapeError(msg)
    return axis
