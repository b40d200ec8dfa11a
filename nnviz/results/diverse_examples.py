"""What else does a channel fire for? Strong examples that are as unlike as possible.

The strongest instances of a channel are often alike: what it also fires for is not
among them. The rule:

1. Candidates are the `N_CANDIDATES` strongest instances, of those in which the channel
   is at least `LEAST` times as strong as in the strongest one.
2. The strongest is taken, then always the one that is least alike to those taken: whose
   largest cosine with one of them, over all channels of the layer, is smallest. Of
   equal ones the stronger is taken.

Symbols: N instances, n candidates, C channels of a layer.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nnviz.aggregation.index_channels import IndexedChannels
from nnviz.results.instance_pictures import InstancePictures
from nnviz.store.store import Store

__all__ = [
    "LEAST",
    "N_CANDIDATES",
    "N_DIVERSE",
    "DiverseExample",
    "DiverseExamples",
    "least_alike",
    "strongest_instances",
]

N_DIVERSE = 5
N_CANDIDATES = 100
LEAST = 0.5

CACHED_CHANNELS = 512
CACHED_PICTURES = 1024
"""Each has a few kilobytes."""


@dataclass(frozen=True, slots=True)
class DiverseExample:
    """An instance in which a channel is strong, unlike those before it."""

    instance: int
    value: float
    """The channel's activation, in the unit of the layer's output."""
    position: int
    """Row-major position of the maximum; -1 where it is not known."""
    likeness: float
    """Largest cosine with one of those before it, in [-1, 1]; NaN for the first."""
    has_picture: bool


class DiverseExamples:
    """The diverse examples of one run's channels; may be shared by threads.

    Parameters
    ----------
    store
        Opened read-only, with a complete extraction.
    channels
        Single channels and rows of its instances.
    pictures
        Of its instances.
    stored
        Returns the picture that derivation has stored of an instance as one of a
        channel's examples, by layer, channel and instance; empty for none.
    """

    def __init__(
        self,
        store: Store,
        channels: IndexedChannels,
        pictures: InstancePictures,
        stored: Callable[[str, int, int], bytes],
    ) -> None:
        self._store, self._channels, self._pictures = store, channels, pictures
        self._stored = stored
        self._of = functools.lru_cache(CACHED_CHANNELS)(self._find)
        self.picture = functools.lru_cache(CACHED_PICTURES)(self._picture)
        """Return what a channel sees of one of its diverse examples, by layer, channel
        and place among them: a file; empty where there is none."""

    def of(self, layer: str, channel: int) -> tuple[DiverseExample, ...]:
        """Return the diverse examples of a channel, the strongest first.

        The first question about a channel reads it of all instances.

        Parameters
        ----------
        layer, channel
            Name of a shown layer, and a channel of it.

        Returns
        -------
        tuple
            At most `N_DIVERSE`; none where the channel is nowhere above 0.

        Raises
        ------
        UnknownNameError
            If there is no such layer.
        NnvizError
            If the store cannot be read.
        """
        return self._of(layer, channel)

    def _find(self, layer: str, channel: int) -> tuple[DiverseExample, ...]:
        if not 0 <= channel < self._store.layer(layer).n_channels:
            return ()
        values = self._channels.activation(layer, channel)
        usable = self._store.usable()
        instances = strongest_instances(np.where(usable, values, np.nan))
        if not len(instances):
            return ()
        rows = self._channels.rows(layer, np.sort(instances))
        rows = rows[np.argsort(np.argsort(instances))]
        order, likeness = least_alike(rows, N_DIVERSE)
        has_pictures = not self._pictures.missing
        return tuple(
            DiverseExample(
                int(instances[at]),
                float(values[instances[at]]),
                self._position(layer, channel, int(instances[at])),
                alike,
                has_pictures or bool(self._stored(layer, channel, int(instances[at]))),
            )
            for at, alike in zip(order, likeness, strict=True)
        )

    def _position(self, layer: str, channel: int, instance: int) -> int:
        """Return where the maximum is, which is kept of a chunk's strongest instances.

        Parameters
        ----------
        layer, channel, instance
            The channel, and which of its maxima.
        """
        path = f"peaks/{layer}"
        if f"{path}/instance" not in self._store.stored.places:
            return -1
        chunk = instance // self._store.plan.rows_per_chunk
        kept, position = (
            self._store.read(f"{path}/{part}", chunk, chunk + 1)[0, channel]
            for part in ("instance", "position")
        )
        ranks = np.flatnonzero(kept == instance)
        return int(position[ranks[0]]) if len(ranks) else -1

    def _picture(self, layer: str, channel: int, place: int) -> bytes:
        found = self.of(layer, channel)
        if not 0 <= place < len(found):
            return b""
        one = found[place]
        stored = self._stored(layer, channel, one.instance)
        return stored or self._pictures.seen(
            one.instance, self._store.layer(layer), one.position
        )


def strongest_instances(values: NDArray[np.floating]) -> NDArray[np.int64]:
    """Return the candidates of one channel, the strongest first.

    Parameters
    ----------
    values
        The channel's activations, shape (N,); NaN where they are not known.

    Returns
    -------
    ndarray
        Instances, shape (n,), of equal ones the lower first; none where nothing is
        above 0.
    """
    known = np.nan_to_num(values, nan=-np.inf, posinf=np.inf, neginf=-np.inf)
    top = float(known.max(initial=-np.inf))
    if top <= 0:
        return np.zeros(0, dtype=np.int64)
    strong = np.flatnonzero(known.astype(np.float64) >= LEAST * top)
    if len(strong) > N_CANDIDATES:
        # All that are as strong as the last one stay, so that the order decides.
        least = np.partition(known[strong], -N_CANDIDATES)[-N_CANDIDATES]
        strong = strong[known[strong] >= least]
    order = np.lexsort((strong, -known[strong].astype(np.float64)))
    return strong[order][:N_CANDIDATES].astype(np.int64)


def least_alike(rows: NDArray[np.floating], n: int) -> tuple[list[int], list[float]]:
    """Return rows that are as unlike as possible, beginning with the first.

    Parameters
    ----------
    rows
        All channels of the candidates, shape (n, C), in the order in which of equal
        ones the first is taken.
    n
        How many are wanted.

    Returns
    -------
    tuple of list
        Places of the rows that are taken, and the largest cosine of each with one
        before it; NaN for the first.

    Examples
    --------
    >>> least_alike(np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]]), 2)
    ([0, 2], [nan, 0.0])
    """
    vectors = np.nan_to_num(rows.astype(np.float64), posinf=0.0, neginf=0.0)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors /= np.where(norms > 0, norms, 1.0)
    taken, likeness = [0], [np.nan]
    nearest = vectors @ vectors[0]
    while len(taken) < min(n, len(vectors)):
        nearest[taken] = np.inf
        at = int(np.argmin(nearest))
        taken.append(at)
        likeness.append(float(np.clip(nearest[at], -1.0, 1.0)))
        nearest = np.maximum(nearest, vectors @ vectors[at])
    return taken, likeness
