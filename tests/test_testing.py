"""What is planted can be relied upon."""

from dataclasses import replace

import numpy as np
import pytest

from nnviz.errors import StoreExistsError
from nnviz.runs.plan import Plan
from nnviz.testing import (
    PlantedDataset,
    PlantedRun,
    planted_channels,
    write_complete_store,
    write_store,
)

RUN = PlantedRun(n_instances=60, n_unreadable=3)


def test_write_store__looks_like_a_complete_extraction(tmp_path):
    store = write_store(tmp_path / "s.zarr", RUN)

    assert not store.chunks.missing()
    assert Plan.from_json(store.plan.to_json()) == store.plan
    assert [layer.name for layer in store.shown_layers] == ["early", "middle", "late"]
    assert store.usable().sum() == 57
    assert np.isnan(store.activations("late")[~store.usable()]).all()
    assert store.column("id").tolist() == PlantedDataset(RUN).ids


def test_write_store__excites_the_planted_channels_of_each_class(tmp_path):
    store = write_store(tmp_path / "s.zarr", RUN)
    good = store.usable()

    for layer, column in (("early", "label"), ("late", "prediction")):
        values = store.activations(layer)
        for class_index in range(10):
            rows = good & (store.column(column) == class_index)
            planted = planted_channels(RUN, layer, class_index)
            assert values[rows][:, planted].min() >= 1
            assert np.delete(values[rows], planted, axis=1).max() < 1


def test_write_store__does_not_depend_on_the_size_of_a_chunk(tmp_path):
    one = write_store(tmp_path / "a.zarr", RUN)
    two = write_store(tmp_path / "b.zarr", replace(RUN, instances_per_chunk=7))

    for layer in one.layers:
        a, b = one.activations(layer.name), two.activations(layer.name)
        np.testing.assert_array_equal(a, b)


def test_write_store__leaves_chunks_out(tmp_path):
    run = replace(RUN, instances_per_chunk=20)

    store = write_store(tmp_path / "s.zarr", run, missing_chunks=[1])

    assert store.chunks.missing() == [1]


def test_write_store__takes_a_layer_without_positions_and_metadata(tmp_path):
    run = PlantedRun(
        n_classes=2,
        n_instances=8,
        layers=(("dense", 6, ()),),
        metadata={"age": np.arange(8), "site": np.array(["a", "b"] * 4, dtype=object)},
        is_sorted=True,
    )

    store = write_store(tmp_path / "s.zarr", run)

    assert store.column("age").tolist() == list(range(8))
    assert store.column("label").tolist() == [0] * 4 + [1] * 4


def test_write_store__refuses_a_place_where_something_is(tmp_path):
    write_store(tmp_path / "s.zarr", RUN)

    with pytest.raises(StoreExistsError):
        write_store(tmp_path / "s.zarr", RUN)


@pytest.mark.slow
def test_write_complete_store__has_aggregates_and_artifacts(tmp_path):
    store = write_complete_store(tmp_path / "s.zarr", RUN)

    assert store.groups.names("aggregates") == ["all", "label", "outcome", "prediction"]
    assert "examples" in store.groups.names("artifacts")


def test_planted_dataset__gives_the_same_picture_again():
    dataset = PlantedDataset(RUN)

    picture = dataset.read(3)

    assert (picture.shape, picture.dtype) == ((32, 32, 3), np.uint8)
    np.testing.assert_array_equal(picture, PlantedDataset(RUN).read(3))
    assert len(dataset) == len(dataset.ids) == 60
