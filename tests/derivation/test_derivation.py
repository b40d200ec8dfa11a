"""Artifacts of a planted run, their pictures, and what cannot be made."""

import io
import json
from dataclasses import fields, replace

import numpy as np
import pytest
from PIL import Image

from nnviz.aggregation.aggregation import aggregate
from nnviz.derivation.class_table import read_class_table
from nnviz.derivation.derivation import derive
from nnviz.derivation.embedding import read_embedding, read_similarity
from nnviz.derivation.examples import read_examples
from nnviz.engine.progress import Notice, StageDone, StageStarted
from nnviz.errors import (
    MissingDataError,
    PlanMismatchError,
    UnknownNameError,
    UnreadableInstanceError,
)
from nnviz.runs.config import DatasetConfig
from nnviz.store.documents import sealed_group
from nnviz.store.store import Store, plan_attributes
from nnviz.subsets.naming import named_subsets
from nnviz.testing import PlantedDataset, PlantedRun, planted_channels, write_store
from tests.oracles.files import tree_bytes

RUN = PlantedRun(
    n_classes=4,
    n_instances=90,
    layers=(("early", 12, (4, 4)), ("late", 16, (2, 2))),
    instances_per_chunk=25,
    n_unreadable=5,
)


class Recorder:
    def __init__(self):
        self.events = []

    def receive(self, event):
        self.events.append(event)


class LosingDataset(PlantedDataset):
    """A data set of which half of the instances are missing."""

    def read(self, index):
        if index % 2:
            raise UnreadableInstanceError("file is gone")
        return super().read(index)


class TokenDataset(PlantedDataset):
    """A data set that is no pictures."""

    def read(self, index):
        return np.arange(5)


def write(path, run=RUN, *, dataset=None, names=("label", "prediction", "outcome")):
    """Write a planted store with aggregates; its plan names another data set."""
    store = write_store(path, run)
    if dataset is not None:
        plan = store.plan
        attributes = json.loads((path / "zarr.json").read_text())
        edited = plan_attributes(replace(plan, dataset=dataset))
        attributes["attributes"] |= edited
        (path / "zarr.json").write_bytes(sealed_group(attributes["attributes"]))
    aggregate(store, [named_subsets(store, name) for name in names])
    return Store.open(path)


@pytest.fixture(scope="module")
def derived(tmp_path_factory):
    store = write(tmp_path_factory.mktemp("run") / "run.zarr")
    summary = derive(store, dataset=PlantedDataset(RUN))
    return Store.open(store.url), summary


def test_derive__summarises_what_it_wrote(derived):
    store, summary = derived

    assert summary.collections == {"label": 4, "prediction": 4}
    assert summary.embedding_methods["label"] == ["classical scaling"]
    assert summary.n_layers_with_places == 2
    assert summary.n_layers_with_examples == 2
    assert summary.n_examples == summary.n_pictures == (12 + 16) * 5
    assert "too few subsets for UMAP" in str(summary)
    json.dumps(summary.to_json())
    assert store.groups.names("artifacts") == [
        "classes",
        "examples",
        "instance_places",
        "label",
        "prediction",
    ]


def test_derive__finds_that_neighbouring_classes_share_an_early_concept(derived):
    store, _ = derived

    early = read_similarity(store, "label", "early")
    late = read_similarity(store, "label", "late")

    assert early[0, 1] > 0.9 > 0.2 > early[0, 2]
    assert late[0, 1] < 0.5
    assert np.isfinite(read_embedding(store, "label", "late")).all()


def test_derive__counts_classes_without_the_unreadable(derived):
    store, _ = derived

    table = read_class_table(store)

    good = ~RUN.is_unreadable
    assert table.n_instances.tolist() == np.bincount(RUN.labels[good]).tolist()
    right = good & (RUN.labels == RUN.predictions)
    assert table.n_correct.tolist() == np.bincount(RUN.labels[right]).tolist()
    assert table.confidence_histogram.sum() == good.sum()


@pytest.mark.parametrize("layer", ["early", "late"])
def test_derive__examples_are_the_strongest_of_the_run(derived, layer):
    store, _ = derived

    examples = read_examples(store, layer)

    values = store.activations(layer).astype(np.float64)
    values[~store.usable()] = -np.inf
    for channel in range(values.shape[1]):
        order = np.argsort(-values[:, channel], kind="stable")[:5]
        assert examples.instance[channel].tolist() == order.tolist()
        np.testing.assert_array_equal(
            examples.value[channel], values[order, channel].astype("f4")
        )


def test_derive__examples_of_a_planted_channel_are_of_its_class(derived):
    store, _ = derived
    examples = read_examples(store, "late")

    for class_index in range(4):
        for channel in planted_channels(RUN, "late", class_index):
            shown = RUN.predictions[examples.instance[channel]]
            assert set(shown.tolist()) == {class_index}


def test_derive__pictures_are_cut_around_what_a_position_sees(derived):
    store, _ = derived
    examples = read_examples(store, "late")

    left, top, right, bottom = examples.box[0, 0]
    picture = Image.open(io.BytesIO(examples.picture(0, 0)))

    row, column = divmod(int(examples.position[0, 0]), 2)
    assert left <= column * 16 + 8 <= right
    assert top <= row * 16 + 8 <= bottom
    assert picture.format == "PNG"
    assert max(picture.size) == 96


@pytest.mark.slow
def test_derive__on_a_cluster_writes_the_same_bytes(derived, tmp_path, client):
    store = write(tmp_path / "run.zarr")

    derive(store, dataset=PlantedDataset(RUN), client=client)

    folder = type(tmp_path)(derived[0].url) / "artifacts"
    assert tree_bytes(tmp_path / "run.zarr" / "artifacts") == tree_bytes(folder)


def test_derive__without_the_data_set_says_so(tmp_path):
    store, listener = write(tmp_path / "run.zarr", names=["label"]), Recorder()

    summary = derive(store, listeners=[listener])

    assert (summary.n_pictures, summary.n_examples > 0) == (0, True)
    assert "examples have no pictures: the data set cannot be opened" in str(summary)
    kinds = [type(event) for event in listener.events]
    assert {StageStarted, Notice, StageDone} <= set(kinds)
    assert read_examples(Store.open(store.url), "late").picture(0, 0) == b""


def test_derive__without_the_data_set_keeps_the_pictures_that_are_there(tmp_path):
    store = write(tmp_path / "run.zarr", names=["label"])
    derive(store, dataset=PlantedDataset(RUN))
    folder = tmp_path / "run.zarr" / "artifacts" / "examples"
    before = tree_bytes(folder)

    summary = derive(store)

    assert "keep the pictures that they have" in str(summary)
    assert summary.n_pictures == summary.n_examples > 0
    assert tree_bytes(folder) == before


@pytest.mark.slow
def test_derive__without_the_data_set_keeps_pictures_of_instances_that_are_still_there(
    tmp_path,
):
    store = write(tmp_path / "run.zarr", names=["label"])
    derive(store, dataset=PlantedDataset(RUN))
    whole = read_examples(store, "late")
    # Examples as they were before others came in above them.
    groups, path = Store.open(store.url, writable=True).groups, "artifacts/examples"
    attributes = groups.attributes(path)
    layers = {name: read_examples(store, name) for name in attributes["layers"]}
    groups.start(path)
    for name, found in layers.items():
        parts = {each.name: getattr(found, each.name) for each in fields(found)}
        parts["instance"] = parts["instance"][:, ::-1].copy()
        for part, values in parts.items():
            axes = tuple(f"axis {n}" for n in range(values.ndim))
            groups.write_member(f"{path}/{name}/{part}", values, dimensions=axes)
    groups.finish(path, attributes)

    derive(Store.open(store.url))

    after = read_examples(Store.open(store.url), "late")
    assert after.instance.tolist() == whole.instance.tolist()
    n_ranks = whole.instance.shape[1]
    for rank in range(n_ranks):
        assert after.picture(0, rank) == whole.picture(0, n_ranks - 1 - rank)


def test_derive__imports_no_user_code_without_trust(tmp_path):
    config = DatasetConfig(kind="torch", source="no_such_package_of_mine:make")
    store = write(tmp_path / "run.zarr", dataset=config, names=[])

    assert "only with trust (--trust)" in str(derive(store))
    assert "cannot be opened" in str(derive(store, trust=True))


def test_derive__cuts_no_pictures_when_told_so(tmp_path):
    store = write(tmp_path / "run.zarr", names=["label"])

    summary = derive(store, dataset=PlantedDataset(RUN), pictures=False)

    assert summary.n_pictures == 0
    assert not any("pictures" in notice for notice in summary.notices)


@pytest.mark.parametrize(
    ("kind", "n"), [(LosingDataset, 1), (TokenDataset, 0)], ids=["lost", "tokens"]
)
def test_derive__reports_examples_that_have_no_picture(tmp_path, kind, n):
    store = write(tmp_path / "run.zarr", names=[])

    summary = derive(store, dataset=kind(RUN))

    assert (summary.n_pictures > 0) == bool(n)
    assert "cannot be read any more, or are no pictures" in str(summary)
    examples = read_examples(Store.open(store.url), "late")
    has_box = np.isfinite(examples.box).all(axis=2)
    assert has_box.sum() == (summary.n_pictures and (examples.instance % 2 == 0).sum())


def test_derive__refuses_another_data_set(tmp_path):
    store = write(tmp_path / "run.zarr", names=[])

    with pytest.raises(PlanMismatchError, match="pictures would show other instances"):
        derive(store, dataset=PlantedDataset(replace(RUN, seed=1)))


def test_derive__needs_aggregates(tmp_path):
    store = write_store(tmp_path / "run.zarr", RUN)

    with pytest.raises(MissingDataError, match="run 'nnviz aggregate"):
        derive(store)


def test_derive__needs_a_complete_extraction(tmp_path):
    store = write_store(tmp_path / "run.zarr", RUN, missing_chunks=[0])

    with pytest.raises(MissingDataError):
        derive(store)


@pytest.mark.slow
def test_derive__compares_collections_that_were_asked_for(tmp_path):
    store = write(tmp_path / "run.zarr")

    summary = derive(store, subsets=["outcome"], pictures=False)

    assert summary.collections == {"outcome": 8}
    with pytest.raises(UnknownNameError, match="did you mean 'outcome'"):
        derive(store, subsets=["outcom"])


def test_derive__takes_a_run_without_peaks_and_with_nothing_usable(tmp_path):
    run = replace(RUN, examples_per_channel=0, n_unreadable=90)
    store = write(tmp_path / "run.zarr", run, names=["label"])

    summary = derive(store, dataset=PlantedDataset(run))

    assert (summary.n_examples, summary.n_layers_with_examples) == (0, 0)
    assert np.isnan(read_embedding(Store.open(store.url), "label", "late")).all()
    with pytest.raises(UnknownNameError, match="has no examples"):
        read_examples(Store.open(store.url), "late")


@pytest.mark.slow
def test_derive__may_be_repeated(tmp_path):
    store = write(tmp_path / "run.zarr", names=["label"])
    derive(store, dataset=PlantedDataset(RUN))
    before = tree_bytes(tmp_path / "run.zarr" / "artifacts")

    derive(store, dataset=PlantedDataset(RUN))

    assert tree_bytes(tmp_path / "run.zarr" / "artifacts") == before
