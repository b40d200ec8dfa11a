"""Which subsets does a user name?"""

import csv
import json

import numpy as np
import pytest

from nnviz.errors import DatasetError
from nnviz.spreadsheets import defused
from nnviz.subsets.naming import named_subsets, read_subsets, split_names
from nnviz.subsets.saved import SavedSubset, save_subset
from nnviz.testing import PlantedRun, write_store

IDS = ["a.png", "b.png", "c.png", "=d.png"]


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def instances(collection):
    return {subset.name: subset.instances.tolist() for subset in collection}


def test_read_subsets__reads_a_table(tmp_path):
    text = '\ufeffid,subset,note\nc.png,dark,x\na.png,dark,\n=d.png,"two\nlines",y\n'
    path = write(tmp_path / "light.csv", text)

    collection = read_subsets(path, IDS)

    assert instances(collection) == {"dark": [0, 2], "two\nlines": [3]}
    assert (collection.name, collection.kind) == ("light", "file")


def test_read_subsets__takes_away_what_defuses_formulas(tmp_path):
    """``nnviz subset --export`` and ``nnviz export`` write an apostrophe."""
    ids = ["=a", "'=a", "\t@b", "'c'", "-1"]
    path = tmp_path / "m.csv"
    with path.open("w", newline="") as stream:
        rows = [(defused(key), defused("+s")) for key in ids]
        csv.writer(stream).writerows([("id", "subset"), *rows])

    collection = read_subsets(path, ids)

    assert "\n=" not in path.read_text()
    assert instances(collection) == {"+s": [0, 1, 2, 3, 4]}


def test_read_subsets__reads_json_with_empty_and_overlapping_subsets(tmp_path):
    path = write(
        tmp_path / "mine.json",
        json.dumps({"x": ["b.png", "a.png"], "y": ["a.png"], "z": []}),
    )

    assert instances(read_subsets(path, IDS)) == {"x": [0, 1], "y": [0], "z": []}


def test_read_subsets__shows_unknown_ids_and_near_matches(tmp_path):
    path = write(tmp_path / "mine.csv", "id,subset\na.pgn,dark\nb.png,dark\n")

    with pytest.raises(DatasetError, match=r"1 of the 2 ids.*'a\.pgn'; did you mean"):
        read_subsets(path, IDS)


def test_read_subsets__refuses_an_id_of_several_instances(tmp_path):
    path = write(tmp_path / "mine.csv", "id,subset\na.png,dark\n")

    with pytest.raises(DatasetError, match="belongs to several instances"):
        read_subsets(path, ["a.png", "a.png"])


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        pytest.param("m.csv", "id,group\na.png,x\n", "'id' and 'subset'", id="columns"),
        pytest.param("m.csv", "", r"the columns are \[\]", id="empty"),
        pytest.param("m.csv", "id,subset\na.png,\n", "row 0", id="no-subset"),
        pytest.param(
            "m.csv", "id,subset\na.png\n", "row 0 has 1 values, not 2", id="short-row"
        ),
        pytest.param("m.json", "{", "is not valid JSON", id="no-json"),
        pytest.param("m.json", '["a"]', "should hold a table", id="list"),
        pytest.param("m.json", '{"x": [[1]]}', "should hold a table", id="nested"),
        pytest.param("label.csv", "id,subset\n", "cannot be called 'label'", id="name"),
        pytest.param("m n.csv", "id,subset\n", "cannot be called 'm n'", id="space"),
    ],
)
def test_read_subsets__says_what_is_wrong_with_a_file(tmp_path, name, text, message):
    path = write(tmp_path / name, text)

    with pytest.raises(DatasetError, match=message):
        read_subsets(path, IDS)


@pytest.mark.parametrize(
    "make", [lambda path: None, lambda path: path.write_bytes(b"id,\x81")]
)
def test_read_subsets__says_that_a_file_cannot_be_read(tmp_path, make):
    make(tmp_path / "m.csv")

    with pytest.raises(DatasetError, match="cannot read the subsets"):
        read_subsets(tmp_path / "m.csv", IDS)


def test_read_subsets__refuses_a_huge_field(tmp_path):
    path = write(tmp_path / "m.csv", "id,subset\na.png," + "x" * 200_000 + "\n")

    with pytest.raises(DatasetError, match="line 2: field larger"):
        read_subsets(path, IDS)


def test_named_subsets__knows_the_standard_ones_and_files(tmp_path):
    run = PlantedRun(n_instances=40)
    store = write_store(tmp_path / "s.zarr", run)
    path = write(tmp_path / "mine.csv", "id,subset\n000003.png,x\n")

    sizes = {
        name: len(named_subsets(store, name))
        for name in ("all", "label", "prediction", "outcome", str(path))
    }

    assert list(sizes.values()) == [1, 10, 10, 20, 1]


def test_named_subsets__says_what_is_known(tmp_path):
    store = write_store(tmp_path / "s.zarr", PlantedRun(n_instances=10))

    with pytest.raises(DatasetError, match="'lable'; did you mean 'label'"):
        named_subsets(store, "lable")


def test_named__saved_subsets_and_queries__are_collections(tmp_path):
    run = PlantedRun(n_instances=60, n_classes=3)
    store = write_store(tmp_path / "run.zarr", run)
    with pytest.raises(DatasetError, match="no subset has been saved"):
        named_subsets(store, "saved")
    save_subset(store, SavedSubset("wrong ones", "not correct"))
    save_subset(store, SavedSubset("few", instances=np.array([4, 2])))

    saved = named_subsets(store, "saved")
    asked = named_subsets(store, "label in ('class 000', 'class 001')")

    assert saved.names == ("wrong ones", "few")
    wrong = np.flatnonzero(run.labels != run.predictions)
    assert saved.subset("wrong ones").instances.tolist() == wrong.tolist()
    assert saved.subset("few").instances.tolist() == [2, 4]
    assert asked.sizes().tolist() == [(run.labels < 2).sum()]
    assert split_names("label, a in (b, c) and d = 'x, y',saved") == [
        "label",
        "a in (b, c) and d = 'x, y'",
        "saved",
    ]
