"""Which two sets of instances are looked at, and what tells their channels apart?

A visitor writes A and B as queries. Finding their instances takes milliseconds;
counting their channels may take longer, is done once, and kept for all visitors.
"""

from __future__ import annotations

import functools
import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nnviz.aggregation.index_channels import IndexedChannels
from nnviz.engine.wanted import SharedWork
from nnviz.results.subset_results import SubsetResults
from nnviz.runs.declarations import ERROR, TARGET
from nnviz.store.store import Store
from nnviz.subsets.by_value import part_queries
from nnviz.subsets.lookup import SubsetFinder
from nnviz.subsets.writing import Confusion, class_word, confusion_of, words_of

if TYPE_CHECKING:
    from nnviz.subsets.suggestions import Suggestion

__all__ = ["OTHERS", "NamedQuery", "SubsetPair", "SubsetPairs"]

CACHED_PAIRS = 16
N_CONFUSIONS = 12
N_SUGGESTIONS = 8

OTHERS = "all others"
"""How B is called where no query says what it is."""


@dataclass(frozen=True, slots=True)
class NamedQuery:
    """A subset that can be chosen."""

    name: str
    query: str
    n_instances: int


@dataclass(frozen=True, slots=True, eq=False)
class SubsetPair:
    """A and B, found and not yet counted."""

    found: SubsetResults
    """Sizes are known; what is counted is counted when it is asked for."""
    names: tuple[str, str]
    """How A and B are called."""
    key: str
    """Equal for equal instances."""
    confusion: Confusion | None
    """Where A are instances of a class that are taken for another."""
    n_of_class: int
    """Usable instances of that class; 0 where there is no confusion."""


class SubsetPairs:
    """The pairs of subsets of one run; shared by visitors and threads.

    Parameters
    ----------
    store
        With a complete extraction, where something is asked.
    kind
        What the classes are: ``label`` or ``prediction``.
    """

    def __init__(self, store: Store, kind: str) -> None:
        self._store = store
        self._kind = kind
        self.channels = IndexedChannels(store)
        """Single channels of every instance; those asked for last are kept."""
        self.finder = SubsetFinder(store, self.channels)
        self._counted: OrderedDict[str, SubsetResults] = OrderedDict()
        self._suggestions: list[Suggestion] | None = None
        self._counting = SharedWork()
        self._lock = threading.Lock()

    def class_query(self, index: int) -> str:
        """Return the query of a class by its index."""
        return f"{self._kind} = {class_word(self._store.class_names, index)}"

    def usual_query(self, index: int) -> str:
        """Return what A is until something else is written; empty for nothing.

        The class of an index; where there are no classes, the largest targets.
        """
        if index >= 0:
            return self.class_query(index)
        return self._parts[-1].query if self._parts else ""

    @functools.cached_property
    def parts(self) -> list[NamedQuery]:
        """Parts of the measured target, and of the error, smallest first."""
        has_error = ERROR in self._store.plan.outcome_columns
        return [*self._parts, *(self._parts_of(ERROR) if has_error else ())]

    @functools.cached_property
    def _parts(self) -> list[NamedQuery]:
        return self._parts_of(self._target)

    @property
    def _target(self) -> str:
        return self._store.plan.target_column or TARGET

    @functools.cached_property
    def targets(self) -> NDArray[np.float64] | None:
        """The measured target of every instance, shape (N,); None where there is none.

        NaN where it is not known, and of unusable instances.
        """
        return self._numbers(self._target)

    def _parts_of(self, name: str) -> list[NamedQuery]:
        """Return parts of a column, smallest first; none where it has no numbers."""
        values = self._numbers(name)
        if values is None:
            return []
        return [self._named(query) for query in part_queries(values, name)]

    def _numbers(self, name: str) -> NDArray[np.float64] | None:
        columns = self.finder.columns
        if name not in columns.names or columns.column(name).kind != "number":
            return None
        column = columns.column(name)
        values = np.where(column.null | ~columns.usable, np.nan, column.values)
        return values.astype(np.float64)

    def of_class(self, index: int) -> list[NamedQuery]:
        """Return what a class can be split into, with sizes: none is empty.

        The class itself, predicted right, wrong, and taken for other classes, most
        frequent first.
        """
        names, columns = self._store.class_names, self.finder.columns
        members = self.finder.of_class(index, self._kind)
        members = members[columns.usable[members]]
        whole, name = self.class_query(index), names[index]
        found = [NamedQuery(self._words(whole), whole, len(members))]
        if self._kind == "label" and not self._store.plan.has_label_sets:
            taken = columns.column("prediction").values[members]
            counts = np.bincount(taken[taken >= 0], minlength=len(names))
            n_right, n_wrong = int(counts[index]), int(counts.sum() - counts[index])
            counts[index] = 0
            most = np.argsort(-counts, kind="stable")[:N_CONFUSIONS].tolist()
            wrong_query = f"{whole} and not correct"
            found += [
                NamedQuery(
                    f"{name}, predicted right", self.right_query(index), n_right
                ),
                NamedQuery(f"{name}, predicted wrong", wrong_query, n_wrong),
                *(
                    NamedQuery(
                        f"{name} taken for {names[i]}",
                        self.confusion_query(index, i),
                        int(counts[i]),
                    )
                    for i in most
                ),
            ]
        return [one for one in found if one.n_instances]

    def confusion_query(self, index: int, taken_for: int) -> str:
        """Return the query of the instances of a class that are taken for another."""
        word = class_word(self._store.class_names, taken_for)
        return f"{self.class_query(index)} and prediction = {word}"

    def prediction_query(self, index: int) -> str:
        """Return the query of the instances that are predicted as a class."""
        return f"prediction = {class_word(self._store.class_names, index)}"

    def right_query(self, index: int) -> str:
        """Return the query of the instances of a class that are predicted right."""
        return f"{self.class_query(index)} and correct"

    def saved(self) -> list[NamedQuery]:
        """Return the saved subsets, with sizes, as they are in the store now."""
        return [self._named(name) for name in self.finder.saved()]

    def _named(self, query: str) -> NamedQuery:
        found = SubsetResults(self._store, query, finder=self.finder)
        return NamedQuery(self._words(query), query, found.n_instances)

    def _words(self, query: str) -> str:
        return words_of(query, self._store.class_names)

    @property
    def suggestions(self) -> list[Suggestion]:
        """Where the network errs more than elsewhere; searched for once.

        Raises
        ------
        NnvizError
            If the store cannot be read, or has no labels or no predictions.
        NotWantedError
            If nobody waits for them any more.
        """
        return self._counting.run("suggestions", self._search)

    def _search(self) -> list[Suggestion]:
        if self._suggestions is not None:
            return self._suggestions
        # Slow to import, and few visitors ask for it.
        from nnviz.subsets.suggestions import (  # noqa: PLC0415
            searched_layers,
            suggest_subsets,
        )

        self._suggestions = suggest_subsets(
            self.finder.columns, n=N_SUGGESTIONS, layers=searched_layers(self._store)
        )
        return self._suggestions

    def pair(self, a: str, b: str = "") -> SubsetPair:
        """Find two subsets.

        Parameters
        ----------
        a
            A query, or the name of a class or of a saved subset.
        b
            The same; empty: all other instances.

        Raises
        ------
        QueryError
            If a text is no query of this store; the message points at the place.
        MissingDataError
            If the extraction is not complete.
        """
        found = SubsetResults(self._store, a, b or None, finder=self.finder)
        key = _key_of(found, self._store.n_instances)
        with self._lock:
            kept = self._counted.get(key)
        if kept is not None:
            found = kept
        confusion = confusion_of(a, self._store.class_names)
        whole = 0 if confusion is None else self._named(confusion.of).n_instances
        names = (self._words(a), self._words(b) if b else OTHERS)
        return SubsetPair(found, names, key, confusion, whole)

    def is_counted(self, pair: SubsetPair) -> bool:
        """Whether the channels of a pair are there at once."""
        with self._lock:
            if pair.key in self._counted:
                return True
        return pair.found.is_at_hand

    def count(self, pair: SubsetPair) -> SubsetResults:
        """Count the channels of a pair, unless that has been done.

        Whoever asks for it while another counts it waits for that.

        Raises
        ------
        NnvizError
            If the store cannot be read.
        NotWantedError
            If nobody waits for it any more.
        """

        def count() -> SubsetResults:
            with self._lock:
                kept = self._counted.get(pair.key)
            if kept is None:
                kept = pair.found
                kept.answered_by  # noqa: B018  counted, and kept there
            with self._lock:
                self._counted[pair.key] = kept
                self._counted.move_to_end(pair.key)
                while len(self._counted) > CACHED_PAIRS:
                    self._counted.popitem(last=False)
            return kept

        return self._counting.run(pair.key, count)


def _key_of(found: SubsetResults, n_instances: int) -> str:
    """Return a text that is equal for equal instances.

    A bit for each instance is a hundredth of what a million numbers take.
    """
    digest = hashlib.blake2b(digest_size=16)
    mask = np.zeros(n_instances, dtype=np.bool_)
    mask[found.subset.instances] = True
    for each in (mask, found.against_mask):
        digest.update(np.packbits(each).tobytes())
    return digest.hexdigest()
