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
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from nnviz.aggregation.layer_sums import (
    LayerFacts,
    LayerJob,
    Leaf,
    Partials,
    Sums,
    layer_facts,
)
from nnviz.aggregation.states import (
    STATES,
    StateFingerprints,
    aggregates_fingerprint,
    rule_of_top_channels,
    state_path,
    stored_states,
)
from nnviz.engine.progress import Listener, StageDone, StageStarted, TaskDone, emit
from nnviz.engine.reductions import run_reductions
from nnviz.errors import DatasetError, ShapeError
from nnviz.runs.declarations import ERROR, LABEL_SETS, TARGET
from nnviz.store.lock import exclusive
from nnviz.store.store import Store
from nnviz.subsets.subsets import STANDARD_KINDS, SubsetCollection, all_instances

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["aggregate", "default_subsets"]

STAGE = "aggregate"

VALUES_PER_SPAN = 2**24
"""What a task reads of a layer at most, but at least a chunk: 64 MB as float32."""


@exclusive("aggregate")
def aggregate(
    store: Store,
    subsets: Sequence[SubsetCollection],
    *,
    client: Client | None = None,
    empty_subsets: bool = False,
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
        Client of a running cluster, whose workers can open the store's URL; None
        computes in this process, with the same bytes as result.
    empty_subsets
        Whether subsets without a usable instance have rows too. Without, they cost
        nothing, and only their names are kept.
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
    # Read once: nobody else writes to the store until this is done.
    marks = store.chunks.mark_values()
    whole = [c.restricted_to(usable) for c in _with_base_rate(store, subsets)]
    named = {collection.name: collection for collection in whole}
    collections = [
        c if empty_subsets or c.kind == "all" else c.without_empty() for c in whole
    ]
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
            _finish(store, collection, named[collection.name].names, jobs, marks)
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
        classes, ``outcome`` where there are both, and where labels are measured values
        the quantiles of their column and of the network's error.

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
    if not (has_labels or has_sets or has_predictions):
        is_known |= {
            store.plan.target_column or TARGET: _has_target(store),
            ERROR: ERROR in store.plan.outcome_columns,
        }
    return tuple(name for name, known in is_known.items() if known)


def _has_target(store: Store) -> bool:
    """Whether there are measured values that the network was trained to give."""
    name = store.plan.target_column or TARGET
    dtype = store.plan.metadata_dtypes.get(name, "")
    return dtype.startswith("float") and bool(np.isfinite(store.column(name)).any())


def _rounds(
    store: Store, collections: Sequence[SubsetCollection]
) -> list[tuple[list[SubsetCollection], list[LayerJob]]]:
    """Return collections that are read together, with their jobs.

    Those that go on from the same states are one round, and those that start anew.
    """
    # How a layer is cut into spans does not depend on the subsets.
    spans = {
        facts.key: _rows_per_span(store, facts.n_values)
        for facts in layer_facts(store, n_subsets=1)
    }
    by_states: dict[tuple[tuple[str, int], ...], list[SubsetCollection]] = {}
    for collection in collections:
        states = stored_states(store, collection, spans)
        by_states.setdefault(tuple(sorted(states.items())), []).append(collection)
    return [
        (members, _jobs(store, _layout(members), spans, dict(states)))
        for states, members in by_states.items()
    ]


def _jobs(
    store: Store,
    layout: Mapping[str, tuple[int, int]],
    spans: Mapping[str, int],
    states: Mapping[str, int],
) -> list[LayerJob]:
    n_subsets = max(stop for _, stop in layout.values())
    return [
        LayerJob(
            store.url,
            facts,
            _leaves(
                store.n_instances,
                spans[facts.key],
                states.get(facts.key, 0),
                tuple(layout),
            ),
            _Written(layout),
        )
        for facts in layer_facts(store, n_subsets)
    ]


def _leaves(
    n: int, rows: int, n_stored: int, collections: tuple[str, ...]
) -> tuple[Leaf, ...]:
    """Cut the instances after the stored ones into spans; the last may be shorter."""
    stored = [Leaf(0, n_stored, state_of=collections)] if n_stored else []
    spans = [
        Leaf(start, min(n, start + rows), is_rest=start + rows > n)
        for start in range(n_stored, n, rows)
    ]
    return (*stored, *spans) or (Leaf(0, 0, is_rest=True),)


def _rows_per_span(store: Store, n_values: int) -> int:
    """Return the rows of whole chunks that are read at a time."""
    rows = store.plan.rows_per_chunk
    return rows * max(1, VALUES_PER_SPAN // max(1, rows * n_values))


@dataclass(frozen=True, slots=True)
class _Written:
    """The sums become aggregates in the store, and what can be gone on from a state."""

    layout: Mapping[str, tuple[int, int]]
    """Rows of each collection in the stacked membership."""

    def finish(self, job: LayerJob, sums: Sums) -> int:
        """Write the layer's aggregates, and the state; return the aggregates' bytes."""
        store = Store.open(job.url, writable=True)
        aggregates = {c: f"aggregates/{c}" for c in self.layout}
        n_bytes = self._write(store, job.facts, job.whole(sums), aggregates)
        first = job.leaves[0]
        is_known = bool(first.state_of) and first.stop == job.state_rows
        if sums.spans is not None and not is_known:
            states = {c: state_path(c, job.state_rows) for c in self.layout}
            self._write(store, job.facts, sums.spans, states)
        return n_bytes

    def _write(
        self,
        store: Store,
        facts: LayerFacts,
        partials: Partials,
        places: Mapping[str, str],
    ) -> int:
        n_bytes = 0
        for name, values in facts.finalize(partials).items():
            for collection, (start, stop) in self.layout.items():
                rows = values[start:stop]
                path = f"{places[collection]}/{name}/{facts.layer}"
                store.groups.write_member(path, rows, dimensions=("subset", "channel"))
                n_bytes += rows.data.nbytes
        return n_bytes


def _start(
    store: Store, collection: SubsetCollection, jobs: Sequence[LayerJob]
) -> None:
    names = list(dict.fromkeys(name for job in jobs for name in job.facts.groups))
    rows = sorted({job.state_rows for job in jobs} - {0})
    states = [f"{STATES}/{n}/{name}" for n in rows for name in names]
    goes_on = any(job.leaves[0].state_of for job in jobs)
    path = f"aggregates/{collection.name}"
    store.groups.start(path, groups=[*names, *states], keep=goes_on)


def _finish(
    store: Store,
    collection: SubsetCollection,
    all_names: Sequence[str],
    jobs: Sequence[LayerJob],
    marks: NDArray[np.int64],
) -> None:
    path = f"aggregates/{collection.name}"
    store.groups.write_member(
        f"{path}/n_instances", collection.sizes(), dimensions=("subset",)
    )
    _remove_old_states(store, path, jobs)
    fingerprints = StateFingerprints(store, collection, marks)
    if collection.kind not in STANDARD_KINDS:
        store.groups.write_member(f"{path}/membership", collection.membership)
    place = {name: index for index, name in enumerate(all_names)}
    kept = set(collection.names)
    store.groups.finish(
        path,
        {
            "names": list(collection.names),
            "index": [place[name] for name in collection.names],
            "empty_names": [name for name in all_names if name not in kept],
            "kind": collection.kind,
            **rule_of_top_channels(store),
            "n_usable": int(store.usable().sum()),
            "fingerprint": aggregates_fingerprint(store, collection, marks),
            "states": {
                job.facts.key: {
                    "rows": job.state_rows,
                    "fingerprint": fingerprints.of(
                        job.state_rows, _rows_per_span(store, job.facts.n_values)
                    ),
                }
                for job in jobs
            },
        },
    )


def _remove_old_states(store: Store, path: str, jobs: Sequence[LayerJob]) -> None:
    """Remove states over fewer rows than those that have been written now."""
    kept = {
        (str(job.state_rows), name, job.facts.layer)
        for job in jobs
        for name in job.facts.groups
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
