"""Are the stored numbers what the network computes? A sample is computed again.

A batch holds every instance at the same place as in the extraction, so that on the
machine and with the software that made the store the numbers have the same bits. On
others they are equal to rounding; the largest differences are told either way.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from nnviz.engine.tasks import run_tasks
from nnviz.errors import ConfigError
from nnviz.extraction.planned import has_buckets
from nnviz.extraction.planned_worker import PlannedWorker, worker_of
from nnviz.extraction.worker_tasks import Opening, check_inputs
from nnviz.runs.plan import Plan
from nnviz.runs.planning_rules import check_signal
from nnviz.runs.software import software_versions
from nnviz.store.store import Store

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["Recomputation", "parse_fraction", "recompute"]

TOLERANCE = 0.01
"""Of the largest stored magnitude of an array; float16 forward passes need the most."""
CHOICES = 0.02
"""Fraction of indices (classes, sources) that may differ where values nearly tie."""


@dataclass(slots=True)
class Recomputation:
    """What was computed again, and how far it is from what is stored."""

    n_instances: int = 0
    n_batches: int = 0
    has_to_be_equal: bool = False
    """Whether machine and software are those that the store was planned with."""
    differences: dict[str, float] = field(default_factory=dict)
    """Of each array that differs: the largest difference over the largest magnitude,
    or the fraction of indices that differ."""
    wrong: dict[str, float] = field(default_factory=dict)
    """Those that should not."""
    instances: dict[str, str] = field(default_factory=dict)
    """First instance, by id, in which each of these differs."""

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return {**asdict(self), "sound": not self.wrong}

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        wanted = "bit for bit" if self.has_to_be_equal else "to rounding"
        what = f"{self.n_instances:,} instances again in {self.n_batches:,} batches"
        lines = [f"computed {what}; they have to be equal {wanted}"]
        lines += [
            f"{'wrong' if path in self.wrong else 'differs'}: {path!r} by {value:.3g}"
            + (f", first in {self.instances[path]!r}" if path in self.wrong else "")
            for path, value in self.differences.items()
        ]
        if not self.differences:
            lines.append("all are equal bit for bit")
        return "\n".join(lines)


def parse_fraction(text: str) -> float:
    """Return a fraction written as one, or as a percentage.

    Raises
    ------
    ConfigError
        If it is neither, or not in (0, 1].

    Examples
    --------
    >>> parse_fraction("0.1%"), parse_fraction("0.25")
    (0.001, 0.25)
    """
    try:
        number = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        number = math.nan
    if not 0 < number <= 1:
        msg = f"the fraction {text!r} should be like '0.1%' or '0.001', at most 1"
        raise ConfigError(msg)
    return number


def recompute(
    store: Store,
    fraction: float,
    *,
    client: Client | None = None,
    seed: int = 0,
    trust: bool = False,
) -> Recomputation:
    """Compute a random sample of instances again, and compare.

    Parameters
    ----------
    store
        Instances of complete chunks are drawn.
    fraction
        Fraction of the instances, in (0, 1]; at least one is drawn. The others of their
        batches are computed with them, and compared too.
    client
        Client of a running cluster; None computes in this process.
    seed
        Seed of the sample.
    trust
        Whether files that run code when read may be read.

    Raises
    ------
    ConfigError
        If it is not such a fraction.
    PlanMismatchError
        If network or data set are not those of the plan, or it means other numbers
        than this version computes.
    """
    if not 0 < fraction <= 1:
        msg = f"the fraction is {fraction}; it is above 0 and at most 1"
        raise ConfigError(msg)
    check_signal(store.plan)
    batches = _batches(store, fraction, seed)
    result = Recomputation(
        n_batches=len(batches),
        has_to_be_equal=store.records.get("software") == software_versions(),
    )
    opening = Opening(store.url, store.fingerprint, trust)
    if batches:
        check_inputs(opening, client)
    if client is None:
        found = [compare_batch(first, opening) for first in batches]
    else:
        found = []
        for outcome in run_tasks(client, compare_batch, batches, arguments=(opening,)):
            if outcome.error is not None:
                raise outcome.error
            found.append(outcome.value)
    for batch in sorted(found, key=lambda one: one.first):
        result.n_instances += batch.n_instances
        for path, (value, row) in batch.differences.items():
            result.differences[path] = max(value, result.differences.get(path, 0.0))
            result.instances.setdefault(path, batch.ids[row])
    kinds = {spec.path: spec.dtype for spec in store.plan.arrays}
    for path, value in result.differences.items():
        allowed = TOLERANCE if kinds[path].startswith("float") else CHOICES
        if result.has_to_be_equal or value > allowed:
            result.wrong[path] = value
    return result


@dataclass(frozen=True, slots=True)
class _Batch:
    """How one batch differs from what is stored."""

    first: int
    n_instances: int
    ids: list[str]
    differences: dict[str, tuple[float, int]]
    """How far, and the first row that differs, by array."""


def _batches(store: Store, fraction: float, seed: int) -> list[int]:
    """Return the first instance of each batch that holds an instance of the sample."""
    size = _batch_rows(store.plan)
    done = store.chunks.done()
    rows = [np.arange(*chunk) for i, chunk in enumerate(store.chunks.spans) if done[i]]
    if not rows:
        return []
    known = np.concatenate(rows)
    n = max(1, round(fraction * len(known)))
    drawn = np.random.default_rng(seed).choice(known, n, replace=False)
    chunk_rows = store.plan.rows_per_chunk
    starts = drawn // chunk_rows * chunk_rows
    firsts = np.unique(starts + (drawn - starts) // size * size)
    return [int(first) for first in firsts]


def _batch_rows(plan: Plan) -> int:
    """Return how many rows are computed again together: those that were together."""
    if has_buckets(plan):  # the instances of a chunk, by their lengths
        return plan.rows_per_chunk
    return plan.extraction.batch_size


def compare_batch(first: int, opening: Opening) -> _Batch:
    """Compute one batch again on a worker, and compare it with what is stored."""
    with worker_of(opening) as worker:
        return _compare(worker, first)


def _compare(worker: PlannedWorker, first: int) -> _Batch:
    store = worker.store
    rows = worker.plan.rows_per_chunk
    chunk_stop = min((first // rows + 1) * rows, store.n_instances)
    stop = min(first + _batch_rows(worker.plan), chunk_stop)
    reader = worker.reader(store.chunks.batch_sizes().get(first // rows))
    # Rows that could not be used are zeros in the batch, as they were.
    status = store.read("instances/status", first, stop)
    excluded = {first + i: str(why) for i, why in enumerate(status) if why}
    chunk = worker.rows(first, stop)
    with worker.runtime.recording(first, labels=chunk.labels) as recording:
        for batch in reader.iter_batches(first, stop, excluded=excluded):
            result = recording.run(
                batch.values, valid=batch.valid, instances=batch.instances
            )
            chunk.add(batch, result)
    found = {}
    for path, values in chunk.arrays.items():
        stored = store.read(path, first, stop)
        if difference := _difference(stored, np.asarray(values)):
            found[path] = difference
    ids = [str(name) for name in store.read("instances/id", first, stop)]
    return _Batch(first, stop - first, ids, found)


def _difference(stored: Any, found: Any) -> tuple[float, int] | None:
    """Return how far two arrays differ, and in which row first; None if nowhere."""
    if stored.dtype.kind != "f":
        is_other = np.asarray(stored.astype(object) != found.astype(object), np.bool_)
        value = float(is_other.mean())
    else:
        is_other = ~((stored == found) | (np.isnan(stored) & np.isnan(found)))
        one, other = stored.astype(np.float64), found.astype(np.float64)
        scale = float(np.nanmax(np.abs(one), initial=0.0)) or 1.0
        apart = np.where(np.isnan(one) | np.isnan(other), np.inf, np.abs(one - other))
        value = float(np.where(is_other, apart, 0.0).max(initial=0.0)) / scale
    if not is_other.any():
        return None
    per_row = is_other.reshape(len(is_other), -1).any(axis=1)
    return value, int(np.flatnonzero(per_row)[0])
