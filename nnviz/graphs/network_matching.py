"""Which channels of two networks belong together, layer by layer?

Both have looked at the same instances: channels that answer alike are matched.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nnviz.errors import ConfigError, ShapeError
from nnviz.graphs.from_totals import output_layer
from nnviz.graphs.matching import match_channels
from nnviz.store.store import Store

__all__ = ["Matches", "check_layers_agree", "matched_channels", "shared_rows"]


RUN = 64
"""Instances that follow each other where some are taken of many."""

FAR = 256
"""Rows between two instances, from which on those between are not read."""

ROWS_AT_ONCE = 8_192


@dataclass(frozen=True, slots=True, eq=False)
class Matches:
    """Channels of two networks that belong together, and how well."""

    channels: dict[str, NDArray[np.int64]]
    """By layer, the second network's channel at each of the first one's, shape (C,).
    The network's outputs keep their numbers, and are not in it."""
    correlation: dict[str, NDArray[np.float64]]
    """Of the activations of both over the shared instances, by layer, shape (C,); 0 for
    channels that are constant."""
    n_instances: int
    """Shared instances, over which they were matched."""

    def median(self) -> dict[str, float]:
        """Return the median correlation of each layer."""
        return {name: float(np.median(r)) for name, r in self.correlation.items()}

    def partner(self, layer: str, channel: int) -> tuple[int, float] | None:
        """Return what a channel of the first network is matched with in the second.

        Returns
        -------
        tuple or None
            The second network's channel, and the correlation of the two; None for an
            output, which keeps its number.
        """
        if layer not in self.channels:
            return None
        other = int(self.channels[layer][channel])
        return other, float(self.correlation[layer][channel])

    def __str__(self) -> str:
        found = self.median()
        low, high = min(found, key=found.__getitem__), max(found, key=found.__getitem__)
        return (
            f"channels are matched by their activations over {self.n_instances:,} "
            f"instances; the median correlation of a pair is from {found[low]:.2f} in "
            f"{low} to {found[high]:.2f} in {high}"
        )


def matched_channels(
    first: Store, second: Store, *, most: int | None = None
) -> Matches:
    """Match the channels of two networks in every recorded layer.

    Parameters
    ----------
    first, second
        Stores of two networks with the same layers. Instances are joined by their ids;
        those that only one store has, or that one could not use, are left out.
    most
        How many instances are read at most, in runs that are spread evenly over all;
        None: all that both have.

    Returns
    -------
    Matches
        In every layer the pairs whose correlations add up to the most.

    Raises
    ------
    ShapeError
        If the networks have other layers.
    ConfigError
        If the stores share no instance.
    """
    check_layers_agree(first, second)
    rows = shared_rows(first, second)
    if most is not None and most < len(rows[0]):
        taken = _spread(len(rows[0]), most)
        rows = rows[0][taken], rows[1][taken]
    channels, correlation = {}, {}
    for layer in first.layers:
        name = layer.name
        if name == output_layer(first):
            continue
        values = [
            _activations(store, name, index)
            for store, index in zip((first, second), rows, strict=True)
        ]
        channels[name], correlation[name] = match_channels(*values)
    return Matches(channels, correlation, len(rows[0]))


def check_layers_agree(first: Store, second: Store) -> None:
    """Refuse two networks that have other layers.

    Raises
    ------
    ShapeError
        With some of those that only one has.
    """
    sizes = [
        {layer.name: layer.n_channels for layer in store.layers}
        for store in (first, second)
    ]
    if sizes[0] != sizes[1]:
        odd = sorted(set(sizes[0].items()) ^ set(sizes[1].items()))[:4]
        names = ", ".join(f"{name} ({n} channels)" for name, n in odd)
        msg = (
            f"the networks have other layers, as {names}; compare two states of one "
            "architecture, recorded with the same layers"
        )
        raise ShapeError(msg)


def shared_rows(
    first: Store, second: Store
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return rows of the instances that both have and can use, as the first's go up.

    Parameters
    ----------
    first, second
        Stores of two networks.

    Returns
    -------
    tuple
        The same instances' rows in each, both of shape (n,).

    Raises
    ------
    ConfigError
        If they share none.
    """
    ids: list[NDArray[np.object_]] = [first.column("id"), second.column("id")]
    shared, one, two = np.intersect1d(ids[0], ids[1], return_indices=True)
    if not len(shared):
        msg = (
            f"the stores {first.url!r} and {second.url!r} share no instance: "
            f"{ids[0][:1].tolist()} and {ids[1][:1].tolist()}, for example; networks "
            "are compared on the same data set"
        )
        raise ConfigError(msg)
    usable = first.usable()[one] & second.usable()[two]
    one, two = one[usable].astype(np.int64), two[usable].astype(np.int64)
    order = np.argsort(one)
    return one[order], two[order]


def _spread(n: int, most: int) -> NDArray[np.int64]:
    """Return so many of n places, in runs: single ones would touch every piece."""
    length = min(RUN, most)
    starts = np.linspace(0, n - length, max(1, most // length)).astype(np.int64)
    return np.unique(np.add.outer(starts, np.arange(length)))


def _activations(
    store: Store, layer: str, rows: NDArray[np.int64]
) -> NDArray[np.floating]:
    """Return some instances' activations; only what is near them is read."""
    order = np.argsort(rows)
    wanted = rows[order]
    gaps = np.flatnonzero(np.diff(wanted) > FAR) + 1
    found = np.empty((len(rows), store.layer(layer).n_channels), np.float32)
    for part in np.split(np.arange(len(rows)), gaps):
        for at in np.array_split(part, 1 + len(part) // ROWS_AT_ONCE):
            if len(at):
                start, stop = int(wanted[at[0]]), int(wanted[at[-1]]) + 1
                read = store.activations(layer, start, stop)
                found[order[at]] = read[wanted[at] - start]
    return found
