"""How is a data set prepared once, for every run that reads it again?

Reading a million small files, and decoding pictures, is what a fast network waits for.
A packed data set has each instance as the network's preparation leaves it, in one array
of large pieces: a run of it gives the same activations, bit for bit, and reads at the
speed of the disk. It is a Zarr group that any reader of kind ``arrays`` opens.

A task packs one piece, and marks it when it is written; what is marked is not packed
again, so that an interrupted command is repeated.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import Crc32cCodec

from nnviz.engine import progress
from nnviz.engine.progress import Listener
from nnviz.engine.tasks import RunLimits, run_tasks
from nnviz.engine.worker_cache import cached
from nnviz.errors import ConfigError, PlanMismatchError, StoreFormatError
from nnviz.formatting import instances_text, size_text
from nnviz.inputs.datasets.arrays import PARTS, UNREADABLE
from nnviz.runs.config import DatasetConfig, PreprocessingConfig
from nnviz.runs.declarations import TARGET
from nnviz.runs.json_values import to_json
from nnviz.runs.plan import Plan
from nnviz.store.places import storing

if TYPE_CHECKING:
    from distributed import Client

    from nnviz.inputs.datasets.opening import Dataset

__all__ = [
    "INPUTS",
    "PackOpening",
    "PackingSummary",
    "create_pack",
    "pack_pieces",
    "packed_dataset",
    "packed_preprocessing",
    "write_piece",
]

STAGE = "pack"

INPUTS, LABELS, IDS = "inputs", "label", "id"
"""Names of the arrays; what else there is are the data set's own columns, and why
instances cannot be read."""

MARKS = "packing/done"
FORMAT = "nnviz_pack"

BLOCK_BYTES = 8 << 20
"""So much is read at once, and checked."""
PIECE_BYTES = 128 << 20
"""So much is one file, and one task."""


@dataclass(frozen=True, slots=True)
class PackOpening:
    """What workers are told of a data set that is packed."""

    place: str
    """The Zarr group, in which the plan is by which instances are prepared."""
    fingerprint: str
    """Of that plan: another data set may once have been packed at the same place."""
    trust: bool = False
    """Whether files that run code when read may be read."""


@dataclass(slots=True)
class PackingSummary:
    """What a packing has done."""

    place: str
    n_instances: int
    n_pieces: int
    n_done_before: int
    n_unreadable: int = 0
    """Of all instances; they keep their reasons, and count nowhere."""
    n_bytes: int = 0
    """Of the prepared instances."""
    seconds: float = 0.0
    failed: dict[int, str] = field(default_factory=dict)
    """Why pieces failed, by number."""

    def to_json(self) -> dict[str, Any]:
        """Return the summary as JSON values."""
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        n_done = self.n_pieces - self.n_done_before - len(self.failed)
        whole = f"packed {instances_text(self.n_instances)}, {size_text(self.n_bytes)}"
        lines = [f"{whole}: {n_done:,} pieces in {self.seconds:.1f} s"]
        if self.n_done_before:
            lines.append(f"{self.n_done_before:,} pieces were there already")
        if self.n_unreadable:
            lines.append(f"{instances_text(self.n_unreadable)} cannot be read")
        lines += [f"piece {n} failed: {why}" for n, why in self.failed.items()]
        return "\n".join(lines)


def packed_dataset(place: str, plan: Plan, *, has_classes: bool) -> DatasetConfig:
    """Return where the instances of a packed data set are.

    Parameters
    ----------
    place
        The Zarr group.
    plan
        That of the data set; measured values stay the labels, under the same name.
    has_classes
        Whether there are labels that are classes.
    """
    target = plan.target_column
    config = DatasetConfig(
        kind="arrays",
        path=place,
        data_array=INPUTS,
        label_array=LABELS if has_classes else target or "",
        id_column=IDS,
    )
    if target in (None, TARGET):  # the name that unnamed measured values get
        return config
    return dataclasses.replace(config, label_column=target)


def packed_preprocessing(config: PreprocessingConfig) -> PreprocessingConfig:
    """Return what is left to do of a preparation once instances are packed.

    Parameters
    ----------
    config
        Of the plan.
    """
    if config.kind in ("table", "text", "inputs"):
        # Columns, as they were measured, say what the packed numbers are.
        return PreprocessingConfig(
            kind="inputs", layout="packed", columns=config.columns
        )
    if config.kind != "image":
        return dataclasses.replace(config, layout="as-is")
    order = "rgb" if config.channel_order == "bgr" else config.channel_order
    return dataclasses.replace(
        config,
        resize=None,
        crop=None,
        jpeg_reduction=None,
        exif_rotation=False,
        channel_order=order,
        layout="HWC",
    )


def create_pack(
    place: str, plan: Plan, dataset: Dataset, labels: NDArray[Any] | None
) -> None:
    """Write all of a packed data set but its instances; nothing where it is there.

    Parameters
    ----------
    place
        Folder for the Zarr group, which all workers reach.
    plan
        How instances are prepared.
    dataset
        That of the plan.
    labels
        One for each instance, as a run of the packed data set shall read them; None
        without labels.

    Raises
    ------
    ConfigError
        If a column has a name that a packed data set needs.
    PlanMismatchError
        If something else is packed there.
    StoreError
        If it cannot be written.
    """
    wanted = _identity(plan)
    if (Path(place) / "zarr.json").exists():
        group = _open(place)
        _check_same(place, group.attrs.asdict().get(FORMAT), wanted)
        _check_labels(place, group, labels)
        return
    columns = {str(name): values for name, values in dataset.metadata.items()}
    taken = {INPUTS, LABELS, IDS, UNREADABLE} & columns.keys()
    if taken:
        name = min(taken)
        advice = (
            "these are the labels, so rename it"
            if name == plan.target_column
            else f"leave it out with dataset.metadata_columns = ['*', '!{name}']"
        )
        msg = (
            f"the data set has a column {name!r}, which a packed one needs for itself; "
            f"{advice}"
        )
        raise ConfigError(msg)
    n, shape, dtype = len(dataset), _shape(plan), _dtype(plan)
    rows, per_piece = _rows(math.prod(shape) * np.dtype(dtype).itemsize, n)
    with storing(place):
        group = zarr.open_group(place, mode="w-", zarr_format=3)
        group.create_array(
            INPUTS,
            shape=(n, *shape),
            dtype=dtype,
            chunks=(rows, *shape),
            shards=(per_piece, *shape),
            compressors=[Crc32cCodec()],
        )
        if plan.architecture.inputs is not None:
            group[INPUTS].attrs[PARTS] = to_json(plan.architecture.inputs)
        group.create_array(UNREADABLE, shape=(n,), dtype="str", chunks=(per_piece,))
        group.create_array(
            MARKS, shape=(math.ceil(n / per_piece),), dtype="int8", chunks=(1,)
        )
        columns[IDS] = np.array(dataset.ids, dtype=object)
        if labels is not None:
            columns[LABELS] = labels
        for name, values in columns.items():
            is_text = values.dtype.kind in "OUT"
            array = group.create_array(
                name,
                shape=values.shape,
                dtype="str" if is_text else values.dtype,
                chunks=(max(1, min(n, 65_536)),),
            )
            array[:] = np.array([str(v) for v in values]) if is_text else values
        # Last: what has no such mark is not complete, and is refused.
        group.attrs[FORMAT] = {"plan": plan.to_json(), **wanted}


def pack_pieces(
    opening: PackOpening,
    *,
    client: Client | None,
    listeners: Sequence[Listener] = (),
    limits: RunLimits | None = None,
) -> PackingSummary:
    """Prepare and write the pieces that are missing.

    Parameters
    ----------
    opening
        The data set that is packed.
    client
        Client of a running cluster; None packs in this process.
    listeners
        Receive the events.
    limits
        How long a piece may take, the whole, and the absence of workers.

    Returns
    -------
    PackingSummary
        With the pieces that failed; the others are complete.

    Raises
    ------
    PlanMismatchError
        If the data set is not the one that was planned.
    TaskError
        If the cluster is lost, or has no workers.
    """
    group = _open(opening.place)
    done = np.asarray(_array(group, MARKS)[:])
    missing = np.flatnonzero(done == 0).tolist()
    inputs = _array(group, INPUTS)
    summary = PackingSummary(
        opening.place, inputs.shape[0], len(done), len(done) - len(missing)
    )
    summary.n_bytes = math.prod(inputs.shape) * inputs.dtype.itemsize
    began = time.perf_counter()
    per_piece = _per_piece(inputs)
    left = sum(min(per_piece, inputs.shape[0] - k * per_piece) for k in missing)
    progress.emit(
        listeners,
        progress.StageStarted(STAGE, len(missing), summary.n_done_before, left),
    )
    for piece, value, error in _outcomes(opening, missing, client, listeners, limits):
        if error is not None:
            summary.failed[piece] = f"{type(error).__name__}: {error}"
            failed = progress.TaskFailed(STAGE, f"piece {piece}", str(error))
            progress.emit(listeners, failed)
            continue
        n, n_unreadable = value
        event = progress.TaskDone(STAGE, f"piece {piece}", n, n_unreadable)
        progress.emit(listeners, event)
    reasons = np.asarray(_array(group, UNREADABLE)[:])
    summary.n_unreadable = int(sum(bool(str(reason)) for reason in reasons))
    summary.seconds = time.perf_counter() - began
    n_packed = left - sum(per_piece for _ in summary.failed)
    progress.emit(
        listeners,
        progress.StageDone(
            STAGE, len(missing), len(summary.failed), max(0, n_packed), summary.seconds
        ),
    )
    return summary


def _outcomes(
    opening: PackOpening,
    missing: Sequence[int],
    client: Client | None,
    listeners: Sequence[Listener],
    limits: RunLimits | None,
) -> Iterator[tuple[int, Any, BaseException | None]]:
    """Yield (piece, value, error) in order of completion."""
    if client is None:
        for piece in missing:
            yield piece, write_piece(piece, opening), None
        return
    for outcome in run_tasks(
        client,
        write_piece,
        missing,
        arguments=(opening,),
        limits=limits,
        stage=STAGE,
        listeners=listeners,
    ):
        if isinstance(outcome.error, PlanMismatchError):
            raise outcome.error
        yield outcome.item, outcome.value, outcome.error


def write_piece(piece: int, opening: PackOpening) -> tuple[int, int]:
    """Prepare and write one piece, on a worker.

    Parameters
    ----------
    piece
        Its number.
    opening
        The data set that is packed.

    Returns
    -------
    tuple of int
        How many instances it has, and how many of them cannot be read.

    Raises
    ------
    PlanMismatchError
        If the data set is not the one that was planned.
    """
    packer: _Packer = cached("packer", repr(opening), lambda: _Packer(opening))
    return packer.write(piece)


class _Packer:
    """The data set and its preparation, in a process that packs pieces of it."""

    def __init__(self, opening: PackOpening) -> None:
        # On workers only: this imports torch, which the driver does not need.
        from nnviz.extraction.planned import (  # noqa: PLC0415
            open_stored_dataset,
            planned_reader,
        )

        self._place = opening.place
        self._group = _open(opening.place)
        stored: Any = self._group.attrs.asdict()[FORMAT]
        plan = Plan.from_json(stored["plan"])
        ids = [str(name) for name in np.asarray(_array(self._group, IDS)[:])]
        dataset = open_stored_dataset(plan, ids, None, trust=opening.trust)
        self._reader = planned_reader(plan, dataset, by_length=False)

    def write(self, piece: int) -> tuple[int, int]:
        """Prepare and write one piece; then mark it."""
        inputs = _array(self._group, INPUTS)
        per_piece = _per_piece(inputs)
        start, stop = piece * per_piece, min((piece + 1) * per_piece, inputs.shape[0])
        values = np.zeros((stop - start, *inputs.shape[1:]), inputs.dtype)
        reasons = [""] * (stop - start)
        for batch in self._reader.iter_batches(start, stop):
            at = int(batch.instances[0]) - start
            values[at : at + batch.n_instances] = batch.values[: batch.n_instances]
            for row, reason in batch.reasons.items():
                reasons[at + row] = reason
        with storing(self._place):
            inputs[start:stop] = values
            _array(self._group, UNREADABLE)[start:stop] = np.array(reasons, dtype=str)
            _array(self._group, MARKS)[piece] = 1
        return stop - start, sum(map(bool, reasons))


def _open(place: str) -> zarr.Group:
    try:
        return zarr.open_group(place, mode="r+")
    except Exception as error:
        # Zarr's stores raise anything.
        msg = f"cannot open the packed data set {place!r}: {error}"
        raise StoreFormatError(msg) from error


def _array(group: zarr.Group, path: str) -> Any:
    try:
        return group[path]
    except KeyError as error:
        msg = (
            f"the packed data set {group.store_path} has no array {path!r}; remove it, "
            "and pack again"
        )
        raise StoreFormatError(msg) from error


def _per_piece(inputs: Any) -> int:
    return int(inputs.shards[0])


def _shape(plan: Plan) -> tuple[int, ...]:
    shape = tuple(plan.architecture.input_shape)
    if plan.preprocessing.kind == "image":
        return (*shape[1:], shape[0])
    return shape


def _dtype(plan: Plan) -> str:
    is_image = plan.preprocessing.kind == "image"
    return "uint8" if is_image else plan.architecture.input_dtype


def _rows(row_bytes: int, n: int) -> tuple[int, int]:
    """Return how many instances a block has, and how many a piece."""
    rows = max(1, min(1024, BLOCK_BYTES // max(1, row_bytes), n))
    n_blocks = max(1, PIECE_BYTES // max(1, rows * row_bytes))
    return rows, rows * max(1, min(n_blocks, math.ceil(n / rows)))


def _identity(plan: Plan) -> dict[str, Any]:
    """Return what makes prepared instances the same."""
    return {
        "dataset": plan.fingerprints["dataset"],
        "preprocessing": to_json(plan.preprocessing),
        "shape": list(_shape(plan)),
    }


def _check_same(place: str, found: Any, wanted: Mapping[str, Any]) -> None:
    if not isinstance(found, dict):
        msg = (
            f"{place!r} is there, and no complete beginning of a packed data set; give "
            "another folder, or remove it"
        )
        raise PlanMismatchError(msg)
    for name, value in wanted.items():
        if found.get(name) != value:
            msg = (
                f"{place!r} was packed with another {name}; give another folder, or "
                "remove it"
            )
            raise PlanMismatchError(msg)


def _check_labels(place: str, group: zarr.Group, labels: NDArray[Any] | None) -> None:
    """Refuse labels that are written otherwise, as with another class map."""
    wanted = None if labels is None else [str(label) for label in labels]
    found = None
    if wanted is not None and LABELS in group:
        found = [str(label) for label in np.asarray(_array(group, LABELS)[:])]
    if found != wanted:
        msg = (
            f"{place!r} was packed with other labels, or other names for them; give "
            "another folder, or remove it"
        )
        raise PlanMismatchError(msg)
