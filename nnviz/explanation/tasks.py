"""What does a worker do to explain an instance? It runs the network on it, once.

Of everything that is seen then it keeps what can be looked at: the maps of the channels
that are strongest, and the sources of those that are most relevant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nnviz.errors import DatasetError, UnreadableInstanceError
from nnviz.explanation.instance_explanation import ExplainedLayer
from nnviz.extraction.planned_worker import PlannedWorker, worker_of
from nnviz.extraction.worker_tasks import Opening
from nnviz.network.recording.single_instance import RecordedLayer, record_instance
from nnviz.runs.architecture import Layer

__all__ = ["ExplainTask", "explained_layers", "most_relevant"]

N_MOST_ACTIVE = 8
"""Channels of a layer whose maps are kept because they are the most active."""

LEAST, MOST = 8, 16
"""So many channels of a layer are targets, where so many have a positive relevance."""

HALF = 0.5
"""Between the two, as many as hold this share of the layer's positive relevance."""


@dataclass(frozen=True, slots=True)
class ExplainTask:
    """What is asked of the network."""

    instance: int
    """Number in the store."""
    output: int
    """Which of its outputs is explained."""
    output_layer: str = ""
    """Layer whose channels are the outputs; empty where none is recorded."""
    channels: Mapping[str, tuple[int, ...]] | None = None
    """Further channels whose maps are kept, by layer."""

    def __str__(self) -> str:
        return f"instance {self.instance}"


def explained_layers(
    task: ExplainTask, opening: Opening
) -> tuple[float, dict[str, ExplainedLayer]]:
    """Run the network on one instance, and keep what can be looked at.

    Parameters
    ----------
    task
        Which instance, and which output.
    opening
        What is opened of the run, whole.

    Returns
    -------
    tuple
        What the network puts out, and all recorded layers by name.

    Raises
    ------
    PlanMismatchError
        If the store has another plan, or network or data are not those of the plan.
    DatasetError
        If the instance cannot be read any more.
    ModelError
        If the network has no such output, or no gradients.
    """
    with worker_of(opening) as worker:
        values = _read(worker, task.instance)
        found = record_instance(worker.runtime, values, task.output)
        excluded = worker.plan.extraction.excluded_channels
        wanted = task.channels or {}
        layers = {
            layer.name: _kept(
                layer,
                found.layers[layer.name],
                excluded=excluded.get(layer.name, ()),
                wanted=wanted.get(layer.name, ()),
                output=task.output if layer.name == task.output_layer else None,
            )
            for layer in worker.plan.architecture.layers
        }
        return float(found.logits[task.output]), layers


def _read(worker: PlannedWorker, instance: int) -> NDArray[np.generic]:
    try:
        return worker.reader().read([instance])
    except UnreadableInstanceError as error:
        msg = (
            f"instance {instance} was extracted, and cannot be read any more: {error}; "
            "bring the data back, or plan again into a new store"
        )
        raise DatasetError(msg) from error


def _kept(
    layer: Layer,
    found: RecordedLayer,
    *,
    excluded: Sequence[int],
    wanted: Sequence[int],
    output: int | None,
) -> ExplainedLayer:
    target = most_relevant(found.product, excluded)
    if output is not None:  # of the outputs one alone is explained
        target = np.array([output], dtype=np.int64)
    source = np.full((len(target), 0), -1, np.int32)
    influence, remainder = np.zeros(source.shape, "f4"), np.zeros(len(target), "f4")
    if found.sources is not None:
        rows = np.searchsorted(found.sources.target, target)
        source, influence = found.sources.source[rows], found.sources.influence[rows]
        assert found.sources.remainder is not None  # of contributions at peaks
        remainder = found.sources.remainder[rows]
    mapped = np.zeros(0, np.int64)
    if layer.shown:
        active = np.argsort(-found.activation, kind="stable")[:N_MOST_ACTIVE]
        active = active[found.activation[active] > 0]
        mapped = np.unique([*target, *active, *wanted]).astype(np.int64)
    return ExplainedLayer(
        activation=found.activation,
        product=found.product,
        gradient=found.gradient,
        mapped=mapped,
        maps=found.maps[mapped],
        target=target,
        source=source,
        influence=influence,
        remainder=remainder,
    )


def most_relevant(
    relevance: NDArray[np.floating], excluded: Sequence[int] = ()
) -> NDArray[np.int64]:
    """Return the channels that hold half of the positive relevance, 8 to 16 of them.

    Parameters
    ----------
    relevance
        Of one layer, shape (C,).
    excluded
        Channels that count nowhere.

    Returns
    -------
    ndarray
        Largest first, ties to the lower channel; fewer where fewer are positive.

    Examples
    --------
    >>> most_relevant(np.array([0.5, -1.0, 3.0, 0.0])).tolist()
    [2, 0]
    """
    values = np.maximum(np.nan_to_num(relevance.astype(np.float64)), 0.0)
    values[list(excluded)] = 0.0
    order = np.argsort(-values, kind="stable")
    sums = np.cumsum(values[order])
    n = int(np.searchsorted(sums, HALF * sums[-1])) + 1 if len(values) else 0
    kept = order[: min(max(n, LEAST), MOST)]
    return kept[values[kept] > 0].astype(np.int64)
