"""What can be asked of an opened store, in a notebook or a script? Any subset.

The store of :mod:`nnviz.store.store` knows arrays; this one, which users get, answers
questions about subsets as well.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from nnviz.aggregation.index_channels import IndexedChannels
from nnviz.aggregation.index_warming import warm_later
from nnviz.argument_types import checked
from nnviz.errors import ShapeError
from nnviz.explanation.instance_explanation import InstanceExplanation
from nnviz.graphs.attribution_graph import AttributionGraph
from nnviz.graphs.comparison import GraphComparison
from nnviz.graphs.motifs import Motifs
from nnviz.graphs.options import GraphChoices
from nnviz.interface.questions import (
    attribution_graph,
    compare,
    instance_graph,
    motifs,
)
from nnviz.results.subset_results import SubsetResults
from nnviz.store.added_columns import AddedColumn, ColumnSource
from nnviz.store.store import Store as StoredRun
from nnviz.subsets.lookup import SubsetFinder
from nnviz.subsets.saved import SavedSubset, save_subset, saved_subsets
from nnviz.subsets.subsets import Subset
from nnviz.subsets.suggestions import Suggestion, searched_layers, suggest_subsets

if TYPE_CHECKING:
    import pandas as pd
    from distributed import Client

    from nnviz.engine.progress import Listener

__all__ = ["Store", "open_store"]


class Store(StoredRun):
    """One run: what was planned, what has been computed, and any question about it."""

    @functools.cached_property
    def _finder(self) -> SubsetFinder:
        finder = SubsetFinder(self, IndexedChannels(self))
        warm_later(self, finder.columns.read_texts)
        return finder

    @checked
    def subset(self, what: object, *, name: str = "") -> Subset:
        """Return the subset that is meant; see :class:`SubsetFinder`.

        Parameters
        ----------
        what
            A query (``"label = horse and not correct"``), the name of a saved subset
            or of a class, a mask of N truth values, ids, numbers of instances, or a
            pandas DataFrame, Series or Index with such.
        name
            Name of the subset; empty: what was written.

        Returns
        -------
        Subset
            Combine them with ``&``, ``|``, ``-`` and ``~``.

        Raises
        ------
        QueryError
            If a text is no query of this store; the message points at the place.
        DatasetError
            If ids are not in the run.
        ShapeError
            If a mask has another length, or numbers are out of range.
        """
        return self._finder.find(what, name=name)

    def look(self, subset: object, against: object = None) -> SubsetResults:
        """Return what there is to see in a subset, against another or all others.

        Parameters
        ----------
        subset, against
            Whatever :meth:`subset` takes.
        """
        return SubsetResults(self, subset, against, finder=self._finder)

    @checked
    def graph(
        self,
        subset: object,
        *,
        subsets: str | None = None,
        jackknife: int = 0,
        pictures: bool = True,
        **options: Unpack[GraphChoices],
    ) -> AttributionGraph:
        """Return the attribution graph of a subset, or of one explained instance.

        Parameters
        ----------
        subset
            Whatever :meth:`subset` takes; a number is that of an instance here. Or what
            :meth:`explain` returns: then the instance's own graph, of the options
            ``share`` and ``inner``.
        subsets, jackknife, pictures, **options
            As in :func:`nnviz.attribution_graph`.
        """
        if isinstance(subset, InstanceExplanation):
            return instance_graph(self, subset, pictures=pictures, **options)
        return attribution_graph(
            self,
            self._named_or_found(subset),
            subsets=subsets,
            jackknife=jackknife,
            pictures=pictures,
            **options,
        )

    @checked
    def explain(
        self,
        instance: str | int,
        *,
        of: str | int | None = None,
        again: bool = False,
        model: object = None,
        dataset: object = None,
        tokenizer: object = None,
        client: Client | None = None,
        trust: bool = False,
    ) -> InstanceExplanation:
        """Return what the network did with one instance; see :func:`nnviz.explain`.

        Parameters
        ----------
        instance, of, again, model, dataset, tokenizer, client, trust
            As in :func:`nnviz.explain`.
        """
        from nnviz.interface.upkeep import explain  # noqa: PLC0415  as below

        return explain(
            self,
            instance,
            of=of,
            again=again,
            model=model,
            dataset=dataset,
            tokenizer=tokenizer,
            client=client,
            trust=trust,
        )

    @checked
    def compare(
        self,
        first: object,
        second: object,
        *,
        subsets: str | None = None,
        **options: Unpack[GraphChoices],
    ) -> GraphComparison:
        """Return what tells the attribution graphs of two subsets apart.

        Parameters
        ----------
        first, second
            Whatever :meth:`subset` takes.
        subsets, **options
            As in :func:`nnviz.attribution_graph`.
        """
        one, two = self._named_or_found(first), self._named_or_found(second)
        return compare(self, one, two, subsets=subsets, **options)

    @checked
    def motifs(
        self, *, subsets: str | None = None, **options: Unpack[GraphChoices]
    ) -> Motifs:
        """Return the parts that the graphs of many subsets share.

        Parameters
        ----------
        subsets, **options
            As in :func:`nnviz.motifs`.
        """
        return motifs(self, subsets=subsets, **options)

    @checked
    def table(self, subset: object, columns: list[str] | None = None) -> pd.DataFrame:
        """Return the rows of the instance table of a subset; its index are instances.

        Parameters
        ----------
        subset
            Whatever :meth:`subset` takes.
        columns
            Names; None: all.
        """
        return self.instances(columns).iloc[self.subset(subset).instances]

    @checked
    def sample(self, subset: object, n: int, *, by: str = "", seed: int = 0) -> Subset:
        """Return a random part of a subset.

        Parameters
        ----------
        subset
            Whatever :meth:`subset` takes.
        n
            Number of instances.
        by
            A column of which every value gets the same number of instances, as far as
            it has them (a stratified sample); empty: of none.
        seed
            Equal seeds give equal parts.

        Raises
        ------
        ShapeError
            If `n` is negative.
        """
        whole = self.subset(subset)
        if not by:
            return whole.sample(n, seed=seed)
        if n < 0:
            msg = f"a sample has {n} instances; it should have 0 or more"
            raise ShapeError(msg)
        rng = np.random.default_rng(seed)
        order = rng.permutation(whole.instances)
        values = self._finder.columns.column(by).values[order]
        # The first of every value, then the second of every value, and so on.
        _, group = np.unique(values, return_inverse=True)
        by_group = np.argsort(group, kind="stable")
        counts = np.bincount(group)
        turn = np.empty(len(order), dtype=np.int64)
        turn[by_group] = np.concatenate([np.arange(0), *(np.arange(k) for k in counts)])
        chosen = order[np.argsort(turn, kind="stable")[:n]]
        return Subset(f"{n:,} of {whole.name} by {by}", chosen, whole.n_masked)

    @checked
    def save_subset(
        self, name: str, subset: object, *, note: str = "", author: str = ""
    ) -> SavedSubset:
        """Keep a subset under a name; a query grows with the store.

        Parameters
        ----------
        name
            By which it can be asked for from now on.
        subset
            Whatever :meth:`subset` takes.
        note, author
            To remember it by.

        Raises
        ------
        QueryError
            If a query does not fit this store.
        StoreError
            If the store cannot be written.
        """
        found = self.subset(subset)
        query = self._finder.query_of(subset) if isinstance(subset, str) else ""
        instances = None if query else found.instances
        kept = SavedSubset(name, query, instances, note=note, author=author)
        return save_subset(self, kept)

    def saved_subsets(self) -> dict[str, SavedSubset]:
        """Return the saved subsets by their names, the oldest first."""
        return saved_subsets(self)

    @checked
    def add_column(
        self,
        name: str,
        function: Callable[[Any], object],
        *,
        over: ColumnSource = "rows",
        batch_size: int | None = None,
        replace: bool = False,
        dataset: object = None,
        client: Client | None = None,
        workers: int | None = None,
        listeners: Sequence[Listener] | None = None,
        progress: bool = True,
        trust: bool = False,
    ) -> AddedColumn:
        """Ask a function once about every instance, and keep its answers as a column.

        The column is in queries, contrasts, suggestions, tables and exports like every
        other. A repeated call asks about what has no answer yet: new instances of a
        store that has grown, or what a call that was ended had left.

        Parameters
        ----------
        name
            Of the column; no column, class or saved subset is called so.
        function
            Answers a number, a truth value, a text or a date, or None for no value.
        over
            What it gets: ``rows`` of the instance table, each a dictionary with classes
            by their names and None where there is no value; or the ``instances``
            themselves, of images Pillow images in their own size, else arrays.
        batch_size
            If set, it gets lists of so many, and answers as many values.
        replace
            Whether a column of this name that other code has made is made anew.
        dataset
            The one that the plan was made of, where it was in memory.
        client
            Of a running cluster, for instances; None starts processes here if it pays.
        workers
            Processes to start, for instances; 0 asks in this one.
        listeners, progress, trust
            As in :func:`nnviz.extract`.

        Returns
        -------
        AddedColumn
            What it is, and how many instances have a value.

        Raises
        ------
        ConfigError
            If the name is taken, or a column of this name was made by other code.
        InputError
            If the function raises anything, or answers something that is no value; the
            message has the place in it, and the instance.
        MissingDataError
            If extraction is not complete.
        PlanMismatchError
            If `dataset` is not the data set of the run.
        """
        # Where nothing is computed, neither Dask nor torch is waited for.
        from nnviz.interface.adding_columns import add_column  # noqa: PLC0415

        return add_column(
            self,
            name,
            function,
            over=over,
            batch_size=batch_size,
            replace=replace,
            dataset=dataset,
            client=client,
            workers=workers,
            listeners=listeners,
            progress=progress,
            trust=trust,
        )

    def added_columns(self) -> dict[str, AddedColumn]:
        """Return the columns that functions have made, by their names."""
        return self.added.listed()

    @checked
    def remove_column(self, name: str) -> None:
        """Remove a column that a function has made.

        Raises
        ------
        UnknownNameError
            If no column of this name was added.
        """
        from nnviz.upkeep.user_columns import remove_column  # noqa: PLC0415  as above

        remove_column(self, name)

    @checked
    def suggest(self, n: int = 10, *, seed: int = 0) -> list[Suggestion]:
        """Return subsets in which the network errs more than elsewhere, best first.

        Parameters
        ----------
        n
            At most this number.
        seed
            Of the half of the instances on which they are tested.

        Raises
        ------
        DatasetError
            If the run has no labels or no predictions.
        """
        layers = searched_layers(self)
        return suggest_subsets(self._finder.columns, n=n, layers=layers, seed=seed)

    def _named_or_found(self, subset: object) -> str | Subset:
        """Return a text as it is, since it may name an aggregated subset."""
        return subset if isinstance(subset, str) else self.subset(subset)


@checked
def open_store(url: str | os.PathLike[str]) -> Store:
    """Open a run's store for reading; nothing that it names is imported or run.

    Raises
    ------
    StoreNotFoundError
        If there is no store at `url`.
    StoreFormatError
        If it has another format version, or is no store.
    """
    return Store.open(url)
