"""What if the data set grows? The store does too, and costs what is new.

1. The data set is listed again. Every instance that the store has must be in it, with
   the same label and columns, and a sample of them with the same contents; what else it
   lists is new.
2. New instances become the last rows, in the order of the listing. Rows keep their
   number, and complete chunks stay complete; only the last one, if it was not full, is
   to be extracted again with the first new rows.
3. ``nnviz extract`` runs the chunks that are missing, and ``nnviz aggregate`` adds them
   to what was summed already.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnviz.errors import PlanMismatchError
from nnviz.formatting import instances_text
from nnviz.inputs.datasets.contents_check import check_sample, grown_contents
from nnviz.inputs.datasets.opening import Dataset, open_dataset
from nnviz.inputs.datasets.store_order import in_store_order
from nnviz.planning.labels import JoinedClasses, join_labels
from nnviz.planning.plain_labels import n_classes_of, with_plain_labels
from nnviz.runs.config import DatasetConfig
from nnviz.runs.declarations import CONTENTS
from nnviz.runs.plan import Plan
from nnviz.runs.planning_rules import check_signal
from nnviz.runs.software import software_versions
from nnviz.store.extending import (
    finish_extension,
    is_pending,
    remove_leftovers,
    root_attributes,
    stage_extension,
)
from nnviz.store.lock import writing
from nnviz.store.places import absolute_url
from nnviz.store.store import Store, plan_attributes

__all__ = ["ExtensionSummary", "extend"]

SHOWN = 5
"""How many ids a message shows."""


@dataclass(frozen=True, slots=True)
class ExtensionSummary:
    """What an extension has done."""

    url: str
    n_before: int
    n_instances: int
    n_chunks_missing: int
    """Chunks that are to be extracted, a last one that was not full included."""
    was_pending: bool = False
    """Whether one that had been interrupted was finished."""

    def to_json(self) -> dict[str, Any]:
        """Return the summary as JSON values."""
        return dataclasses.asdict(self)

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        if self.n_instances == self.n_before:
            return f"the data set has no new instances; {self.url} is as it was"
        finished = "finished an interrupted extension: " if self.was_pending else ""
        return (
            f"{finished}{self.url} has {self.n_instances:,} instances, "
            f"{self.n_instances - self.n_before:,} of them new; "
            f"{self.n_chunks_missing:,} chunks are to be extracted\n"
            f"next: nnviz extract {self.url} (in Python nnviz.run or nnviz.extract)"
        )


def extend(
    url: str | os.PathLike[str],
    *,
    dataset: DatasetConfig | None = None,
    trust: bool = False,
) -> ExtensionSummary:
    """Take the new instances of a data set into its store, or finish doing so.

    Parameters
    ----------
    url
        URL of the store.
    dataset
        Where the larger data set is; None: where the plan has it.
    trust
        Whether a data set that is code may be imported.

    Raises
    ------
    PlanMismatchError
        If instances are missing or have changed, with their ids; or the plan means
        other numbers than this version computes.
    DatasetError
        If the data set cannot be listed, or its labels cannot be joined.
    StoreInUseError
        If another driver writes to the store.
    StoreError
        If the store cannot be written.
    """
    with writing(url, "extend"):
        return _extend(absolute_url(url), dataset, trust=trust)


def _extend(
    url: str, dataset: DatasetConfig | None, *, trust: bool
) -> ExtensionSummary:
    attributes = root_attributes(url)
    if is_pending(attributes):
        return _finish(url, was_pending=True)
    store = Store.open(url, writable=True)
    remove_leftovers(url)
    plan = store.plan
    if dataset is not None and dataset.kind != plan.dataset.kind:
        msg = (
            f"the data set is of kind {dataset.kind!r} and the store's of kind "
            f"{plan.dataset.kind!r}; extend with the same kind"
        )
        raise PlanMismatchError(msg)
    config = dataset or plan.dataset
    if not config.input_columns:
        # Found by the plan, and not by whoever names the larger data set.
        config = replace(config, input_columns=plan.dataset.input_columns)
    n_classes = n_classes_of(plan.architecture)
    listed = with_plain_labels(
        open_dataset(config, trust=trust),
        config,
        plan.classes,
        n_classes,
        plan.class_names,
    )
    positions = _positions(store, listed)
    n_before, n = store.n_instances, len(positions)
    if n == n_before:
        missing = len(store.chunks.missing())
        return ExtensionSummary(url, n_before, n, missing)
    check_signal(plan)
    joined = _joined(plan, listed)
    columns = _columns(plan, listed, joined)
    _check_unchanged(store, columns, positions[:n_before])
    ordered = in_store_order(listed, positions)
    check_sample(plan.contents, ordered)
    is_full = plan.contents.mode == "full"
    hashes = store.read(CONTENTS) if is_full else None
    contents, hashes = grown_contents(plan.contents, hashes, ordered, n_before)
    longer = replace(
        plan,
        dataset=replace(config, fingerprint_contents=plan.dataset.fingerprint_contents),
        n_instances=n,
        n_labelled=int((columns["instances/label"][positions] >= 0).sum()),
        fingerprints={**plan.fingerprints, "dataset": listed.fingerprint},
        class_of_label=joined.class_of_label,
        extensions=(*plan.extensions, n_before),
        contents=contents,
    )
    new = positions[n_before:]
    tails = {path: values[new] for path, values in columns.items()}
    if hashes is not None:
        tails[CONTENTS] = hashes[n_before:]
    history = {
        "n_before": n_before,
        "n_instances": n,
        "dataset_before": plan.fingerprints["dataset"],
        "dataset": listed.fingerprint,
        "software": software_versions(),
    }
    record = {
        **attributes,
        **plan_attributes(longer),
        "static_arrays": sorted(s.path for s in longer.arrays if s.is_static),
        "history": [*attributes.get("history", []), history],
    }
    stage_extension(url, record, tails, positions)
    return _finish(url, was_pending=False)


def _finish(url: str, *, was_pending: bool) -> ExtensionSummary:
    plan = Plan.from_json(root_attributes(url, of_extension=True)["plan"])
    n_before = plan.extensions[-1]
    finish_extension(url, plan.arrays, n_before)
    missing = len(Store.open(url).chunks.missing())
    return ExtensionSummary(
        url, n_before, plan.n_instances, missing, was_pending=was_pending
    )


def _positions(store: Store, listed: Dataset) -> NDArray[np.int64]:
    """Return the index in the listing of every row, new instances last.

    Raises
    ------
    PlanMismatchError
        If instances of the store are not listed any more.
    """
    index_of = {name: index for index, name in enumerate(listed.ids)}
    ids = [str(name) for name in store.column("id")]
    lost = [name for name in ids if name not in index_of]
    if lost:
        msg = (
            f"{len(lost):,} of the {len(ids):,} instances of {store.url!r} are not in "
            f"the data set any more: {_shown(lost)}; bring them back, or extract the "
            "data set into a new store"
        )
        raise PlanMismatchError(msg)
    known = np.array([index_of[name] for name in ids], dtype=np.int64)
    is_new = np.ones(len(index_of), dtype=np.bool_)
    is_new[known] = False
    return np.concatenate([known, np.flatnonzero(is_new)])


def _joined(plan: Plan, listed: Dataset) -> JoinedClasses:
    return join_labels(
        listed.labels,
        config=plan.classes,
        n_outputs=n_classes_of(plan.architecture),
        class_names=plan.class_names,
        label_names=listed.class_names,
        n_instances=len(listed),
        has_one_output=plan.two_outputs_of is not None,
    )


def _columns(
    plan: Plan, listed: Dataset, joined: JoinedClasses
) -> dict[str, NDArray[Any]]:
    """Return ids, labels and columns as stored, in the order of the listing.

    Raises
    ------
    PlanMismatchError
        If there are other columns than in the plan.
    """
    found = {
        name: "string" if values.dtype.kind in "TUO" else str(values.dtype)
        for name, values in listed.metadata.items()
    }
    for name in dict.fromkeys([*plan.metadata_dtypes, *found]):
        before, now = plan.metadata_dtypes.get(name), found.get(name)
        if before != now:
            msg = (
                f"the column {name!r} of the data set is {now or 'missing'} and was "
                f"{before or 'not there'} when the store was planned; give it back, or "
                "extract the data set into a new store"
            )
            raise PlanMismatchError(msg)
    columns: dict[str, NDArray[Any]] = {
        "instances/id": np.asarray(listed.ids, dtype=object),
        "instances/label": joined.labels.astype(np.int32),
    }
    for name, values in listed.metadata.items():
        is_text = found[name] == "string"
        columns[f"instances/{name}"] = values.astype(object) if is_text else values
    return columns


def _check_unchanged(
    store: Store, columns: dict[str, NDArray[Any]], positions: NDArray[np.int64]
) -> None:
    ids = store.column("id")
    for path, values in columns.items():
        stored, found = store.read(path), values[positions]
        if stored.dtype.kind == "f":
            is_same = (stored == found) | (np.isnan(stored) & np.isnan(found))
        else:
            is_same = np.asarray(stored.astype(found.dtype) == found)
        changed = [str(name) for name in ids[~is_same]]
        if changed:
            msg = (
                f"{path.removeprefix('instances/')!r} of "
                f"{instances_text(len(changed))} of {store.url!r} is another one "
                f"in the data set now: {_shown(changed)}; "
                "extract the data set into a new store"
            )
            raise PlanMismatchError(msg)


def _shown(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(map(repr, names[:SHOWN])) + more
