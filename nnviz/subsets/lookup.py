"""Which instances does a person mean? By a name, a query, a mask, ids or numbers.

A text is, in this order, the name of a saved subset, the name of a class or its label
in the data set, such as a folder's name (its instances by label), and a query, in which
the same names stand for the same subsets.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnviz.errors import DatasetError, QueryError, did_you_mean
from nnviz.store.store import Store
from nnviz.subsets.columns import ChannelSource, InstanceColumns, StoredChannels
from nnviz.subsets.evaluation import matching_instances
from nnviz.subsets.expressions import MAX_CHARACTERS
from nnviz.subsets.saved import SavedSubset, saved_subsets
from nnviz.subsets.subsets import Subset
from nnviz.subsets.writing import class_word, quoted

__all__ = ["SubsetFinder"]

MAX_NESTED = 20
"""Saved subsets that are named in each other's queries."""

SHOWN_IDS = 3

MAX_KEPT = 256
"""Sets of instances that have a name until the process ends."""


class SubsetFinder:
    """Finds subsets of one store; what queries read is kept, and shared by threads.

    Parameters
    ----------
    store
        With a complete extraction.
    channels
        Where activations come from; None: the store's arrays.
    """

    def __init__(self, store: Store, channels: ChannelSource | None = None) -> None:
        self.store = store
        self.columns = InstanceColumns(store, channels or StoredChannels(store))
        self._nested = threading.local()
        self._kept: OrderedDict[str, NDArray[np.int64]] = OrderedDict()

    def text_for(self, instances: NDArray[np.int64]) -> str:
        """Return a text that stands for a set of instances.

        A query that lists them, or where that is too long, a name that this finder
        knows until its process ends, or until many others have been asked for.
        """
        instances = np.unique(np.asarray(instances, dtype=np.int64))
        query = f"instance in ({', '.join(map(str, instances.tolist()))})"
        if len(query) <= MAX_CHARACTERS and "instance" not in self.store.columns:
            return query
        name = f"chosen {hashlib.sha256(instances.tobytes()).hexdigest()[:8]}"
        self._kept[name] = instances
        self._kept.move_to_end(name)
        while len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)
        return name

    def saved(self) -> dict[str, SavedSubset]:
        """Return the saved subsets by name, as they are in the store now."""
        return saved_subsets(self.store)

    def find(self, what: object, *, name: str = "") -> Subset:
        """Return the subset that is meant.

        Parameters
        ----------
        what
            A subset; the name of one that was saved, or of a class; a query; a mask of
            N truth values; ids; numbers of instances, or one number; a Series or Index
            of pandas with such; or a DataFrame whose column ``id``, or else index,
            says which instances.
        name
            Name of the subset; empty: what was written.

        Returns
        -------
        Subset
            It knows the run's number of instances, so that ``~`` works.

        Raises
        ------
        QueryError
            If a text is no query of this store; the message points at the place.
        DatasetError
            If ids are not in the run, or what was given is nothing of the above.
        ShapeError
            If a mask has another length, or numbers are out of range.
        """
        if isinstance(what, Subset):
            what.check_fits(self.columns.n_instances)
            return self._subset(name or what.name, what.instances)
        if isinstance(what, str):
            return self._subset(name or what, self._of_text(what))
        if isinstance(what, (int, np.integer)) and not isinstance(what, bool):
            name = name or f"instance {int(what)}"
            what = [int(what)]
        if hasattr(what, "columns") and hasattr(what, "index"):
            what = what["id"] if "id" in what.columns else what.index  # type: ignore[index]
        values = np.asarray(what)
        is_text = values.dtype.kind in "UTO" and values.ndim == 1 and values.size
        if is_text and isinstance(values[0], str):
            return self._subset(name or "ids", self._of_ids(values))
        found = Subset(name or "instances", what)  # type: ignore[arg-type]
        found.check_fits(self.columns.n_instances)
        return self._subset(found.name, found.instances)

    def query_of(self, text: str) -> str:
        """Return a query that means what a text does that :meth:`find` takes."""
        if text in self.saved():
            return quoted(text)
        index = self.columns.class_index(text)
        if index is None:
            return text
        return f"label = {class_word(self.columns.class_names, index)}"

    def named(self, name: str) -> NDArray[np.int64] | None:
        """Return the instances of a named subset or a class; None if there is none."""
        kept = self._kept.get(name)
        if kept is not None:
            return kept
        saved = self.saved().get(name)
        if saved is not None:
            if saved.instances is not None:
                return saved.instances
            with self._nesting(name):
                return self._asked(saved.query)
        index = self.columns.class_index(name)
        return None if index is None else self.of_class(index)

    def of_class(self, index: int, kind: str = "label") -> NDArray[np.int64]:
        """Return the instances of a class, by labels or predictions."""
        column = self.columns.column(kind)
        if column.members is None:
            return np.flatnonzero(column.values == index)
        has = np.append(column.members[:, index], False)
        return np.flatnonzero(has[column.values])

    def names(self) -> list[str]:
        """Return the names that stand for subsets."""
        return [*self.saved(), *self.columns.class_names, *self.columns.labels]

    def _of_text(self, text: str) -> NDArray[np.int64]:
        instances = self.named(text)
        return self._asked(text) if instances is None else instances

    def _asked(self, query: str) -> NDArray[np.int64]:
        return matching_instances(
            query, self.columns, subsets=self.named, subset_names=self.names()
        )

    @contextlib.contextmanager
    def _nesting(self, name: str) -> Iterator[None]:
        """Refuse subsets whose queries name each other in a circle."""
        above = getattr(self._nested, "names", ())
        if name in above or len(above) >= MAX_NESTED:
            chain = " -> ".join((*above, name))
            msg = f"the queries of saved subsets name each other: {chain}"
            raise QueryError(msg)
        self._nested.names = (*above, name)
        try:
            yield
        finally:
            self._nested.names = above

    def _of_ids(self, ids: NDArray[Any]) -> NDArray[np.int64]:
        column = self.columns.column("id")
        code_of = column.code_of
        wanted = [str(each) for each in ids.tolist()]
        unknown = [each for each in wanted if each not in code_of]
        if unknown:
            known = column.texts
            near = did_you_mean(unknown[0], known) if len(known) < 10_000 else ""
            shown = ", ".join(map(repr, known[:SHOWN_IDS]))
            msg = (
                f"{len(unknown):,} of {len(wanted):,} ids are not in the run, first "
                f"{unknown[0]!r}{near}; the run has ids like {shown}"
            )
            raise DatasetError(msg)
        chosen = np.zeros(len(column.texts), dtype=np.bool_)
        chosen[[code_of[each] for each in wanted]] = True
        return np.flatnonzero(chosen[column.values])

    def _subset(self, name: str, instances: NDArray[np.int64]) -> Subset:
        return Subset(name, instances, self.columns.n_instances)
