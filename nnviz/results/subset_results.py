"""What is there to see in a subset? Its size, its errors, its channels, its company.

A subset is looked at against another one: all other instances, unless one is named.
Counts are exact; a difference of counts is tested by Fisher's exact test, with p-values
adjusted over all channels of all shown layers (Benjamini and Hochberg).

Symbols: A, B the two subsets, C channels of a layer, B bins of the confidence.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnviz.aggregation.aggregates import aggregates_of
from nnviz.aggregation.estimates import Estimates, estimate, is_worthwhile
from nnviz.aggregation.index_channels import IndexedChannels
from nnviz.aggregation.subset_index import subset_index
from nnviz.errors import NnvizError
from nnviz.formatting import instances_text, said_p_value
from nnviz.results.aggregated_totals import aggregated_totals
from nnviz.results.company import most_similar, saved_means
from nnviz.results.contrasts import ChannelContrast, ValueContrast, channel_lines
from nnviz.results.known_totals import KnownTotals
from nnviz.results.relevance_results import SubsetRelevance, named_reference
from nnviz.results.share_tests import ShareTests, dense
from nnviz.significance import difference_tests
from nnviz.statistics import difference_interval, exact_interval
from nnviz.store.store import Store
from nnviz.subsets.lookup import SubsetFinder
from nnviz.subsets.subsets import Subset

__all__ = ["SubsetResults"]

N_BINS = 20
MAX_VALUES = 50
"""Columns of texts with more distinct values are names, not groups."""

NO_GROUPS = ("id", "status", "label", "prediction")


class SubsetResults:
    """One subset against another; what is asked for is computed once.

    Parameters
    ----------
    store
        With a complete extraction.
    subset
        A: whatever :class:`SubsetFinder` takes.
    against
        B; None: all other usable instances.
    finder
        Of the store, if there is one already.

    Raises
    ------
    QueryError
        If a text is no query of this store.
    MissingDataError
        If the extraction is not complete.
    """

    def __init__(
        self,
        store: Store,
        subset: object,
        against: object = None,
        *,
        finder: SubsetFinder | None = None,
    ) -> None:
        finder = finder or SubsetFinder(store, IndexedChannels(store))
        self._store, self._finder, self._columns = store, finder, finder.columns
        self._known = KnownTotals(store, finder.columns)
        usable = self._columns.usable
        self.subset = _among(finder.find(subset), usable)
        """A, without unusable instances."""
        self._against = (
            None if against is None else _among(finder.find(against), usable)
        )

    @functools.cached_property
    def against(self) -> Subset:
        """B, without unusable instances."""
        if self._against is None:
            rest: Any = self.against_mask  # of which it is made
            return Subset("all others", rest)
        return self._against

    @functools.cached_property
    def against_mask(self) -> NDArray[np.bool_]:
        """Where the instances of B are, shape (N,): a million numbers are eight MB."""
        one = self.subset if self._against is None else self._against
        mask = np.zeros(self._columns.n_instances, dtype=np.bool_)
        mask[one.instances] = True
        return self._columns.usable & ~mask if self._against is None else mask

    @functools.cached_property
    def n_against(self) -> int:
        """Number of usable instances of B."""
        return int(np.count_nonzero(self.against_mask))

    @property
    def n_instances(self) -> int:
        """Number of usable instances."""
        return len(self.subset)

    @functools.cached_property
    def accuracy(self) -> tuple[float, float, float]:
        """Fraction that is predicted right, and its exact 95 % interval.

        NaN, 0 and 1 where no instance has a label and a prediction.
        """
        correct = self._columns.column("correct")
        rows = self.subset.instances[~correct.null[self.subset.instances]]
        n_right = int(correct.values[rows].sum())
        low, high = exact_interval(n_right, len(rows))
        share = n_right / len(rows) if len(rows) else math.nan
        return share, float(low), float(high)

    @functools.cached_property
    def confusion(self) -> list[tuple[str, str, int]]:
        """(class, class it is taken for, instances) of the wrong ones, most first."""
        names = self._columns.class_names
        label, prediction = (
            self._columns.column(name) for name in ("label", "prediction")
        )
        if label.kind != "class":
            return []
        rows = self.subset.instances
        rows = rows[~(label.null | prediction.null)[rows]]
        true, taken = label.values[rows], prediction.values[rows]
        wrong = true != taken
        pairs, counts = np.unique(
            np.stack([true[wrong], taken[wrong]]), axis=1, return_counts=True
        )
        order = np.argsort(-counts, kind="stable")
        return [(names[pairs[0, i]], names[pairs[1, i]], int(counts[i])) for i in order]

    @functools.cached_property
    def confidence(self) -> NDArray[np.int64]:
        """Instances by the confidence of their prediction, 20 bins from 0 to 1."""
        values = self._columns.column("confidence")
        rows = self.subset.instances[~values.null[self.subset.instances]]
        return np.histogram(values.values[rows], bins=N_BINS, range=(0, 1))[0]

    @functools.cached_property
    def channels(self) -> list[ChannelContrast]:
        """Every channel of the shown layers that is on top anywhere in A or B.

        Sorted by p-value, then by the strength of the effect.
        """
        return self.share_tests.contrasts(self._totals)

    @functools.cached_property
    def share_tests(self) -> ShareTests:
        """The same channels as arrays, layer by layer."""
        sizes = (len(self.subset), self.n_against)
        return ShareTests.made(self._store.shown_layers, self._totals, sizes)

    @property
    def is_at_hand(self) -> bool:
        """Whether numbers are there at once: nothing has to be read or summed."""
        if "_aggregated" not in self.__dict__:
            kept = aggregated_totals(
                self._store, self._columns, *self._sets, reads=False
            )
            if kept is not None:
                self._aggregated = kept
        return "_totals" in self.__dict__ or bool(self.__dict__.get("_aggregated"))

    @property
    def _sets(self) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
        against = self._against
        return self.subset.instances, None if against is None else against.instances

    @functools.cached_property
    def _aggregated(self) -> dict[str, dict[str, Any]] | None:
        return aggregated_totals(self._store, self._columns, *self._sets)

    @functools.cached_property
    def _totals(self) -> dict[str, dict[str, Any]]:
        return self._aggregated or self._known.of([self.subset, self.against])

    @functools.cached_property
    def answered_by(self) -> str:
        """Where numbers come from: ``aggregates``, ``index``, or stored ``chunks``."""
        self._totals  # noqa: B018  an index that is made later has not answered
        by = "index" if subset_index(self._store).is_complete else "chunks"
        return "aggregates" if self._aggregated else by

    @property
    def advice(self) -> str:
        """What would make the answer faster, or is damaged; empty where all is well."""
        return "" if self._aggregated else subset_index(self._store).advice

    @property
    def is_large(self) -> bool:
        """Whether an estimate of A or of B is far quicker than the exact numbers."""
        both = () if self._aggregated else (self.subset, self.against)
        unknown = (one.instances for one in both if not self._known.has(one))
        return any(is_worthwhile(subset_index(self._store), x) for x in unknown)

    def estimate(
        self, *, seed: int = 0
    ) -> tuple[dict[str, Estimates], dict[str, Estimates]]:
        """Return what the channels do in A and in B, from a sample, with errors.

        It takes a fraction of what the exact numbers take where the disk is cold, or
        the store has no index.

        Parameters
        ----------
        seed
            Equal seeds draw equal samples.

        Returns
        -------
        tuple
            Of A and of B, by layer each.
        """
        index = subset_index(self._store)
        return (
            estimate(index, self.subset.instances, seed=seed),
            estimate(index, self.against.instances, seed=seed),
        )

    def mean(self, layer: str) -> NDArray[np.float64]:
        """Return A's mean activations of a layer, shape (C,); NaN without instances.

        Raises
        ------
        UnknownNameError
            If there is no such layer.
        """
        return np.asarray(self.means(layer)[0])

    def means(self, layer: str) -> NDArray[np.float64]:
        """Return the mean activations of A and of B, shape (2, C).

        NaN without instances.

        Raises
        ------
        UnknownNameError
            If there is no such layer.
        """
        return self._per_instance(layer, "activation_sum")

    def variances(self, layer: str) -> NDArray[np.float64]:
        """Return population variances in A and in B, shape (2, C).

        Raises
        ------
        UnknownNameError
            If there is no such layer.
        """
        squares = self._per_instance(layer, "activation_sum_of_squares")
        return np.maximum(squares - self.means(layer) ** 2, 0.0)

    def relevance(
        self, reference: object = "mean", *, signal: str = "relevance"
    ) -> SubsetRelevance:
        """Return which channels matter for the explained output, in A and in B.

        Parameters
        ----------
        reference
            What a channel is compared with: ``mean`` of all instances, ``zero``,
            ``against`` (B), or any subset as :class:`SubsetFinder` takes it.
        signal
            By what A and B are compared: ``relevance``, ``gradient`` (summed over
            positions) or ``gradient_norm`` (over positions).

        Raises
        ------
        ConfigError
            If there is no such signal.
        MissingDataError
            If the run has recorded no relevance, or not this signal.
        QueryError
            If a text is no query of this store.
        """
        chosen = named_reference(reference, self._finder)
        return SubsetRelevance(
            self._store, self.subset, self.against, chosen, signal=signal
        )

    def shares(self, layer: str) -> NDArray[np.float64]:
        """Return in which share of A and of B each channel is on top, shape (2, C).

        Raises
        ------
        UnknownNameError
            If there is no such layer.
        """
        return self._per_instance(layer, "activation_counts")

    def _per_instance(self, layer: str, what: str) -> NDArray[np.float64]:
        values = dense(self._totals[self._store.layer(layer).name][what])
        sizes = np.array([[len(self.subset)], [self.n_against]], dtype=np.float64)
        return np.asarray(values / np.where(sizes > 0, sizes, np.nan))

    def nearest_classes(self, layer: str, n: int = 5) -> list[tuple[str, float]]:
        """Return the classes whose mean activations are most similar to A's.

        Parameters
        ----------
        layer
            Name of a recorded layer.
        n
            Number of classes.

        Returns
        -------
        list
            (class, cosine of the two means), most similar first.

        Raises
        ------
        MissingDataError
            If classes have not been aggregated.
        """
        labels = aggregates_of(self._store, "label")
        return most_similar(self.mean(layer), labels.mean(layer), labels.names, n)

    def nearest_saved(self, layer: str, n: int = 5) -> list[tuple[str, float]]:
        """Return the saved subsets whose mean activations are most similar to A's.

        Parameters
        ----------
        layer
            Name of a shown layer.
        n
            Number of subsets.

        Returns
        -------
        list
            (subset, cosine of the two means), most similar first, A itself left out.
        """
        means, names = saved_means(
            self._store, self._finder, layer, but=self.subset.name
        )
        return most_similar(self.mean(layer), means, names, n)

    @functools.cached_property
    def metadata(self) -> list[ValueContrast]:
        """Values that are more or less common in A than in B, the surest first."""
        rows = [row for name in self._grouping() for row in self._values(name)]
        if not rows:
            return []
        counts = np.array([[a, b] for _, _, a, b in rows])
        n_a, n_b = len(self.subset), self.n_against
        _, p_values = difference_tests(counts[:, 0], n_a, counts[:, 1], n_b)
        ends = np.stack(difference_interval(counts[:, 0], n_a, counts[:, 1], n_b), 1)
        made = [
            ValueContrast(
                *(column, value, a, b, _share(a, n_a), _share(b, n_b)),
                interval=(float(low), float(high)),
                p_value=float(p),
            )
            for (column, value, a, b), (low, high), p in zip(
                rows, ends, p_values, strict=True
            )
        ]
        return sorted(made, key=lambda v: (v.p_value, -abs(v.share - v.other_share)))

    def _grouping(self) -> Iterator[str]:
        for name in self._columns.names:
            if name in NO_GROUPS or name == "correct":
                continue
            column = self._columns.column(name)
            is_few = column.kind == "text" and len(column.texts) <= MAX_VALUES
            if is_few or column.kind in ("classes", "truth"):
                yield name

    def _values(self, name: str) -> Iterator[tuple[str, str, int, int]]:
        column = self._columns.column(name)
        if column.members is not None:
            has = np.append(column.members, np.zeros((1, column.members.shape[1])), 0)
            sets = (self.subset.instances, self.against.instances)
            a, b = (has[column.values[rows]].sum(axis=0) for rows in sets)
            names = self._columns.class_names
            for i in np.flatnonzero(a + b):
                yield name, names[i], int(a[i]), int(b[i])
            return
        is_truth = column.kind == "truth"
        texts = ("false", "true") if is_truth else column.texts
        counts = [
            np.bincount(
                column.values[rows[~column.null[rows]]].astype(np.int64),
                minlength=len(texts),
            )
            for rows in (self.subset.instances, self.against.instances)
        ]
        for code, text in enumerate(texts):
            if text and counts[0][code] + counts[1][code]:
                yield name, text, int(counts[0][code]), int(counts[1][code])

    def instances(
        self, *, by: str = "confidence", n: int = 10, worst: bool = False
    ) -> NDArray[np.int64]:
        """Return instances of A, those with the largest values of a column first.

        Parameters
        ----------
        by
            A column of numbers: ``confidence``, ``loss``, ``margin``, metadata.
        n
            Number of instances; those without a value come last.
        worst
            Whether those with the smallest values come first.
        """
        column = self._columns.column(by)
        rows = self.subset.instances
        values = column.values[rows].astype(np.float64)
        order = np.where(column.null[rows], np.inf, values if worst else -values)
        return rows[np.argsort(order, kind="stable")[:n]]

    def to_json(self) -> dict[str, Any]:
        """Return what is known of the subset, as JSON values."""
        accuracy, low, high = self.accuracy
        return {
            "subset": self.subset.name,
            "against": self.against.name,
            "instances": self.n_instances,
            "against_instances": self.n_against,
            "accuracy": None if math.isnan(accuracy) else accuracy,
            "accuracy_interval": [low, high],
            "confusion": [list(row) for row in self.confusion],
            "confidence_histogram": self.confidence.tolist(),
            "channels": [_values_of(c) for c in self.channels if c.p_value < 0.05],
            "metadata": [_values_of(v) for v in self.metadata if v.p_value < 0.05],
            "answered_by": self.answered_by,
            "advice": self.advice,
        }

    def lines(self, n: int = 10) -> list[str]:
        """Return what is known of the subset, as lines for a terminal."""
        accuracy, low, high = self.accuracy
        size = f"{instances_text(self.n_instances)}, {self.n_against:,} in"
        lines = [f"{self.subset.name}: {size} {self.against.name}"]
        if not self.n_instances:
            return [*lines, "no usable instance is in it; the query is never true"]
        if not math.isnan(accuracy):
            lines.append(f"accuracy       {accuracy:.1%} ({low:.1%} to {high:.1%})")
        if self.confusion:
            shown = [f"{a} for {b} ({k:,})" for a, b, k in self.confusion[:5]]
            lines.append(f"taken          {', '.join(shown)}")
        lines += channel_lines(self.channels, self.against.name, n)
        significant = [v for v in self.metadata if v.p_value < 0.05][:n]
        lines += [
            f"metadata       {v.column} = {v.value}: {v.share:.1%}, "
            f"{v.other_share:.1%} there, {said_p_value(v.p_value)}"
            for v in significant
        ]
        lines += self._similar_lines()
        advice = f"; {self.advice}" if self.advice else ""
        return [*lines, f"answered by    the {self.answered_by}, exact{advice}"]

    def _similar_lines(self) -> list[str]:
        hidden = [layer for layer in self._store.shown_layers if layer.positions]
        if not hidden:
            return []
        try:
            near = self.nearest_classes(hidden[-1].name, 3)
        except NnvizError:
            return []
        shown = ", ".join(f"{name} ({cosine:.2f})" for name, cosine in near)
        by = f"by mean activations of {hidden[-1].name}"
        lines = [f"nearest        {shown}, {by}"]
        if subset_index(self._store).is_complete:  # else each one's facts are read
            near = self.nearest_saved(hidden[-1].name, 3)
            saved = ", ".join(f"{name} ({cosine:.2f})" for name, cosine in near)
            lines += [f"nearest saved  {saved}, {by}"] if saved else []
        return lines

    def __repr__(self) -> str:
        return "\n".join(self.lines())


def _among(subset: Subset, usable: NDArray[np.bool_]) -> Subset:
    kept = subset.instances[usable[subset.instances]]
    return Subset(subset.name, kept, subset.n_masked)


def _share(count: Any, n: int) -> float:
    return float(count) / n if n else math.nan


def _values_of(contrast: ChannelContrast | ValueContrast) -> dict[str, Any]:
    return {name: getattr(contrast, name) for name in contrast.__slots__}
