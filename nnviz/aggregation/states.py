"""What was summed already? States from which an aggregation goes on.

Aggregates cover all instances, the last chunks of which may be fewer than a task reads
at a time. What was summed before these is kept beside the aggregates, as a *state*:
when the store gets longer, sums go on from there, in the same order of the same
additions as from the start, and so with the same bits.

A state is used only for the same subsets of the same stored facts: it carries a
fingerprint of the membership and of the completion marks that it covers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import sparse

from nnviz.aggregation.reductions import Reduction
from nnviz.runs.json_values import to_json
from nnviz.store.store import Store
from nnviz.subsets.subsets import SubsetCollection

__all__ = ["STATES", "StateFingerprints", "read_state", "state_path", "stored_states"]

STATES = "states"
"""Name of the group of states in a group of aggregates."""


def state_path(collection: str, rows: int) -> str:
    """Return the path of the state over the first so many rows."""
    return f"aggregates/{collection}/{STATES}/{rows}"


class StateFingerprints:
    """What states depend on, of one collection in a store.

    Parameters
    ----------
    store
        With a complete extraction.
    collection
        Restricted to the usable instances.
    """

    def __init__(self, store: Store, collection: SubsetCollection) -> None:
        self._marks = store.chunks.mark_values()
        self._rows_per_chunk = store.plan.extraction.instances_per_chunk
        self._collection = collection
        self._known: dict[tuple[int, int], str] = {}

    def of(self, rows: int, rows_per_span: int) -> str:
        """Return the SHA-256 of all that the sum over the first rows depends on.

        Parameters
        ----------
        rows
            So many; whole chunks.
        rows_per_span
            What is summed before it is added to the rest.
        """
        if (rows, rows_per_span) not in self._known:
            part = sparse.csr_array(self._collection.membership[:, :rows])
            digest = hashlib.sha256(f"{rows} {rows_per_span}".encode())
            for values in (
                np.array(self._collection.names, dtype=np.str_),
                part.indptr.astype(np.int64),
                part.indices.astype(np.int64),
                self._marks[: rows // self._rows_per_chunk],
            ):
                digest.update(np.ascontiguousarray(values).tobytes())
            self._known[rows, rows_per_span] = digest.hexdigest()
        return self._known[rows, rows_per_span]


def rule_of_top_channels(store: Store) -> dict[str, Any]:
    """Return the options that decide what counts as a top channel, as JSON values."""
    options = to_json(store.plan.extraction)
    return {name: options[name] for name in ("share", "top_count", "excluded_channels")}


def stored_states(
    store: Store, collection: SubsetCollection, rows_per_span: Mapping[str, int]
) -> dict[str, int]:
    """Return over how many rows each job's state is, as far as it can be gone on from.

    Parameters
    ----------
    store
        With a complete extraction.
    collection
        Restricted to the usable instances.
    rows_per_span
        Of each job, by its name.

    Returns
    -------
    dict
        By the job's name, for all jobs; empty if the aggregation starts anew.
    """
    path = f"aggregates/{collection.name}"
    if not store.groups.is_complete(path):
        return {}
    attributes = store.groups.attributes(path)
    states = attributes.get("states", {})
    rule = rule_of_top_channels(store)
    is_same_rule = all(attributes.get(name) == rule[name] for name in rule)
    if not is_same_rule or set(states) != set(rows_per_span):
        return {}
    fingerprints = StateFingerprints(store, collection)
    found = {}
    for job, state in states.items():
        rows = int(state["rows"])
        if rows > store.n_instances or (
            rows and state["fingerprint"] != fingerprints.of(rows, rows_per_span[job])
        ):
            return {}
        found[job] = rows
    return found if any(found.values()) else {}


def read_state(
    store: Store,
    collections: Sequence[str],
    rows: int,
    layer: str,
    reduction: Reduction[Any, Any],
) -> Any:
    """Return the partial of a reduction over the first rows, of stacked collections."""
    whole: dict[str, Any] = {}
    for name, kind in reduction.stored().items():
        paths = [f"{state_path(c, rows)}/{name}/{layer}" for c in collections]
        if kind == "csr":
            parts = [store.groups.read_csr(path) for path in paths]
            whole[name] = sparse.vstack(parts, format="csr")
        else:
            whole[name] = np.concatenate([store.groups.read(path) for path in paths])
    return reduction.restore(whole)
