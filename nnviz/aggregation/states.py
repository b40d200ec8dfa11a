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
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from nnviz.aggregation.reductions import Reduction
from nnviz.runs.json_values import to_json
from nnviz.store.store import Store
from nnviz.subsets.subsets import SubsetCollection

__all__ = [
    "STATES",
    "StateFingerprints",
    "aggregates_fingerprint",
    "read_state",
    "rule_of_top_channels",
    "state_path",
    "stored_states",
]

STATES = "states"
"""Name of the group of states in a group of aggregates."""


def state_path(collection: str, rows: int) -> str:
    """Return the path of the state over the first `rows` rows."""
    return f"aggregates/{collection}/{STATES}/{rows}"


class StateFingerprints:
    """What states depend on, of one collection in a store.

    Parameters
    ----------
    store
        With a complete extraction.
    collection
        Restricted to the usable instances.
    marks
        The store's marks, where they have been read: shape (chunk, field).
    """

    def __init__(
        self,
        store: Store,
        collection: SubsetCollection,
        marks: NDArray[np.int64] | None = None,
    ) -> None:
        self._marks = store.chunks.mark_values() if marks is None else marks
        self._rows_per_chunk = store.plan.rows_per_chunk
        self._collection = collection
        self._known: dict[tuple[int, int], str] = {}

    def of(self, rows: int, rows_per_span: int) -> str:
        """Return the SHA-256 of all that the sum over the first rows depends on.

        Parameters
        ----------
        rows
            Number of rows; whole chunks.
        rows_per_span
            What is summed before it is added to the rest.
        """
        if (rows, rows_per_span) not in self._known:
            part = sparse.csr_array(self._collection.membership[:, :rows])
            marks = self._marks[: rows // self._rows_per_chunk]
            self._known[rows, rows_per_span] = _digest(
                f"{rows} {rows_per_span}", self._collection.names, part, marks
            )
        return self._known[rows, rows_per_span]


def _digest(
    text: str,
    names: Sequence[str],
    membership: sparse.csr_array,
    marks: NDArray[np.int64],
) -> str:
    digest = hashlib.sha256(text.encode())
    for values in (
        np.array(names, dtype=np.str_),
        membership.indptr.astype(np.int64),
        membership.indices.astype(np.int64),
        marks,
    ):
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def aggregates_fingerprint(
    store: Store, collection: SubsetCollection, marks: NDArray[np.int64] | None = None
) -> str:
    """Return the SHA-256 of all that the aggregates of a collection depend on.

    What is made from aggregates keeps it, and is of no use once it is another one.

    Parameters
    ----------
    store
        With a complete extraction.
    collection
        Restricted to the usable instances.
    marks
        The store's marks, where they have been read: shape (chunk, field).
    """
    if marks is None:
        marks = store.chunks.mark_values()
    text = json.dumps([store.n_instances, rule_of_top_channels(store)], sort_keys=True)
    return _digest(text, collection.names, collection.membership, marks)


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
        Rows of each span of each layer's facts, by their key (``LayerFacts.key``).

    Returns
    -------
    dict
        By the same keys, for all of them; empty if the aggregation starts anew, as it
        does where the states have other keys.
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
    for key, state in states.items():
        rows = int(state["rows"])
        if rows > store.n_instances or (
            rows and state["fingerprint"] != fingerprints.of(rows, rows_per_span[key])
        ):
            return {}
        found[key] = rows
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
