"""How can stages, dashboards and one's own code be tried without a network?

:func:`write_store` writes a finished extraction of a :class:`PlantedRun`, of which it
is known what comes out (``nnviz.planted``).
"""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnviz.aggregation.aggregation import aggregate
from nnviz.derivation.derivation import derive
from nnviz.planted import (
    PlantedRun,
    planted_activations,
    planted_channels,
    planted_columns,
    planted_influences,
    planted_peaks,
)
from nnviz.runs.architecture import Architecture, Edge, Layer, ReceptiveField
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
    "planted_channels",
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
    store = Store.create(
        url,
        attributes={
            "plan": plan.to_json(),
            "plan_fingerprint": plan.fingerprint,
        },
        arrays=plan.arrays,
        static={
            "instances/id": ids,
            "instances/label": run.labels,
            **{f"instances/{name}": values for name, values in run.metadata.items()},
        },
    )
    columns = planted_columns(run)
    activations = {
        layer.name: planted_activations(run, depth, layer)
        for depth, layer in enumerate(architecture.layers)
    }
    for index, (start, stop) in enumerate(store.chunks):
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
        store.write_chunk(index, arrays, counts)
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
        ),
        architecture=architecture,
        class_names=run.names,
        n_instances=run.n_instances,
        n_labelled=run.n_instances,
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
