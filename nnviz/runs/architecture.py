"""What layers and edges does a network have? Plain values, without torch.

A *layer* is a place in the network where channels are read: the output of a
channel-mixing operation after its normalisation and non-linearity, of a concatenation,
or of a residual sum. An *edge* is a pair of layers and the one operation through which
channels of the source reach channels of the target.

An :class:`Architecture` is found by ``nnviz.network.tracing`` and stored in the plan as
JSON; it is all that the stages after extraction know of the network.
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from nnviz.errors import UnknownNameError, did_you_mean
from nnviz.runs.network_inputs import NetworkInputs
from nnviz.runs.padding import PaddingCheck

__all__ = [
    "LARGEST_ERROR",
    "Architecture",
    "Edge",
    "Held",
    "HeldPart",
    "Layer",
    "ReceptiveField",
]

LARGEST_ERROR = 1e-4
"""Relative difference up to which a pre-activation is taken as validated: float32
rounding of long sums; wrong edges differ by far more."""

LayerKind = Literal[
    "convolution",
    "linear",
    "normalization",
    "sum",
    "concatenation",
    "product",
    "attention",
    "pooling",
    "input",
    "other",
]
EdgeOperation = Literal["convolution", "linear", "identity", "gate"]
"""A gate multiplies what another edge brings, and has no influence of its own."""


@dataclass(frozen=True, slots=True)
class ReceptiveField:
    """The part of the input that one position of a layer sees, axis by axis.

    Position ``p`` of axis ``d`` sees the input's elements from
    ``start[d] + p * step[d]`` up to, not including, that plus ``size[d]``; parts
    outside of the input are padding.
    """

    size: tuple[int, ...]
    """Extent in input elements (pixels), one for each position axis."""
    step: tuple[float, ...]
    """Distance between neighbouring positions, in input elements."""
    start: tuple[float, ...]
    """First input element seen by position 0; negative where padding is seen."""

    def box(self, position: Sequence[int]) -> tuple[tuple[float, float], ...]:
        """Return (first, past-last) input elements along each axis for one position."""
        return tuple(
            (start + p * step, start + p * step + size)
            for p, size, step, start in zip(
                position, self.size, self.step, self.start, strict=True
            )
        )


@dataclass(frozen=True, slots=True)
class Layer:
    """A place in the network where channels are read."""

    name: str
    """Torch module path, or ``module@function`` where no module owns the place."""
    node: str
    """The graph node whose output is read; where a recorder takes it."""
    kind: LayerKind
    n_channels: int
    positions: tuple[int, ...] = ()
    """Extent of each position axis for the traced input: (H, W), (T,) or ()."""
    channel_axis: int = 1
    """Axis of the channels in the tensor at `node`."""
    shown: bool = True
    """Whether the dashboard and the default graphs show it."""
    receptive_field: ReceptiveField | None = None
    """None where a position sees the whole input, or where it is not known."""
    token_axis: int | None = None
    """Which of `positions` runs over the tokens of an instance; None: none of them, and
    all positions count."""
    token_field: ReceptiveField | None = None
    """Which tokens a position sees, on one axis, where there are not as many positions
    as tokens; None: position p is token p."""
    token_window: ReceptiveField | None = None
    """Which tokens a position sees by convolution and pooling, on one axis, for whoever
    shows them; None: one, or it is not known."""
    aliases: tuple[str, ...] = ()
    """Other names by which it may be asked for: those that TransformerLens has for the
    layers of a transformer (``blocks.0.mlp.hook_post``)."""
    instance_axis: int = 0
    """Axis of the instances in the tensor at `node`: 1 where time comes first, behind
    which they lie."""
    channel_names: tuple[str, ...] = ()
    """What each channel is, where the data say it: of a table's input the columns.
    Empty: channels have numbers alone."""

    @property
    def names(self) -> tuple[str, ...]:
        """The name, and the other names."""
        return (self.name, *self.aliases)

    def name_of(self, channel: int) -> str:
        """Return the name of a channel; empty where channels have none."""
        return self.channel_names[channel] if self.channel_names else ""

    def called(self, channel: int) -> str:
        """Return what people read of a channel: its name, or else its number."""
        return self.name_of(channel) or str(channel)

    def tokens_of(self, position: int) -> tuple[int, int] | None:
        """Return the tokens that a stored position sees, half open; None without any.

        Parameters
        ----------
        position
            As for :meth:`token_of`.
        """
        place = self.token_of(position)
        seen = self.token_window or self.token_field
        if place is None or seen is None or self.token_axis is None:
            return None if place is None else (place, place + 1)
        others = list(self.positions)
        del others[self.token_axis]
        ((first, stop),) = seen.box((position // math.prod(others),))
        return max(0, math.floor(first)), max(0, math.ceil(stop))

    def token_of(self, position: int, extents: Sequence[int] = ()) -> int | None:
        """Return the token at which a stored position lies; None without tokens.

        Of a window of tokens it is the one in its middle. Where a layer has more axes
        than that of the tokens, stored positions count the tokens first:
        ``token * others + other``.

        Parameters
        ----------
        position
            Of a maximum, as ``peaks/<layer>/position`` has it.
        extents
            Extent of each position axis; only those beside the tokens are read. Empty:
            those of the traced input.
        """
        if self.token_axis is None:
            return None
        others = list(extents or self.positions)
        del others[self.token_axis]
        place = position // math.prod(others)
        if self.token_field is None:
            return place
        ((first, stop),) = self.token_field.box((place,))
        return max(0, int(first + stop - 1) // 2)


@dataclass(frozen=True, slots=True)
class Edge:
    """One operation through which channels of `source` reach channels of `target`."""

    source: str
    target: str
    operation: EdgeOperation
    node: str
    """Graph node of the operation (the convolution, the linear map, the sum)."""
    target_channels: tuple[int, int] = (0, 0)
    """Half-open range of the target's channels that this edge enters."""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    """What else the influence along this edge needs; JSON values only."""


HeldPart = Literal["normalization", "attention pattern"]


@dataclass(frozen=True, slots=True)
class Held:
    """What influences hold at its value, though channels change it."""

    part: HeldPart
    """The statistics of a normalisation, or the pattern of an attention."""
    layer: str
    """The first layer that is entered by way of it."""
    size: float
    """How much a channel that is set to its mean changes by way of it, relative to what
    it changes beside it; on the traced batch, root mean square, of the strongest."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """The layers of a network in order of computation, and the edges between them."""

    layers: tuple[Layer, ...]
    edges: tuple[Edge, ...] = ()
    input_shape: tuple[int, ...] = ()
    """Shape of one instance of the traced batch, without the instance axis."""
    input_dtype: str = "float32"
    """float32, or int64 for a network that receives indices; of packed ones theirs."""
    inputs: NetworkInputs | None = None
    """What a packed instance holds; None: the network takes one plain tensor."""
    padding: PaddingCheck | None = None
    """How batches are padded; None: instances have no tokens."""
    output_shape: tuple[int, ...] = ()
    """Shape of one instance's output: (n_classes,) for a classifier."""
    problems: tuple[str, ...] = ()
    """Why influence is not available somewhere; one sentence each, with the place."""
    validation_error: float | None = None
    """Largest relative difference between what edges say and what the network computes,
    of the output and of any layer, single channels included; None where there is no
    edge."""
    held: tuple[Held, ...] = ()
    """What is held at its value: there influences add up, and say what a channel alone
    contributes, but not all that would change without it."""

    @property
    def is_validated(self) -> bool:
        """Whether layers and edges compute what the network does; NaN never does."""
        error = self.validation_error
        return error is not None and error < LARGEST_ERROR

    def layer(self, name: str) -> Layer:
        """Return the layer of this name, or of this other name.

        Raises
        ------
        UnknownNameError
            If there is none; the message has near matches.
        """
        for layer in self.layers:
            if name in layer.names:
                return layer
        names = [layer.name for layer in self.layers]
        every = [one for layer in self.layers for one in layer.names]
        msg = f"unknown layer {name!r}{did_you_mean(name, every)}; {_listing(names)}"
        raise UnknownNameError(msg)

    @property
    def channel_names(self) -> dict[str, tuple[str, ...]]:
        """By layer, of those whose channels have names."""
        return {x.name: x.channel_names for x in self.layers if x.channel_names}

    @property
    def shown(self) -> tuple[Layer, ...]:
        """The layers that are shown, in order of computation."""
        return tuple(layer for layer in self.layers if layer.shown)

    def selected(
        self, *, recorded: Sequence[str] = ("*",), shown: Sequence[str] | None = None
    ) -> Architecture:
        """Keep the layers that match a glob pattern, and mark those that are shown.

        Parameters
        ----------
        recorded
            Glob patterns over layer names, or their other names; a pattern that starts
            with ``!`` removes.
        shown
            Glob patterns of the layers to show; None keeps the choice of the tracer.

        Raises
        ------
        UnknownNameError
            If a pattern matches no layer.
        """
        kept = _matching(self.layers, recorded)
        marked = None if shown is None else _matching(self.layers, shown)
        layers = tuple(
            layer if marked is None else replace(layer, shown=layer.name in marked)
            for layer in self.layers
            if layer.name in kept
        )
        if not any(layer.shown for layer in layers):
            layers = tuple(replace(layer, shown=True) for layer in layers)
        edges = tuple(e for e in self.edges if e.source in kept and e.target in kept)
        return replace(self, layers=layers, edges=edges)


def _listing(names: Sequence[str], n: int = 8) -> str:
    more = f", … {names[-1]}" if len(names) > n else ""
    return f"the layers are {', '.join(names[:n])}{more}"


def _matching(layers: Sequence[Layer], patterns: Sequence[str]) -> set[str]:
    kept: set[str] = set()
    for pattern in patterns:
        glob = pattern.removeprefix("!")
        found = {
            layer.name
            for layer in layers
            if any(fnmatch.fnmatchcase(name, glob) for name in layer.names)
        }
        if not found:
            every = [name for layer in layers for name in layer.names]
            msg = (
                f"pattern {pattern!r} matches none of the {len(layers)} layers"
                f"{did_you_mean(glob, every)}; {_listing([x.name for x in layers])}"
            )
            raise UnknownNameError(msg)
        kept = kept - found if pattern.startswith("!") else kept | found
    return kept
