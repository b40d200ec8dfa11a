"""Small runs in which every part of a page has something to show, or lacks a stage."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from nnviz.aggregation.aggregation import aggregate
from nnviz.derivation.derivation import derive
from nnviz.subsets.naming import named_subsets
from nnviz.subsets.subsets import Subset, class_subsets, collect_subsets
from nnviz.testing import PlantedDataset, PlantedRun, planted_channels, write_store

HARMFUL = "<img src=x onerror=\"window.harmed='yes'\">"
NAMES = ("crane", "wolf", "crane", HARMFUL, "ant", "bee", "cat", "dog", "eel", "fox")

RUN = PlantedRun(
    class_names=NAMES, n_instances=300, n_unreadable=4, examples_per_channel=4
)


def write_aggregated(url):
    """Write a run that nobody has derived anything from."""
    store = write_store(url, RUN)
    label, prediction = store.column("label"), store.column("prediction")
    by_label = class_subsets(label, store.class_names)
    by_prediction = class_subsets(prediction, store.class_names, name="prediction")
    aggregate(store, [by_label, by_prediction])
    return store


def write_finished(url):
    """Write a run without influences, on which every stage has been run."""
    derive(write_aggregated(url), dataset=PlantedDataset(RUN))


NEVER = 9
"""A class whose output is nowhere a top channel, as if it were never predicted."""


def planted_influences(classes_of_subsets):
    """Return influence counts by target layer: each concept rests on the one before."""
    layers = [name for name, _, _ in RUN.layers]
    sizes = {name: size for name, size, _ in RUN.layers} | {"output": len(NAMES)}
    found = {}
    for source, target in zip(layers, [*layers[1:], "output"], strict=True):
        shape = (len(classes_of_subsets), sizes[target], sizes[source])
        counts = np.zeros(shape, dtype=np.int64)
        for row, classes in enumerate(classes_of_subsets):
            for label in classes:
                if target == "output":
                    targets = [] if label == NEVER else [label]
                else:
                    targets = planted_channels(RUN, target, label)
                for strength, i in enumerate(planted_channels(RUN, source, label)):
                    counts[row, targets, i] += 12 + 5 * strength
        found[target] = sparse.csr_array(counts.reshape(len(counts), -1))
    return found


def write_with_graphs(url):
    """Write a finished run with influences, and a collection of the user's own."""
    store = write_store(url, RUN)
    label = store.column("label")
    groups = [("canines", (1, 7)), ("insects", (4, 5)), ("nobody", ())]
    own = [Subset(name, np.flatnonzero(np.isin(label, c))) for name, c in groups]
    collections = [named_subsets(store, n) for n in ("label", "prediction", "outcome")]
    collections.append(collect_subsets(own, len(label), name="groups"))
    aggregate(store, collections)
    derive(store, dataset=PlantedDataset(RUN))
    classes = range(len(NAMES))
    for name, rows in {
        "label": [[i] for i in classes],
        "prediction": [[i] for i in classes],
        "outcome": [[i] for i in classes for _ in range(2)],
        "groups": [c for _, c in groups],
        "all": [classes],
    }.items():
        for layer, counts in planted_influences(rows).items():
            for what in ("influence_counts", "influence_sums"):
                path = f"aggregates/{name}/{what}/{layer}"
                store.groups.write_member(path, counts)


LARGE_RUN = PlantedRun(n_instances=1_280, instances_per_chunk=16)
"""Of 80 chunks: without an index, most of them are read for any question."""


def write_large(url):
    """Write a run that has no index, and of which sums take long for its size."""
    store = write_store(url, LARGE_RUN)
    aggregate(store, [class_subsets(store.column("label"), store.class_names)])
    derive(store, dataset=PlantedDataset(LARGE_RUN))
    return store
