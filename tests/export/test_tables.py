"""Row 44: files that other tools read are complete, of plain numbers, harmless."""

import csv
import json

import numpy as np
import pandas as pd
import pytest

from nnviz.aggregation.aggregates import aggregates_of
from nnviz.derivation.embedding import read_similarity
from nnviz.errors import ConfigError, MissingDataError, StoreError, StoreExistsError
from nnviz.export.tables import write_bundle
from nnviz.testing import PlantedRun, write_complete_store, write_store

HOSTILE = (
    "=cmd|' /C calc'!A0",
    "</script><script>alert(1)</script>",
    'a,b\n"c"',
    "-1",
    "first row\r=second row",
    "../../passwd\\\u202egnp.exe",
    "\uff1dwide",
)
RUN = PlantedRun(
    n_classes=len(HOSTILE),
    n_instances=60,
    class_names=HOSTILE,
    n_unreadable=2,
    layers=(("early", 12, (4, 4)), ("late", 16, (2, 2))),
    metadata={
        "weight": np.linspace(0, 1e6, 60),
        "@note": np.array(["@SUM(A1)", "plain", "ü"] * 20, dtype=object),
    },
)


def number_or_text(text):
    try:
        return float(text or "nan")
    except ValueError:
        return text


def read_csv(path):
    with path.open(encoding="utf-8", newline="") as file:
        return pd.DataFrame(list(csv.DictReader(file))).map(number_or_text)


READERS = {
    "csv": read_csv,
    "json": lambda path: pd.DataFrame(json.loads(path.read_text("ascii"))),
    "parquet": pd.read_parquet,
}
"""How a file is read back without rounding its numbers."""


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return write_complete_store(tmp_path_factory.mktemp("run") / "run.zarr", RUN)


@pytest.fixture(scope="module", params=["csv", "json", "parquet"])
def bundle(request, store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle") / request.param
    files = write_bundle(store, folder, format=request.param)
    return folder, files, READERS[request.param]


def test_write_bundle__lists_every_file_in_its_manifest(bundle):
    folder, files, _ = bundle

    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))

    on_disk = sorted(path for path in folder.rglob("*") if path.is_file())
    assert sorted(files) == on_disk
    listed = [folder / entry["path"] for entry in manifest["files"]]
    assert sorted([*listed, folder / "manifest.json"]) == on_disk
    assert manifest["class_names"] == list(HOSTILE)
    assert manifest["derived"] == [
        "classes",
        "examples",
        "instance_places",
        "label",
        "prediction",
    ]


def test_write_bundle__writes_the_numbers_of_the_store(bundle, store):
    folder, _, read = bundle

    table = read(folder / "aggregates" / "label" / f"late.{folder.name}")

    labels = aggregates_of(store, "label")
    n = len(HOSTILE)
    assert len(table) == n * 16
    counts = table["count"].to_numpy().reshape(n, 16)
    np.testing.assert_array_equal(counts, labels.counts("late").toarray())
    for name in ("mean", "variance", "maximum", "lift"):
        found = table[name].to_numpy().reshape(n, 16)
        wanted = getattr(labels, name)("late")
        np.testing.assert_array_equal(found.astype(wanted.dtype), wanted)


def test_write_bundle__writes_instances_with_their_metadata(bundle):
    folder, _, read = bundle

    table = read(folder / f"instances.{folder.name}")

    note = "'@note" if folder.name == "csv" else "@note"
    assert len(table) == 60
    np.testing.assert_allclose(table["weight"], RUN.metadata["weight"], rtol=1e-14)
    wanted = "'@SUM(A1)" if folder.name == "csv" else "@SUM(A1)"
    assert table[note][0] == wanted
    assert table[note][2] == "ü"
    assert (table["prediction"] == -1).sum() == 2


def test_write_bundle__writes_artifacts(bundle, store):
    folder, _, read = bundle

    similarity = read(folder / "similarity" / "label" / f"late.{folder.name}")
    embedding = read(folder / "embedding" / "label" / f"late.{folder.name}")
    examples = read(folder / "examples" / f"late.{folder.name}")
    classes = read(folder / f"classes.{folder.name}")

    wanted = read_similarity(store, "label", "late")
    np.testing.assert_allclose(similarity.iloc[:, 1:], wanted, rtol=1e-6)
    assert list(embedding) == ["subset", "x", "y"]
    assert len(examples) == 16 * 5
    assert classes["n_instances"].sum() == 58
    named = [str(name).removeprefix("'") for name in similarity.iloc[:, 0]]
    assert named == list(HOSTILE)


def test_write_bundle__defuses_formulas_in_csv(store, tmp_path):
    write_bundle(store, tmp_path / "b", format="csv")

    for path in (tmp_path / "b").rglob("*.csv"):
        for column in (frame := pd.read_csv(path, dtype=str, keep_default_na=False)):
            assert not column.startswith(tuple("=+@-\uff1d"))
            texts = [v for v in frame[column] if isinstance(number_or_text(v), str)]
            assert not [v for v in texts if v.startswith(tuple("=+@-\uff1d"))]


def test_write_bundle__leaves_numbers_that_are_negative(store, tmp_path):
    write_bundle(store, tmp_path / "b", format="csv")

    text = (tmp_path / "b" / "instances.csv").read_text(encoding="utf-8")

    assert ",-1," in text
    # Names are texts, beside the numbers; one class of this run is called "-1".
    assert text.splitlines()[0].startswith("id,label,label_name,prediction,")
    assert text.count("'-1") == text.count("3,'-1,")


def test_write_bundle__writes_json_that_may_stand_in_html(store, tmp_path):
    write_bundle(store, tmp_path / "b", format="json")

    for path in (tmp_path / "b").rglob("*.json"):
        text = path.read_text(encoding="ascii")
        assert "</script" not in text
        assert "NaN" not in text
        json.loads(text)


def test_write_bundle__of_a_store_without_aggregates_has_the_instances(tmp_path):
    store = write_store(tmp_path / "s.zarr", PlantedRun(n_instances=20))

    files = write_bundle(store, tmp_path / "b")

    assert [path.name for path in files] == ["manifest.json", "instances.csv"]


def test_write_bundle__takes_an_empty_folder_and_no_other(store, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")

    write_bundle(store, tmp_path / "empty")

    assert (tmp_path / "empty" / "manifest.json").exists()
    with pytest.raises(StoreExistsError, match="is not empty"):
        write_bundle(store, tmp_path / "full")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine.txt"]


def test_write_bundle__that_cannot_be_written__is_one_error_and_leaves_nothing(
    store, tmp_path
):
    (tmp_path / "file").write_text("mine")

    for place in (tmp_path / "file" / "below", tmp_path / ("x" * 300)):
        with pytest.raises(StoreError, match="cannot export to"):
            write_bundle(store, place)

    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_write_bundle__refuses_an_unknown_format(store, tmp_path):
    with pytest.raises(ConfigError, match=r"format is 'xls'.* 'csv' or 'json' or"):
        write_bundle(store, tmp_path / "b", format="xls")


def test_write_bundle__needs_a_complete_extraction_and_leaves_no_folder(tmp_path):
    store = write_store(tmp_path / "s.zarr", RUN, missing_chunks=[0])

    with pytest.raises(MissingDataError):
        write_bundle(store, tmp_path / "b")

    assert not (tmp_path / "b").exists()


@pytest.mark.slow
def test_write_bundle__takes_a_subset_that_is_called_like_a_column(tmp_path):
    run = PlantedRun(
        n_classes=2,
        n_instances=20,
        class_names=("subset", "subset_"),
        layers=RUN.layers,
    )
    store = write_complete_store(tmp_path / "s.zarr", run)

    write_bundle(store, tmp_path / "b", format="parquet")

    table = pd.read_parquet(tmp_path / "b" / "similarity" / "label" / "late.parquet")
    assert list(table) == ["subset__", "subset", "subset_"]
