"""What do A and B show, in one sentence made from the numbers?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nnviz.results.subset_pairs import OTHERS, SubsetPair
from nnviz.results.subset_results import ChannelContrast, SubsetResults
from nnviz_dashboards.shared.theme import format_count, format_p, format_percent

__all__ = ["Part", "said_of_channels", "said_of_sizes"]

LEVEL = 0.05


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of the sentence."""

    text: str
    layer: str = ""
    """Where the piece names a channel, its layer."""
    channel: int = -1


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
    text = f"{name}: {format_count(n)} {'instance' if n == 1 else 'instances'}"
    if right != right or right in (0.0, 1.0):
        return f"{text}."
    interval = f"{format_percent(low)} to {format_percent(high)}"
    return f"{text}, {format_percent(right)} predicted right ({interval})."


def said_of_channels(
    found: SubsetResults,
    names: tuple[str, str],
    *,
    layer: str,
    layers: Mapping[str, str],
    n_channels: Mapping[str, int],
) -> tuple[Part, ...]:
    """Return what tells the channels of A from those of B.

    Parameters
    ----------
    found
        A against B, counted.
    names
        How A and B are called.
    layer
        The chosen layer; where none of its channels differs, the layer of which most do
        is named beside it.
    layers
        Short name of each shown layer.
    n_channels
        Number of channels of each shown layer.
    """
    if not found.n_instances or not len(found.against):
        return ()
    significant = [c for c in found.channels if c.p_value < LEVEL]
    here = [c for c in significant if c.layer == layer]
    there = names[1] if names[1] == OTHERS else f"“{names[1]}”"
    if here:
        verb = "tells" if len(here) == 1 else "tell"
        of = f"{len(here):,} of {n_channels.get(layer, 0):,} channels {verb}"
        begin = f" In {layers.get(layer, layer)}, {of} A from {there}"
        return (Part(begin + _introduced(here)), *_strongest(here))
    none = f" No channel of {layers.get(layer, layer)} tells A from {there}"
    if not significant:
        return (Part(f"{none}, nor one of any other layer (p < {LEVEL})."),)
    counts = {name: sum(c.layer == name for c in significant) for name in layers}
    most = max(counts, key=lambda name: counts[name])
    of = f"{counts[most]:,} of {n_channels.get(most, 0):,}"
    rest = [c for c in significant if c.layer == most]
    verb = "does" if len(rest) == 1 else "do"
    begin = f"{none}; in {layers[most]} {of} {verb}{_introduced(rest)}"
    return (Part(begin), *_strongest(rest))


def _introduced(channels: list[ChannelContrast]) -> str:
    """Return what leads over to the strongest channel."""
    return ": " if len(channels) == 1 else ", most of all "


def _strongest(channels: list[ChannelContrast]) -> tuple[Part, Part]:
    one = max(channels, key=lambda c: abs(c.effect))
    shares = f"{format_percent(one.share)} of A and {format_percent(one.other_share)}"
    rest = f", on top in {shares} of B (adjusted p = {format_p(one.p_value)})."
    return Part(f"channel {one.channel}", one.layer, one.channel), Part(rest)
