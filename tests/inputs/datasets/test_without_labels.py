"""Every reader takes data without labels, also where there would be some."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from nnviz.inputs.datasets.opening import open_dataset
from nnviz.runs.config import DatasetConfig
from tests.inputs.datasets.test_archives import sample, write_archive

SOURCE = """
class Rows(list):
    pass

def rows():
    return Rows([([1.0, 2.0], 0), ([3.0, 4.0], 1)])
"""


def write_folder(place):
    for name in ("cat", "dog"):
        (place / name).mkdir()
        (place / name / "one.png").write_bytes(b"x")
    return {"path": str(place)}


def write_table(place):
    (place / "t.csv").write_text("path,label\na.png,cat\nb.png,dog\n")
    return {"path": str(place / "t.csv")}


def write_arrays(place):
    np.savez(place / "a.npz", data=np.zeros((2, 3)), label=np.array([0, 1]))
    return {"path": str(place / "a.npz")}


def write_tar(place):
    write_archive(place / "a.tar", [*sample("0", 3), *sample("1", 4)])
    return {"path": str(place / "a.tar")}


def write_torch(place):
    (place / "own_rows.py").write_text(SOURCE)
    return {"source": f"{place / 'own_rows.py'}:rows"}


def write_hugging_face(place):
    datasets = pytest.importorskip("datasets")
    data = datasets.Dataset.from_dict({"x": [[1.0], [2.0]], "label": [0, 1]})
    data.save_to_disk(place / "saved")
    return {"path": str(place / "saved")}


@pytest.mark.parametrize(
    ("kind", "write"),
    [
        pytest.param("folder", write_folder, id="folder"),
        pytest.param("table", write_table, id="table"),
        pytest.param("arrays", write_arrays, id="arrays"),
        pytest.param("webdataset", write_tar, id="webdataset"),
        pytest.param("torch", write_torch, id="torch"),
        pytest.param(
            "huggingface",
            write_hugging_face,
            id="huggingface",
            marks=pytest.mark.skipif(
                importlib.util.find_spec("datasets") is None,
                reason="datasets is not installed",
            ),
        ),
    ],
)
def test_dataset__with_an_empty_label_column__has_no_labels(tmp_path, kind, write):
    options = write(tmp_path)

    told = open_dataset(DatasetConfig(kind=kind, label_column="", **options))
    usual = open_dataset(DatasetConfig(kind=kind, **options))

    assert told.labels is None
    assert len(told) == 2
    assert usual.labels is not None
    assert len(set(usual.labels.tolist())) == 2
