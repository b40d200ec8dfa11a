"""What does a task need of a plan's data set? Its instances, and how they are read.

A worker opens it from the plan in the store, and refuses what the plan was not made
from: tasks of one run must never mix two data sets. Where a plan knows hashes of the
data set's contents, they are compared, too. The network is another module's, so that
who reads instances only imports no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nnviz.errors import NnvizError, PlanMismatchError
from nnviz.inputs.datasets.contents_check import changed_rows, check_sample
from nnviz.inputs.datasets.opening import Dataset, open_dataset, open_known
from nnviz.inputs.datasets.store_order import in_store_order
from nnviz.inputs.preparation.batches import BatchReader, prepared_shape
from nnviz.inputs.preparation.preprocessing import Preprocessing
from nnviz.inputs.preparation.tokenizing import (
    open_tokenizer,
    sampled_texts,
    tokenizer_fingerprint,
)
from nnviz.runs.declarations import CONTENTS
from nnviz.runs.plan import Plan
from nnviz.store.store import Store

__all__ = [
    "ContentsCheck",
    "check_contents",
    "check_listing",
    "check_planned",
    "check_tokenizer",
    "has_buckets",
    "hashes_in",
    "may_import",
    "open_planned_dataset",
    "open_stored_dataset",
    "planned_reader",
]


def open_planned_dataset(
    plan: Plan,
    positions: NDArray[np.int64] | None,
    *,
    trust: bool,
    hashes: NDArray[np.uint64] | None = None,
) -> Dataset:
    """Open the plan's data set, in the order of the store's rows.

    Parameters
    ----------
    plan
        Plan of the store.
    positions
        Positions of the rows in the data set; None for a store that was never extended.
    trust
        Whether files that run code when read may be read.
    hashes
        Hashes of the contents of every row, which are then compared as they are read.

    Raises
    ------
    PlanMismatchError
        If the data are not those of the plan, by their listing or by what is inside of
        the sampled ones.
    """
    dataset = open_dataset(plan.dataset, trust=trust)
    check_planned("data set", plan.fingerprints["dataset"], dataset.fingerprint)
    ordered = in_store_order(dataset, positions)
    check_sample(plan.contents, ordered)
    return in_store_order(ordered, None, hashes)


def check_listing(plan: Plan, *, trust: bool) -> None:
    """List the plan's data set again, with the size of every file.

    Raises
    ------
    PlanMismatchError
        If it is not that of the plan.
    """
    listed = open_dataset(plan.dataset, trust=trust)
    check_planned("data set", plan.fingerprints["dataset"], listed.fingerprint)


def open_stored_dataset(
    plan: Plan,
    ids: Sequence[str],
    positions: NDArray[np.int64] | None,
    *,
    trust: bool,
    hashes: NDArray[np.uint64] | None = None,
) -> Dataset:
    """Open the data set that a store's rows are of, for one of many workers.

    Whether files have still their sizes is for one task of the run to ask
    (:func:`check_listing`): a million questions of each of a hundred workers
    would take a file server longer than the network takes for all of the data.

    Parameters
    ----------
    plan
        Plan of the store.
    ids
        Ids of its rows.
    positions, trust, hashes
        As for :func:`open_planned_dataset`.

    Raises
    ------
    PlanMismatchError
        If other instances are listed, or sampled ones have other contents.
    """
    ordered = open_known(plan.dataset, ids, trust=trust)
    if ordered is None:
        dataset = open_dataset(plan.dataset, trust=trust)
        ordered = in_store_order(dataset, positions)
        if list(ordered.ids) != list(ids):
            planned = plan.fingerprints["dataset"]
            check_planned("data set", planned, dataset.fingerprint)
    check_sample(plan.contents, ordered)
    return in_store_order(ordered, None, hashes)


def check_tokenizer(plan: Plan, dataset: Dataset) -> None:
    """Refuse another tokenizer than that of the plan, by what it makes of some texts.

    Parameters
    ----------
    plan
        Plan of the store.
    dataset
        In the order of the store's rows.

    Raises
    ------
    PlanMismatchError
        If it makes something else of them.
    """
    planned = plan.fingerprints.get("tokenizer")
    if planned is not None:
        tokenizer = open_tokenizer(plan.preprocessing.tokenizer)
        found = tokenizer_fingerprint(tokenizer, sampled_texts(dataset))
        check_planned("tokenizer", planned, found)


def planned_reader(
    plan: Plan,
    dataset: Dataset,
    *,
    batch_size: int | None = None,
    by_length: bool = True,
) -> BatchReader:
    """Return a reader that prepares instances as the plan says.

    Parameters
    ----------
    plan
        Plan of the store.
    dataset
        What is read.
    batch_size
        Rows of a batch; None for the plan's.
    by_length
        Whether instances with tokens may come in the order of their lengths, each batch
        no longer than its longest, where the plan has it so.
    """
    is_image = plan.preprocessing.kind == "image"
    return BatchReader(
        dataset,
        Preprocessing(plan.preprocessing, plan.architecture.inputs),
        batch_size=batch_size or plan.extraction.batch_size,
        n_threads=plan.extraction.reader_threads,
        shape=prepared_shape(plan.architecture.input_shape, is_image=is_image),
        dtype="uint8" if is_image else plan.architecture.input_dtype,
        inputs=plan.architecture.inputs if by_length and has_buckets(plan) else None,
    )


def has_buckets(plan: Plan) -> bool:
    """Whether batches are padded to their own longest instance, by the plan."""
    padding = plan.architecture.padding
    return padding is not None and padding.mode == "buckets"


def check_planned(what: str, planned: str, found: str) -> None:
    """Refuse what has another fingerprint than in the plan.

    Parameters
    ----------
    what
        What it is, for the message.
    planned, found
        Fingerprints.

    Raises
    ------
    PlanMismatchError
        If they differ.
    """
    if planned != found:
        is_network = what == "network"
        random = (
            " (without model.weights its weights are random, and others each time "
            "it is built: save them once, and name the file there)"
        )
        msg = (
            f"the {what} has changed since the plan was made: its fingerprint is "
            f"{found[:12]}…, the plan has {planned[:12]}…; plan again into a new store"
            f"{random if is_network else ''}"
        )
        raise PlanMismatchError(msg)


USER_CODE = ("torch",)
"""Kinds of data sets whose listing runs code of the user's."""


SHOWN = 10


@dataclass(frozen=True, slots=True)
class ContentsCheck:
    """What was read of a data set, and which instances are others now."""

    n_read: int = 0
    n_instances: int = 0
    changed: list[str] = field(default_factory=list)
    """Ids of the instances that have other contents than when the plan was made."""
    obstacle: str = ""
    """Why nothing could be compared; that is not a fault of the store."""

    def lines(self) -> list[str]:
        """Return what a person should know."""
        if self.obstacle:
            return [f"contents of the data set not compared: {self.obstacle}"]
        if not self.n_read:
            return []
        n_changed = len(self.changed)
        what = f"{self.n_read:,} of {self.n_instances:,} instances of the data set"
        if not n_changed:
            return [f"the contents of {what} are as they were planned"]
        more = f" and {n_changed - SHOWN:,} more" if n_changed > SHOWN else ""
        shown = ", ".join(map(repr, self.changed[:SHOWN]))
        line = (
            f"changed: read {what}, and {n_changed:,} have other contents than when "
            f"the plan was made: {shown}{more}; bring them back, or extract the data "
            "set into a new store"
        )
        return [line]


def check_contents(store: Store, plan: Plan, *, trust: bool = False) -> ContentsCheck:
    """Read instances again, and compare them with the hashes that the plan took.

    Parameters
    ----------
    store
        Sound, so far as that is known.
    plan
        Plan of the store.
    trust
        Whether a data set that is code may be imported.

    Returns
    -------
    ContentsCheck
        Result of the check of all instances if the plan hashed all of them, else of its
        sample.
    """
    if plan.contents.mode == "none" or not plan.contents.sample:
        return ContentsCheck()
    if not may_import(plan, trust=trust):
        code = f"{plan.dataset.source!r} is code, which is imported only with --trust"
        return ContentsCheck(obstacle=code)
    try:
        listed = open_dataset(plan.dataset, trust=trust)
        fingerprint = listed.fingerprint
    except NnvizError as error:
        return ContentsCheck(obstacle=str(error))
    if fingerprint != plan.fingerprints["dataset"]:
        msg = "its names or sizes are not those of when the plan was made"
        return ContentsCheck(obstacle=msg)
    dataset = in_store_order(listed, store.positions())
    rows, hashes = _planned_hashes(store, plan)
    changed = changed_rows(dataset, rows, hashes)
    return ContentsCheck(len(rows), len(dataset), _ids_of(dataset, changed))


def hashes_in(store: Store, plan: Plan) -> NDArray[np.uint64] | None:
    """Return the hash of every row of a store; None if not all were hashed."""
    return store.read(CONTENTS) if plan.contents.mode == "full" else None


def may_import(plan: Plan, *, trust: bool) -> bool:
    """Whether the plan's data set may be opened."""
    return trust or plan.dataset.kind not in USER_CODE


def _planned_hashes(
    store: Store, plan: Plan
) -> tuple[Sequence[int], NDArray[np.uint64]]:
    hashes = hashes_in(store, plan)
    if hashes is not None:
        return range(len(hashes)), hashes
    sample = plan.contents.sample
    known = np.array([int(text, 16) for text in sample.values()], np.uint64)
    return [int(row) for row in sample], known


def _ids_of(dataset: Dataset, rows: Sequence[int]) -> list[str]:
    if not rows:
        return []
    ids = dataset.ids
    return [ids[row] for row in rows]
