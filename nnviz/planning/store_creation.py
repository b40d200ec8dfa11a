"""How does a plan become an empty store?"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnviz.argument_types import checked
from nnviz.errors import (
    PlanError,
    PlanMismatchError,
)
from nnviz.formatting import differences, size_text
from nnviz.inputs.datasets.contents_check import check_sample
from nnviz.inputs.datasets.store_order import in_store_order
from nnviz.planning.planning import Probe
from nnviz.runs.declarations import CONTENTS
from nnviz.runs.plan import Plan
from nnviz.runs.software import software_versions
from nnviz.store.beginning import is_begun
from nnviz.store.places import absolute_url, opening
from nnviz.store.store import Store

__all__ = ["prepare_store"]


@checked
def prepare_store(plan: Plan, url: str, *, probe: Probe) -> Store:
    """Create the plan's store, or open it if it exists already.

    Parameters
    ----------
    plan
        What will be recorded.
    url
        Folder, or any URL that Zarr opens.
    probe
        The opened data set and its labels, from :func:`plan_run`.

    Returns
    -------
    Store
        Opened for writing; its chunks may be missing, complete, or some of both.

    Raises
    ------
    PlanMismatchError
        If there is a store of another plan; the message names the fields that differ.
    StoreExistsError
        If there is something else, but for what a killed ``plan --create`` has left.
    StoreInUseError
        If another driver is creating it.
    PlanError
        If the disk has less space than the run needs.
    """
    url = absolute_url(url)
    with opening(url):
        is_there = (Path(url) / "zarr.json").exists() and not is_begun(url)
    if is_there:
        store = Store.open(url, writable=True)
        found = differences(store.plan.identity(), _as_begun(plan, store).identity())
        if found:
            shown = "; ".join(found[:5])
            more = f" and {len(found) - 5} more" if len(found) > 5 else ""
            advice = "choose another path, or run with what the store was made of"
            if store.n_instances < plan.n_instances and all(map(_is_of_data, found)):
                advice = (
                    f"if these are the store's {store.n_instances:,} instances and "
                    "more, 'nnviz extend STORE' (nnviz.extend) takes the others in; "
                    "else choose another path"
                )
            msg = f"the store {url!r} was made by another plan: {shown}{more}; {advice}"
            raise PlanMismatchError(msg)
        planned = store.plan.contents
        if plan.contents.mode == "full" != planned.mode:
            msg = (
                f"dataset.fingerprint_contents is 'full', and the store {url!r} was "
                f"made with {planned.mode!r}; choose another path, or leave it out"
            )
            raise PlanMismatchError(msg)
        check_sample(planned, in_store_order(probe.dataset, store.positions()))
        return store
    with opening(url):
        _check_space(plan, url)
    static: dict[str, NDArray[Any]] = {
        "instances/id": np.asarray(probe.dataset.ids, dtype=object),
        "instances/label": probe.classes.labels.astype(np.int32),
    }
    for name, column in probe.dataset.metadata.items():
        is_text = plan.metadata_dtypes[name] == "string"
        static[f"instances/{name}"] = column.astype(object) if is_text else column
    if probe.hashes is not None:
        static[CONTENTS] = probe.hashes
    records = {"software": software_versions()}
    return Store.create(url, plan, static=static, records=records)


def _as_begun(plan: Plan, store: Store) -> Plan:
    """Return the plan with chunks as long as they were when the store was begun.

    A store of few instances has chunks no longer than these were; it may have grown,
    or come from a version that chose others.
    """
    rows = plan.rows_per_chunk
    first = min([rows, *store.plan.extensions])
    if plan.chooses_chunks:
        first = store.plan.rows_per_chunk
    if first == rows:
        return plan
    return replace(plan, extraction=replace(plan.extraction, instances_per_chunk=first))


def _is_of_data(difference: str) -> bool:
    """Whether this is all that is different where a data set has grown."""
    rows = "extraction.instances_per_chunk:"
    names = ("dataset.", "fingerprints.dataset:", "n_instances:", "n_labelled:", rows)
    return difference.startswith(names)


def _check_space(plan: Plan, url: str) -> None:
    if "://" in url:
        return
    folder = Path(url)
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if plan.n_bytes > free:
        msg = (
            f"the run writes {size_text(plan.n_bytes)} and the disk of {str(folder)!r} "
            f"has {size_text(free)} free; choose another place, or record less with "
            "extraction.layers, targets or ranks"
        )
        raise PlanError(msg)
