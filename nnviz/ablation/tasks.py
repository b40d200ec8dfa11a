"""What does a worker do for a causal check? Means of channels, outputs without some.

A task is a few instances: they are read and prepared once, and the network runs on them
once for each treatment. Which instances make a task depends on the sample and the plan
alone, and tasks return numbers for each instance, or float64 sums: the result does not
depend on how many workers there are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnviz.engine.worker_cache import cached
from nnviz.errors import DatasetError, UnreadableInstanceError
from nnviz.extraction.planned import (
    check_planned,
    load_planned_network,
    open_planned_dataset,
    planned_reader,
)
from nnviz.network.recording.ablated import ChannelMeans, Replacement
from nnviz.network.recording.runtime import NetworkRuntime
from nnviz.store.store import Store

__all__ = ["Opening", "Outputs", "Piece", "mean_sums", "treated_outputs"]


@dataclass(frozen=True, slots=True)
class Opening:
    """What a task needs to know of the run."""

    url: str
    fingerprint: str
    """Of the plan: a worker may outlive a store and meet another one at its place."""
    layers: tuple[str, ...]
    """Layers whose channels are replaced."""
    trust: bool = False
    """Whether files that run code when read may be read."""


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """The instances of one task."""

    subset: int
    """Row of the subset; 0 for the reference."""
    start: int
    """Place of the first one in the sample."""
    instances: NDArray[np.int64]
    """Numbers in the data set, shape (n,)."""
    classes: NDArray[np.int64]
    """Class whose output is looked at, shape (n,)."""
    ablated: tuple[Mapping[str, NDArray[np.int64]], ...] = ()
    """Channels to replace by layer, for each treatment."""


@dataclass(frozen=True, slots=True, eq=False)
class Outputs:
    """What the network put out under each treatment; shapes (treatment, n)."""

    logit: NDArray[np.float32]
    """Of the class that is looked at."""
    probability: NDArray[np.float32]
    """Its softmax probability."""
    prediction: NDArray[np.int32]
    """Class with the largest output, ties to the lower index."""


def mean_sums(piece: Piece, opening: Opening) -> dict[str, NDArray[np.float64]]:
    """Return the sum over instances of each channel's mean over positions.

    Parameters
    ----------
    piece
        Instances of the reference.
    opening
        Of the run.

    Returns
    -------
    dict
        By layer, shape (C,).

    Raises
    ------
    PlanMismatchError
        If the store has another plan, or network or data are not those of the plan.
    DatasetError
        If an instance cannot be read any more.
    """
    worker, means = _worker(opening), ChannelMeans()
    worker.runtime.run(worker.read(piece), on_layer=means)
    return {name: values.sum(axis=0) for name, values in means.values.items()}


def treated_outputs(
    piece: Piece, opening: Opening, means: Mapping[str, NDArray[np.float64]]
) -> Outputs:
    """Run a piece's instances under each of its treatments.

    Parameters
    ----------
    piece
        Instances and treatments.
    opening
        Of the run.
    means
        What channels are replaced by, by layer, shape (C,).

    Raises
    ------
    PlanMismatchError
        If the store has another plan, or network or data are not those of the plan.
    DatasetError
        If an instance cannot be read any more.
    ModelError
        If a layer's channels cannot be replaced.
    """
    worker = _worker(opening)
    values = worker.read(piece)
    shape = (len(piece.ablated), len(piece.instances))
    found = Outputs(
        np.empty(shape, np.float32), np.empty(shape, np.float32), np.empty(shape, "i4")
    )
    rows = np.arange(shape[1])
    for number, channels in enumerate(piece.ablated):
        logits = worker.runtime.run(
            values, on_layer=Replacement(channels, means)
        ).logits
        assert logits is not None  # the driver refuses networks without classes
        shifted = logits - logits.max(axis=1, keepdims=True).astype(np.float64)
        shares = np.exp(shifted) / np.exp(shifted).sum(axis=1, keepdims=True)
        found.logit[number] = logits[rows, piece.classes]
        found.probability[number] = shares[rows, piece.classes]
        found.prediction[number] = logits.argmax(axis=1)
    return found


class _Worker:
    """What a worker process keeps between its tasks: data set and network."""

    def __init__(self, opening: Opening) -> None:
        store = Store.open(opening.url)
        self.fingerprint = store.fingerprint
        plan = store.plan
        dataset = open_planned_dataset(plan, store.positions(), trust=opening.trust)
        self._reader = planned_reader(plan, dataset)
        layers = tuple(x for x in plan.architecture.layers if x.name in opening.layers)
        self.runtime = NetworkRuntime(
            load_planned_network(plan, trust=opening.trust),
            replace(plan.architecture, layers=layers, edges=()),
            preprocessing=plan.preprocessing,
            extraction=replace(plan.extraction, targets="none"),
        )

    def read(self, piece: Piece) -> NDArray[Any]:
        try:
            return self._reader.read(piece.instances.tolist())
        except UnreadableInstanceError as error:
            msg = (
                f"an instance that was extracted cannot be read any more: {error}; "
                "bring the data back, or plan again into a new store"
            )
            raise DatasetError(msg) from error


def _worker(opening: Opening) -> _Worker:
    key = f"ablation {opening}"
    # The kind is that of the extraction: a process holds one network.
    worker: _Worker = cached("worker", key, lambda: _Worker(opening))
    check_planned("plan", opening.fingerprint, worker.fingerprint)
    return worker
