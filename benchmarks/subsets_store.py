"""Which store is asked about subsets? A generated one, of realistic sparsity.

The nine layers of InceptionV1 (5,484 channels), activations of a gamma distribution (at
the share of 3 % some 16 top channels an instance), the five strongest sources of each
top channel. Rows are drawn from a pool of different ones, so that making them takes no
time; they are written, and indexed, by nnviz itself.
"""

from __future__ import annotations

import itertools

import numpy as np

from nnviz.network.top_channels import top_channels
from nnviz.runs.architecture import Architecture, Edge, Layer
from nnviz.runs.config import (
    ClassesConfig,
    DatasetConfig,
    ExtractionConfig,
    ModelConfig,
    PreprocessingConfig,
)
from nnviz.runs.plan import Plan
from nnviz.store.store import Store

__all__ = ["LAYERS", "make_store"]

LAYERS = {
    "mixed3a": 256,
    "mixed3b": 480,
    "mixed4a": 508,
    "mixed4b": 512,
    "mixed4c": 512,
    "mixed4d": 528,
    "mixed4e": 832,
    "mixed5a": 832,
    "mixed5b": 1024,
}
SHARE = 0.03
RANKS = 5
N_CLASSES = 1000
POOL = 4096
CITIES = ("Bologna", "Ghent", "Kraków", "Lund", "Porto", "Riga", "Turku", "Vilnius")


def make_store(folder, n):
    """Write a complete extraction of so many instances, seeded."""
    rng = np.random.default_rng(0)
    layers = tuple(Layer(name, name, "sum", c, (1, 1)) for name, c in LAYERS.items())
    edges = tuple(
        Edge(a.name, b.name, "linear", b.node, (0, b.n_channels))
        for a, b in itertools.pairwise(layers)
    )
    labels = rng.integers(0, N_CLASSES, n).astype(np.int32)
    weather = np.array([f"note {i}, {'rain' if i % 3 else 'sun'}" for i in range(500)])
    columns = {
        "city": np.array(CITIES, dtype=object)[rng.integers(0, len(CITIES), n)],
        "note": weather.astype(object)[rng.integers(0, len(weather), n)],
        "year": rng.integers(1990, 2020, n).astype(np.int64),
    }
    plan = Plan(
        model=ModelConfig(source="generated"),
        dataset=DatasetConfig(kind="arrays", path="generated.npz"),
        preprocessing=PreprocessingConfig(kind="array", layout="HWC"),
        classes=ClassesConfig(),
        extraction=ExtractionConfig(
            instances_per_chunk=1024,
            share=SHARE,
            targets="top",
            ranks=RANKS,
            examples_per_channel=0,
        ),
        architecture=Architecture(
            layers, edges, input_shape=(3, 224, 224), output_shape=(N_CLASSES,)
        ),
        class_names=tuple(f"class {i}" for i in range(N_CLASSES)),
        n_instances=n,
        n_labelled=n,
        layer_dtypes=dict.fromkeys(LAYERS, "float16"),
        metadata_dtypes={"city": "string", "note": "string", "year": "int64"},
        fingerprints={"model": "0" * 64, "dataset": "0" * 64},
    )
    ids = np.array([f"{i:08d}" for i in range(n)], dtype=object)
    static = {"instances/id": ids, "instances/label": labels}
    static |= {f"instances/{name}": values for name, values in columns.items()}
    store = Store.create(folder, plan, static=static)
    n_pool = min(POOL, n // 4)
    pool = make_pool(plan, rng, n_pool)
    prediction = np.where(rng.random(n) < 0.7, labels, (labels + 1) % N_CLASSES)
    confidence = rng.random(n).astype(np.float32)
    for index, (start, stop) in enumerate(store.chunks.spans):
        rows = rng.integers(0, n_pool, stop - start)
        arrays = {path: values[rows] for path, values in pool.items()}
        arrays["instances/prediction"] = prediction[start:stop].astype(np.int32)
        for name in ("confidence", "probability"):
            arrays[f"instances/{name}"] = confidence[start:stop]
        arrays["instances/status"] = np.full(stop - start, "", dtype=object)
        counts = {"n_instances": stop - start, "n_unreadable": 0, "n_saturated": 0}
        store.chunks.write(index, arrays, counts)
    return store


def make_pool(plan, rng, n):
    """Return the facts of a pool of n instances, by path."""
    found = {}
    for name, c in LAYERS.items():
        strength = rng.gamma(1.5, 1.0, c)
        values = rng.gamma(0.8, 1.0, (n, c)) * strength
        found[f"activations/{name}"] = values.astype(np.float16)
    for kept in plan.influences:
        top = top_channels(found[f"activations/{kept.target}"], share=SHARE)
        target = np.full((n, kept.n_kept), -1, dtype=np.int16)
        source = np.full((*target.shape, kept.n_ranks), -1, dtype=np.int16)
        strength = np.zeros(source.shape, dtype=np.float32)
        # Few sources are strong for many targets, as in trained networks.
        weights = 1 / (1 + np.arange(kept.n_sources))
        draws = rng.choice(
            kept.n_sources, (n, kept.n_kept, kept.n_ranks), p=weights / weights.sum()
        )
        for row in range(n):
            ids = top.indices[top.indptr[row] : top.indptr[row + 1]]
            target[row, : len(ids)] = ids
            source[row, : len(ids)] = draws[row, : len(ids)]
            strength[row, : len(ids)] = rng.random((len(ids), kept.n_ranks))
        found[f"influences/{kept.target}/target"] = target
        found[f"influences/{kept.target}/source"] = source
        found[f"influences/{kept.target}/influence"] = strength
    return found
