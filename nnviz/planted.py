"""What is planted in a run for tests? Facts of which it is known what comes out.

Classes form groups, groups share channels in early layers, and every class has channels
of its own in late ones.

* In the layer at depth d of D, the classes are cut into runs of ``2 ** (D - 1 - d)``
  neighbours; every run is one *concept*, and a concept excites the channels that
  :func:`planted_channels` names.
* The first half of the layers shows the concept of the true class, the second half that
  of the predicted one: a wrong prediction looks wrong only late.
* All weights between layers are 1: a source contributes what it is activated, so that
  the strongest sources of every channel are those of the same concept.

Symbols: N instances, C channels of a layer, K ranks, J targets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnviz.network.recording.maxima import top_channels
from nnviz.runs.architecture import Layer
from nnviz.runs.schema import InfluenceSpec

__all__ = [
    "PlantedRun",
    "planted_activations",
    "planted_channels",
    "planted_columns",
    "planted_influences",
    "planted_peaks",
]

CHANNELS_PER_CONCEPT = 3
UNREADABLE = "image file is truncated (planted)"


@dataclass(frozen=True, slots=True)
class PlantedRun:
    """What is planted; equal values give equal bytes, whatever the size of a chunk."""

    n_classes: int = 10
    n_instances: int = 500
    layers: tuple[tuple[str, int, tuple[int, ...]], ...] = (
        ("early", 32, (16, 16)),
        ("middle", 48, (8, 8)),
        ("late", 96, (4, 4)),
    )
    """Name, number of channels and positions of the shown layers, in order."""
    class_names: tuple[str, ...] = ()
    """Empty: ``class 000`` and so on."""
    accuracy: float = 0.85
    """Fraction of instances that are predicted right, about."""
    never_predicted: int = -1
    """A class that the network takes for the next one; -1 for none."""
    n_unreadable: int = 0
    """So many instances, spread evenly, have a status and no values."""
    instances_per_chunk: int = 128
    examples_per_channel: int = 5
    share: float = 0.03
    influence_ranks: int = 0
    """Sources of each top channel that are kept; 0: no influences are recorded."""
    is_sorted: bool = False
    """Whether the instances come class by class, as from folders."""
    metadata: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    """Further columns of the instance table, each of shape (N,)."""
    seed: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.class_names or tuple(
            f"class {i:03d}" for i in range(self.n_classes)
        )

    @property
    def labels(self) -> NDArray[np.int32]:
        """True classes, shape (N,); all classes have the same size, to one instance."""
        labels = np.arange(self.n_instances, dtype=np.int32) % self.n_classes
        if self.is_sorted:
            return np.sort(labels)
        return np.random.default_rng((self.seed, 1)).permutation(labels)

    @property
    def predictions(self) -> NDArray[np.int32]:
        """Predicted classes, shape (N,); a wrong one is the next class."""
        is_wrong = (
            np.random.default_rng((self.seed, 2)).random(self.n_instances)
            >= self.accuracy
        )
        predictions = (self.labels + is_wrong) % self.n_classes
        predictions[predictions == self.never_predicted] += 1
        return (predictions % self.n_classes).astype(np.int32)

    @property
    def is_unreadable(self) -> NDArray[np.bool_]:
        """Which instances could not be read, shape (N,)."""
        marks = np.zeros(self.n_instances, dtype=np.bool_)
        if self.n_unreadable:
            marks[
                np.linspace(0, self.n_instances - 1, self.n_unreadable, dtype=int)
            ] = True
        return marks


def planted_channels(run: PlantedRun, layer: str, class_index: int) -> list[int]:
    """Return the channels that the concept of a class excites in a layer, ascending.

    Examples
    --------
    >>> run = PlantedRun()
    >>> planted_channels(run, "early", 0), planted_channels(run, "early", 3)
    ([0, 1, 2], [0, 1, 2])
    >>> planted_channels(run, "late", 3)
    [9, 10, 11]
    """
    names = [name for name, _, _ in run.layers]
    depth = names.index(layer)
    n_channels = run.layers[depth][1]
    concept = class_index // 2 ** (len(names) - 1 - depth)
    first = concept * CHANNELS_PER_CONCEPT
    return sorted({(first + i) % n_channels for i in range(CHANNELS_PER_CONCEPT)})


def planted_activations(
    run: PlantedRun, depth: int, layer: Layer
) -> NDArray[np.float16]:
    """Return faint noise, and between 1 and 2 where a concept is planted."""
    rng = np.random.default_rng((run.seed, 5, depth))
    shape = (run.n_instances, layer.n_channels)
    values = rng.exponential(0.02, shape).astype(np.float16)
    is_late = 2 * depth >= len(run.layers)
    classes = run.predictions if is_late else run.labels
    for class_index in range(run.n_classes):
        channels = (
            [class_index]
            if layer.name == "output"
            else planted_channels(run, layer.name, class_index)
        )
        rows = np.flatnonzero(classes == class_index)
        excited = 1 + rng.random((len(rows), len(channels)))
        values[rows[:, None], channels] = excited.astype(np.float16)
    values[run.is_unreadable] = np.nan
    return values


def planted_columns(run: PlantedRun) -> dict[str, NDArray[Any]]:
    """Return the columns of the instance table that extraction fills, each (N,)."""
    rng = np.random.default_rng((run.seed, 6))
    is_right = run.predictions == run.labels
    certainty = rng.random(run.n_instances) ** np.where(is_right, 0.3, 1.2)
    confidence = (0.3 + 0.7 * certainty).astype(np.float32)
    probability = np.where(is_right, confidence, (1 - confidence) / 2)
    bad = run.is_unreadable
    return {
        "prediction": np.where(bad, -1, run.predictions).astype(np.int32),
        "confidence": np.where(bad, np.nan, confidence).astype(np.float32),
        "probability": np.where(bad, np.nan, probability).astype(np.float32),
        "status": np.where(bad, UNREADABLE, "").astype(object),
    }


def planted_peaks(
    run: PlantedRun, layer: Layer, values: NDArray[np.float16], start: int
) -> dict[str, NDArray[Any]]:
    """Return the strongest of a chunk's instances for each channel, each (1, C, K)."""
    n_ranks = run.examples_per_channel
    instance = np.full((1, layer.n_channels, n_ranks), -1, dtype=np.int64)
    value = np.full(instance.shape, np.nan, dtype=np.float32)
    position = np.full(instance.shape, -1, dtype=np.int32)
    usable = np.flatnonzero(~np.isnan(values[:, 0]))
    order = np.argsort(-values[usable], axis=0, kind="stable")[:n_ranks].T
    n = order.shape[1]
    instance[0, :, :n] = start + usable[order]
    value[0, :, :n] = np.take_along_axis(values[usable].T, order, axis=1)
    n_positions = int(np.prod(layer.positions, dtype=np.int64))
    channels = np.arange(layer.n_channels)[:, None]
    position[0, :, :n] = (7 * instance[0, :, :n] + channels) % n_positions
    return {"instance": instance, "position": position, "value": value}


def planted_influences(
    run: PlantedRun,
    kept: InfluenceSpec,
    values: NDArray[np.float16],
    sources: NDArray[np.float16],
) -> dict[str, NDArray[Any]]:
    """Return the strongest sources of the top channels of some instances.

    Parameters
    ----------
    run
        What is planted.
    kept
        What is kept of a target layer's influences.
    values, sources
        Activations of target and source layer, shape (n, C) each.

    Returns
    -------
    dict
        ``target`` (n, J), ``source`` and ``influence`` (n, J, K).
    """
    shape = (len(values), kept.n_kept, kept.n_ranks)
    target = np.full(shape[:2], -1, dtype=np.int16)
    source = np.full(shape, -1, dtype=np.int16)
    influence = np.zeros(shape, dtype=np.float32)
    top = top_channels(np.nan_to_num(values), share=run.share)
    strongest = np.argsort(-np.nan_to_num(sources), axis=1, kind="stable")
    strongest = strongest[:, : kept.n_ranks]
    for row, (start, stop) in enumerate(
        zip(top.indptr[:-1], top.indptr[1:], strict=True)
    ):
        n_targets = stop - start
        target[row, :n_targets] = np.sort(top.indices[start:stop])
        source[row, :n_targets] = strongest[row]
        influence[row, :n_targets] = sources[row, strongest[row]]
    return {"target": target, "source": source, "influence": influence}
