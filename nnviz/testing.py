"""How can stages, dashboards and one's own code be tried without a network?

:func:`write_store` writes a finished extraction of a :class:`PlantedRun`, of which it
is known what comes out: which channels a class excites, and what feeds them.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnviz.aggregation.aggregation import aggregate
from nnviz.derivation.derivation import derive
from nnviz.network.top_channels import top_channels
from nnviz.runs.architecture import Architecture, Edge, Layer, ReceptiveField
from nnviz.runs.arrays import FORMAT_VERSION, InfluenceSpec
from nnviz.runs.config import (
    ClassesConfig,
    DatasetConfig,
    ExtractionConfig,
    ModelConfig,
    PreprocessingConfig,
)
from nnviz.runs.plan import Plan
from nnviz.store.store import Store
from nnviz.subsets.naming import named_subsets

__all__ = [
    "PlantedDataset",
    "PlantedRun",
    "planted_activations",
    "planted_channels",
    "planted_columns",
    "planted_influences",
    "planted_peaks",
    "planted_relevance",
    "write_complete_store",
    "write_store",
]

PICTURE_SIDE = 32


class PlantedDataset:
    """Pictures that belong to a planted run: a coloured disc for every class.

    Satisfies ``nnviz.inputs.datasets.opening.Dataset``; every picture is made when it
    is read.

    Parameters
    ----------
    run
        What is planted.
    """

    def __init__(self, run: PlantedRun) -> None:
        self._run = run
        self._labels = run.labels
        self.ids = [f"{i:06d}.png" for i in range(run.n_instances)]
        self.labels = self._labels.astype(object)
        self.class_names = run.names
        self.notes: tuple[str, ...] = ()
        self.metadata: Mapping[str, NDArray[Any]] = run.metadata
        self.fingerprint = hashlib.sha256(
            f"{run.seed} {self._labels.tolist()}".encode()
        ).hexdigest()

    def __len__(self) -> int:
        return self._run.n_instances

    def read(self, index: int) -> NDArray[np.uint8]:
        """Return one picture, shape (32, 32, 3)."""
        rng = np.random.default_rng((self._run.seed, 3, index))
        label = int(self._labels[index])
        shape = (PICTURE_SIDE, PICTURE_SIDE, 3)
        picture = rng.integers(0, 40, shape, dtype=np.uint8)
        rows, columns = np.mgrid[:PICTURE_SIDE, :PICTURE_SIDE]
        centre = rng.integers(10, PICTURE_SIDE - 10, 2)
        radius = 4 + 6 * (label % 4) / 3
        is_inside = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < radius**2
        colour = np.random.default_rng((4, label)).integers(90, 215, 3, dtype=np.uint8)
        picture[is_inside] += colour
        return picture


def write_store(
    url: str | os.PathLike[str],
    run: PlantedRun | None = None,
    *,
    missing_chunks: Sequence[int] = (),
    version: int = FORMAT_VERSION,
) -> Store:
    """Write a store as a complete extraction of a planted run leaves it.

    Parameters
    ----------
    url
        A place where there is nothing.
    run
        What to plant; None: ten classes, 500 instances, three shown layers.
    missing_chunks
        Chunks that are left out, as if the run had been killed.
    version
        Format of the store, from 2 on.

    Returns
    -------
    Store
        Opened for writing. Besides the shown layers it records ``output``, the
        network's own outputs, which is not shown.

    Raises
    ------
    StoreExistsError
        If there is something at `url`.
    """
    run = run or PlantedRun()
    plan = _plan(run)
    architecture = plan.architecture
    ids = np.array(PlantedDataset(run).ids, dtype=object)
    unlabelled = np.full_like(run.labels, -1)
    store = Store.create(
        url,
        plan,
        static={
            "instances/id": ids,
            "instances/label": run.labels if run.is_labelled else unlabelled,
            **{f"instances/{name}": values for name, values in run.metadata.items()},
        },
        version=version,
    )
    columns = planted_columns(run)
    activations = {
        layer.name: planted_activations(run, depth, layer)
        for depth, layer in enumerate(architecture.layers)
    }
    for index, (start, stop) in enumerate(store.chunks.spans):
        if index in missing_chunks:
            continue
        rows = slice(start, stop)
        arrays = {f"instances/{name}": v[rows] for name, v in columns.items()}
        for layer in architecture.layers:
            values = activations[layer.name][rows]
            arrays[f"activations/{layer.name}"] = values
            if layer.shown and run.examples_per_channel:
                peaks = planted_peaks(run, layer, values, start)
                arrays |= {f"peaks/{layer.name}/{k}": v for k, v in peaks.items()}
            if layer.shown and run.has_relevance:
                parts = planted_relevance(run, layer, activations[layer.name])
                arrays |= {
                    f"relevance/{layer.name}/{k}": parts[k][rows]
                    for k in plan.relevance_parts
                }
        for kept, previous in zip(
            plan.influences, architecture.layers[:-1], strict=bool(plan.influences)
        ):
            found = planted_influences(
                run,
                kept,
                activations[kept.target][rows],
                activations[previous.name][rows],
            )
            arrays |= {f"influences/{kept.target}/{k}": v for k, v in found.items()}
        n_unreadable = int(run.is_unreadable[rows].sum())
        counts = {
            "n_instances": stop - start,
            "n_unreadable": n_unreadable,
            "n_saturated": 0,
        }
        store.chunks.write(index, arrays, counts)
    return store


def write_complete_store(
    url: str | os.PathLike[str], run: PlantedRun | None = None
) -> Store:
    """Write a planted run with its aggregates and artifacts, pictures included.

    Parameters
    ----------
    url
        A place where there is nothing.
    run
        What to plant; None: ten classes, 500 instances, three shown layers.

    Returns
    -------
    Store
        Opened for reading.

    Raises
    ------
    StoreExistsError
        If there is something at `url`.
    """
    run = run or PlantedRun()
    store = write_store(url, run)
    names = ("label", "prediction", "outcome")
    aggregate(store, [named_subsets(store, name) for name in names])
    derive(store, dataset=PlantedDataset(run))
    return Store.open(store.url)


def _plan(run: PlantedRun) -> Plan:
    architecture = _architecture(run)
    return Plan(
        model=ModelConfig(source="nnviz.testing:planted"),
        dataset=DatasetConfig(kind="arrays", path="planted.npz"),
        preprocessing=PreprocessingConfig(kind="array", layout="HWC"),
        classes=ClassesConfig(),
        extraction=ExtractionConfig(
            instances_per_chunk=run.instances_per_chunk,
            share=run.share,
            examples_per_channel=run.examples_per_channel,
            targets="top" if run.influence_ranks else "none",
            ranks=max(1, run.influence_ranks),
            signal="max",
            relevance="label" if run.has_relevance else "none",
        ),
        keeps_gradient_norms=run.has_relevance and run.has_gradient_norms,
        architecture=architecture,
        class_names=run.names,
        n_instances=run.n_instances,
        n_labelled=run.n_instances if run.is_labelled else 0,
        layer_dtypes={layer.name: "float16" for layer in architecture.layers},
        metadata_dtypes={
            name: "string" if values.dtype.kind in "OUT" else str(values.dtype)
            for name, values in run.metadata.items()
        },
        fingerprints={
            "model": hashlib.sha256(b"planted").hexdigest(),
            "dataset": PlantedDataset(run).fingerprint,
        },
    )


def _architecture(run: PlantedRun) -> Architecture:
    layers = [
        Layer(
            name, name, "sum", n_channels, positions, receptive_field=_field(positions)
        )
        for name, n_channels, positions in run.layers
    ]
    layers.append(Layer("output", "output", "linear", run.n_classes, shown=False))
    edges = tuple(
        Edge(a.name, b.name, "linear", b.node, (0, b.n_channels))
        for a, b in itertools.pairwise(layers)
    )
    shape = (3, PICTURE_SIDE, PICTURE_SIDE)
    return Architecture(
        tuple(layers), edges, input_shape=shape, output_shape=(run.n_classes,)
    )


def _field(positions: tuple[int, ...]) -> ReceptiveField | None:
    if not positions:
        return None
    step = tuple(PICTURE_SIDE / extent for extent in positions)
    size = tuple(int(2 * s) + 3 for s in step)
    start = tuple(-(n - s) / 2 for n, s in zip(size, step, strict=True))
    return ReceptiveField(size, step, start)


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
    has_relevance: bool = False
    """Whether the shown layers have relevance for the true class."""
    has_gradient_norms: bool = True
    """Whether it has the norm of gradients, as runs from before had not."""
    is_labelled: bool = True
    """Whether the store is told the true classes; the planted channels follow them."""
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


def planted_relevance(
    run: PlantedRun, layer: Layer, values: NDArray[np.float16]
) -> dict[str, NDArray[np.float32]]:
    """Return relevance that the channels of the true class's concept have, each (N, C).

    Parameters
    ----------
    run
        What is planted.
    layer
        A shown layer.
    values
        Its activations, shape (N, C).
    """
    rng = np.random.default_rng((run.seed, 7, layer.n_channels))
    gradient = rng.normal(0, 0.1, values.shape)
    for class_index in range(run.n_classes):
        rows = np.flatnonzero(run.labels == class_index)
        gradient[rows[:, None], planted_channels(run, layer.name, class_index)] += 1
    mean = values.astype(np.float64) / 2
    product = gradient * mean + rng.normal(0, 0.01, values.shape)
    norm = np.abs(gradient) + rng.uniform(0, 0.1, values.shape)
    for part in (product, gradient, norm):
        part[run.is_unreadable] = np.nan
    parts = {"product": product, "gradient": gradient, "mean": mean, "norm": norm}
    return {name: part.astype(np.float32) for name, part in parts.items()}


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
