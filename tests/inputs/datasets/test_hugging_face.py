"""Data sets of Hugging Face, from local files."""

from __future__ import annotations

import importlib.util
import io
import pickle

import numpy as np
import pytest
from PIL import Image

from nnviz.errors import (
    ConfigError,
    DatasetError,
    MissingDependencyError,
)
from nnviz.inputs.datasets.opening import open_dataset
from nnviz.runs.config import DatasetConfig

installed = importlib.util.find_spec("datasets") is not None
needs_datasets = pytest.mark.skipif(not installed, reason="datasets is not installed")
# Its own use of other libraries is not ours to keep free of warnings.
pytestmark = pytest.mark.filterwarnings("ignore")


def open_hugging_face(**options):
    return open_dataset(DatasetConfig(kind="huggingface", **options))


@pytest.mark.skipif(installed, reason="datasets is installed")
def test_hugging_face__asks_for_the_library(tmp_path):
    with pytest.raises(MissingDependencyError, match=r"nnviz\[huggingface\]"):
        open_hugging_face(path=str(tmp_path))


def png(value):
    buffer = io.BytesIO()
    Image.new("RGB", (4, 3), (value, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def saved(tmp_path):
    """A saved data set with encoded images, class labels and columns."""
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "label": datasets.ClassLabel(names=["cat", "dog"]),
            "age": datasets.Value("int64"),
            "name": datasets.Value("string"),
            "boxes": datasets.Sequence(datasets.Value("int64")),
        }
    )
    data = datasets.Dataset.from_dict(
        {
            "image": [{"bytes": png(index), "path": None} for index in range(5)],
            "label": [0, 1, 1, 0, 1],
            "age": [1, 2, 3, 4, 5],
            "name": list("abcde"),
            "boxes": [[1]] * 5,
        },
        features=features,
    )
    data.save_to_disk(str(tmp_path / "saved"))
    data.to_parquet(str(tmp_path / "data.parquet"))
    both = datasets.DatasetDict({"train": data, "test": data.select([0, 1])})
    both.save_to_disk(str(tmp_path / "splits"))
    return tmp_path


@needs_datasets
def test_hugging_face__reads_a_saved_data_set(saved):
    dataset = open_hugging_face(path=str(saved / "saved"))

    assert dataset.labels.tolist() == [0, 1, 1, 0, 1]
    assert dataset.class_names == ("cat", "dog")
    assert list(dataset.metadata) == ["age", "name"]
    assert dataset.metadata["age"].tolist() == [1, 2, 3, 4, 5]
    assert [dataset.read(index) for index in range(5)] == [png(v) for v in range(5)]


@needs_datasets
def test_hugging_face__reads_local_files_through_a_builder(saved, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(saved / "cache"))
    dataset = open_hugging_face(
        source="parquet",
        path=str(saved / "data.parquet"),
        arguments={"cache_dir": str(saved / "cache")},
        id_column="name",
        limit=3,
    )

    assert dataset.ids == ["a", "b", "c"]
    assert dataset.read(2) == png(2)


@needs_datasets
def test_hugging_face__asks_for_one_of_several_splits(saved):
    with pytest.raises(DatasetError, match="train, test"):
        open_hugging_face(path=str(saved / "splits"))
    dataset = open_hugging_face(path=str(saved / "splits"), arguments={"split": "test"})

    assert len(dataset) == 2


@needs_datasets
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        pytest.param({"bytes_column": "img"}, ConfigError, "bytes_column", id="input"),
        pytest.param({"id_column": "nam"}, ConfigError, "mean 'name'", id="id"),
    ],
)
def test_hugging_face__says_which_columns_there_are(saved, options, error, message):
    with pytest.raises(error, match=message):
        open_hugging_face(path=str(saved / "saved"), **options)


@needs_datasets
def test_hugging_face__takes_labels_of_single_values_only(saved):
    path = str(saved / "saved")

    assert open_hugging_face(path=path, label_column="age").labels[0] == 1
    with pytest.raises(ConfigError, match="label_column is 'lable'"):
        open_hugging_face(path=path, label_column="lable")
    with pytest.raises(DatasetError, match=r"'boxes' .* has the type"):
        open_hugging_face(path=path, label_column="boxes")


@needs_datasets
def test_hugging_face__says_what_cannot_be_loaded(tmp_path):
    with pytest.raises(DatasetError, match="cannot load"):
        open_hugging_face(path=str(tmp_path))
    with pytest.raises(ConfigError, match="missing"):
        open_hugging_face()


@needs_datasets
def test_hugging_face__reads_columns_of_numbers_and_texts(tmp_path):
    import datasets

    data = datasets.Dataset.from_dict({"x": [[1.0, 2.0]], "data": ["text"]})
    data.save_to_disk(str(tmp_path / "saved"))
    path = str(tmp_path / "saved")

    np.testing.assert_array_equal(open_hugging_face(path=path).read(0), [1.0, 2.0])
    assert open_hugging_face(path=path, bytes_column="data").read(0) == "text"


@needs_datasets
def test_hugging_face__is_pickled_as_its_configuration(saved):
    dataset = open_hugging_face(path=str(saved / "saved"))

    again = pickle.loads(pickle.dumps(dataset))

    assert again.read(3) == png(3)
    assert again.fingerprint == dataset.fingerprint


@needs_datasets
def test_hugging_face__reads_columns_of_a_tokenizer(tmp_path):
    import datasets

    columns = {
        "input_ids": [[1, 2, 3], [4, 5]],
        "attention_mask": [[1, 1, 1], [1, 1]],
        "labels": [1, 0],
    }
    datasets.Dataset.from_dict(columns).save_to_disk(tmp_path / "data")
    options = {"path": str(tmp_path / "data"), "label_column": "labels"}
    dataset = open_hugging_face(**options)
    assert dataset.keys() == ("input_ids", "attention_mask", "labels")
    found = dataset.read(1)
    assert {name: values.tolist() for name, values in found.items()} == {
        "input_ids": [4, 5],
        "attention_mask": [1, 1],
    }
    assert dataset.labels.tolist() == [1, 0]
    with pytest.raises(ConfigError, match="no column 'token_types' for the network"):
        open_hugging_face(input_columns=("input_ids", "token_types"), **options)
