"""Stage 3: what is common to the instances of a subset?

1. Every layer is cut into spans of whole chunks. A span depends on the plan only.
2. One task reads one span once, and reduces it for all collections of subsets at once:
   their membership matrices are stacked.
3. Partials are added from the first span to the last, so that the sums have the same
   bits for any number of workers, and for a store that was extended: only spans that
   are new are read (:mod:`nnviz.aggregation.states`).
4. A last task of each layer writes its aggregates; nothing large passes the client.

Unusable instances count nowhere. The collection ``all`` is always written: it is the
base rate that counts are compared with.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from nnviz.aggregation.layer_sums import LayerJob, leaves_of
from nnviz.aggregation.reductions import (
    ActivationCounts,
    ActivationMoments,
    InfluenceTotals,
    InstanceCounts,
    Reduction,
)
from nnviz.aggregation.states import (
    STATES,
    StateFingerprints,
    rule_of_top_channels,
    stored_states,
)
from nnviz.engine.progress import Listener, StageDone, StageStarted, TaskDone, emit
from nnviz.engine.reductions import run_reductions
from nnviz.errors import DatasetError, ShapeError
from nnviz.runs.arrays import LABEL_SETS
from nnviz.store.lock import exclusive
from nnviz.store.store import Store
from nnviz.subsets.subsets import STANDARD_KINDS, SubsetCollection, all_instances

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


@exclusive("aggregate")
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
    StoreInUseError
        If another driver writes to the store.
    TaskError
        If a task failed for another reason.
    """
    started, listeners = time.monotonic(), tuple(listeners)
    store = Store.open(store.url, writable=True)
    usable = store.usable()
    collections = [c.restricted_to(usable) for c in _with_base_rate(store, subsets)]
    rounds = _rounds(store, collections)
    n_jobs = sum(len(jobs) for _, jobs in rounds)
    emit(listeners, StageStarted(STAGE, n_jobs))
    for members, jobs in rounds:
        for collection in members:
            _start(store, collection, jobs)
        membership = sparse.vstack([c.membership for c in members], format="csc")
        for job, n_bytes in run_reductions(
            client, jobs, shared=membership, stage=STAGE, listeners=listeners
        ):
            emit(listeners, TaskDone(STAGE, str(job), n_bytes=n_bytes))
        for collection in members:
            _finish(store, collection, jobs)
    seconds = time.monotonic() - started
    emit(listeners, StageDone(STAGE, n_jobs, 0, int(usable.sum()), seconds))


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
    has_sets = LABEL_SETS in store.plan.metadata_dtypes and not has_labels
    has_predictions = bool((store.column("prediction") >= 0).any())
    is_known = {
        "label": has_labels or has_sets,
        "prediction": has_predictions,
        "outcome": has_labels and has_predictions,
    }
    return tuple(name for name, known in is_known.items() if known)


def _rounds(
    store: Store, collections: Sequence[SubsetCollection]
) -> list[tuple[list[SubsetCollection], list[LayerJob]]]:
    """Return collections that are read together, with their jobs.

    Those that go on from the same states are one round, and those that start anew.
    """
    spans = {str(job): job.rows_per_span for job in _jobs(store, {"": (0, 1)}, {})}
    by_states: dict[tuple[tuple[str, int], ...], list[SubsetCollection]] = {}
    for collection in collections:
        states = stored_states(store, collection, spans)
        by_states.setdefault(tuple(sorted(states.items())), []).append(collection)
    return [
        (members, _jobs(store, _layout(members), dict(states)))
        for states, members in by_states.items()
    ]


def _jobs(
    store: Store, layout: Mapping[str, tuple[int, int]], states: Mapping[str, int]
) -> list[LayerJob]:
    n_subsets = max(stop for _, stop in layout.values())
    found: list[tuple[str, str, int, tuple[Reduction[Any, Any], ...]]] = []
    for layer in store.layers:
        reductions = (
            ActivationCounts(n_subsets, layer.n_channels),
            ActivationMoments(n_subsets, layer.n_channels),
        )
        found.append((layer.name, "activations", layer.n_channels, reductions))
    for kept in store.plan.influences:
        totals = InfluenceTotals(n_subsets, kept.n_targets, kept.n_sources)
        n_values = kept.n_kept * kept.n_ranks * VALUES_PER_INFLUENCE
        found.append((kept.target, "influences", n_values, (totals,)))
    return [
        LayerJob(
            store.url,
            name,
            source,
            rows := _rows_per_span(store, n_values),
            leaves_of(store.n_instances, rows, states.get(f"{source} of {name}", 0)),
            reductions,
            layout,
        )
        for name, source, n_values, reductions in found
    ]


def _rows_per_span(store: Store, n_values: int) -> int:
    """Return the rows of whole chunks that are read at a time, for so many values."""
    rows = store.plan.extraction.instances_per_chunk
    return rows * max(1, VALUES_PER_SPAN // max(1, rows * n_values))


def _start(
    store: Store, collection: SubsetCollection, jobs: Sequence[LayerJob]
) -> None:
    sources = {job.source for job in jobs}
    names = [name for source in GROUPS if source in sources for name in GROUPS[source]]
    rows = sorted({job.state_rows for job in jobs} - {0})
    states = [f"{STATES}/{n}/{name}" for n in rows for name in names]
    goes_on = any(job.leaves[0].is_stored for job in jobs)
    path = f"aggregates/{collection.name}"
    store.groups.start(path, groups=[*names, *states], keep=goes_on)


def _finish(
    store: Store, collection: SubsetCollection, jobs: Sequence[LayerJob]
) -> None:
    counts = InstanceCounts(len(collection)).chunk(collection.membership)
    path = f"aggregates/{collection.name}"
    store.groups.write_member(f"{path}/n_instances", counts, dimensions=("subset",))
    _remove_old_states(store, path, jobs)
    fingerprints = StateFingerprints(store, collection)
    if collection.kind not in STANDARD_KINDS:
        store.groups.write_member(f"{path}/membership", collection.membership)
    store.groups.finish(
        path,
        {
            "names": list(collection.names),
            "kind": collection.kind,
            **rule_of_top_channels(store),
            "n_usable": int(store.usable().sum()),
            "states": {
                str(job): {
                    "rows": job.state_rows,
                    "fingerprint": fingerprints.of(job.state_rows, job.rows_per_span),
                }
                for job in jobs
            },
        },
    )


def _remove_old_states(store: Store, path: str, jobs: Sequence[LayerJob]) -> None:
    """Remove states over fewer rows than those that have been written now."""
    kept = {
        (str(job.state_rows), name, job.layer)
        for job in jobs
        for name in GROUPS[job.source]
    }
    for rows in store.groups.names(f"{path}/{STATES}"):
        place = f"{path}/{STATES}/{rows}"
        if all(rows != other for other, _, _ in kept):
            store.groups.remove_member(place)
            continue
        for name in store.groups.names(place):
            for layer in store.groups.names(f"{place}/{name}"):
                if (rows, name, layer) not in kept:
                    store.groups.remove_member(f"{place}/{name}/{layer}")
