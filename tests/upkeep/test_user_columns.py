"""A user's function becomes a column: once, resumably, and told apart from others."""

import datetime as dt
import functools

import numpy as np
import pytest
from click.testing import CliRunner

import nnviz
from nnviz.cli.main import main
from nnviz.engine.callers_objects import delivered
from nnviz.errors import (
    ConfigError,
    DatasetError,
    InputError,
    MissingDataError,
    UnknownNameError,
)
from nnviz.extraction.extraction import extract
from nnviz.importing import import_callable
from nnviz.store.store import Store
from nnviz.subsets.naming import named_subsets
from nnviz.testing import PlantedRun, write_store
from nnviz.upkeep.extension import extend
from nnviz.upkeep.user_columns import add_column, key_of
from nnviz.upkeep.verification import verify
from tests.faults.small_run import create, extracted, one_worker, write_inputs

pytestmark = pytest.mark.slow


@pytest.fixture
def store(tmp_path):
    write_store(tmp_path / "run.zarr", PlantedRun(n_instances=300, n_unreadable=4))
    return nnviz.open_store(tmp_path / "run.zarr")


def is_doubtful(row):
    return row["confidence"] < 0.6


def total(rows):
    return float(np.nan_to_num(rows).sum())


def totals(batch):
    return np.array([total(rows) for rows in batch])


ASKED = []


def first_five(row):
    ASKED.append(row["id"])
    return row["age"] if row["age"] < 5 else None


def fails_late(row):
    ASKED.append(row["id"])
    if len(ASKED) > 250:
        raise ValueError(row["id"])
    return 1


def test_column__over_rows__is_a_column_like_every_other(store):
    made = store.add_column("doubtful", is_doubtful, progress=False)

    table, usable = store.instances(), store.usable()
    expected = table["confidence"] < 0.6
    assert (made.kind, made.n_asked, made.n_values) == ("truth", 300, 296)
    assert "doubtful: truth values, of 296 of 300 instances" in str(made)
    found = store.subset("doubtful").instances
    assert found.tolist() == np.flatnonzero(expected & usable).tolist()
    assert table["doubtful"][~usable].tolist() == [None] * 4
    assert store.subset("doubtful is null").instances.tolist() == (
        np.flatnonzero(~usable).tolist()
    )
    contrasts = store.look("confidence < 0.6").metadata
    assert ("doubtful", "true") in [(c.column, c.value) for c in contrasts]
    collection = named_subsets(store, "doubtful")
    assert collection.names == ("False", "True")


def test_rows__have_classes_by_name_and_none_for_no_value(small):
    rows = []

    small.add_column("n", lambda row: rows.append(row), progress=False)

    assert rows[4]["label"] == "b"
    assert rows[4]["site"] == "x"
    assert rows[4]["age"] == 4.0
    assert rows[4]["correct"] == (rows[4]["label"] == rows[4]["prediction"])
    assert len(rows) == 39  # one has no numbers, and is not asked about
    assert small.column("n").dtype == np.float64
    assert np.isnan(small.column("n")).all()


@pytest.mark.parametrize("batch_size", [None, 1, 7], ids=["one", "lists of 1", "of 7"])
@pytest.mark.parametrize("place", ["here", "cluster"])
def test_column__over_instances__is_the_same_wherever_and_however(
    small, place, batch_size
):
    function = totals if batch_size else total
    options = {"over": "instances", "batch_size": batch_size}
    with np.load(small.plan.dataset.path) as data:
        expected = np.nan_to_num(data["data"]).sum(axis=(1))

    if place == "here":
        small.add_column("sum", function, workers=0, progress=False, **options)
    else:
        with one_worker() as client:
            small.add_column("sum", function, client=client, progress=False, **options)

    found = small.column("sum")
    np.testing.assert_allclose(found[small.usable()], expected[small.usable()], 1e-5)
    assert np.isnan(found[7])


@pytest.mark.parametrize(
    ("answer", "kind", "stored"),
    [
        (3, "whole", 3),
        (np.float32(0.5), "number", 0.5),
        (np.array([True]), "truth", True),
        ("night", "text", "night"),
        (dt.date(2024, 5, 31), "text", "2024-05-31"),
        (np.datetime64("2024-05-31T13"), "text", "2024-05-31T13"),
    ],
    ids=["int", "float32", "array of one", "text", "date", "datetime64"],
)
def test_answers__of_every_kind__are_stored(small, answer, kind, stored):
    made = small.add_column("x", lambda row: answer, progress=False)

    assert made.kind == kind
    assert small.column("x")[0] == stored


def test_dates__are_compared_as_dates(small):
    start = dt.datetime(2024, 5, 1)
    small.add_column(
        "taken", lambda row: start + dt.timedelta(days=row["age"]), progress=False
    )

    assert small.subset("taken >= 2024-05-30").instances.tolist() == list(range(29, 40))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda row: [1, 2], "answered a list, for '0'; it should answer one number"),
        (lambda row: 2**70, "answered 1180591620717411303424, an int"),
        (lambda row: "\ud800", "it should answer one number"),
        (lambda row: 1 / 0, r"ZeroDivisionError: division by zero \(.*test_user_col"),
        (lambda row: exit(3), "raised SystemExit: 3"),
        (lambda row: row["aeg"], "KeyError: 'aeg'"),
        (lambda row: "old" if row["age"] > 3 else 1, "a text, 'old', and a whole numb"),
    ],
    ids=["list", "large", "surrogate", "raises", "exits", "unknown", "mixed"],
)
def test_function__that_is_wrong__is_one_message_and_leaves_nothing(
    small, function, message
):
    with pytest.raises(InputError, match=message):
        small.add_column("x", function, progress=False)

    assert small.added_columns() == {}


def test_function__in_lists__answers_as_many(small):
    with pytest.raises(InputError, match="answered 2 values; it should answer 7"):
        small.add_column("x", lambda rows: [1, 2], batch_size=16, progress=False)
    with pytest.raises(InputError, match="should answer a list of as many values"):
        small.add_column("x", lambda rows: 1, batch_size=16, progress=False)
    with pytest.raises(ConfigError, match="batch_size is 0"):
        small.add_column("x", totals, batch_size=0, progress=False)


def test_function__that_fails_on_a_worker__is_one_message_with_its_place(small):
    def broken(values):
        raise RuntimeError("no dog here")

    with one_worker() as client, pytest.raises(InputError) as caught:
        small.add_column("x", broken, over="instances", client=client, progress=False)

    told = "the function 'broken', asked for '0', raised RuntimeError: no dog here"
    assert told in str(caught.value)
    assert "test_user_columns.py, line" in str(caught.value)


def test_column__that_failed_late__goes_on_where_it_ended(store):
    ASKED.clear()
    with pytest.raises(InputError, match="ValueError"):
        store.add_column("length", fails_late, progress=False)
    before, n = store.added_columns()["length"], len(ASKED)
    ASKED.clear()
    store.add_column("length", fails_late, progress=False)
    asked = []

    def of_the_rest(row):
        asked.append(row["id"])
        return 0

    assert not before.is_complete
    assert 0 < before.n_values < n
    assert len(ASKED) == 296 - before.n_values
    assert store.added_columns()["length"].is_complete
    with pytest.raises(ConfigError, match="whose code was another; to make it anew"):
        store.add_column("length", of_the_rest, progress=False)
    store.add_column("length", of_the_rest, replace=True, progress=False)
    assert len(asked) == 296
    assert np.nanmax(store.column("length")) == 0


def test_column__repeated__asks_nobody(small):
    ASKED.clear()
    small.add_column("five", first_five, progress=False)
    n = len(ASKED)

    small.add_column("five", first_five, progress=False)

    assert (n, len(ASKED)) == (39, 39)


def test_column__of_a_store_that_grew__is_filled_up(tmp_path):
    ASKED.clear()
    small = extracted(write_inputs(tmp_path))
    small.add_column("five", first_five, progress=False)
    write_inputs(tmp_path, n=50)
    extend(small.url)
    grown = nnviz.open_store(small.url)
    with one_worker() as client:
        extract(Store.open(small.url, writable=True), client=client)

    assert grown.added_columns()["five"].n_asked == 40
    assert np.isnan(grown.column("five")[40:]).all()
    assert "10 are still to be asked for" in str(grown.added_columns()["five"])
    made = grown.add_column("five", first_five, progress=False)

    assert made.is_complete
    assert ASKED[39:] == [str(i) for i in range(40, 50)]
    assert np.nansum(grown.column("five")) == 0 + 1 + 2 + 3 + 4


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("site", "the name of a column of the table"),
        ("correct", "the name of a column of the table"),
        ("a", "the name of a class"),
        ("outcome", "the name of a collection"),
        ("saved one", "the name of a saved subset"),
        (" ", "cannot be called"),
        ("a\nb", "printable"),
    ],
)
def test_name__that_is_taken_or_odd__is_refused(small, name, message):
    small.save_subset("saved one", "correct")

    with pytest.raises(ConfigError, match=message):
        small.add_column(name, first_five, progress=False)


def test_saved_subset__with_the_name_of_a_column__is_refused(small):
    small.add_column("five", first_five, progress=False)

    with pytest.raises(DatasetError, match="name of a column already"):
        small.save_subset("five", "correct")


def test_column__removed__is_no_longer_there(small):
    small.add_column("five", first_five, progress=False)
    assert len(small.subset("five < 3")) == 3

    small.remove_column("five")

    assert "five" not in small.columns
    with pytest.raises(nnviz.errors.QueryError, match="no column 'five'"):
        small.subset("five < 3")
    with pytest.raises(UnknownNameError, match="added are none"):
        small.remove_column("five")


def test_column__made_anew__is_what_queries_see(small):
    small.add_column("x", lambda row: row["age"], progress=False)
    assert len(small.subset("x > 30")) == 9

    small.add_column("x", lambda row: -row["age"], replace=True, progress=False)

    assert len(small.subset("x > 30")) == 0
    assert len(small.subset("x <= 0")) == 39


def test_code__with_other_values__is_other_code():
    def more_than(limit):
        return lambda row: row["age"] > limit

    keys = {
        key_of(function, over)
        for over in ("rows", "instances")
        for function in (
            more_than(1),
            more_than(2),
            functools.partial(round, ndigits=1),
            functools.partial(round, ndigits=2),
        )
    }

    assert len(keys) == 8
    assert key_of(more_than(1), "rows") == key_of(more_than(1), "rows")


def test_verify__finds_a_damaged_column_and_spares_what_rests_on_no_damage(small):
    small.save_subset("mine", [1, 2])
    small.add_column("x", first_five, progress=False)
    small.add_column("sum", total, over="instances", workers=0, progress=False)
    activations = Store.open(small.url)._hierarchy.files.folder / "activations/float16"
    piece = next(activations.glob("c/1/*"))
    piece.write_bytes(b"\0" + piece.read_bytes()[1:])

    verify(small.url, contents=False)

    assert list(small.added_columns()) == ["sum", "x"]
    assert list(small.saved_subsets()) == ["mine"]
    folder = next((activations.parents[1] / "artifacts/columns").glob("rows-*"))
    piece = next((folder / "value/c").iterdir())
    piece.write_bytes(piece.read_bytes()[:-1] + b"!")
    report = verify(small.url, contents=False)
    assert f"'nnviz column {small.url}'" in str(report)
    assert list(small.added_columns()) == ["sum"]


def test_column__of_an_incomplete_extraction__is_refused(tmp_path):
    opened = create(write_inputs(tmp_path))

    with pytest.raises(MissingDataError):
        add_column(opened, "x", first_five)


def test_command__adds_lists_and_removes(small, tmp_path):
    (tmp_path / "own.py").write_text("def half(row):\n    return row['age'] / 2\n")
    run = functools.partial(CliRunner().invoke, main)

    added = run(["column", small.url, "half", f"{tmp_path}/own.py:half", "--quiet"])
    told = run(["inspect", small.url])
    removed = run(["column", small.url, "--remove", "half"])

    assert added.output.startswith("half: numbers, of 39 of 40 instances, by half over")
    assert "column half" in told.output
    assert "no column was added" in removed.output
    assert run(["column", small.url, "half"]).exit_code == 2
    wrong = run(["column", small.url, "half", f"{tmp_path}/own.py:hal"])
    assert "has no 'hal'; did you mean 'half'" in wrong.output


def test_function__with_a_cache__reaches_processes(small, processes, tmp_path):
    code = (
        "import functools\n\n"
        "@functools.cache\ndef step():\n    return 2\n\n"
        "def doubled(values):\n    return step() * len(values)\n"
    )
    (tmp_path / "own_cached.py").write_text(code)
    by_value = import_callable(f"{tmp_path}/own_cached.py:doubled")

    with delivered({key_of(by_value, "instances"): by_value}, processes):
        made = add_column(
            small, "n", by_value, over="instances", client=processes, replace=True
        )

    assert made.kind == "whole"
    assert set(small.column("n")[small.usable()]) == {12}
