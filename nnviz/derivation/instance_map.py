"""Where do instances lie in the plane, so that one sees what they resemble?

1. The classes get places: their distances by mean activations, in standard deviations
   of each channel, are laid out in two dimensions (scaling by majorisation [1]_).
2. An instance stands between the classes that it resembles: at the mean of their
   places, weighted by how near it is to their means.
3. What is left of it moves it a little along its two main directions, so that a class
   is a cloud and no point.

Any instance can be placed by itself, so that a sample is laid out once, and those of a
subset are added. Where there are no classes, instances lie along their two main
directions: what varies most, in standard deviations of each channel. How many of the
ten nearest neighbours of an instance stay among the
ten nearest in the plane is measured, on the sample, and shown: no plane shows all
distances.

`nnviz derive` places every instance in every shown layer and keeps the places; of a run
without them all of few instances are placed when somebody looks, of many the sample.

Symbols: n instances, C channels of a layer, S classes that have instances.

References
----------
.. [1] de Leeuw, "Applications of convex analysis to multidimensional scaling", 1977.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nnviz.aggregation.aggregates import (
    Aggregates,
    aggregates_of,
    class_collection,
)
from nnviz.aggregation.index_channels import IndexedChannels
from nnviz.aggregation.subset_index import subset_index
from nnviz.derivation.plane import classical_scaling, turned
from nnviz.store.store import Store

__all__ = [
    "N_SAMPLED",
    "PLACES",
    "InstanceMap",
    "InstanceMaps",
    "PlacedInstances",
    "write_places",
]

PLACES = "artifacts/instance_places"
"""Group of the places that are kept."""

N_SAMPLED = 2_000
"""Instances that are laid out, at most: drawn from every class alike."""

FEW = 50_000
"""So many instances are placed when somebody looks, where derivation has not."""

ROWS_AT_A_TIME = 4_096

ROWS_COMPARED = 64
"""With all others at a time, when neighbours are looked for."""

CACHED_LAYERS = 12

PLACED_LAYERS = 4
"""Layers of which all places are kept: 10 MB each for a million instances."""

N_NEIGHBOURS = 10

SHARPNESS = 3.0
"""How much nearer the first class counts than the second, for half of all instances, as
an exponent."""

SPREAD = 0.22
"""How far what is left moves instances, as a part of the distance between classes."""


_Standard = Callable[[NDArray[np.floating]], NDArray[np.float64]]


@dataclass(frozen=True, slots=True, eq=False)
class InstanceMap:
    """The sample in one layer, and how others are added."""

    layer: str
    instances: NDArray[np.int64]
    """Numbers of the sample, ascending, shape (n,)."""
    places: NDArray[np.float64]
    """Shape (n, 2), within -1 and 1 for the classes."""
    classes: NDArray[np.int64]
    """Indices of the classes that have places, shape (S,)."""
    class_places: NDArray[np.float64]
    """Shape (S, 2)."""
    kept: float
    """Share of the ten nearest neighbours that are kept in the plane."""
    place: Callable[[NDArray[np.floating]], NDArray[np.float64]]
    """Places of other instances, (m, 2), from their activations, (m, C)."""


@dataclass(frozen=True, slots=True, eq=False)
class PlacedInstances:
    """Where instances lie in one layer."""

    layer: str
    instances: NDArray[np.int64]
    """Numbers, ascending, shape (n,)."""
    places: NDArray[np.float32]
    """Shape (n, 2)."""
    classes: NDArray[np.int64]
    """As of :class:`InstanceMap`."""
    class_places: NDArray[np.float64]
    kept: float
    is_sample: bool
    """Whether there are more instances than these."""
    reach: float = field(init=False)
    """How far from the middle, along one axis, the one lies that is furthest off."""

    def __post_init__(self) -> None:
        reach = np.fmax.reduce(np.abs(self.places), axis=None, initial=0.0)
        object.__setattr__(self, "reach", float(reach))


class InstanceMaps:
    """The maps of one run; shared by visitors and threads.

    Parameters
    ----------
    store
        With a complete extraction.
    aggregates
        Returns the aggregates of the classes; raises MissingDataError without any. None
        where there are no classes.
    channels
        Where activations come from.
    """

    def __init__(
        self,
        store: Store,
        aggregates: Callable[[], Aggregates] | None,
        channels: IndexedChannels,
    ) -> None:
        self._store = store
        self._aggregates = aggregates
        self._channels = channels
        made = self._along_main_directions if aggregates is None else self._made
        self.of = functools.lru_cache(CACHED_LAYERS)(made)
        """Return the map of a layer by its name; leave it as it is."""
        self.placed = functools.lru_cache(PLACED_LAYERS)(self._placed)
        """Return where the instances of a layer lie, all where that can be known."""

    @functools.cached_property
    def sample(self) -> NDArray[np.int64]:
        """The instances that are laid out: all, or as many of each class, if any."""
        usable = self._usable
        if len(usable) <= N_SAMPLED:
            return usable
        known = None if self._aggregates is None else self._aggregates().kind
        kind = "prediction" if known == "prediction" else "label"
        of = self._store.column(kind)[usable]
        # In random order, the first ones of every class take turns.
        order = np.random.default_rng(0).permutation(len(usable))
        by_class = order[np.argsort(of[order], kind="stable")]
        first = np.searchsorted(of[by_class], of[by_class])
        turn = np.arange(len(by_class)) - first
        chosen = by_class[np.argsort(turn, kind="stable")[:N_SAMPLED]]
        return np.sort(usable[chosen])

    def rows(self, layer: str, instances: NDArray[np.int64]) -> NDArray[np.floating]:
        """Return activations of some instances, ascending, shape (m, C)."""
        return self._channels.rows(layer, instances)

    @functools.cached_property
    def _usable(self) -> NDArray[np.int64]:
        """Instances that count, ascending."""
        return np.flatnonzero(subset_index(self._store).usable)

    def everywhere(self, layer: str) -> NDArray[np.float32]:
        """Return the place of every instance, shape (N, 2); NaN for unusable ones."""
        place = self.of(layer).place
        n = self._store.n_instances
        places = np.full((n, 2), np.nan, dtype=np.float32)
        usable = subset_index(self._store).usable
        for start, stop in self._store.chunks.spans:
            for first in range(start, stop, ROWS_AT_A_TIME):
                last = min(first + ROWS_AT_A_TIME, stop)
                rows = self._store.activations(layer, first, last)
                is_usable = usable[first:last]
                places[first:last][is_usable] = place(rows[is_usable])
        return places

    def _placed(self, layer: str) -> PlacedInstances:
        groups, usable = self._store.groups, self._usable
        if groups.is_complete(PLACES):
            known = groups.attributes(PLACES)["kept"]
            if layer in known:
                places, class_places = (
                    groups.read(f"{PLACES}/{part}/{layer}")
                    for part in ("place", "class_place")
                )
                classes = np.array(groups.attributes(PLACES)["classes"], dtype=np.int64)
                # A store that was extended has more than were there to be placed.
                is_placed = usable < len(places)
                instances = usable if is_placed.all() else usable[is_placed]
                is_all = len(instances) == len(places)
                return PlacedInstances(
                    layer, instances, places if is_all else places[instances], classes,
                    class_places.astype(np.float64), float(known[layer]),
                    is_sample=not is_placed.all(),
                )  # fmt: skip
        found = self.of(layer)
        is_sample = len(usable) > FEW
        instances, places = found.instances, found.places.astype(np.float32)
        if not is_sample:
            instances, places = usable, self.everywhere(layer)[usable]
        return PlacedInstances(
            layer, instances, places, found.classes, found.class_places, found.kept,
            is_sample=is_sample,
        )  # fmt: skip

    @functools.cached_property
    def _reference(self) -> NDArray[np.float64]:
        """Places of the classes in the last layer, onto which all maps are turned."""
        layer = self._store.shown_layers[-1].name
        return _laid_out(self._standard(layer)(self._class_means(layer)))

    def _class_means(self, layer: str) -> NDArray[np.float64]:
        """Return the means of the classes that have instances, shape (S, C)."""
        assert self._aggregates is not None
        aggregates = self._aggregates()
        return aggregates.mean(layer)[aggregates.n_instances > 0]

    def _standard(self, layer: str) -> _Standard:
        """Return what makes activations to standard deviations from their mean."""
        everything = aggregates_of(self._store, "all")
        mean = everything.mean(layer)[0]
        deviation = np.sqrt(everything.variance(layer)[0])
        is_alive = deviation > 1e-6 * max(1.0, float(deviation.max(initial=0.0)))

        def standard(values: NDArray[np.floating]) -> NDArray[np.float64]:
            z = (np.asarray(values, dtype=np.float64) - mean)[:, is_alive]
            return np.asarray(z / deviation[is_alive], dtype=np.float64)

        return standard

    def _along_main_directions(self, layer: str) -> InstanceMap:
        standard = self._standard(layer)
        rows = standard(self.rows(layer, self.sample))
        centre = rows.mean(axis=0) if len(rows) else np.zeros(rows.shape[1])
        axes = _main_directions(rows)
        if rows.shape[1] == 1:
            axes = np.array([[1.0, 0.0]])
        # One of a hundred may lie outside, so that a few do not press all together.
        far = np.linalg.norm((rows - centre) @ axes, axis=1)
        size = float(np.percentile(far, 99)) if len(far) else 0.0
        axes = axes / max(size, 1e-12)
        last = self._store.shown_layers[-1].name
        if layer != last:  # left stays left from layer to layer
            likeness = ((rows - centre) @ axes * self.of(last).places).sum(axis=0)
            axes = axes * np.where(likeness < 0, -1.0, 1.0)

        def place(values: NDArray[np.floating]) -> NDArray[np.float64]:
            places: NDArray[np.float64] = (standard(values) - centre) @ axes
            return places

        places = place(self.rows(layer, self.sample))
        kept = _kept(rows, places)
        none = np.zeros(0, np.int64)
        return InstanceMap(
            layer, self.sample, places, none, np.zeros((0, 2)), kept, place
        )

    def _made(self, layer: str) -> InstanceMap:
        assert self._aggregates is not None
        aggregates, standard = self._aggregates(), self._standard(layer)
        means = standard(self._class_means(layer))
        anchors = turned(_laid_out(means), self._reference)
        rows = standard(self.rows(layer, self.sample))
        near = np.sort(_distances(rows, means), axis=1)
        gap = near[:, 1] - near[:, 0] if near.shape[1] > 1 else np.ones(len(rows))
        sharpness = SHARPNESS / max(float(np.median(gap)), 1e-9) if len(gap) else 1.0

        def weights(rows: NDArray[np.float64]) -> NDArray[np.float64]:
            far = _distances(rows, means)
            found = np.exp(-sharpness * (far - far.min(axis=1, keepdims=True)))
            return np.asarray(found / found.sum(axis=1, keepdims=True))

        rest = rows - weights(rows) @ means
        axes = _main_directions(rest)
        size = float(np.sqrt(((rest @ axes) ** 2).mean())) if len(rest) else 0.0
        between = np.sort(_distances(anchors, anchors) ** 0.5, axis=1)
        step = float(between[:, 1].mean()) if len(anchors) > 1 else 1.0
        axes = axes * (SPREAD * step / max(size, 1e-9))

        def place(values: NDArray[np.floating]) -> NDArray[np.float64]:
            rows = standard(values)
            share = weights(rows)
            # What is left of the rows, along the axes, without as large a product.
            moved: NDArray[np.float64] = rows @ axes + share @ (anchors - means @ axes)
            return moved

        places = place(self.rows(layer, self.sample))
        return InstanceMap(
            layer,
            self.sample,
            places,
            aggregates.index[aggregates.n_instances > 0],
            anchors,
            _kept(rows, places),
            place,
        )


def write_places(store: Store) -> Iterator[str]:
    """Place every instance in every shown layer, and keep the places.

    Parameters
    ----------
    store
        Opened for writing, with the aggregates of its classes, if it has any.

    Yields
    ------
    str
        Each layer that is done; none where the classes have not been aggregated, or no
        instance can be used.
    """
    kind = class_collection(store)
    known = store.groups.names("aggregates")
    if (kind or "all") not in known or not store.usable().any():
        return
    aggregates = None if kind is None else aggregates_of(store, kind)
    maps = InstanceMaps(
        store,
        None if aggregates is None else lambda: aggregates,
        IndexedChannels(store),
    )
    layers = [layer.name for layer in store.shown_layers]
    store.groups.start(PLACES)
    kept: dict[str, float] = {}
    classes: list[int] = []
    for layer in layers:
        found = maps.of(layer)
        kept[layer], classes = found.kept, found.classes.tolist()
        for part, axis, values in (
            ("place", "instance", maps.everywhere(layer)),
            ("class_place", "class", found.class_places.astype(np.float32)),
        ):
            path = f"{PLACES}/{part}/{layer}"
            store.groups.write_member(path, values, dimensions=(axis, "axis"))
        yield layer
    store.groups.finish(
        PLACES, {"kept": kept, "classes": classes, "n_sampled": len(maps.sample)}
    )


def _distances(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return mean squared distances over channels, shape (len(a), len(b))."""
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None]
    return np.asarray(np.maximum(squares - 2 * a @ b.T, 0.0) / max(1, a.shape[1]))


def _laid_out(means: NDArray[np.float64]) -> NDArray[np.float64]:
    """Lay out the classes in the plane by their distances, within -1 and 1."""
    places = classical_scaling(means / np.sqrt(max(1, means.shape[1])))
    if len(means) > 2:
        # Slow to import, and few visitors ask for a map.
        from sklearn.manifold import smacof  # noqa: PLC0415

        distance = _distances(means, means) ** 0.5
        if distance.any():  # where nothing excites a layer, all are in one place
            places, _ = smacof(distance, init=places, n_init=1, normalized_stress=False)
    return np.asarray(places / max(float(np.abs(places).max(initial=0.0)), 1e-12))


def _main_directions(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the two directions in which rows vary most, shape (C, 2)."""
    n_channels = rows.shape[1]
    if not len(rows) or n_channels < 2:
        return np.zeros((n_channels, 2))
    centred = rows - rows.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    return np.asarray(axes[:, [-1, -2]])


def _kept(rows: NDArray[np.float64], places: NDArray[np.float64]) -> float:
    """Return which share of the nearest neighbours stay near in the plane."""
    k = min(N_NEIGHBOURS, len(rows) - 1)
    if k < 1:
        return 1.0
    both = zip(_nearest(rows, k), _nearest(places, k), strict=True)
    n_kept = 0
    for here, there in both:
        is_near = np.zeros((len(here), len(rows)), dtype=np.bool_)
        np.put_along_axis(is_near, here, values=True, axis=1)
        n_kept += int(np.take_along_axis(is_near, there, axis=1).sum())
    return n_kept / (k * len(rows))


def _nearest(points: NDArray[np.float64], k: int) -> Iterator[NDArray[np.intp]]:
    """Yield the k nearest neighbours of some points after others, shape (m, k)."""
    squares, products = (points**2).sum(axis=1), 2 * points @ points.T
    # Few rows at a time, so that they stay in the cache.
    for first in range(0, len(points), ROWS_COMPARED):
        some = products[first : first + ROWS_COMPARED]
        far = squares[first : first + ROWS_COMPARED, None] + squares[None]
        far -= some
        # Rounding leaves less than nothing, here and there.
        np.maximum(far, 0.0, out=far)
        far /= max(1, points.shape[1])
        np.fill_diagonal(far[:, first:], np.inf)
        yield np.argpartition(far, k - 1, axis=1)[:, :k]
