"""What does a worker do for a causal check? Means of channels, outputs without some.

A task is a few instances: they are read and prepared once, and the network runs on them
once for each treatment. Which instances make a task depends on the sample and the plan
alone, and tasks return numbers for each instance, or float64 sums: the result does not
depend on how many workers there are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnviz.errors import DatasetError, UnreadableInstanceError
from nnviz.extraction.planned_worker import PlannedWorker, worker_of
from nnviz.extraction.worker_tasks import Opening
from nnviz.network.class_scores import as_logits, softmax
from nnviz.network.recording.ablated import ChannelMeans, Replacement

__all__ = ["Outputs", "Piece", "mean_sums", "treated_outputs"]


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
        What is opened of the run, with the layers whose channels are replaced.

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
    means = ChannelMeans()
    with worker_of(opening) as worker:
        worker.runtime.run(_read(worker, piece), on_layer=means)
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
        What is opened of the run, with the layers whose channels are replaced.
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
    with worker_of(opening) as worker:
        return _treated_outputs(worker, piece, means)


def _treated_outputs(
    worker: PlannedWorker, piece: Piece, means: Mapping[str, NDArray[np.float64]]
) -> Outputs:
    values = _read(worker, piece)
    shape = (len(piece.ablated), len(piece.instances))
    found = Outputs(
        np.empty(shape, np.float32), np.empty(shape, np.float32), np.empty(shape, "i4")
    )
    rows = np.arange(shape[1])
    for number, channels in enumerate(piece.ablated):
        outputs = worker.runtime.run(
            values, on_layer=Replacement(channels, means)
        ).logits
        assert outputs is not None  # the driver refuses networks without classes
        given = worker.plan.gives_probabilities
        logits = as_logits(outputs, gives_probabilities=given)
        found.logit[number] = logits[rows, piece.classes]
        found.probability[number] = softmax(logits)[rows, piece.classes]
        found.prediction[number] = outputs.argmax(axis=1)
    return found


def _read(worker: PlannedWorker, piece: Piece) -> NDArray[Any]:
    try:
        return worker.reader().read(piece.instances.tolist())
    except UnreadableInstanceError as error:
        msg = (
            f"an instance that was extracted cannot be read any more: {error}; "
            "bring the data back, or plan again into a new store"
        )
        raise DatasetError(msg) from error
