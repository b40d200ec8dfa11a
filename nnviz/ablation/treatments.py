"""Which channels are ablated, to see whether a graph matters? Sets and treatments.

A graph is compared with sets that have as many channels in each layer:

- ``random``: drawn from all channels of the layer, the graph's among them. If any
  channels of that number would do as well, the graph is one more such draw.
- ``least``: those that the graph's own score puts last.
- ``active``: those that are a top channel in most of the subset's instances. They need
  no graph; one that says more than counts must harm more when it is taken away.

A treatment ablates a set, or all but a set (does it suffice?), in all layers at once or
in one. ``none`` and ``all`` are its two ends.

Symbols: C channels of a layer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "ALL_LAYERS",
    "Channels",
    "SetName",
    "Treatment",
    "ablated_channels",
    "channel_sets",
    "highest",
    "make_treatments",
]

Channels = Mapping[str, NDArray[np.int64]]
"""Channel numbers by layer, ascending."""

ALL_LAYERS = ""
"""In place of a layer's name: in all layers at once."""

SetName = Literal["none", "graph", "least", "active", "random", "all"]


@dataclass(frozen=True, slots=True)
class Treatment:
    """What is ablated in one run of the network."""

    what: SetName
    draw: int = 0
    """Number of the draw, from 1; 0 for sets that are not drawn."""
    keeps: bool = False
    """Whether the set is kept, and all other channels are ablated."""
    layer: str = ALL_LAYERS
    """The one layer in which it is done."""


def make_treatments(
    layers: Iterable[str], *, draws: int, by_layer: bool
) -> tuple[Treatment, ...]:
    """Return all treatments of a check.

    Parameters
    ----------
    layers
        Layers in which channels are ablated.
    draws
        Random sets; 0 for none.
    by_layer
        Whether the sets are ablated in each layer alone, too.
    """
    random = [Treatment("random", draw) for draw in range(1, draws + 1)]
    sets = [Treatment("graph"), Treatment("least"), Treatment("active"), *random]
    kept = [replace(one, keeps=True) for one in (Treatment("graph"), *random)]
    single = [
        replace(one, layer=x) for x in (layers if by_layer else ()) for one in sets
    ]
    return (Treatment("none"), *sets, *kept, Treatment("all"), *single)


def channel_sets(
    kept: Channels,
    scores: Mapping[str, NDArray[np.float64]],
    counts: Mapping[str, NDArray[np.int64]],
    *,
    draws: int,
    seed: Sequence[int],
) -> dict[tuple[SetName, int], Channels]:
    """Return the graph's channels and as many others, by name and draw.

    Parameters
    ----------
    kept
        The graph's channels; all layers.
    scores
        The graph's score of every channel, by layer, shape (C,).
    counts
        In how many instances each is a top channel, by layer, shape (C,).
    draws
        Random sets.
    seed
        Seed of the random sets. The same seed gives nested sets for other sizes, so
        that graphs of different sizes meet the same luck.
    """
    sizes = {layer: len(channels) for layer, channels in kept.items()}
    sets: dict[tuple[SetName, int], Channels] = {
        ("none", 0): {layer: _numbers(0) for layer in kept},
        ("graph", 0): kept,
        ("least", 0): {x: highest(-scores[x], n) for x, n in sizes.items()},
        ("active", 0): {x: highest(counts[x], n) for x, n in sizes.items()},
        ("all", 0): {layer: _numbers(len(scores[layer])) for layer in kept},
    }
    for draw in range(1, draws + 1):
        sets["random", draw] = {
            layer: np.sort(
                np.random.default_rng((*seed, draw, number)).permutation(
                    len(scores[layer])
                )[:size]
            )
            for number, (layer, size) in enumerate(sizes.items())
        }
    return sets


def ablated_channels(
    treatment: Treatment,
    sets: Mapping[tuple[SetName, int], Channels],
    n_channels: Mapping[str, int],
) -> dict[str, NDArray[np.int64]]:
    """Return which channels a treatment ablates, by layer.

    Parameters
    ----------
    treatment
        What is done.
    sets
        As :func:`channel_sets` returns them.
    n_channels
        C of each layer.
    """
    chosen = sets[treatment.what, treatment.draw]
    layers = [treatment.layer] if treatment.layer else list(chosen)
    if treatment.keeps:
        return {x: np.setdiff1d(_numbers(n_channels[x]), chosen[x]) for x in layers}
    return {layer: chosen[layer] for layer in layers}


def highest(values: NDArray[np.float64 | np.int64], n: int) -> NDArray[np.int64]:
    """Return the channels of the n largest values, ascending; ties to the lower one.

    Examples
    --------
    >>> highest(np.array([1.0, 5.0, 0.0, 5.0]), 2)
    array([1, 3])
    """
    return np.sort(np.argsort(-values, kind="stable")[:n])


def _numbers(n: int) -> NDArray[np.int64]:
    return np.arange(n, dtype=np.int64)
