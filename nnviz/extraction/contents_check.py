"""Are the data set's instances still those that a store was made from?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nnviz.errors import NnvizError
from nnviz.inputs.datasets.contents import changed_rows
from nnviz.inputs.datasets.opening import Dataset, open_dataset
from nnviz.inputs.datasets.store_order import in_store_order
from nnviz.runs.arrays import CONTENTS
from nnviz.runs.plan import Plan
from nnviz.store.store import Store

__all__ = ["ContentsCheck", "check_contents", "hashes_in", "may_import"]

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
    """Why nothing could be compared; that is no fault of the store."""

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
        Of the store.
    trust
        Whether a data set that is code may be imported.

    Returns
    -------
    ContentsCheck
        Of all instances if the plan hashed all of them, else of its sample.
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
        msg = "its names or sizes are others than when the plan was made"
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
