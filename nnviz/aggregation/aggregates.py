"""What has been aggregated? Counts, means and shares of the subsets of a collection.

They are read as aggregation has written them, one layer at a time; nothing is computed
over all instances.

Symbols: S subsets, C channels of a layer.
"""

from __future__ import annotations

import functools
import html
import itertools
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from nnviz.aggregation.channel_use import ChannelUse, Ranking
from nnviz.aggregation.relevance import RelevanceSums, check_relevance
from nnviz.argument_types import checked
from nnviz.errors import MissingDataError, UnknownNameError, did_you_mean
from nnviz.formatting import html_table, text_table
from nnviz.runs.declarations import GRADIENT_NORM_SUMS, RELEVANCE_SUMS
from nnviz.store.groups import covered_by
from nnviz.store.store import Store, opened

__all__ = [
    "Aggregates",
    "aggregates_of",
    "class_collection",
    "usual_collection",
]

CACHED_ARRAYS = 12
"""Arrays that one :class:`Aggregates` keeps; 8 MB each for ImageNet's classes."""


class Aggregates:
    """What the instances of each subset of one collection have in common.

    May be shared between threads.

    Parameters
    ----------
    store
        The opened store.
    name
        Name of the collection: ``label``, ``prediction``, ``outcome``, ``all``, or a
        name that was given to ``nnviz aggregate``; None: :func:`usual_collection`.
    """

    def __init__(self, store: Store, name: str | None = None) -> None:
        self._store = store
        name = usual_collection(store) if name is None else name
        self._path = f"aggregates/{name}"
        known = store.groups.names("aggregates")
        if known and name not in known:
            msg = (
                f"unknown collection of subsets {name!r}{did_you_mean(name, known)}; "
                f"the store has {', '.join(known)}"
            )
            raise UnknownNameError(msg)
        attributes = store.groups.attributes(self._path)
        self.name = name
        self.kind = str(attributes["kind"])
        """``all``, ``label``, ``prediction``, ``outcome``, ``file`` or ``custom``."""
        self.names: tuple[str, ...] = tuple(attributes["names"])
        """Name of each subset, in the order of the rows."""
        index = attributes.get("index", range(len(self.names)))
        self.index: NDArray[np.int64] = np.array(index, dtype=np.int64)
        """Place of each subset in its collection, shape (S,): of a class its index.
        Subsets without instances have a place, but usually no row."""
        empty = attributes.get("empty_names", ())
        self.all_names = _all_names(self.names, self.index, empty)
        """Name of every subset of the collection, with a row or not, by its place."""
        self.fingerprint: str | None = attributes.get("fingerprint")
        """Of all that these numbers depend on; None where an earlier nnviz wrote."""
        n = store.n_instances
        covered = covered_by(attributes, store.plan.extensions, n)
        self.note = ""
        """What is not as expected: that the store has grown since; else empty."""
        if covered < n:
            self.note = (
                f"made of the first {covered:,} of the store's {n:,} instances; "
                f"'nnviz aggregate {store.url}' counts the others"
            )
        self.n_instances: NDArray[np.int64] = store.groups.read(
            f"{self._path}/n_instances"
        )
        """Usable instances of each subset, shape (S,)."""
        self._rows = {subset: row for row, subset in enumerate(self.names)}
        self._read = functools.lru_cache(CACHED_ARRAYS)(self._read_array)
        self._counts = functools.lru_cache(CACHED_ARRAYS)(self._read_counts)

    def __len__(self) -> int:
        return len(self.names)

    def named(self, subset: str | int) -> str:
        """Return the name of a subset, which may be given by its number.

        A class can be meant by its label in the data. A text that is neither is
        returned as it is.

        Raises
        ------
        UnknownNameError
            If there is no subset of this number.
        """
        if not isinstance(subset, str):
            if 0 <= subset < len(self.all_names):
                return self.all_names[subset]
            msg = (
                f"there is no subset {subset}; collection {self.name!r} has the "
                f"subsets 0 to {len(self.all_names) - 1}"
            )
            raise UnknownNameError(msg)
        if subset not in self.all_names and self.kind in ("label", "prediction"):
            index = self._store.plan.class_of_label.get(subset)
            return subset if index is None else self.all_names[index]
        return subset

    def row(self, subset: str | int) -> int:
        """Return the row of a subset, by its name or its number.

        Raises
        ------
        UnknownNameError
            If there is none of this name; the message has near matches.
        MissingDataError
            If it has no instances, and so no row.
        """
        subset = self.named(subset)
        if subset in self._rows:
            return self._rows[subset]
        if subset in self.all_names:
            msg = (
                f"{subset!r} of {self.name!r} has no instances in the store "
                f"{self._store.url!r}, so that there is nothing to show of it; "
                f"{len(self):,} of {len(self.all_names):,} subsets have some"
            )
            raise MissingDataError(msg)
        msg = (
            f"unknown subset {subset!r}{did_you_mean(subset, self.all_names)}; "
            f"{self.name!r} has {len(self.all_names):,} subsets"
        )
        raise UnknownNameError(msg)

    @functools.cached_property
    def filled_names(self) -> tuple[str, ...]:
        """Names of the subsets that have usable instances, in the order of the rows."""
        return tuple(itertools.compress(self.names, self.n_instances))

    def size(self, subset: str) -> int:
        """Return the usable instances of a subset, 0 for one without a row.

        Raises
        ------
        UnknownNameError
            If there is none of this name; the message has near matches.
        """
        subset = self.named(subset)
        is_empty = subset in self.all_names and subset not in self._rows
        return 0 if is_empty else int(self.n_instances[self.row(subset)])

    def counts(self, layer: str) -> sparse.csr_array:
        """Return in how many instances a channel is a top channel.

        Returns
        -------
        csr_array
            Shape (S, C), int64; shared with later calls, so leave it as it is.

        Raises
        ------
        UnknownNameError
            If there is no such layer.
        """
        return self._counts(self._store.layer(layer).name)

    def sums(self, layer: str, *, squares: bool = False) -> NDArray[np.float64]:
        """Return sums of activations, or of their squares, shape (S, C).

        They are shared with later calls: leave them as they are.

        Raises
        ------
        UnknownNameError
            If there is no such layer.
        """
        what = "activation_sum_of_squares" if squares else "activation_sum"
        return self._read(what, self._store.layer(layer).name)

    def mean(self, layer: str) -> NDArray[np.float64]:
        """Return mean activations, shape (S, C), NaN for an empty subset.

        Raises
        ------
        UnknownNameError
            If there is no such layer.
        """
        return self._per_instance("activation_sum", layer)

    def variance(self, layer: str) -> NDArray[np.float64]:
        """Return population variances, shape (S, C), NaN for an empty subset.

        From sums of squares in float64: a variance below 1e-15 of the squared mean is
        rounding, and is never negative.

        Raises
        ------
        UnknownNameError
            If there is no such layer.
        """
        squares = self._per_instance("activation_sum_of_squares", layer)
        return np.maximum(squares - self.mean(layer) ** 2, 0.0)

    def maximum(self, layer: str) -> NDArray[np.float32]:
        """Return the largest activations, shape (S, C), NaN for an empty subset.

        Raises
        ------
        UnknownNameError
            If there is no such layer.
        """
        values = self._read("activation_maximum", self._store.layer(layer).name)
        return values.astype(np.float32)

    def relevance_sums(self, layer: str) -> RelevanceSums:
        """Return what is summed of a shown layer's relevance, for any reference.

        Raises
        ------
        UnknownNameError
            If there is no such layer.
        MissingDataError
            If the run has recorded no relevance of the layer, or it was aggregated
            before it was.
        """
        name = self._store.layer(layer).name
        if name not in self._store.groups.names(f"{self._path}/{RELEVANCE_SUMS[0]}"):
            msg = (
                f"there is no relevance of layer {name!r} in the aggregates of "
                f"{self.name!r}: it is recorded with [extraction] relevance = 'label', "
                "for shown layers"
            )
            raise MissingDataError(msg)
        norms = GRADIENT_NORM_SUMS if self._store.plan.keeps_gradient_norms else ()
        sums = {what: self._read(what, name) for what in (*RELEVANCE_SUMS, *norms)}
        return RelevanceSums(self.n_instances, sums)

    def relevance(
        self, layer: str, reference: NDArray[np.float64] | None = None
    ) -> NDArray[np.float64]:
        """Return mean relevances, shape (S, C), NaN for an empty subset.

        Parameters
        ----------
        layer
            Name of a shown layer.
        reference
            Value of each channel that is no relevance at all, shape (C,); None: the
            mean over all instances and positions.

        Raises
        ------
        UnknownNameError
            If there is no such layer.
        MissingDataError
            If the run has recorded no relevance of the layer.
        """
        if reference is None:
            reference = self._everything.relevance_sums(layer).position_mean[0]
        return self.relevance_sums(layer).mean(reference)

    def gradient(self, layer: str) -> NDArray[np.float64]:
        """Return mean gradients, summed over positions, (S, C), NaN for an empty one.

        Raises
        ------
        UnknownNameError
            If there is no such layer.
        MissingDataError
            If the run has recorded no relevance of the layer.
        """
        return self.relevance_sums(layer).gradient

    def gradient_norm(self, layer: str) -> NDArray[np.float64]:
        """Return mean norms of the gradients, (S, C), NaN for an empty subset.

        Raises
        ------
        UnknownNameError
            If there is no such layer.
        MissingDataError
            If the run has recorded no relevance of the layer, or no norms.
        """
        check_relevance(self._store, "gradient_norm")
        return self.relevance_sums(layer).gradient_norm

    def share(self, layer: str) -> NDArray[np.float64]:
        """Return counts as fractions of the instances, (S, C), NaN for an empty subset.

        Raises
        ------
        UnknownNameError
            If there is no such layer.
        """
        return _divided(self.counts(layer).toarray(), self.n_instances[:, None])

    def base_rate(self, layer: str) -> NDArray[np.float64]:
        """Return in which fraction of all instances a channel is a top channel, (C,).

        Raises
        ------
        UnknownNameError
            If there is no such layer.
        """
        everything: NDArray[np.float64] = self._everything.share(layer)
        return everything.reshape(-1)

    def lift(self, layer: str) -> NDArray[np.float64]:
        """Return shares divided by base rates, shape (S, C).

        NaN for an empty subset, and for a channel that is nowhere a top channel.

        Raises
        ------
        UnknownNameError
            If there is no such layer.
        """
        return _divided(self.share(layer), self.base_rate(layer)[None])

    def channels(self, layer: str, subset: str | int) -> ChannelUse:
        """Return how much one subset uses every channel of a layer, in their order.

        Parameters
        ----------
        layer
            Name of a recorded layer.
        subset
            Name of a subset, or its number in the collection.

        Raises
        ------
        UnknownNameError
            If there is no such layer or subset.
        MissingDataError
            If the subset has no instances.
        """
        subset = self.named(subset)
        row, name = self.row(subset), self._store.layer(layer).name
        n_instances = int(self.n_instances[row])
        count = self.counts(name)[[row]].toarray()[0].astype(np.int64)
        share = count / max(1, n_instances)
        base_rate = self.base_rate(name)
        total = self._read("activation_sum", name)[row]
        names = self._store.layer(layer).channel_names
        return ChannelUse(
            subset,
            name,
            n_instances,
            np.arange(len(count)),
            count,
            share,
            base_rate,
            _divided(share, base_rate),
            total / max(1, n_instances),
            np.array(names, object) if names else None,
            self.note,
        )

    def top(
        self, layer: str, subset: str | int, n: int = 20, *, by: Ranking = "count"
    ) -> ChannelUse:
        """Return the channels that one subset uses most.

        Parameters
        ----------
        layer
            Name of a recorded layer.
        subset
            Name of a subset, or its number in the collection.
        n
            At most this many; channels with no count are left out.
        by
            What they are ordered by, as in :meth:`ChannelUse.best`.

        Returns
        -------
        ChannelUse
            The best first.

        Raises
        ------
        UnknownNameError
            If there is no such layer or subset.
        MissingDataError
            If the subset has no instances.
        """
        use = self.channels(layer, subset)
        return use.take(use.best(n, by=by))

    @functools.cached_property
    def _everything(self) -> Aggregates:
        return self if self.name == "all" else Aggregates(self._store, "all")

    def _per_instance(self, name: str, layer: str) -> NDArray[np.float64]:
        total = self._read(name, self._store.layer(layer).name)
        return _divided(total, self.n_instances[:, None])

    def _read_array(self, name: str, layer: str) -> NDArray[Any]:
        return self._store.groups.read(f"{self._path}/{name}/{layer}")

    def _read_counts(self, layer: str) -> sparse.csr_array:
        return self._store.groups.read_csr(f"{self._path}/activation_counts/{layer}")

    def _title(self) -> str:
        return f"nnviz aggregates {self.name!r}: {len(self):,} subsets ({self.kind})"

    def _columns(self) -> list[tuple[str, Any]]:
        return [("subset", self.names), ("n_instances", self.n_instances)]

    def __repr__(self) -> str:
        table = text_table(self._title(), self._columns())
        return f"{table}\n{self.note}" if self.note else table

    def _repr_html_(self) -> str:
        return html_table(self._title(), self._columns()) + html.escape(self.note)


def class_collection(store: Store) -> str | None:
    """Return the collection of the classes of a run, or None where it has none.

    ``label`` where instances have labels, else ``prediction``; so it is, too, while
    nothing is extracted and that is not known.
    """
    if bool((store.column("label") >= 0).any()) or store.plan.has_label_sets:
        return "label"
    is_known = bool(store.chunks.done().any())
    has_classes = not is_known or bool((store.column("prediction") >= 0).any())
    return "prediction" if has_classes else None


def usual_collection(store: Store) -> str:
    """Return the collection that is meant where none is named.

    That of the labels; where instances have none, of the predictions; and of a network
    that predicts no classes, of its target, or the first that was aggregated.
    """
    known = store.groups.names("aggregates")
    own = sorted(name for name in known if name not in ("all", "outcome"))
    target = () if store.plan.target_column is None else (store.plan.target_column,)
    wanted = ("label", "prediction", *target, *own, *known)
    return next((name for name in wanted if name in known), "label")


@checked
def aggregates_of(
    store: Store | str | os.PathLike[str], name: str | None = None
) -> Aggregates:
    """Return the aggregates of one collection of subsets.

    Parameters
    ----------
    store
        The store, or its path.
    name
        Name of the collection; None: of the labels, or what there is in their place.

    Raises
    ------
    UnknownNameError
        If other collections have been aggregated, but not this one.
    MissingDataError
        If nothing has been aggregated, or not to its end.
    """
    return Aggregates(opened(store), name)


def _all_names(
    names: Sequence[str], index: NDArray[np.int64], empty: Sequence[str]
) -> tuple[str, ...]:
    """Return the names by place: those with a row at theirs, the others between."""
    taken = dict(zip(index.tolist(), names, strict=True))
    others = iter(empty)
    return tuple(
        taken[place] if place in taken else next(others)
        for place in range(len(names) + len(empty))
    )


def _divided(values: NDArray[Any], by: NDArray[Any]) -> NDArray[np.float64]:
    """Divide; NaN where the divisor is zero."""
    is_defined = by > 0
    quotient = values / np.where(is_defined, by, 1)
    return np.where(is_defined, quotient, np.nan)
