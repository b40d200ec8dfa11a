"""A small finished run, and the same run with stages left out."""

from __future__ import annotations

import pytest

from nnviz.aggregation import aggregate
from nnviz.derivation import derive
from nnviz.inputs.subsets import class_subsets
from nnviz.store.store import Store
from nnviz.testing import PlantedDataset, PlantedRun, write_store

HARMFUL = "<img src=x onerror=\"window.harmed='yes'\">"
NAMES = ("crane", "wolf", "crane", HARMFUL, "ant", "bee", "cat", "dog", "eel", "fox")

RUN = PlantedRun(
    class_names=NAMES, n_instances=300, n_unreadable=4, examples_per_channel=4
)


def aggregate_classes(store):
    label, prediction = store.column("label"), store.column("prediction")
    by_label = class_subsets(label, store.class_names)
    by_prediction = class_subsets(prediction, store.class_names, name="prediction")
    aggregate(store, [by_label, by_prediction])


@pytest.fixture(scope="session")
def finished_url(tmp_path_factory):
    url = str(tmp_path_factory.mktemp("finished") / "run.zarr")
    store = write_store(url, RUN)
    aggregate_classes(store)
    derive(store, dataset=PlantedDataset(RUN))
    return url


@pytest.fixture(scope="session")
def extracted_url(tmp_path_factory):
    url = str(tmp_path_factory.mktemp("extracted") / "run.zarr")
    write_store(url, RUN)
    return url


@pytest.fixture(scope="session")
def partial_url(tmp_path_factory):
    url = str(tmp_path_factory.mktemp("partial") / "run.zarr")
    write_store(url, RUN, missing_chunks=[1])
    return url


@pytest.fixture(scope="session")
def aggregated_url(tmp_path_factory):
    url = str(tmp_path_factory.mktemp("aggregated") / "run.zarr")
    aggregate_classes(write_store(url, RUN))
    return url


@pytest.fixture
def finished(finished_url):
    return Store.open(finished_url)
