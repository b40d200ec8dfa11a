"""What do A and B show, in one sentence made from the numbers?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nnviz.aggregation.estimates import Estimates
from nnviz.formatting import instances_text, said_p_value
from nnviz.results.neuron_matrix import ColumnContrast, NeuronMatrix
from nnviz.results.subset_pairs import OTHERS, SubsetPair
from nnviz.results.subset_results import SubsetResults
from nnviz_dashboards.shared.theme import (
    format_count,
    format_percent,
    format_value,
)

__all__ = [
    "Part",
    "said_of_answer",
    "said_of_channels",
    "said_of_estimate",
    "said_of_sizes",
]

LEVEL = 0.05

LEAST_ERROR = 1e-12
"""Of a mean that was taken of all instances."""


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of the sentence."""

    text: str
    layer: str = ""
    """Where the piece names a channel, its layer."""
    channel: int = -1
    is_muted: bool = False
    """Whether it is about the answer, not of it."""


def said_of_sizes(pair: SubsetPair) -> str:
    """Return how many instances of A are looked at, and how they are predicted."""
    found, name = pair.found, pair.names[0]
    n = found.n_instances
    if not n:
        return f"No usable instance is in {name!r}."
    confusion, whole = pair.confusion, pair.n_of_class
    if confusion is not None:
        verb = "is" if n == 1 else "are"
        of = f"{format_count(n)} of {format_count(whole)} instances"
        taken = f"{verb} taken for {confusion.taken_for} ({format_percent(n / whole)})"
        return f"{of} of {confusion.label} {taken}."
    right, low, high = found.accuracy
    text = f"{name}: {instances_text(n)}"
    if right != right or right in (0.0, 1.0):
        return f"{text}."
    interval = f"{format_percent(low)} to {format_percent(high)}"
    return f"{text}, {format_percent(right)} predicted right ({interval})."


def said_of_channels(
    neurons: NeuronMatrix,
    found: SubsetResults,
    names: tuple[str, str],
    *,
    layer: str,
    layers: Mapping[str, str],
) -> tuple[Part, ...]:
    """Return what tells the channels of A from those of B, by their means.

    Parameters
    ----------
    neurons
        Of the run.
    found
        A against B, counted.
    names
        How A and B are called.
    layer
        The chosen layer; where none of its channels differs, the layer of which most do
        is named beside it.
    layers
        Short name of each shown layer.
    """
    if not found.n_instances or not found.n_against:
        return ()
    there = names[1] if names[1] == OTHERS else f"“{names[1]}”"
    here = _Difference.of(neurons, found, layer)
    if here.n_different:
        verb = "tells" if here.n_different == 1 else "tell"
        begin = f" In {layers.get(layer, layer)}, {here.count} {verb} A from {there}"
        return (Part(begin + here.introduction), *here.strongest())
    none = f" No channel of {layers.get(layer, layer)} tells A from {there}"
    others = [_Difference.of(neurons, found, name) for name in layers]
    most = max(others, key=lambda other: other.n_different)
    if not most.n_different:
        return (Part(f"{none}, nor one of any other layer (p < {LEVEL})."),)
    verb = "does" if most.n_different == 1 else "do"
    begin = f"{none}; in {layers[most.layer]}, {most.count} {verb}{most.introduction}"
    return (Part(begin), *most.strongest())


def said_of_estimate(
    one: Mapping[str, Estimates],
    other: Mapping[str, Estimates],
    *,
    layer: str,
    layers: Mapping[str, str],
) -> tuple[Part, ...]:
    """Return about what the exact numbers will say, of the layer's surest channel.

    Parameters
    ----------
    one, other
        Of A and of B, by layer.
    layer
        The chosen layer; where it is not among them, the first one is taken.
    layers
        Short name of each shown layer.
    """
    layer = layer if layer in one else next(iter(one))
    a, b = one[layer], other[layer]
    error = np.maximum(np.hypot(a.mean_error, b.mean_error), LEAST_ERROR)
    sureness = np.nan_to_num(np.abs(a.mean - b.mean) / error, posinf=0.0)
    channel = int(sureness.argmax())
    here, there = (
        f"{format_value(float(each.mean[channel]))} ± "
        f"{format_value(float(each.mean_error[channel]))}"
        for each in (a, b)
    )
    sampled = f"{format_count(a.n_sampled)} of {format_count(a.n_instances)}"
    return (
        Part(f" About, in {layers.get(layer, layer)}: "),
        Part(f"channel {channel}", layer, channel),
        Part(f", on average {here} in A and {there} in B."),
        Part(f" From {sampled} instances of A, 95 % intervals.", is_muted=True),
    )


def said_of_answer(answered_by: str) -> Part:
    """Return where exact numbers come from."""
    if answered_by in ("aggregates", "index"):
        return Part(f" Exact, from the {answered_by}.", is_muted=True)
    text = " Exact, from the facts of every instance; the command ‘nnviz index’ makes"
    return Part(f"{text} such answers fast.", is_muted=True)


@dataclass(frozen=True, slots=True, eq=False)
class _Difference:
    """How the means of one layer differ."""

    layer: str
    contrast: ColumnContrast
    means: NDArray[np.float64]
    n_different: int
    names: tuple[str, ...]
    """Of the channels, where they have any."""

    @classmethod
    def of(cls, neurons: NeuronMatrix, found: SubsetResults, layer: str) -> _Difference:
        contrast = neurons.contrast(found, layer, "mean")
        n_different = int((contrast.p_value < LEVEL).sum())
        names = neurons.channel_names(layer)
        return cls(layer, contrast, found.means(layer), n_different, names)

    @property
    def count(self) -> str:
        n = len(self.contrast.effect)
        return f"{format_count(self.n_different)} of {format_count(n)} channels"

    @property
    def introduction(self) -> str:
        """What leads over to the strongest channel."""
        return ": " if self.n_different == 1 else ", most of all "

    def strongest(self) -> tuple[Part, Part]:
        """Return the channel whose means differ most, among those that surely do."""
        is_sure = self.contrast.p_value < LEVEL
        effect = np.abs(np.nan_to_num(self.contrast.effect)) * is_sure
        channel = int(effect.argmax())
        a, b = (format_value(float(mean[channel])) for mean in self.means)
        p = said_p_value(float(self.contrast.p_value[channel]))
        d = format_value(float(self.contrast.effect[channel]))
        rest = f", on average {a} in A and {b} in B (d = {d}, adjusted {p})."
        called = self.names[channel] if self.names else f"channel {channel}"
        return Part(called, self.layer, channel), Part(rest)
