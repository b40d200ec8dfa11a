"""Map-style data sets of torch, and what their items may be."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from nnviz.errors import ConfigError, DatasetError, UnreadableInstanceError
from nnviz.inputs.datasets.opening import open_dataset
from nnviz.runs.config import DatasetConfig

SOURCE = """
import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset, TensorDataset

PIXELS = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)


class Pictures(Dataset):
    classes = ["zebra", "ape"]

    def __init__(self, form="tuple", n=6, targets=True):
        self.form, self.n, self.n_reads = form, n, 0
        if targets:
            self.targets = torch.arange(n) % 2

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        self.n_reads += 1
        if index == 3:
            raise RuntimeError("three is broken")
        picture = {
            "tuple": Image.fromarray(PIXELS + index),
            "dict": Image.fromarray(PIXELS + index),
            "palette": Image.fromarray(PIXELS + index).quantize(4),
            "tensor": torch.full((3, 4, 5), float(index)),
            "array": PIXELS + index,
            "bytes": bytes([index]),
            "text": "no picture",
            "ragged": [[1], [2, 3]],
        }[self.form]
        if self.form == "dict":
            kind = ["even", "odd"][index % 2]
            return {"image": picture, "label": index % 2, "kind": kind}
        return picture, torch.tensor(index % 2), "more"


class Bare(Dataset):
    def __len__(self):
        return 3

    def __getitem__(self, index):
        return torch.tensor([1, 2, index])


class Stream(IterableDataset):
    def __iter__(self):
        yield 1


def tensors():
    return TensorDataset(torch.arange(12.0).reshape(4, 3), torch.tensor([0, 1, 1, 0]))


def broken():
    raise FileNotFoundError("no data here")
"""


@pytest.fixture
def source(tmp_path):
    (tmp_path / "pictures.py").write_text(SOURCE)
    return f"{tmp_path / 'pictures.py'}"


def open_torch(source, name, limit=None, **arguments):
    return open_dataset(
        DatasetConfig(
            kind="torch", source=f"{source}:{name}", arguments=arguments, limit=limit
        )
    )


PIXELS = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)


@pytest.mark.parametrize("form", ["tuple", "dict", "array"])
def test_torch__reads_pictures_as_arrays(source, form):
    dataset = open_torch(source, "Pictures", form=form)

    assert dataset.ids == ["0", "1", "2", "3", "4", "5"]
    assert dataset.labels.tolist() == [0, 1, 0, 1, 0, 1]
    assert dataset.class_names == ("zebra", "ape")
    np.testing.assert_array_equal(dataset.read(2), PIXELS + 2)


@pytest.mark.parametrize(
    ("form", "shape", "dtype"),
    [
        pytest.param("tensor", (3, 4, 5), np.float32, id="tensor"),
        pytest.param("palette", (4, 5, 3), np.uint8, id="palette"),
    ],
)
def test_torch__reads_other_inputs(source, form, shape, dtype):
    instance = open_torch(source, "Pictures", form=form).read(1)

    assert (instance.shape, instance.dtype) == (shape, dtype)


def test_torch__reads_bytes_and_items_without_labels(source):
    bare = open_torch(source, "Bare")

    assert open_torch(source, "Pictures", form="bytes").read(5) == b"\x05"
    assert bare.labels is None
    assert bare.read(2).tolist() == [1, 2, 2]


def test_torch__reads_every_item_once_for_labels_that_are_not_listed(source):
    dataset = open_torch(source, "Pictures", targets=False)

    assert dataset.labels.tolist() == [0, 1, 0, None, 0, 1]


def test_torch__reads_no_item_for_labels_that_are_listed(source):
    dataset = open_torch(source, "Pictures")

    assert dataset._data.n_reads == 0
    dataset.check_labels()
    assert 0 < dataset._data.n_reads <= 6


def test_check_labels__of_items_that_say_others__is_refused(source):
    dataset = open_torch(source, "Pictures")
    dataset._data.targets = dataset._data.targets + 1

    with pytest.raises(DatasetError, match="have other labels than its attribute"):
        dataset.check_labels()


def test_torch__takes_torchs_own_data_sets(source):
    dataset = open_torch(source, "tensors", limit=3)

    assert dataset.labels.tolist() == [0, 1, 1]
    assert dataset.read(1).tolist() == [3.0, 4.0, 5.0]


@pytest.mark.parametrize(
    ("form", "index", "message"),
    [
        pytest.param("tuple", 3, "RuntimeError: three is broken", id="raises"),
        pytest.param("ragged", 0, "inhomogeneous", id="ragged"),
    ],
)
def test_torch__records_items_that_cannot_be_read(source, form, index, message):
    dataset = open_torch(source, "Pictures", form=form)

    with pytest.raises(UnreadableInstanceError, match=message):
        dataset.read(index)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        pytest.param("Picturs", "did you mean 'Pictures'", id="unknown"),
        pytest.param("broken", "no data here", id="raises"),
        pytest.param("Stream", "map-style", id="iterable"),
        pytest.param("PIXELS", "cannot be called", id="no-callable"),
    ],
)
def test_torch__says_what_cannot_be_opened(source, name, message):
    with pytest.raises(DatasetError, match=message):
        open_torch(source, name)


@pytest.mark.parametrize(
    ("place", "error", "message"),
    [
        pytest.param(None, ConfigError, "source is missing", id="none"),
        pytest.param("no.such.module:f", DatasetError, "cannot import", id="module"),
        pytest.param("/no/such/file.py:f", DatasetError, "no file", id="file"),
        pytest.param("nothing", ConfigError, "is not", id="form"),
    ],
)
def test_torch__says_what_cannot_be_imported(place, error, message):
    with pytest.raises(error, match=message):
        open_dataset(DatasetConfig(kind="torch", source=place))


def test_torch__is_pickled_as_its_configuration(source):
    pickled = pickle.dumps(open_torch(source, "Pictures", n=2))

    dataset = pickle.loads(pickled)
    with ThreadPoolExecutor(4) as pool:
        read = list(pool.map(dataset.read, [0, 1] * 20))

    assert len(pickled) < 1500
    np.testing.assert_array_equal(read, [PIXELS, PIXELS + 1] * 20)


def test_torch__fingerprint_sees_arguments_and_labels(source):
    prints = {
        open_torch(source, "Pictures").fingerprint,
        open_torch(source, "Pictures", n=5).fingerprint,
        open_torch(source, "Pictures", form="dict").fingerprint,
        open_torch(source, "Pictures").fingerprint,
    }

    assert len(prints) == 3


def test_torch__keeps_what_items_have_beside_input_and_label(source):
    def opened(form, **options):
        arguments = {"form": form, "targets": False}
        config = {"kind": "torch", "source": f"{source}:Pictures"}
        return open_dataset(DatasetConfig(**config, arguments=arguments, **options))

    kinds = opened("dict").metadata["kind"].tolist()
    assert kinds[:3] + kinds[4:] == ["even", "odd", "even", "even", "odd"]
    assert opened("tuple").metadata == {}  # a third part that is no dictionary


def test_torch__reads_no_item_for_columns_that_nobody_asks_for(source):
    dataset = open_dataset(DatasetConfig("torch", source=f"{source}:Pictures"))
    assert dataset._data.n_reads == 0
    assert dataset.metadata == {}
    assert dataset._data.n_reads == 1


def test_torch__takes_the_stated_label_column(source):
    config = {"kind": "torch", "source": f"{source}:Pictures"}
    arguments = {"form": "dict", "targets": False}

    dataset = open_dataset(
        DatasetConfig(**config, arguments=arguments, label_column="kind")
    )

    assert dataset.labels.tolist() == ["even", "odd", "even", None, "even", "odd"]
    for wrong in (arguments, {"form": "tuple"}):
        with pytest.raises(ConfigError, match="label_column is 'species'"):
            open_dataset(
                DatasetConfig(**config, arguments=wrong, label_column="species")
            )
