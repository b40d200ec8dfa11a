"""Stage 3: what is common to the instances of a subset?

1. Every layer is cut into spans of whole chunks. A span depends on the plan only.
2. One task reads one span once, and reduces it for all collections of subsets at once:
   their membership matrices are stacked.
3. Partials of neighbouring spans are combined in a tree whose shape depends on their
   number only, so that the sums have the same bits for any number of workers.
4. A last task of each layer writes its aggregates; nothing large passes the client.

Unusable instances count nowhere. The collection ``all`` is always written: it is the
base rate that counts are compared with.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from nnviz.engine.progress import Listener, StageDone, StageStarted, TaskDone, emit
from nnviz.engine.reducing import run_reductions
from nnviz.errors import DatasetError, ShapeError
from nnviz.facts import activation_facts, influence_facts
from nnviz.inputs.subsets import STANDARD_KINDS, SubsetCollection, all_instances
from nnviz.planning import Plan
from nnviz.reductions import (
    ActivationCounts,
    ActivationMoments,
    InfluenceTotals,
    InstanceCounts,
    Reduction,
)
from nnviz.store.store import Store

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["aggregate", "default_subsets"]

STAGE = "aggregate"

VALUES_PER_SPAN = 2**24
"""What a task reads of a layer at most, but at least a chunk: 64 MB as float32."""

VALUES_PER_INFLUENCE = 8
"""An influence becomes a place and a value of 8 bytes each, several times."""

GROUPS = {
    "activations": (
        "activation_counts",
        "activation_sum",
        "activation_sum_of_squares",
        "activation_maximum",
    ),
    "influences": ("influence_counts", "influence_sums"),
}
"""What is written for each layer, by the stored facts that it is made of."""


def aggregate(
    store: Store,
    subsets: Sequence[SubsetCollection],
    *,
    client: Client | None = None,
    listeners: Iterable[Listener] = (),
) -> None:
    """Aggregate activations, top channels and influences of every recorded layer.

    Parameters
    ----------
    store
        With a complete extraction. It is opened again for writing.
    subsets
        Collections over the store's instances; ``all`` is added. What was aggregated
        under the same names before is replaced.
    client
        Of a running cluster, whose workers can open the store's URL; None computes in
        this process, with the same bytes as result.
    listeners
        Told about the start, each layer, and the end.

    Raises
    ------
    MissingDataError
        If extraction is not complete.
    ShapeError
        If a collection is over another number of instances.
    DatasetError
        If two collections have one name.
    StoreFormatError
        If stored data are damaged.
    TaskError
        If a task failed for another reason.
    """
    started, listeners = time.monotonic(), tuple(listeners)
    store = Store.open(store.url, writable=True)
    usable = store.usable()
    collections = [c.restricted_to(usable) for c in _with_base_rate(store, subsets)]
    layout = _layout(collections)
    membership = sparse.vstack([c.membership for c in collections], format="csc")
    jobs = _jobs(store, layout)
    sources = {job.source for job in jobs}
    groups = [name for source in GROUPS if source in sources for name in GROUPS[source]]
    emit(listeners, StageStarted(STAGE, len(jobs)))
    for collection in collections:
        store.start_group(f"aggregates/{collection.name}", groups=groups)
    for job, n_bytes in run_reductions(client, jobs, shared=membership):
        emit(listeners, TaskDone(STAGE, str(job), n_bytes=n_bytes))
    for collection in collections:
        _finish(store, collection)
    seconds = time.monotonic() - started
    emit(listeners, StageDone(STAGE, len(jobs), 0, int(usable.sum()), seconds))


@dataclass(frozen=True, slots=True)
class _LayerJob:
    """Everything that is computed for one layer from one kind of stored facts."""

    url: str
    layer: str
    source: str
    """``activations`` or ``influences``; the latter by target layer."""
    leaves: tuple[tuple[int, int], ...]
    """First and past-last instance of each span."""
    reductions: tuple[Reduction[Any, Any], ...]
    layout: Mapping[str, tuple[int, int]]
    """Rows of each collection in the stacked membership."""

    def __str__(self) -> str:
        return f"{self.source} of {self.layer}"

    def compute(
        self, leaf: tuple[int, int], shared: sparse.csc_array
    ) -> tuple[Any, ...]:
        """Read a span and reduce it."""
        store = Store.open(self.url)
        membership = sparse.csr_array(shared[:, leaf[0] : leaf[1]])
        facts: tuple[Any, ...]
        if self.source == "activations":
            members = np.bincount(membership.indices, minlength=leaf[1] - leaf[0])
            facts = activation_facts(store, self.layer, leaf, members > 0)
        else:
            facts = (influence_facts(store, self.layer, leaf),)
        return tuple(
            reduction.chunk(membership, values)
            for reduction, values in zip(self.reductions, facts, strict=True)
        )

    def combine(self, partials: Sequence[tuple[Any, ...]]) -> tuple[Any, ...]:
        """Combine neighbours from left to right."""
        whole = partials[0]
        for part in partials[1:]:
            whole = tuple(
                reduction.combine(first, second)
                for reduction, first, second in zip(
                    self.reductions, whole, part, strict=True
                )
            )
        return whole

    def finish(self, partial: tuple[Any, ...]) -> int:
        """Write the layer's aggregates, and return their bytes."""
        store = Store.open(self.url, writable=True)
        n_bytes = 0
        for reduction, part in zip(self.reductions, partial, strict=True):
            for name, values in reduction.finalize(part).items():
                for collection, (start, stop) in self.layout.items():
                    rows = values[start:stop]
                    path = f"aggregates/{collection}/{name}/{self.layer}"
                    store.write_member(path, rows, dimensions=("subset", "channel"))
                    n_bytes += rows.data.nbytes
        return n_bytes


def _with_base_rate(
    store: Store, subsets: Sequence[SubsetCollection]
) -> list[SubsetCollection]:
    everything = all_instances(store.n_instances)
    collections = [everything, *(c for c in subsets if c.name != everything.name)]
    names = [collection.name for collection in collections]
    for name in names:
        if names.count(name) > 1:
            msg = f"several collections of subsets are called {name!r}; rename one"
            raise DatasetError(msg)
    for collection in collections:
        if collection.n_instances != store.n_instances:
            msg = (
                f"collection {collection.name!r} is over {collection.n_instances:,} "
                f"instances and the store over {store.n_instances:,}; make it from the "
                "columns of this store"
            )
            raise ShapeError(msg)
    return collections


def _layout(collections: Sequence[SubsetCollection]) -> dict[str, tuple[int, int]]:
    bounds = np.cumsum([0, *(len(collection) for collection in collections)]).tolist()
    return {
        collection.name: (bounds[i], bounds[i + 1])
        for i, collection in enumerate(collections)
    }


def default_subsets(store: Store) -> tuple[str, ...]:
    """Return the names of the standard collections that a run has instances for.

    Parameters
    ----------
    store
        With a complete extraction.

    Returns
    -------
    tuple of str
        ``label`` where there are labels, ``prediction`` where the network predicts
        classes, and ``outcome`` where there are both.

    Raises
    ------
    MissingDataError
        If the extraction is not complete.
    """
    has_labels = bool((store.column("label") >= 0).any())
    has_predictions = bool((store.column("prediction") >= 0).any())
    is_known = {
        "label": has_labels,
        "prediction": has_predictions,
        "outcome": has_labels and has_predictions,
    }
    return tuple(name for name, known in is_known.items() if known)


def _jobs(store: Store, layout: Mapping[str, tuple[int, int]]) -> list[_LayerJob]:
    n_subsets = max(stop for _, stop in layout.values())
    jobs = []
    reductions: tuple[Reduction[Any, Any], ...]
    for layer in store.layers:
        reductions = (
            ActivationCounts(n_subsets, layer.n_channels),
            ActivationMoments(n_subsets, layer.n_channels),
        )
        spans = _spans(store, layer.n_channels)
        jobs.append(
            _LayerJob(store.url, layer.name, "activations", spans, reductions, layout)
        )
    for kept in Plan.from_json(store.plan).influences:
        reductions = (InfluenceTotals(n_subsets, kept.n_targets, kept.n_sources),)
        spans = _spans(store, kept.n_kept * kept.n_ranks * VALUES_PER_INFLUENCE)
        jobs.append(
            _LayerJob(store.url, kept.target, "influences", spans, reductions, layout)
        )
    return jobs


def _spans(store: Store, n_values: int) -> tuple[tuple[int, int], ...]:
    """Cut a layer into spans of whole chunks, for so many values an instance."""
    chunks = store.chunks
    rows = chunks[0][1] - chunks[0][0] if chunks else 1
    step = max(1, VALUES_PER_SPAN // max(1, rows * n_values))
    groups = [chunks[i : i + step] for i in range(0, len(chunks), step)]
    return tuple((group[0][0], group[-1][1]) for group in groups) or ((0, 0),)


def _finish(store: Store, collection: SubsetCollection) -> None:
    options = store.plan["extraction"]
    counts = InstanceCounts(len(collection)).chunk(collection.membership)
    path = f"aggregates/{collection.name}"
    store.write_member(f"{path}/n_instances", counts, dimensions=("subset",))
    if collection.kind not in STANDARD_KINDS:
        store.write_member(f"{path}/membership", collection.membership)
    store.finish_group(
        path,
        {
            "names": list(collection.names),
            "kind": collection.kind,
            "share": options["share"],
            "top_count": options["top_count"],
            "excluded_channels": options["excluded_channels"],
            "n_usable": int(store.usable().sum()),
        },
    )
