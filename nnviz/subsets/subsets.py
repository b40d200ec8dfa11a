"""Which instances belong together? Named sets of instances, and collections of them.

A collection is what is aggregated in one go: the classes by label, the classes by
prediction, right and wrong per class, or what a file names. It is a sparse matrix with
a row for each subset and a column for each instance.

Symbols: N instances, S subsets.
"""

from __future__ import annotations

import collections
import functools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from nnviz.errors import DatasetError, ShapeError, UnknownNameError, did_you_mean
from nnviz.formatting import instances_text
from nnviz.runs.stored_names import GROUPS, is_collection
from nnviz.subsets.instance_numbers import instances_of

__all__ = [
    "STANDARD_KINDS",
    "Subset",
    "SubsetCollection",
    "all_instances",
    "class_subsets",
    "collect_subsets",
    "display_names",
    "outcome_subsets",
]

STANDARD_KINDS = ("all", "label", "prediction", "outcome")
"""Collections that follow from the instance table."""

SHOWN_OF_NAME = 200
"""Characters: a name may be a query, and a query is long where it lists values."""


@dataclass(frozen=True, slots=True, eq=False)
class Subset:
    """A named set of instances."""

    name: str
    instances: NDArray[np.int64]
    """Indices of the instances, ascending, none twice; shape (n,). It can be made from
    whatever
    :func:`nnviz.subsets.instance_numbers.instances_of` takes, a mask included."""
    n_masked: int | None = None
    """Length of the mask that it was made from; None if it was made from indices."""

    def __post_init__(self) -> None:
        instances, n_masked = instances_of(self.instances, what=f"subset {self.name!r}")
        object.__setattr__(self, "instances", instances)
        if n_masked is not None:
            object.__setattr__(self, "n_masked", n_masked)

    def __len__(self) -> int:
        return len(self.instances)

    def __repr__(self) -> str:
        """Return its name, which is its query if it has one, and its size."""
        name = self.name
        name = f"{name[:SHOWN_OF_NAME]}..." if len(name) > SHOWN_OF_NAME else name
        size = instances_text(len(self))
        if self.n_masked:
            size += f", {100 * len(self) / self.n_masked:.3g} % of {self.n_masked:,}"
        return f"<nnviz.Subset {name!r}: {size}>"

    def __and__(self, other: Subset) -> Subset:
        """Return what is in both; so ``a & b``, ``a | b`` and ``a - b``."""
        return self._with(
            other, "and", functools.partial(np.intersect1d, assume_unique=True)
        )

    def __or__(self, other: Subset) -> Subset:
        return self._with(other, "or", np.union1d)

    def __sub__(self, other: Subset) -> Subset:
        return self._with(
            other, "except", functools.partial(np.setdiff1d, assume_unique=True)
        )

    def __invert__(self) -> Subset:
        """Return all other instances of the run, ``~a``.

        Raises
        ------
        ShapeError
            If the subset was not made from a mask, and so does not know of how many
            instances it is; those of ``store.subset(...)`` do.
        """
        if self.n_masked is None:
            msg = (
                f"subset {self.name!r} does not know how many instances the run has; "
                "make it with store.subset(...), or from a mask"
            )
            raise ShapeError(msg)
        mask = np.ones(self.n_masked, dtype=np.bool_)
        mask[self.instances] = False
        # A mask, so that the length stays known; the type says what it becomes.
        return Subset(f"not {_operand(self.name)}", mask)  # type: ignore[arg-type]

    def _with(
        self, other: Subset, word: str, combine: Callable[..., NDArray[np.int64]]
    ) -> Subset:
        if not isinstance(other, Subset):
            return NotImplemented
        lengths = {self.n_masked, other.n_masked} - {None}
        if len(lengths) > 1:
            msg = (
                f"subset {self.name!r} is of a run of {self.n_masked:,} instances, and "
                f"{other.name!r} of one of {other.n_masked:,}; combine those of one run"
            )
            raise ShapeError(msg)
        name = f"{_operand(self.name)} {word} {_operand(other.name)}"
        instances = combine(self.instances, other.instances)
        return Subset(name, instances, next(iter(lengths), None))

    def sample(self, n: int, *, seed: int = 0) -> Subset:
        """Return a random part of the subset.

        Parameters
        ----------
        n
            Number of instances; all of them if there are fewer.
        seed
            Equal seeds give equal parts.

        Raises
        ------
        ShapeError
            If `n` is negative.
        """
        if n < 0:
            msg = f"a sample has {n} instances; it should have 0 or more"
            raise ShapeError(msg)
        chosen = np.random.default_rng(seed).permutation(self.instances)[:n]
        return Subset(f"{n:,} of {self.name}", chosen, self.n_masked)

    def check_fits(self, n_instances: int) -> None:
        """Refuse a subset that is of another run.

        Parameters
        ----------
        n_instances
            Number of instances of the run, N.

        Raises
        ------
        ShapeError
            If the run has fewer instances, or the mask was of another length.
        """
        if self.n_masked not in (None, n_instances):
            msg = (
                f"subset {self.name!r} is a mask of {self.n_masked:,} truth values; "
                f"the run has {n_instances:,} instances, and a mask needs one for each"
            )
            raise ShapeError(msg)
        if len(self) and self.instances[-1] >= n_instances:
            msg = (
                f"subset {self.name!r} has the instances {self.instances[0]:,} to "
                f"{self.instances[-1]:,}; the run has {n_instances:,}, from 0 on"
            )
            raise ShapeError(msg)


@dataclass(frozen=True, slots=True, eq=False)
class SubsetCollection:
    """Subsets that are aggregated together; an empty one is kept, with no instances."""

    name: str
    """Name in the store: letters, digits, ``_``, ``-`` and ``.``."""
    names: tuple[str, ...]
    """Name of each subset, none twice."""
    membership: sparse.csr_array
    """Which instance belongs to which subset; bool, shape (S, N), indices sorted."""
    kind: str = "custom"
    """``all``, ``label``, ``prediction``, ``outcome``, ``file`` or ``custom``."""

    def __post_init__(self) -> None:
        if not is_collection(self.name):
            msg = (
                f"a collection of subsets cannot be called {self.name!r}; use letters, "
                "digits, '_', '-' and '.', at most 200, because it becomes a path in "
                f"the store, and none of 'zarr.json', {', '.join(map(repr, GROUPS))}, "
                "which nnviz writes itself"
            )
            raise DatasetError(msg)
        membership = self.membership.astype(np.bool_)
        membership.sum_duplicates()
        membership.eliminate_zeros()
        if membership.shape[0] != len(self.names):
            msg = (
                f"collection {self.name!r} has {len(self.names)} names for a matrix of "
                f"shape {membership.shape}; it should have a row for each name"
            )
            raise ShapeError(msg)
        twice = [n for n, count in collections.Counter(self.names).items() if count > 1]
        if twice:
            msg = (
                f"collection {self.name!r} has several subsets called {twice[0]!r}; "
                "'display_names' makes names different"
            )
            raise DatasetError(msg)
        object.__setattr__(self, "names", tuple(str(name) for name in self.names))
        object.__setattr__(self, "membership", membership)

    @property
    def n_instances(self) -> int:
        """Number of instances of the run, N; not all need to be in a subset."""
        return int(self.membership.shape[1])

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[Subset]:
        return (self.subset(name) for name in self.names)

    def sizes(self) -> NDArray[np.int64]:
        """Return the number of instances of each subset, shape (S,)."""
        return np.diff(self.membership.indptr).astype(np.int64)

    def subset(self, name: str) -> Subset:
        """Return one subset.

        Raises
        ------
        UnknownNameError
            If there is none of this name; the message has near matches.
        """
        if name not in self.names:
            msg = (
                f"unknown subset {name!r}{did_you_mean(name, self.names)}; collection "
                f"{self.name!r} has {len(self):,} subsets"
            )
            raise UnknownNameError(msg)
        row = self.names.index(name)
        start, stop = self.membership.indptr[row : row + 2]
        return Subset(name, self.membership.indices[start:stop].astype(np.int64))

    def restricted_to(self, keep: NDArray[np.bool_]) -> SubsetCollection:
        """Return the collection without the instances that are not to be kept.

        Parameters
        ----------
        keep
            Which instances may count, shape (N,).

        Raises
        ------
        ShapeError
            If `keep` is for another number of instances.
        """
        if keep.shape != (self.n_instances,):
            msg = (
                f"collection {self.name!r} is over {self.n_instances:,} instances, not "
                f"{len(keep):,}; make it from the columns of the same store"
            )
            raise ShapeError(msg)
        membership = self.membership.copy()
        membership.data = keep[membership.indices]
        return SubsetCollection(self.name, self.names, membership, self.kind)

    def without_empty(self) -> SubsetCollection:
        """Return the collection without the subsets that have no instance."""
        rows = np.flatnonzero(self.sizes())
        names = tuple(self.names[row] for row in rows)
        return SubsetCollection(self.name, names, self.membership[rows], self.kind)


def _operand(name: str) -> str:
    """Return a name as a part of a longer one; it stays a query if it is one."""
    return name if re.fullmatch(r"\w+", name) else f"({name})"


def display_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return names that differ: equal ones get their index in parentheses.

    Examples
    --------
    >>> display_names(["crane", "cardigan", "crane"])
    ('crane (0)', 'cardigan', 'crane (2)')
    """
    shown = [str(name) for name in names]
    while len(set(shown)) < len(shown):
        counts = collections.Counter(shown)
        shown = [
            f"{name} ({index})" if counts[name] > 1 else name
            for index, name in enumerate(shown)
        ]
    return tuple(shown)


def all_instances(n_instances: int) -> SubsetCollection:
    """Return the collection ``all``: one subset with every instance, the base rate."""
    membership = sparse.csr_array(np.ones((1, n_instances), dtype=np.bool_))
    return SubsetCollection("all", ("all",), membership, "all")


def class_subsets(
    labels: ArrayLike, class_names: Sequence[str], *, name: str = "label"
) -> SubsetCollection:
    """Return one subset for each class.

    Parameters
    ----------
    labels
        Class of each instance, shape (N,), in the order of `class_names`; -1 for an
        instance that belongs to no class.
    class_names
        Name of each class; equal names are made different.
    name
        ``label`` for true classes, ``prediction`` for predicted ones.

    Raises
    ------
    DatasetError
        If a label is not an index of a class.

    Examples
    --------
    >>> classes = class_subsets([1, 0, 1, -1], ["cat", "dog", "owl"])
    >>> classes.subset("dog").instances, classes.sizes()
    (array([0, 2]), array([1, 2, 0]))
    """
    membership = _partition(_checked_labels(labels, len(class_names)), len(class_names))
    return SubsetCollection(name, display_names(class_names), membership, name)


def outcome_subsets(
    labels: ArrayLike, predictions: ArrayLike, class_names: Sequence[str]
) -> SubsetCollection:
    """Return two subsets for each true class: predicted right, and wrong.

    Parameters
    ----------
    labels, predictions
        Classes of each instance, shape (N,); where one is -1, the instance has no
        outcome.
    class_names
        Name of each class; the subsets are ``<class> correct`` and ``<class> wrong``.

    Raises
    ------
    DatasetError
        If a label or prediction is not an index of a class.

    Examples
    --------
    >>> outcome_subsets([0, 0, 1], [0, 1, 1], ["cat", "dog"]).names
    ('cat correct', 'cat wrong', 'dog correct', 'dog wrong')
    """
    true = _checked_labels(labels, len(class_names))
    predicted = _checked_labels(predictions, len(class_names))
    if true.shape != predicted.shape:
        msg = f"there are {len(true):,} labels for {len(predicted):,} predictions"
        raise ShapeError(msg)
    has_outcome = (true >= 0) & (predicted >= 0)
    rows = np.where(has_outcome, 2 * true + (true != predicted), -1)
    names = display_names(
        [
            f"{name} {outcome}"
            for name in display_names(class_names)
            for outcome in ("correct", "wrong")
        ]
    )
    membership = _partition(rows, len(names))
    return SubsetCollection("outcome", names, membership, "outcome")


def collect_subsets(
    subsets: Iterable[Subset], n_instances: int, *, name: str, kind: str = "custom"
) -> SubsetCollection:
    """Put subsets, which may overlap, into one collection.

    Parameters
    ----------
    subsets
        In the order of the rows.
    n_instances
        Number of instances of the run, N.
    name
        Name of the collection in the store.
    kind
        Where the subsets come from.

    Raises
    ------
    ShapeError
        If a subset has an instance that the run has not, or was made from a mask of
        another length.
    DatasetError
        If two subsets have one name, or `name` cannot be a path.
    """
    subsets = list(subsets)
    for subset in subsets:
        subset.check_fits(n_instances)
    sizes = [len(subset) for subset in subsets]
    indices = np.concatenate([np.empty(0, np.int64), *(s.instances for s in subsets)])
    indptr = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
    membership = sparse.csr_array(
        (np.ones(len(indices), dtype=np.bool_), indices, indptr),
        shape=(len(subsets), n_instances),
    )
    names = tuple(subset.name for subset in subsets)
    return SubsetCollection(name, names, membership, kind)


def _checked_labels(labels: ArrayLike, n_classes: int) -> NDArray[np.int64]:
    values = np.asarray(labels)
    if values.ndim != 1 or (values.dtype.kind not in "iu" and values.size):
        msg = (
            f"labels have the shape {values.shape} and the dtype {values.dtype}; they "
            "should be one class index for each instance"
        )
        raise ShapeError(msg)
    values = values.astype(np.int64)
    wrong = np.flatnonzero((values < -1) | (values >= n_classes))
    if len(wrong):
        msg = (
            f"instance {wrong[0]} has the class {values[wrong[0]]}; with {n_classes:,} "
            "classes it should be -1 (none) to "
            f"{n_classes - 1}"
        )
        raise DatasetError(msg)
    return values


def _partition(rows: NDArray[np.int64], n_rows: int) -> sparse.csr_array:
    """Return the membership of instances that each have one row, or -1 for none."""
    columns = np.flatnonzero(rows >= 0)
    values = np.ones(len(columns), dtype=np.bool_)
    return sparse.csr_array(
        (values, (rows[columns], columns)), shape=(n_rows, len(rows))
    )
