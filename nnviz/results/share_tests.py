"""Is a channel on top more often in A than in B? Fisher's exact test of every channel.

Symbols: C channels of a layer, T tested channels of all shown layers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from nnviz.results.contrasts import ChannelContrast
from nnviz.runs.architecture import Layer
from nnviz.significance import difference_tests
from nnviz.statistics import difference_interval, effect_sizes

__all__ = ["ShareTests", "dense"]


def dense(totals: Any) -> NDArray[np.generic]:
    """Return sums or counts as an array, whichever way they were kept."""
    return np.asarray(
        totals.toarray() if isinstance(totals, sparse.csr_array) else totals
    )


@dataclass(frozen=True, slots=True, eq=False)
class ShareTests:
    """Every channel that is on top anywhere in A or B, layer by layer."""

    layers: tuple[Layer, ...]
    sizes: tuple[int, int]
    """Instances of A and of B."""
    layer: NDArray[np.int64]
    """Place of the layer, shape (T,)."""
    channel: NDArray[np.int64]
    """Shape (T,)."""
    counts: NDArray[np.int64]
    """In how many instances of A and of B it is on top, shape (2, T)."""
    effect: NDArray[np.float64]
    """Cohen's h, shape (T,)."""
    p_value: NDArray[np.float64]
    """Adjusted over all channels of all layers, shape (T,)."""

    @classmethod
    def made(
        cls,
        layers: Sequence[Layer],
        totals: Mapping[str, Mapping[str, Any]],
        sizes: tuple[int, int],
    ) -> ShareTests:
        """Test all channels at once: most of a test is in beginning one.

        Parameters
        ----------
        layers
            The shown layers, in order.
        totals
            By layer ``activation_counts`` of A and B, shape (2, C).
        sizes
            Instances of A and of B.
        """
        counts = [dense(totals[layer.name]["activation_counts"]) for layer in layers]
        some = [np.flatnonzero(one.any(axis=0)) for one in counts]
        places = np.repeat(np.arange(len(layers)), [len(one) for one in some])
        none = np.zeros((2, 0), dtype=np.int64)
        taken = [one[:, chosen] for one, chosen in zip(counts, some, strict=True)]
        both = np.concatenate([none, *taken], axis=1).astype(np.int64)
        channel = np.concatenate([none[0], *some])
        _, p_values = difference_tests(both[0], sizes[0], both[1], sizes[1])
        effect = effect_sizes(both[0], sizes[0], both[1], sizes[1])
        return cls(tuple(layers), sizes, places, channel, both, effect, p_values)

    def of_layer(self, name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return effects and adjusted p-values of a layer's channels, shape (C,) each.

        0 and 1 where a channel is on top nowhere.
        """
        place = next(i for i, layer in enumerate(self.layers) if layer.name == name)
        n_channels = self.layers[place].n_channels
        effect, p_value = np.zeros(n_channels), np.ones(n_channels)
        chosen = self.layer == place
        effect[self.channel[chosen]] = self.effect[chosen]
        p_value[self.channel[chosen]] = self.p_value[chosen]
        return effect, p_value

    def contrasts(
        self, totals: Mapping[str, Mapping[str, Any]]
    ) -> list[ChannelContrast]:
        """Return the channels by p-value, then by the strength of the effect.

        Parameters
        ----------
        totals
            By layer ``activation_sum`` of A and B, shape (2, C).
        """
        n_a, n_b = self.sizes
        low, high = difference_interval(self.counts[0], n_a, self.counts[1], n_b)
        order = np.lexsort((-np.abs(self.effect), self.p_value))
        sums = [totals[layer.name]["activation_sum"] for layer in self.layers]
        columns = (self.layer, self.channel, *self.counts, self.effect, low, high)
        rows = zip(
            *(one[order].tolist() for one in (*columns, self.p_value)), strict=True
        )
        return [
            ChannelContrast(
                layer=self.layers[place].name,
                channel=channel,
                count=a,
                other_count=b,
                share=_share(a, n_a),
                other_share=_share(b, n_b),
                effect=effect,
                interval=(lowest, highest),
                p_value=p_value,
                mean=_share(sums[place][0, channel], n_a),
                other_mean=_share(sums[place][1, channel], n_b),
                name=self.layers[place].name_of(channel),
            )
            for place, channel, a, b, effect, lowest, highest, p_value in rows
        ]


def _share(count: Any, n: int) -> float:
    return float(count) / n if n else math.nan
