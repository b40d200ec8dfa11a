"""Is everything in a store as it was written? ``nnviz verify`` reads and hashes it all.

1. The root's metadata, which have a copy, and then those of every array and group.
2. Every chunk that is marked complete, against the checksums in its mark; spread over
   threads, or over the workers of a cluster.
3. What the plan knew (ids, labels, columns), and all that later stages wrote, against
   the checksums beside it.
4. Where the data set is at hand, the contents of its instances against the hashes that
   the plan took of them: of all, or of a sample.

Repair is small: metadata are restored, ids and labels are written again from the data
set, and a damaged chunk loses its mark, so that ``nnviz extract`` makes exactly this
one again. Damaged aggregates and artifacts count as not there until their command runs;
so does whatever was made from what is damaged.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nnviz.engine.progress import Listener, StageDone, StageStarted, TaskDone, emit
from nnviz.engine.tasks import run_tasks
from nnviz.errors import NnvizError, StoreFormatError
from nnviz.extraction.planned import (
    ContentsCheck,
    check_contents,
    may_import,
    open_planned_dataset,
)
from nnviz.inputs.datasets.contents_check import hashes_of
from nnviz.planning.labels import join_labels
from nnviz.planning.plain_labels import n_classes_of, with_plain_labels
from nnviz.runs.declarations import CONTENTS
from nnviz.runs.plan import Plan
from nnviz.store.completion import MARKS
from nnviz.store.documents import CHECKSUMS
from nnviz.store.groups import stage_of
from nnviz.store.lock import writing
from nnviz.store.places import absolute_url
from nnviz.store.recovery import Damage, restore_root
from nnviz.store.store import Store

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["VerificationReport", "verify"]

STAGE = "verify"


@dataclass(slots=True)
class VerificationReport:
    """What was checked, and what was found."""

    url: str
    n_chunks: int = 0
    n_checked: int = 0
    """Chunks that are marked complete; the others have nothing to check."""
    damages: list[Damage] = field(default_factory=list)
    taken_back: list[str] = field(default_factory=list)
    """Aggregates and artifacts, sound in themselves, that were made from what is
    damaged: they count as not there until their commands run."""
    strays: list[str] = field(default_factory=list)
    """Files that killed tasks left half written; harmless."""
    contents: ContentsCheck = field(default_factory=ContentsCheck)
    """Of the data set, not of the store."""
    is_dry: bool = False
    seconds: float = 0.0

    @property
    def is_sound(self) -> bool:
        """Whether nothing is still damaged, or to be made again, or has changed."""
        is_repaired = all(damage.is_repaired for damage in self.damages)
        return is_repaired and not self.taken_back and not self.contents.changed

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {**dataclasses.asdict(self), "sound": self.is_sound}

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        lines = [
            (
                f"checked {self.n_checked:,} of {self.n_chunks:,} chunks and all else "
                f"that {self.url} holds, {self.seconds:.1f} s"
            )
        ]
        lines += [f"damaged: {damage}" for damage in self.damages]
        what = "to be taken back" if self.is_dry else "taken back"
        lines += [
            f"{what}: {group!r} was made from what is damaged -> "
            f"'nnviz {stage_of(group)} {self.url}'"
            for group in self.taken_back
        ]
        if self.strays:
            done = "left by killed tasks" + ("" if self.is_dry else ", removed")
            lines.append(f"{len(self.strays):,} half-written files {done}")
        lines += self.contents.lines()
        if not self.damages:
            lines.append("everything is as it was written")
        elif not self.is_dry:
            lines.append(
                "damaged chunks, aggregates and artifacts count as not there now; the "
                "commands above make them again, with the same bytes"
            )
        return "\n".join(lines)


def verify(
    url: str | os.PathLike[str],
    *,
    client: Client | None = None,
    repair: bool = True,
    trust: bool = False,
    contents: bool = True,
    listeners: Iterable[Listener] = (),
) -> VerificationReport:
    """Read everything in a store again, and compare it with its checksums.

    Parameters
    ----------
    url
        URL of the store.
    client
        Client of a running cluster that reaches the store; None checks in threads.
    repair
        Whether to restore what can be, and to take the marks of damaged parts away.
    trust
        Whether the plan's data set may be opened where that imports the user's code;
        ids and labels are restored from it.
    contents
        Whether to compare the data set's contents with the plan's hashes.
    listeners
        Told about the start, each chunk, and the end.

    Raises
    ------
    StoreNotFoundError
        If there is no store.
    StoreFormatError
        If what the store was made of cannot be read any more.
    StoreInUseError
        If it is to be repaired, and another driver writes to it.
    StoreError
        If it is to be repaired and cannot be written.
    """
    started = time.monotonic()
    given, url = url, absolute_url(url)
    report = VerificationReport(url, is_dry=not repair)
    report.damages = restore_root(os.fspath(given), repair=repair)
    if report.is_sound:
        with writing(url, STAGE) if repair else contextlib.nullcontext():
            store = _verify(
                report, client, tuple(listeners), repair=repair, trust=trust
            )
            if contents and report.is_sound:
                report.contents = check_contents(store, store.plan, trust=trust)
    report.seconds = time.monotonic() - started
    return report


def _verify(
    report: VerificationReport,
    client: Client | None,
    listeners: Sequence[Listener],
    *,
    repair: bool,
    trust: bool,
) -> Store:
    started, url = time.monotonic(), report.url
    store = Store.open(url, writable=repair)
    plan = store.plan
    integrity = store.integrity()
    found = integrity.run_metadata()
    report.damages += integrity.repair(found) if repair else found
    # Where metadata are damaged still, nothing can be said of the pieces.
    unknown = {d.array for d in report.damages if not d.is_repaired}
    report.n_chunks = len(store.chunks)
    emit(listeners, StageStarted(STAGE, report.n_chunks))
    damages: list[Damage] = []
    # Nothing can be compared while it is unknown with what.
    chunks = range(0 if unknown & {CHECKSUMS, MARKS} else report.n_chunks)
    for check in _checks(url, chunks, client):
        report.n_checked += check.is_marked
        damages += [d for d in check.damages if d.array not in unknown]
        emit(listeners, TaskDone(STAGE, f"chunk {check.chunk}"))
    n_spoilt = len({d.chunk for d in damages})
    for path in integrity.later_groups():
        damages += integrity.later_group(path)
    static = [] if CHECKSUMS in unknown else integrity.static_pieces(skip=unknown)
    report.strays = integrity.strays()
    report.taken_back = integrity.derived_from([*damages, *static])
    if repair:
        # First, so that whoever is killed here leaves nothing derived behind.
        integrity.take_back(report.taken_back)
        damages = integrity.repair(damages)
        integrity.remove_strays()
    report.damages += damages
    report.damages += _restored(store, plan, static, trust=trust, repair=repair)
    seconds = time.monotonic() - started
    emit(listeners, StageDone(STAGE, report.n_chunks, n_spoilt, 0, seconds))
    return store


@dataclass(frozen=True, slots=True)
class _Check:
    """What a task found in one chunk."""

    chunk: int
    is_marked: bool
    damages: list[Damage]


def _checks(url: str, chunks: Sequence[int], client: Client | None) -> Iterator[_Check]:
    if client is None:
        check = _Checker(url).check
        with ThreadPoolExecutor(thread_name_prefix="nnviz-verify") as pool:
            yield from pool.map(check, chunks)
        return
    for outcome in run_tasks(client, check_chunk, chunks, arguments=(url,)):
        if outcome.error is not None:
            raise outcome.error
        yield outcome.value


def check_chunk(index: int, url: str) -> _Check:
    """Check one chunk on a worker."""
    return _Checker(url).check(index)


class _Checker:
    def __init__(self, url: str) -> None:
        self._store = Store.open(url)
        self._integrity = self._store.integrity()

    def check(self, index: int) -> _Check:
        is_marked = self._store.chunks.has_mark(index)
        return _Check(index, is_marked, self._integrity.chunk(index))


def _restored(
    store: Store, plan: Plan, damages: Sequence[Damage], *, trust: bool, repair: bool
) -> list[Damage]:
    """Write damaged pieces of ids, labels and columns again from the data set."""
    if not damages:
        return []
    if not repair:
        return [
            dataclasses.replace(d, remedy=f"'nnviz verify {store.url}'")
            for d in damages
        ]
    try:
        values = _planned_values(plan, store.positions(), trust=trust)
        if any(damage.array == CONTENTS for damage in damages):
            values[CONTENTS] = _hashes_now(plan, store.positions(), trust=trust)
    except NnvizError as error:
        remedy = f"it cannot be restored from the data set: {error}"
        return [dataclasses.replace(d, remedy=remedy) for d in damages]
    rows = {spec.path: spec.rows_per_shard for spec in plan.arrays}
    for damage in damages:
        start = int(damage.chunk or 0) * rows[damage.array]
        piece = values[damage.array][start : start + rows[damage.array]]
        store.write_static(damage.array, start, piece)
    left = {(d.array, d.chunk) for d in store.integrity().static_pieces()}
    return [
        dataclasses.replace(
            d,
            remedy="its values in the data set are others now; extract again"
            if (d.array, d.chunk) in left
            else "restored from the data set",
            is_repaired=(d.array, d.chunk) not in left,
        )
        for d in damages
    ]


def _hashes_now(
    plan: Plan, positions: NDArray[np.int64] | None, *, trust: bool
) -> NDArray[np.uint64]:
    """Return the hashes of all instances as they are now."""
    dataset = open_planned_dataset(plan, positions, trust=trust)
    return hashes_of(dataset, range(len(dataset)))


def _planned_values(
    plan: Plan, positions: NDArray[np.int64] | None, *, trust: bool
) -> dict[str, NDArray[Any]]:
    """Return the arrays that the plan knows, from the data set.

    Raises
    ------
    StoreFormatError
        If the data set is another one by now, or may not be opened.
    DatasetError
        If it cannot be listed, or its labels cannot be joined.
    """
    if not may_import(plan, trust=trust):
        msg = f"{plan.dataset.source!r} is code, which is imported only with --trust"
        raise StoreFormatError(msg)
    dataset = open_planned_dataset(plan, positions, trust=trust)
    n_classes = n_classes_of(plan.architecture)
    dataset = with_plain_labels(
        dataset, plan.dataset, plan.classes, n_classes, plan.class_names
    )
    classes = join_labels(
        dataset.labels,
        config=plan.classes,
        n_outputs=n_classes,
        class_names=plan.class_names,
        label_names=dataset.class_names,
        n_instances=len(dataset),
        has_one_output=plan.two_outputs_of is not None,
    )
    values: dict[str, NDArray[Any]] = {
        "instances/id": np.asarray(dataset.ids, dtype=object),
        "instances/label": classes.labels.astype(np.int32),
    }
    for name, column in dataset.metadata.items():
        is_text = plan.metadata_dtypes[name] == "string"
        values[f"instances/{name}"] = column.astype(object) if is_text else column
    return values
