"""A run's store: what was planned, what is there, and what is refused."""

import contextlib
import zlib
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from nnviz.errors import (
    MissingDataError,
    ShapeError,
    StoreExistsError,
    StoreFormatError,
    StoreNotFoundError,
    UnknownNameError,
)
from nnviz.runs.identity import fingerprint_of
from nnviz.store.hierarchy import Hierarchy
from nnviz.store.store import Store, open_store
from nnviz.testing import PlantedRun, write_store
from tests.forked import FORKSERVER
from tests.oracles.files import tree_bytes

RUN = PlantedRun(
    n_classes=3,
    n_instances=50,
    layers=(("early", 70, (4, 4)), ("late", 6, ())),
    instances_per_chunk=20,
    n_unreadable=4,
    class_names=("<b>cat</b>", "dog", "dog"),
    metadata={
        "age": np.arange(50.0),
        "site": np.array(["ü", "", "a\nb", "🙂", "x" * 99] * 10, dtype=object),
        "ok": np.arange(50) % 2 == 0,
    },
)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    url = tmp_path_factory.mktemp("run") / "run.zarr"
    write_store(url, RUN)
    return open_store(url)


@pytest.fixture
def incomplete(tmp_path):
    return write_store(tmp_path / "run.zarr", RUN, missing_chunks=[1])


def chunk_of(store, index):
    """Return what a task would write for one chunk, from a complete store."""
    start, stop = store.chunks.spans[index]
    arrays = {}
    for name in ("prediction", "confidence", "probability", "status"):
        arrays[f"instances/{name}"] = store.column(name)[start:stop]
    for layer in store.layers:
        arrays[f"activations/{layer.name}"] = store.activations(layer.name, start, stop)
        if layer.shown:
            for part in ("instance", "position", "value"):
                path = f"peaks/{layer.name}/{part}"
                arrays[path] = store.read(path, index, index + 1)
    return arrays, {"n_instances": stop - start, "n_unreadable": 0, "n_saturated": 0}


def test_store__knows_what_was_planned(store):
    assert store.n_instances == 50
    assert store.chunks.spans == [(0, 20), (20, 40), (40, 50)]
    assert store.class_names == RUN.class_names
    assert [layer.name for layer in store.layers] == ["early", "late", "output"]
    assert [layer.name for layer in store.shown_layers] == ["early", "late"]
    assert len(store.fingerprint) == 64


def test_columns__come_back_as_they_were(store):
    assert store.column("label").tolist() == RUN.labels.tolist()
    for name, values in RUN.metadata.items():
        assert store.column(name).tolist() == values.tolist()
    assert store.usable().tolist() == (~RUN.is_unreadable).tolist()


def test_instances__are_a_table_with_the_standard_columns_first(store):
    table = store.instances()

    first = ["id", "label", "prediction", "confidence", "probability", "status"]
    assert list(table)[:6] == first
    assert sorted(list(table)[6:]) == ["age", "ok", "site"]
    assert len(table) == 50
    assert list(store.instances(["age"])) == ["age"]


def test_activations__are_read_by_rows_and_channels(store):
    whole = store.activations("early")

    part = store.activations("early", 15, 45, channels=slice(60, 66))

    assert (whole.shape, whole.dtype) == ((50, 70), np.float16)
    np.testing.assert_array_equal(part, whole[15:45, 60:66])
    assert np.isnan(whole[RUN.is_unreadable]).all()


def test_activations_dask__has_a_block_for_each_chunk(store):
    array = store.activations_dask("late")

    assert (array.chunks[0], array.dtype) == ((20, 20, 10), np.float32)
    values = array.compute(scheduler="threads")
    np.testing.assert_array_equal(values, store.activations("late").astype("f4"))


def test_marks__count_what_each_chunk_holds(store):
    marks = store.chunks.marks()

    assert marks["n_instances"].tolist() == [20, 20, 10]
    assert marks["n_unreadable"].sum() == 4
    assert not store.chunks.missing()


@pytest.mark.parametrize(
    ("read", "message"),
    [
        pytest.param(lambda s: s.column("lable"), "did you mean 'label'", id="column"),
        pytest.param(lambda s: s.instances(["aeg"]), "did you mean 'age'", id="table"),
        pytest.param(
            lambda s: s.activations("eraly"), "did you mean 'early'", id="act"
        ),
        pytest.param(lambda s: s.layer("x"), "the layers are early", id="layer"),
        pytest.param(lambda s: s.activations_dask("x"), "unknown layer", id="dask"),
    ],
)
def test_store__names_near_matches(store, read, message):
    with pytest.raises(UnknownNameError, match=message):
        read(store)


@pytest.mark.parametrize(
    "read",
    [
        pytest.param(lambda s: s.activations("early"), id="all"),
        pytest.param(lambda s: s.activations("early", 10, 21), id="one-row-of-it"),
        pytest.param(lambda s: s.activations("early", -15, -5), id="from-the-end"),
        pytest.param(lambda s: s.column("prediction"), id="column"),
        pytest.param(lambda s: s.usable(), id="usable"),
        pytest.param(lambda s: s.instances(), id="table"),
        pytest.param(lambda s: s.read("peaks/early/value"), id="peaks"),
        pytest.param(lambda s: s.read("peaks/early/value", 1, 2), id="its-peaks"),
    ],
)
def test_missing_piece__is_an_error_and_never_zeros(incomplete, read):
    with pytest.raises(MissingDataError, match="1 of 3 chunks; run 'nnviz extract"):
        read(incomplete)


@pytest.mark.parametrize(
    "read",
    [
        pytest.param(lambda s: s.activations("early", 0, 20), id="before"),
        pytest.param(lambda s: s.activations("early", 40), id="after"),
        pytest.param(lambda s: s.activations("early", -10), id="from-the-end"),
        pytest.param(lambda s: s.activations("early", 25, 25), id="no-rows"),
        pytest.param(lambda s: s.column("label"), id="planned-column"),
        pytest.param(lambda s: s.read("peaks/early/value", 2), id="peaks"),
    ],
)
def test_missing_piece__does_not_hide_the_others(incomplete, read):
    assert read(incomplete) is not None


def test_write_chunk__completes_a_run_with_the_bytes_of_an_unbroken_one(
    store, incomplete
):
    assert incomplete.chunks.missing() == [1]

    arrays, counts = chunk_of(store, 1)
    counts["n_unreadable"] = int(store.chunks.marks()["n_unreadable"][1])
    incomplete.chunks.write(1, arrays, counts)

    assert incomplete.chunks.missing() == []
    assert tree_bytes(_path(incomplete)) == tree_bytes(_path(store))


def _path(store):
    return Path(store.url)


def _write_one(url, source, index):
    store = Store.open(source)
    arrays, counts = chunk_of(store, index)
    counts["n_unreadable"] = int(store.chunks.marks()["n_unreadable"][index])
    Store.open(url, writable=True).chunks.write(index, arrays, counts)


@pytest.mark.slow
def test_write_chunk__by_several_processes_at_once_loses_nothing(store, tmp_path):
    other = write_store(tmp_path / "run.zarr", RUN, missing_chunks=[0, 1, 2])
    tasks = [
        FORKSERVER.Process(target=_write_one, args=(other.url, store.url, index))
        for index in range(3)
    ]

    for task in tasks:
        task.start()
    for task in tasks:
        task.join()

    assert [task.exitcode for task in tasks] == [0, 0, 0]
    assert tree_bytes(_path(other)) == tree_bytes(_path(store))


def test_write_chunk__is_repeatable(store, tmp_path):
    other = write_store(tmp_path / "run.zarr", RUN)
    before = tree_bytes(_path(other))

    arrays, counts = chunk_of(store, 0)
    counts["n_unreadable"] = int(store.chunks.marks()["n_unreadable"][0])
    other.chunks.write(0, arrays, counts)

    assert tree_bytes(_path(other)) == before


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        pytest.param(lambda a: a.pop("activations/late"), "expects", id="missing"),
        pytest.param(lambda a: a.update(other=np.zeros(20)), "expects", id="unknown"),
        pytest.param(
            lambda a: a.update({"activations/late": np.zeros((19, 6), "f2")}),
            r"not \(20, 6\)",
            id="rows",
        ),
    ],
)
def test_write_chunk__refuses_other_arrays_and_leaves_no_mark(
    store, tmp_path, spoil, message
):
    other = write_store(tmp_path / "run.zarr", RUN, missing_chunks=[0])
    arrays, counts = chunk_of(store, 0)
    spoil(arrays)

    with pytest.raises(ShapeError, match=message):
        other.chunks.write(0, arrays, counts)

    assert other.chunks.missing() == [0]


def pieces(store):
    """Return every file of the store that holds values, not metadata."""
    folder = _path(store)
    return [p for p in folder.rglob("*") if p.is_file() and p.name != "zarr.json"]


def crc_of(values):
    """Return a checksum of the values' bytes, or texts."""
    if values.dtype.kind in "TUO":
        return zlib.crc32(repr(values.tolist()).encode())
    return zlib.crc32(values.tobytes())


def held_by(store, piece):
    """Return the array of a piece, and those of the run that are read from it."""
    path = piece.relative_to(_path(store)).as_posix().split("/c/")[0]
    held = store.stored.members(list(store.stored.places))[path]
    return path, held


@pytest.mark.parametrize("version", [2, 3])
def test_flipped_bit__is_found_in_every_piece_of_every_array(tmp_path, version):
    run = PlantedRun(
        n_classes=2, n_instances=10, layers=(("a", 4, (2, 2)),), examples_per_channel=2
    )
    store = write_store(tmp_path / "run.zarr", run, version=version)
    readable = set(store.stored.places) - {"extraction_done"}
    sound = {path: crc_of(store.read(path)) for path in readable}
    found = []

    for path in pieces(store):
        data = path.read_bytes()
        name, held = held_by(store, path)
        for place in {0, len(data) // 2, len(data) - 1}:
            path.write_bytes(
                data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :]
            )
            spoilt = Store.open(store.url)
            if name in ("instances/id", "instances/label"):
                with pytest.raises(StoreFormatError):
                    spoilt.read(name)
            else:
                problems = spoilt.chunks.problems(0)
                assert problems
                assert {where for where, _ in problems} <= {name, *held}
            for part in readable.intersection(
                held
            ):  # what is read all the same is as it was written
                with contextlib.suppress(StoreFormatError, MissingDataError):
                    assert crc_of(spoilt.read(part)) == sound[part]
            found.append(name)
        path.write_bytes(data)

    assert len(set(found)) == (12 if version == 2 else 10)


@pytest.mark.parametrize("version", [2, 3])
def test_piece_that_is_gone__is_found_in_every_array(tmp_path, version):
    store = write_store(tmp_path / "run.zarr", RUN, version=version)
    found = []

    for path in pieces(store):
        data = path.read_bytes()
        path.unlink()
        for name in held_by(store, path)[1]:
            # Without its mark a chunk is not complete, whatever is read of it.
            read = "activations/early" if name == "extraction_done" else name
            with pytest.raises((StoreFormatError, MissingDataError), match="missing"):
                Store.open(store.url).read(read)
            found.append(name)
        path.write_bytes(data)

    assert {"instances/status", "activations/early", "peaks/late/value"} < set(found)


def test_piece_that_is_gone__is_found_in_what_later_stages_wrote(tmp_path):
    store = write_store(tmp_path / "run.zarr", RUN)
    matrix = sparse.csr_array(np.eye(3, dtype=np.int64))
    store.groups.write("artifacts/mine", {"a": np.zeros(3), "m": matrix}, {})
    (_path(store) / "artifacts/mine/a/c/0").unlink()
    (_path(store) / "artifacts/mine/m/data/c/0").unlink()

    with pytest.raises(StoreFormatError, match="is missing"):
        Store.open(store.url).groups.read("artifacts/mine/a")
    with pytest.raises(StoreFormatError, match="is missing"):
        Store.open(store.url).groups.read_csr("artifacts/mine/m")


def test_read__of_an_array_that_is_not_there__names_the_nearest(store):
    with pytest.raises(StoreFormatError, match=r"no array 'activations/erly'.*early'"):
        store.read("activations/erly")


def test_truncated_piece__is_found(store, tmp_path):
    other = write_store(tmp_path / "run.zarr", RUN)
    piece = max((_path(other) / "activations" / "float16" / "c").rglob("0"))
    piece.write_bytes(piece.read_bytes()[:-7])

    with pytest.raises(StoreFormatError, match=r"'activations/early'.* damaged"):
        Store.open(other.url).activations("early")


def test_open__of_nothing_says_how_to_make_a_store(tmp_path):
    with pytest.raises(StoreNotFoundError, match="nnviz plan"):
        open_store(tmp_path / "no.zarr")


def test_open__refuses_another_format_version(tmp_path):
    store = write_store(tmp_path / "run.zarr", RUN)
    hierarchy = Hierarchy.open(store.url, writable=True)
    hierarchy.set_attributes({**hierarchy.attributes(), "format_version": 99})

    with pytest.raises(
        StoreFormatError, match="format 99; this nnviz reads the formats 1, 2, 3"
    ):
        open_store(store.url)


def test_open__refuses_a_plan_with_an_option_that_it_does_not_know(tmp_path):
    store = write_store(tmp_path / "run.zarr", RUN)
    hierarchy = Hierarchy.open(store.url, writable=True)
    attributes = hierarchy.attributes()
    attributes["plan"]["extraction"]["rank"] = 3
    attributes["plan_fingerprint"] = fingerprint_of(attributes["plan"])
    hierarchy.set_attributes(attributes)

    with pytest.raises(
        StoreFormatError,
        match=r"'rank' in \[plan.extraction\]; did you mean 'ranks'.*nnviz that wrote",
    ):
        open_store(store.url)


def test_open__refuses_a_zarr_group_that_is_no_store(tmp_path):
    zarr = pytest.importorskip("zarr")
    zarr.create_group(tmp_path / "other.zarr", zarr_format=3)

    with pytest.raises(StoreFormatError, match="not a store of nnviz"):
        open_store(tmp_path / "other.zarr")


def test_create__refuses_a_place_where_something_is(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")

    with pytest.raises(StoreExistsError, match="something at"):
        write_store(tmp_path, RUN)

    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_open__for_reading_cannot_write(store):
    arrays, counts = chunk_of(store, 0)
    before = tree_bytes(_path(store))

    with pytest.raises(Exception, match=r"read-only|read only"):
        store.groups.write("artifacts/mine", {}, {})
    with pytest.raises(Exception, match=r"read-only|read only"):
        store.chunks.write(0, arrays, counts)

    assert tree_bytes(_path(store)) == before


def test_write_group__comes_back_with_its_attributes(tmp_path):
    store = write_store(tmp_path / "run.zarr", RUN)

    store.groups.write(
        "artifacts/mine",
        {"a/early": np.arange(6.0).reshape(2, 3), "b": np.array(["x", "ü"])},
        {"names": ["<b>"], "n": 2},
        dimensions={"a": ("subset", "channel")},
    )

    again = open_store(store.url)
    attributes = again.groups.attributes("artifacts/mine")
    assert (attributes["names"], attributes["n"]) == (["<b>"], 2)
    assert attributes["plan_fingerprint"] == store.fingerprint
    assert again.groups.read("artifacts/mine/a/early").tolist() == [
        [0, 1, 2],
        [3, 4, 5],
    ]
    assert again.groups.read("artifacts/mine/b").tolist() == ["x", "ü"]
    assert again.groups.has_array("artifacts/mine/b")
    assert again.groups.names("artifacts") == ["mine"]


def test_write_group__replaces_all_of_what_was_there(tmp_path):
    store = write_store(tmp_path / "run.zarr", RUN)
    store.groups.write("artifacts/mine", {"old": np.zeros(3)}, {})

    store.groups.write("artifacts/mine", {"new": np.zeros(3)}, {})

    assert store.groups.names("artifacts/mine") == ["new"]


def test_group_in_pieces__counts_only_when_it_is_finished(tmp_path):
    store = write_store(tmp_path / "run.zarr", RUN)
    store.groups.start("artifacts/mine", groups=["a"])
    store.groups.write_member("artifacts/mine/a/x", np.arange(3))

    assert not store.groups.is_complete("artifacts/mine")
    with pytest.raises(MissingDataError, match="run 'nnviz derive"):
        store.groups.attributes("artifacts/mine")

    store.groups.finish("artifacts/mine", {"n": 1})
    assert store.groups.is_complete("artifacts/mine")


def test_group__that_no_stage_has_written_names_the_stage(store):
    with pytest.raises(MissingDataError, match="run 'nnviz aggregate"):
        store.groups.attributes("aggregates/label")


def test_displays__show_the_state_and_escape_it(store, tmp_path):
    other = write_store(tmp_path / "<b>run.zarr", RUN, missing_chunks=[1])

    assert "2 of 3 chunks" in repr(other)
    assert "3 of 3 chunks" in repr(store)
    assert "<b>run" not in other._repr_html_()
    assert "&lt;b&gt;run" in other._repr_html_()
