"""Which classes are there, and how alike are they in the chosen layer?

The embedding and the list show the same classes: their order, their similarity to the
chosen one, and how much of each a chosen channel belongs to.

Symbols: S classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import param
from numpy.typing import NDArray

from nnviz.errors import MissingDataError
from nnviz.results.chart_tables import ChartTable
from nnviz.results.class_similarity import Alike
from nnviz.results.missing import Missing
from nnviz.results.run_results import ListedClasses, RunResults
from nnviz_dashboards.shared.publishing import follow, publish, published
from nnviz_dashboards.shared.python_lines import python_lines
from nnviz_dashboards.shared.selection import LAYOUTS, NONE, SORTS, Selection

__all__ = ["MOST_PAIRED", "ClassPairs", "Confusion", "SubsetFacts", "SubsetsModel"]

N_NEIGHBOURS = 8
N_CONFUSIONS = 3

MOST_PAIRED = 100
"""Of more classes the similarities of all pairs are no picture."""


@dataclass(frozen=True, slots=True)
class Confusion:
    """A class that instances were wrongly predicted as."""

    subset: int
    name: str
    n_instances: int


@dataclass(frozen=True, slots=True, eq=False)
class ClassPairs:
    """How alike every two classes are."""

    classes: NDArray[np.int64]
    """In an order in which those that are alike are neighbours, shape (K,)."""
    similarity: NDArray[np.float32]
    """Shape (K, K), in this order; NaN where a class is like none."""
    alike: str
    """By what: ``top`` channels or ``mean``."""


@dataclass(frozen=True, slots=True)
class SubsetFacts:
    """What is known of one class without a layer."""

    subset: int
    name: str
    mark: str
    n_instances: int
    accuracy: float
    confusions: tuple[Confusion, ...]


class SubsetsModel(param.Parameterized):
    """The classes in the chosen layer.

    Parameters
    ----------
    results
        The run; its classes must be readable.
    selection
        What the visitor has chosen.
    """

    order = param.Array(
        np.zeros(0, np.int64), constant=True, doc="Listed classes, first to last."
    )
    similarity = param.Array(
        None, constant=True, allow_None=True, doc="Cosine to the chosen class, (S,)."
    )
    alike = param.String(constant=True, doc="By what: ``top`` channels or ``mean``.")
    places = param.Array(
        None, constant=True, allow_None=True, doc="Embedding, (S, 2) in -1 to 1."
    )
    method = param.String(constant=True, doc="How the classes were placed.")
    kept = param.Number(
        float("nan"), constant=True,
        doc="Share of each class's most similar ones that are nearest on the map.",
    )  # fmt: skip
    n_near = param.Integer(0, constant=True, doc="So many are looked for.")
    neighbours = param.Array(
        np.zeros(0, np.int64), constant=True, doc="Most similar classes, nearest first."
    )
    share = param.Array(
        None, constant=True, allow_None=True,
        doc="Share of each class's instances with the chosen channel on top, (S,).",
    )  # fmt: skip
    users = param.Array(
        np.zeros(0, np.int64), constant=True, doc="Classes with the largest share."
    )
    facts = published(SubsetFacts, "Of the chosen class.")
    pairs = published(ClassPairs, "Of all classes, where they are looked at.")
    missing = published(Missing, "Why there is no embedding.")

    def __init__(self, results: RunResults, selection: Selection) -> None:
        super().__init__()
        self.selection = selection
        self.classes: ListedClasses = results.class_table()
        self._results = results
        self._keys = [name.casefold() for name in self.classes.names]
        follow(
            selection,
            ["layer", "subset", "channel", "sort", "search", "alike", "layout"],
            self._update,
        )

    @property
    def versus(self) -> int:
        """The class that the chosen one is compared with; -1 for none."""
        a, b = self.selection.a, self.selection.b
        if a or not b:
            return NONE
        query = self._results.pairs.class_query
        return next((i for i in self.classes.present.tolist() if query(i) == b), NONE)

    def choose(self, subset: int) -> None:
        """Look at this class."""
        self.selection.choose(subset=subset)

    def show(self, view: str) -> None:
        """Look at the graph of the class, or at its channels."""
        self.selection.choose(view=view)

    def search(self, text: str) -> None:
        """List the classes whose name contains the text."""
        self.selection.choose(search=text)

    def compare_by(self, alike: str) -> None:
        """Compare classes by their top channels, by their means, or as is best."""
        self.selection.choose(alike=alike)

    def sort(self, key: str) -> None:
        """Order the list of classes."""
        self.selection.choose(sort=key)

    def lay_out(self, layout: str) -> None:
        """Show the classes in the plane, or the similarities of all pairs."""
        self.selection.choose(layout=layout)

    @property
    def code(self) -> str:
        """Lines of Python that write the same numbers, and those of all layers."""
        return python_lines(
            self._results.store.url,
            "# classes, similarity/ and embedding/, a table for each layer",
            'nnviz.write_bundle(store, "tables")',
        )

    def layout_table(self) -> ChartTable | None:
        """Return the similarities of all pairs, or the places of the classes."""
        names, present = self.classes.names, self.classes.present
        if self.pairs is not None:
            shown = [names[i] for i in self.pairs.classes]
            columns = zip(shown, self.pairs.similarity.T, strict=True)
            return ChartTable((("class", shown), *columns))
        if self.places is None:
            return None
        x, y = self.places[present].T
        return ChartTable((("class", [names[i] for i in present]), ("x", x), ("y", y)))

    def list_table(self) -> ChartTable:
        """Return the classes in the order of the list, and what is known of each."""
        classes, order = self.classes, self.order
        n_bins = classes.confidence.shape[1]
        known: list[tuple[str, NDArray[np.generic]]] = [
            ("instances", classes.n_instances[order]),
            ("accuracy", classes.accuracy[order]),
        ]
        if self.similarity is not None:
            known.append(("similarity", self.similarity[order]))
        bins = [
            (
                f"confidence_{i / n_bins:.2f}_to_{(i + 1) / n_bins:.2f}",
                classes.confidence[order, i],
            )
            for i in range(n_bins)
        ]
        names = [classes.names[i] for i in order]
        return ChartTable((("class", names), ("index", order), *known, *bins))

    def _update(self, changed: set[str]) -> None:
        updates: dict[str, object] = {}
        layer, subset = self.selection.layer, self.selection.subset
        if changed & {"layer"}:
            updates["missing"] = self._missing()
            updates["places"] = self._places(layer)
            updates["method"] = self._method(layer)
            updates["n_near"] = n_near = self._n_near()
            updates["kept"] = self._kept(layer, n_near)
        if changed & {"layer", "subset", "alike"}:
            updates["alike"] = alike = self._alike(layer)
            updates["similarity"] = self._similarity(layer, subset, alike)
            updates["neighbours"] = self._nearest(updates["similarity"])
        if changed & {"layer", "alike", "layout"}:
            updates["pairs"] = self._pairs(layer, self._alike(layer))
        if changed & {"layer", "channel"}:
            share = self._share(layer, self.selection.channel)
            updates["share"], updates["users"] = share, _largest(share)
        if changed & {"subset"}:
            updates["facts"] = self._facts(subset)
        similarity = updates.get("similarity", self.similarity)
        if changed & {"layer", "subset", "sort", "search", "alike"}:
            updates["order"] = self._order(similarity)
        publish(self, updates)

    def _missing(self) -> Missing | None:
        """Return why there is no embedding; the graph says what is needed before."""
        if self._results.missing_stage() is None:
            return self._results.missing_stage(derived=True)
        return Missing(
            "No embedding yet", "It is made of the aggregates, which are not there yet."
        )

    def _places(self, layer: str) -> NDArray[np.float32] | None:
        try:
            return self._results.embedding(layer)
        except MissingDataError:
            return None

    def _method(self, layer: str) -> str:
        try:
            method = self._results.embedding_method(layer)
        except MissingDataError:
            return ""
        return {"umap": "UMAP"}.get(method, method)

    def _n_near(self) -> int:
        """Return how many neighbours tell of few classes, and of many."""
        return min(N_NEIGHBOURS, max(1, (len(self.classes.present) - 1) // 3))

    def _kept(self, layer: str, n: int) -> float:
        try:
            return self._results.kept_neighbours(layer, n)
        except MissingDataError:
            return float("nan")

    def _alike(self, layer: str) -> str:
        if self.selection.alike != "auto":
            return str(self.selection.alike)
        try:
            return str(self._results.telling_measure(layer))
        except MissingDataError:
            return "top"

    def _similarity(
        self, layer: str, subset: int, alike: str
    ) -> NDArray[np.float32] | None:
        if subset < 0:
            return None
        results = self._results
        read = results.mean_similarity if alike == "mean" else results.similarity
        try:
            row: NDArray[np.float32] = read(layer)[subset]
        except MissingDataError:
            return None
        return row

    def _pairs(self, layer: str, alike: str) -> ClassPairs | None:
        is_seen = self.selection.layout == LAYOUTS[1]
        if not is_seen or not 2 <= len(self.classes.present) <= MOST_PAIRED:
            return None
        results = self._results
        measure: Alike = "mean" if alike == "mean" else "top"
        read = results.mean_similarity if alike == "mean" else results.similarity
        try:
            order = results.alike_order(layer, measure)
            return ClassPairs(order, read(layer)[np.ix_(order, order)], measure)
        except MissingDataError:
            return None

    def _nearest(self, similarity: object) -> NDArray[np.int64]:
        if not isinstance(similarity, np.ndarray):
            return np.zeros(0, np.int64)
        present = self.classes.present
        present = present[present != self.selection.subset]
        present = present[np.isfinite(similarity[present])]
        order = np.argsort(-similarity[present], kind="stable")[:N_NEIGHBOURS]
        nearest: NDArray[np.int64] = present[order]
        return nearest

    def _share(self, layer: str, channel: int) -> NDArray[np.float64] | None:
        if channel < 0:
            return None
        try:
            return self._results.share_by_subset(layer, channel)
        except MissingDataError:
            return None

    def _order(self, similarity: object) -> NDArray[np.int64]:
        classes, present = self.classes, self.classes.present
        wanted = self.selection.search.strip().casefold()
        if wanted:
            is_found = [
                wanted in self._keys[i] or wanted == classes.marks[i] for i in present
            ]
            present = present[np.array(is_found, dtype=bool)]
        present = np.array(
            sorted(present, key=lambda i: (self._keys[i], i)), dtype=np.int64
        )
        key = self.selection.sort
        if key == SORTS[0] and isinstance(similarity, np.ndarray):
            values = similarity[present].astype(np.float64)
            values[present == self.selection.subset] = np.inf
        elif key in ("accuracy", "errors"):
            values = classes.accuracy[present] * (1 if key == "accuracy" else -1)
        else:
            return present
        values = np.where(np.isnan(values), -np.inf, values)
        return present[np.argsort(-values, kind="stable")]

    def _facts(self, subset: int) -> SubsetFacts | None:
        classes = self.classes
        if subset < 0:
            return None
        row = self._results.confusions()[[subset], :].tocoo()
        strongest = np.argsort(-row.data, kind="stable")[:N_CONFUSIONS]
        confusions = tuple(
            Confusion(int(i), classes.names[i], int(n))
            for i, n in zip(row.coords[1][strongest], row.data[strongest], strict=True)
        )
        return SubsetFacts(
            subset,
            classes.names[subset],
            classes.marks[subset],
            int(classes.n_instances[subset]),
            float(classes.accuracy[subset]),
            confusions,
        )


def _largest(share: NDArray[np.float64] | None) -> NDArray[np.int64]:
    """Return the classes with the largest share, largest first, none without any."""
    if share is None:
        return np.zeros(0, np.int64)
    largest = np.argsort(-share, kind="stable")[:N_NEIGHBOURS]
    return np.asarray(largest[share[largest] > 0], dtype=np.int64)
