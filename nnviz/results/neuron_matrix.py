"""What do the channels of a layer do in classes, subsets and single instances?

A matrix whose rows are any of these and whose columns are channels. Rows of classes
come from the aggregates, those of subsets from what is counted in them, and those of
instances from the stored activations. What is shown of a row is its *mean* activation,
its *share* (in how many of its instances the channel is on top), its *maximum*, or,
where a run has recorded them, its mean *relevance* for the explained output against the
mean of all instances, its mean *gradient*, or the mean *norm* of that; an instance is
its own mean and maximum, and its share is 1 or 0.

Symbols: R rows, C channels of a layer, S classes that have instances.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypeGuard, get_args

import numpy as np
from numpy.typing import NDArray

from nnviz.aggregation.aggregates import Aggregates, aggregates_of
from nnviz.aggregation.references import (
    reference_values,
    relevance_sums,
)
from nnviz.aggregation.relevance import (
    SIGNALS,
    RelevanceSums,
    Signal,
    check_relevance,
)
from nnviz.aggregation.totals import activation_totals
from nnviz.errors import MissingDataError, ShapeError
from nnviz.network.top_channels import planned_top_channels
from nnviz.results.relevance_results import SubsetRelevance
from nnviz.results.subset_key import SubsetKey
from nnviz.results.subset_results import SubsetResults
from nnviz.significance import adjusted_p_values, mean_difference_p_values
from nnviz.statistics import mean_effect_sizes
from nnviz.store.store import Store
from nnviz.subsets.subsets import Subset

__all__ = [
    "MEASURES",
    "PAIRED",
    "ChannelOrder",
    "ColumnContrast",
    "Measure",
    "NeuronMatrix",
    "clustered",
    "shading",
]

ActivationMeasure = Literal["mean", "share", "maximum"]
Measure: TypeAlias = ActivationMeasure | Signal
MEASURES: tuple[Measure, ...] = (*get_args(ActivationMeasure), *SIGNALS)

PAIRED: Mapping[Measure, str] = {
    "share": "shares",
    "relevance": "relevance().means",
    "gradient": "relevance().gradients",
    "gradient_norm": "relevance().gradient_norms",
}
"""What tells two subsets in Python, where it is not ``means``."""

ChannelOrder: TypeAlias = NDArray[np.int64]

CACHED_LAYERS = 8
CACHED_SUBSETS = 32
CACHED_INSTANCES = 256

NO_VALUE = 255
"""Shade of what has no value; the others are from 0, weakest, to 254."""

SATURATED = 99.5
"""Percentile of the classes' values from which on a cell is as dark as can be."""


@dataclass(frozen=True, slots=True, eq=False)
class ColumnContrast:
    """How much A and B differ in each channel of a layer."""

    effect: NDArray[np.float64]
    """Shape (C,), positive where A has more: Cohen's d of means, Cohen's h of shares;
    of maxima their difference. NaN where it is not known."""
    p_value: NDArray[np.float64]
    """Shape (C,), adjusted for many channels (Benjamini and Hochberg): over the layer
    for means (Welch's test), over all shown layers for shares (Fisher's exact test).
    NaN for maxima, which no test is made of."""


class NeuronMatrix:
    """The rows of any layer of one run; what is read is kept, and shared by threads.

    Parameters
    ----------
    store
        With a complete extraction.
    aggregates
        Returns the aggregates of the classes; raises MissingDataError without any.
    """

    def __init__(self, store: Store, aggregates: Callable[[], Aggregates]) -> None:
        self._store = store
        self._aggregates = aggregates
        self.classes = functools.lru_cache(CACHED_LAYERS)(self._classes)
        """Return the rows of the classes that have instances by layer and measure,
        float32, (S, C); leave them as they are."""
        self.dead = functools.lru_cache(CACHED_LAYERS)(self._dead)
        """Return which channels of a layer no instance excites, shape (C,)."""
        self.instance = functools.lru_cache(CACHED_INSTANCES)(self._instance)
        """Return the row of an instance by layer, number and measure, (C,)."""
        self.orders = functools.lru_cache(CACHED_LAYERS)(self._orders)
        """Return classes and channels in clustered order by layer and measure."""
        self._maxima = functools.lru_cache(CACHED_SUBSETS)(self._read_maxima)
        self._sums = functools.lru_cache(CACHED_SUBSETS)(self._read_sums)
        self._pairs = functools.lru_cache(CACHED_SUBSETS)(self._read_pair)
        n_signals = len(SIGNALS) if store.plan.has_relevance else 0
        if n_signals and not store.plan.keeps_gradient_norms:
            n_signals -= 1
        self.measures = (*get_args(ActivationMeasure), *SIGNALS[:n_signals])
        """Those that the run has recorded."""

    def channel_names(self, layer: str) -> tuple[str, ...]:
        """Return the names of a layer's channels; empty where they have none."""
        return self._store.layer(layer).channel_names

    @property
    def class_rows(self) -> NDArray[np.int64]:
        """Index of the class of each row of `classes`, shape (S,)."""
        aggregates = self._aggregates()
        return aggregates.index[aggregates.n_instances > 0]

    def class_row(
        self, index: int, layer: str, measure: Measure
    ) -> NDArray[np.float32] | None:
        """Return the row of a class, shape (C,); None if it has no instances."""
        (rows,) = np.nonzero(self.class_rows == index)
        return self.classes(layer, measure)[rows[0]] if len(rows) else None

    def _classes(self, layer: str, measure: Measure) -> NDArray[np.float32]:
        aggregates = self._aggregates()
        read: dict[Measure, Callable[[str], NDArray[Any]]] = {
            "mean": aggregates.mean,
            "share": aggregates.share,
            "maximum": aggregates.maximum,
            "relevance": aggregates.relevance,
            "gradient": aggregates.gradient,
            "gradient_norm": aggregates.gradient_norm,
        }
        values = read[measure](layer)
        return np.asarray(values[aggregates.n_instances > 0], dtype=np.float32)

    def _dead(self, layer: str) -> NDArray[np.bool_]:
        try:
            largest = aggregates_of(self._store, "all").maximum(layer)[0]
        except MissingDataError:
            largest = self.classes(layer, "maximum").max(axis=0, initial=-np.inf)
        return np.asarray(~(largest > 0), dtype=np.bool_)

    def _instance(self, layer: str, n: int, measure: Measure) -> NDArray[np.float32]:
        if not 0 <= n < self._store.n_instances:
            msg = (
                f"there is no instance {n:,}; the run has "
                f"{self._store.n_instances:,}, from 0 on"
            )
            raise ShapeError(msg)
        if _is_signal(measure):
            check_relevance(self._store, measure)
            name = self._store.layer(layer).name
            path = f"relevance/{name}"
            part = "norm" if measure == "gradient_norm" else "gradient"
            gradient = self._store.read(f"{path}/{part}", n, n + 1)[0]
            if measure != "relevance":
                return np.asarray(gradient, dtype=np.float32)
            product = self._store.read(f"{path}/product", n, n + 1)[0]
            reference = self._references[name]
            return np.asarray(product - reference * gradient, dtype=np.float32)
        values = self._store.activations(layer, n, n + 1)
        if measure == "share":
            if np.isnan(values).any():
                return np.full(values.shape[1], np.nan, dtype=np.float32)
            options = self._store.plan.extraction
            top = planned_top_channels(values, layer, options)
            return np.asarray(top.toarray()[0], dtype=np.float32)
        return np.asarray(values[0], dtype=np.float32)

    def pair(
        self, found: SubsetResults, layer: str, measure: Measure
    ) -> NDArray[np.float32]:
        """Return the rows of A and B, shape (2, C); NaN for an empty one."""
        if measure == "maximum":
            both = (found.subset, found.against)
            return np.stack([self.subset(one, layer, measure) for one in both])
        if _is_signal(measure):
            rows = self._relevance(found).moments_of(measure, layer)[0]
        else:
            rows = found.means(layer) if measure == "mean" else found.shares(layer)
        return rows.astype(np.float32)

    def subset(
        self, subset: Subset, layer: str, measure: Measure
    ) -> NDArray[np.float32]:
        """Return the row of any subset, shape (C,); NaN for an empty one."""
        name = self._store.layer(layer).name
        if _is_signal(measure):
            check_relevance(self._store, measure)
            sums = self._sums(SubsetKey(subset))[name]
            values = sums.mean_of(measure, self._references[name])
            return np.asarray(values[0], dtype=np.float32)
        totals = self._maxima(SubsetKey(subset))[name]
        if measure == "maximum":
            return np.asarray(totals["activation_maximum"][0], dtype=np.float32)
        n = len(subset)
        if measure == "share":
            row = totals["activation_counts"].toarray()[0]
        else:
            row = totals["activation_sum"][0]
        return np.asarray(row / n if n else row * np.nan, dtype=np.float32)

    @functools.cached_property
    def _references(self) -> dict[str, NDArray[np.float64]]:
        return reference_values(self._store, "mean")

    def _read_sums(self, key: SubsetKey) -> dict[str, RelevanceSums]:
        return relevance_sums(self._store, [key.subset])

    def _relevance(self, found: SubsetResults) -> SubsetRelevance:
        return self._pairs(SubsetKey(found.subset), SubsetKey(found.against))

    def _read_pair(self, first: SubsetKey, second: SubsetKey) -> SubsetRelevance:
        return SubsetRelevance(self._store, first.subset, second.subset)

    def _read_maxima(self, key: SubsetKey) -> dict[str, dict[str, Any]]:
        return activation_totals(self._store, [key.subset])

    def contrast(
        self, found: SubsetResults, layer: str, measure: Measure
    ) -> ColumnContrast:
        """Return how A and B differ in what is shown of them."""
        sizes = (len(found.subset), found.n_against)
        n_channels = self._store.layer(layer).n_channels
        unknown = np.full(n_channels, np.nan)
        if not all(sizes):
            return ColumnContrast(unknown, unknown)
        if measure == "maximum":
            rows = self.pair(found, layer, measure).astype(np.float64)
            return ColumnContrast(rows[0] - rows[1], unknown)
        if measure == "mean" or _is_signal(measure):
            means, variances = (
                self._relevance(found).moments_of(measure, layer)
                if _is_signal(measure)
                else (found.means(layer), found.variances(layer))
            )
            p_values = mean_difference_p_values(means, variances, sizes)
            return ColumnContrast(
                mean_effect_sizes(means, variances, sizes), adjusted_p_values(p_values)
            )
        return ColumnContrast(*found.share_tests.of_layer(layer))

    def bounds(self, layer: str, measure: Measure) -> tuple[float, float]:
        """Return the values that are drawn lightest and darkest.

        The darkest is a high percentile of the classes' values, so that one channel
        does not make all others pale; the lightest is 0, or a low percentile where
        values are negative.
        """
        values = self.classes(layer, measure)
        values = values[np.isfinite(values)]
        if not values.size:
            return 0.0, 1.0
        low, high = np.percentile(values, [100 - SATURATED, SATURATED])
        low = min(0.0, float(low))
        return low, float(high) if high > low else low + 1.0

    def channel_bounds(
        self, layer: str, measure: Measure
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return for each channel what is drawn lightest and darkest, (C,) each."""
        values = self.classes(layer, measure)
        if not values.size:
            n_channels = self._store.layer(layer).n_channels
            return np.zeros(n_channels), np.ones(n_channels)
        low = np.minimum(0.0, np.nanmin(values, axis=0)).astype(np.float64)
        high = np.nanmax(values, axis=0).astype(np.float64)
        return low, np.where(high > low, high, low + 1.0)

    def _orders(
        self, layer: str, measure: Measure
    ) -> tuple[NDArray[np.int64], ChannelOrder]:
        values = self.classes(layer, measure)
        return clustered(values), clustered(values.T)


def _is_signal(measure: Measure) -> TypeGuard[Signal]:
    """Return whether only a run with relevance has a measure."""
    return measure in SIGNALS


def clustered(values: NDArray[np.floating]) -> NDArray[np.int64]:
    """Return an order in which rows that vary alike are neighbours.

    Average linkage of correlations; rows that do not vary come last.

    Parameters
    ----------
    values
        Shape (R, C).

    Returns
    -------
    ndarray
        A permutation of the rows, int64, shape (R,).
    """
    from scipy.cluster import hierarchy  # noqa: PLC0415  few visitors ask for it
    from scipy.spatial.distance import squareform  # noqa: PLC0415

    rows = np.nan_to_num(np.asarray(values, dtype=np.float64))
    centred = rows - rows.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(centred, axis=1)
    is_varying = norms > 1e-9 * max(1.0, float(norms.max(initial=0.0)))
    chosen, rest = np.flatnonzero(is_varying), np.flatnonzero(~is_varying)
    if len(chosen) < 3:
        return np.concatenate([chosen, rest])
    unit = centred[chosen] / norms[chosen, None]
    distance = np.clip(1.0 - unit @ unit.T, 0.0, 2.0)
    np.fill_diagonal(distance, 0.0)
    tree = hierarchy.linkage(squareform(distance, checks=False), method="average")
    leaves = hierarchy.leaves_list(tree).astype(np.int64)
    return np.concatenate([chosen[leaves], rest])


def shading(
    values: NDArray[np.floating],
    low: float | NDArray[np.float64],
    high: float | NDArray[np.float64],
) -> NDArray[np.uint8]:
    """Return how dark values are drawn.

    Parameters
    ----------
    values
        Any shape.
    low, high
        What is lightest and darkest, of shapes that fit.

    Returns
    -------
    ndarray
        0 for the lightest to 254 for the darkest; 255 for NaN.
    """
    with np.errstate(invalid="ignore"):
        share = (np.asarray(values, dtype=np.float64) - low) / (high - low)
        shades = np.round(np.clip(share, 0.0, 1.0) * (NO_VALUE - 1))
    return np.where(np.isnan(shades), NO_VALUE, shades).astype(np.uint8)
