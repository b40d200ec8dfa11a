"""The index against plain loops, without it, and with all that can be wrong with it."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nnviz
from nnviz.aggregation import index_layout
from nnviz.aggregation.aggregates import aggregates_of
from nnviz.aggregation.aggregation import aggregate
from nnviz.aggregation.index import index_state, make_index, piece_path
from nnviz.aggregation.index_channels import IndexedChannels
from nnviz.aggregation.index_kernels import add_moments
from nnviz.aggregation.subset_index import (
    SCANNED_PER_SORTED,
    SubsetIndex,
    subset_index,
)
from nnviz.aggregation.totals import count_blocks
from nnviz.engine.progress import StageDone, StageStarted, TaskDone
from nnviz.errors import MissingDataError
from nnviz.store.extending import finish_extension, root_attributes, stage_extension
from nnviz.store.store import Store, plan_attributes
from nnviz.subsets.columns import InstanceColumns, StoredChannels
from nnviz.subsets.evaluation import matching_instances
from nnviz.subsets.subsets import Subset
from nnviz.testing import PlantedRun, write_store
from nnviz.upkeep.inspection import describe_store
from nnviz.upkeep.verification import verify
from tests.oracles import aggregates as oracle
from tests.oracles.files import tree_bytes
from tests.oracles.stored_arrays import stored_array

pytestmark = pytest.mark.slow

RUN = PlantedRun(
    n_classes=4,
    n_instances=230,
    layers=(("early", 12, (4, 4)), ("middle", 10, (4, 4)), ("late", 16, (2, 2))),
    instances_per_chunk=20,
    n_unreadable=6,
    influence_ranks=3,
    examples_per_channel=0,
)
LAYERS = ("early", "middle", "late", "output")
SHOWN = LAYERS[:3]


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch):
    """Several pieces of three chunks, the last one shorter."""
    monkeypatch.setattr(index_layout, "ROWS_PER_PIECE", 60)


def mixed_store(path, run=RUN):
    """Write a planted run with one layer in float32, and another's channel left out."""
    plain = write_store(path.with_name(f"plain-{path.name}"), run)
    plan = plain.plan
    options = replace(plan.extraction, excluded_channels={"late": (0, 5)})
    dtypes = {**plan.layer_dtypes, "middle": "float32"}
    plan = replace(plan, extraction=options, layer_dtypes=dtypes)
    columns = {f"instances/{name}": plain.column(name) for name in ("id", "label")}
    store = Store.create(path, plan, static=columns)
    for index, (start, stop) in enumerate(store.chunks.spans):
        chunk = {name: plain.read(name, start, stop) for name in store.chunks.arrays}
        wide = chunk["activations/middle"].astype(np.float32)
        # Beyond float16, and with a square beyond float32.
        wide[0] *= np.float32(1e25)
        chunk["activations/middle"] = wide
        counts = {"n_instances": stop - start, "n_unreadable": 0, "n_saturated": 0}
        store.chunks.write(index, chunk, counts)
    return store


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("index")


@pytest.fixture(scope="module")
def unindexed(run_folder):
    store = mixed_store(run_folder / "plain.zarr")
    return Store.open(store.url)


@pytest.fixture(scope="module")
def indexed(run_folder):
    patch = pytest.MonkeyPatch()
    patch.setattr(index_layout, "ROWS_PER_PIECE", 60)
    store = mixed_store(run_folder / "indexed.zarr")
    make_index(store)
    aggregate(store, [])
    patch.undo()
    return Store.open(store.url)


@pytest.fixture(scope="module")
def planted(run_folder):
    """Return an indexed store, and what is answered of some instances without."""
    store = write_store(run_folder / "planted.zarr", RUN)
    instances = np.flatnonzero(store.usable())[::3]
    plain = answers(SubsetIndex(store), instances)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index_layout, "ROWS_PER_PIECE", 60)
        make_index(store)
    return Store.open(store.url), instances, plain


sets_of_instances = st.sets(st.integers(0, RUN.n_instances - 1)).map(
    lambda found: np.array(sorted(found), dtype=np.int64)
)


def assert_same_moments(found, expected):
    for layer in SHOWN:
        for name in ("total", "total_of_squares", "maximum"):
            one, other = getattr(found[layer], name), getattr(expected[layer], name)
            np.testing.assert_array_equal(one, other, err_msg=f"{layer} {name}")


@given(instances=sets_of_instances)
@settings(max_examples=15, deadline=None)
def test_index__agrees_with_plain_loops(indexed, instances):
    usable = indexed.usable()
    members = [int(i) for i in instances if usable[i]]

    found = subset_index(indexed).activation_counts(instances)
    moments = subset_index(indexed).moments(instances)

    for layer in LAYERS:
        rows = np.nan_to_num(indexed.activations(layer).astype(np.float64))
        rows[:, [0, 5] if layer == "late" else []] = 0
        expected = oracle.counts(rows, members, share=RUN.share)
        assert found[layer].tolist() == expected, layer
    for layer in SHOWN:
        rows = indexed.activations(layer)
        mean, _, maximum = oracle.moments(rows, members)
        np.testing.assert_allclose(moments[layer].mean, mean, rtol=1e-6)
        np.testing.assert_array_equal(moments[layer].maximum, maximum)
        assert moments[layer].n_instances == len(members)


@pytest.mark.parametrize("layer", SHOWN)
def test_moments__have_the_variances_of_plain_loops(indexed, layer):
    instances = np.arange(1, 230, 3)
    members = [i for i in instances if indexed.usable()[i]]

    found = subset_index(indexed).moments(instances)[layer]

    _, variance, _ = oracle.moments(indexed.activations(layer), members)
    scale = np.asarray(variance) + found.mean**2
    assert (np.abs(found.variance - variance) <= 1e-6 * scale).all()


@given(instances=sets_of_instances)
@settings(max_examples=10, deadline=None)
def test_index__and_without_it__the_same_bits(indexed, unindexed, instances):
    with_it, without = subset_index(indexed), subset_index(unindexed)
    assert with_it.is_complete
    assert not without.is_complete

    assert_same_moments(with_it.moments(instances), without.moments(instances))
    counts = without.activation_counts(instances)
    for layer, found in with_it.activation_counts(instances).items():
        np.testing.assert_array_equal(found, counts[layer])


@pytest.mark.parametrize("n_blocks", [1, 4])
@given(instances=sets_of_instances)
@settings(max_examples=8, deadline=None)
def test_count_blocks__by_the_index__the_same_bits(
    indexed, unindexed, n_blocks, instances
):
    subset = Subset("some", instances)

    found = count_blocks(indexed, subset, n_blocks=n_blocks)
    expected = count_blocks(unindexed, subset, n_blocks=n_blocks)

    assert found.sizes.tolist() == expected.sizes.tolist()
    assert set(found.blocks) == set(expected.blocks)
    for what, layers in expected.blocks.items():
        assert set(found.blocks[what]) == set(layers)
        for layer, matrix in layers.items():
            assert found.blocks[what][layer].dtype == matrix.dtype
            np.testing.assert_array_equal(
                found.blocks[what][layer].toarray(), matrix.toarray()
            )


@pytest.mark.parametrize("n", [0, 1, 200])
def test_influences__agree_with_plain_loops(indexed, n):
    # Of one instance its own pairs are looked at, of many all that there are.
    members = np.flatnonzero(indexed.usable())[::2][:n]
    index = subset_index(indexed)
    n_held = sum(
        int(np.diff(facts.lists.offsets)[facts.rows].sum())
        for facts in index.pieces.facts(members, "pairs")
    )
    is_few = n_held <= index.pieces.state.layout.n_pairs // SCANNED_PER_SORTED
    assert is_few == (n < 2)
    parts = [
        indexed.read(f"influences/late/{part}")
        for part in ("target", "source", "influence")
    ]
    shape = {"n_targets": 16, "n_sources": 10}
    counts, sums = oracle.influences(*parts, members, **shape)

    found = index.influence_counts([members])["late"].toarray()
    summed = index.influence_sums([members])["late"].toarray()

    assert found.reshape(16, 10).tolist() == counts
    np.testing.assert_allclose(summed.reshape(16, 10), sums, rtol=1e-12)


def test_index__of_most_instances__takes_the_others_away_from_all(indexed, unindexed):
    assert aggregates_of(indexed, "all").names
    instances = np.arange(10, 230)

    found = subset_index(indexed).moments(instances, maxima=False)

    expected = subset_index(unindexed).moments(instances)
    for layer in SHOWN:
        assert np.isnan(found[layer].maximum).all()
        np.testing.assert_allclose(found[layer].total, expected[layer].total, rtol=1e-6)


def test_index__of_no_instance__has_zeros_and_no_maximum(indexed):
    nothing = np.zeros(0, dtype=np.int64)

    moments = subset_index(indexed).moments(nothing)["late"]

    assert not moments.total.any()
    assert np.isnan(moments.maximum).all()
    assert np.isnan(moments.mean).all()
    assert not subset_index(indexed).activation_counts(nothing)["late"].any()


@pytest.mark.parametrize("layer", LAYERS)
def test_channels__are_those_of_the_chunks(indexed, unindexed, layer):
    found, expected = IndexedChannels(indexed), StoredChannels(unindexed)

    for channel in (0, 3):
        np.testing.assert_array_equal(
            found.activation(layer, channel), expected.activation(layer, channel)
        )
        np.testing.assert_array_equal(
            found.is_top(layer, channel), expected.is_top(layer, channel)
        )
    np.testing.assert_array_equal(found.activations(layer), expected.activations(layer))
    np.testing.assert_array_equal(
        found.top(layer).toarray(), expected.top(layer).toarray()
    )


def test_channels__answer_a_query(indexed, unindexed):
    query = "activation(early, 3) > 0.5 or top(late, 1)"

    found = matching_instances(
        query, InstanceColumns(indexed, IndexedChannels(indexed))
    )

    columns = InstanceColumns(unindexed, StoredChannels(unindexed))
    assert found.tolist() == matching_instances(query, columns).tolist()


WIDE = PlantedRun(
    n_classes=3,
    n_instances=130,
    layers=(("wide", 150, ()),),
    instances_per_chunk=20,
    n_unreadable=4,
)


def one_channel(url, channel):
    return IndexedChannels(Store.open(url)).activation("wide", channel)


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("channel", [0, 63, 64, 149])
def test_channel__by_its_strips__is_what_zarr_reads(tmp_path, channel, version):
    store = write_store(tmp_path / "s.zarr", WIDE, version=version)
    make_index(store)
    shutil.rmtree(tmp_path / "s.zarr" / piece_path(0) / "activations_float16" / "c")

    found = one_channel(store.url, channel)

    values = stored_array(store.url, "activations/wide")[:, channel]
    np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize(
    ("n", "gone"), [(0, "activations/float16"), (20, "activations/float16"),
                    (100, f"{piece_path(0)}/activations_float16")],
)  # fmt: skip
def test_channel__of_some_instances__is_read_as_rows_only_of_few(tmp_path, n, gone):
    store = write_store(tmp_path / "s.zarr", WIDE)
    make_index(store)
    instances = np.sort(np.random.default_rng(0).choice(130, n, replace=False))
    expected = store.activations("wide")[instances, 70]
    shutil.rmtree(tmp_path / "s.zarr" / gone / "c")

    channels = IndexedChannels(Store.open(store.url))
    found = channels.activation_of("wide", 70, instances)

    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("layer", LAYERS)
def test_channel__of_some_instances__needs_no_index(indexed, unindexed, layer):
    instances = np.array([0, 3, 11])

    for source in (IndexedChannels(indexed), IndexedChannels(unindexed),
                   StoredChannels(unindexed)):  # fmt: skip
        found = source.activation_of(layer, 1, instances)
        expected = unindexed.activations(layer)[instances, 1]
        np.testing.assert_array_equal(found, expected)


PIECES = "activations/float16/c"


def swapped(folder):
    """Put a chunk of another one's place, sound in itself, into the store."""
    pieces = folder / PIECES
    shutil.copy(pieces / "4/0", pieces / "1/0")


def flipped(folder):
    spoil(folder / PIECES / "1/0", "flipped")


def gone(folder):
    spoil(folder / PIECES / "1/0", "gone")


@pytest.mark.parametrize("damage", [swapped, flipped, gone])
def test_channel__where_a_strip_is_damaged__is_taken_from_rows(tmp_path, damage):
    store = write_store(tmp_path / "s.zarr", WIDE)
    make_index(store)
    expected = store.activations("wide")[:, [3, 70, 140]]
    damage(tmp_path / "s.zarr")

    found = np.stack([one_channel(store.url, c) for c in (3, 70, 140)], axis=1)

    np.testing.assert_array_equal(found, expected)


def test_channel__with_damaged_checksums_of_strips__is_the_same(tmp_path):
    store = write_store(tmp_path / "s.zarr", WIDE)
    make_index(store)
    spoil(tmp_path / "s.zarr" / piece_path(0) / "strip_crc32c/c/0", "flipped")
    opened = Store.open(store.url)
    index = subset_index(opened)

    found = IndexedChannels(opened).activation("wide", 70)

    np.testing.assert_array_equal(found, store.activations("wide")[:, 70])
    assert "'index/00000'" in index.problems[0]


class Recorder:
    def __init__(self):
        self.events = []

    def receive(self, event):
        self.events.append(event)


def pieces_written(recorder):
    return [e.task for e in recorder.events if isinstance(e, TaskDone)]


def test_make_index__tells_its_listeners_and_makes_nothing_twice(tmp_path):
    store = write_store(tmp_path / "s.zarr", RUN)
    first, second = Recorder(), Recorder()

    make_index(store, listeners=[first])
    make_index(store, listeners=[second])

    assert first.events[0] == StageStarted("index", 4, 0)
    assert pieces_written(first) == [f"piece {n}" for n in range(4)]
    assert isinstance(first.events[-1], StageDone)
    assert pieces_written(second) == []


def test_make_index__on_a_cluster_writes_the_same_bytes(tmp_path, client):
    store = write_store(tmp_path / "s.zarr", RUN)
    make_index(store)
    alone = tree_bytes(tmp_path / "s.zarr" / "index")
    shutil.rmtree(tmp_path / "s.zarr" / "index")

    make_index(store, client=client)

    assert tree_bytes(tmp_path / "s.zarr" / "index") == alone


def test_index__from_python__writes_the_same_bytes(tmp_path):
    by_stage = write_store(tmp_path / "a.zarr", RUN)
    by_name = write_store(tmp_path / "b.zarr", RUN)

    make_index(by_stage)
    nnviz.index(by_name.url, progress=False)

    assert tree_bytes(tmp_path / "a.zarr/index") == tree_bytes(
        tmp_path / "b.zarr/index"
    )


def test_usable__is_what_the_statuses_say__with_an_index_and_without(tmp_path):
    store = write_store(tmp_path / "s.zarr", replace(RUN, n_unreadable=2))
    expected = [status == "" for status in store.column("status")]

    without = SubsetIndex(store)
    make_index(store)
    with_it = SubsetIndex(Store.open(store.url))

    # The first instance and the last one cannot be used.
    assert without.pieces.state.is_all_usable.tolist() == [False] * 4
    assert with_it.pieces.state.is_all_usable.tolist() == [False, True, True, False]
    assert with_it.usable.tolist() == without.usable.tolist() == expected


@given(n_rows=st.integers(0, 150), n_before=st.integers(0, 70), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_add_moments__any_split__has_the_bits_of_rows_one_by_one(
    n_rows, n_before, seed
):
    rng = np.random.default_rng(seed)
    values = rng.gamma(0.8, 1, (200, 5)).astype(np.float16)
    rows = np.sort(rng.choice(200, n_rows, replace=False))
    block = rng.random((2, 5)).astype(np.float32)
    expected = float32_sums(values[rows], n_before, block)
    total, maximum = np.zeros((2, 5)), np.full(5, -np.inf, dtype=np.float32)

    middle = n_rows // 3
    for some, n in ((rows[:middle], n_before), (rows[middle:], n_before + middle)):
        add_moments(values.view(np.uint16), some, 0, 5, n, block, total, maximum)

    np.testing.assert_array_equal(total, expected[0])
    np.testing.assert_array_equal(block, expected[1])
    assert maximum.tolist() == values[rows].max(axis=0, initial=-np.inf).tolist()


def float32_sums(rows, n_before, block):
    """Add rows in float32, and blocks of 64 of them in float64, in plain loops."""
    total, block = np.zeros((2, rows.shape[1])), block.copy()
    for n, row in enumerate(rows.astype(np.float32), start=n_before + 1):
        block += np.stack([row, row * row])
        if n % 64 == 0:
            total += block
            block[:] = 0
    return total, block


def test_make_index__refuses_an_incomplete_extraction(tmp_path):
    store = write_store(tmp_path / "s.zarr", RUN, missing_chunks=[2])

    with pytest.raises(MissingDataError, match="run 'nnviz extract"):
        make_index(store)


def extract_again(store, chunk, change):
    start, stop = store.chunks.spans[chunk]
    arrays = {path: store.read(path, start, stop) for path in store.chunks.arrays}
    arrays["activations/late"] = arrays["activations/late"] + change
    counts = {"n_instances": stop - start, "n_unreadable": 0, "n_saturated": 0}
    store.chunks.write(chunk, arrays, counts)


def test_index__of_a_chunk_that_was_extracted_again__is_made_again_there(tmp_path):
    store = write_store(tmp_path / "s.zarr", RUN)
    make_index(store)
    extract_again(Store.open(store.url, writable=True), 4, np.float16(1))
    instances, fresh = np.arange(70, 110), Store.open(store.url)
    recorder = Recorder()

    before = SubsetIndex(fresh)
    stale = before.moments(instances)
    make_index(Store.open(store.url), listeners=[recorder])

    assert before.pieces.state.is_current.tolist() == [True, False, True, True]
    assert "no index of 1 of 4 parts" in before.advice
    assert pieces_written(recorder) == ["piece 1"]
    rows = fresh.activations("late")[70:110]
    _, _, maximum = oracle.moments(rows, [i - 70 for i in before.counted(instances)])
    np.testing.assert_array_equal(stale["late"].maximum, maximum)
    assert_same_moments(SubsetIndex(fresh).moments(instances), stale)


def longer_store(url, whole, n):
    """Extend a store as `nnviz extend` does, with the rows of a longer run."""
    store = Store.open(url)
    n_before = store.n_instances
    plan = replace(store.plan, n_instances=n, extensions=(n_before,))
    attributes = {**root_attributes(url), **plan_attributes(plan)}
    statics = [spec.path for spec in plan.arrays if spec.is_static]
    attributes["static_arrays"] = sorted(statics)
    tails = {
        path: whole.read(path, n_before, n)
        for path in statics
        if path != "dataset/position"
    }
    stage_extension(url, attributes, tails, np.arange(n, dtype=np.int64))
    finish_extension(url, plan.arrays, n_before)
    store = Store.open(url, writable=True)
    for chunk in store.chunks.missing():
        start, stop = store.chunks.spans[chunk]
        arrays = {path: whole.read(path, start, stop) for path in store.chunks.arrays}
        counts = {"n_instances": stop - start, "n_unreadable": 0, "n_saturated": 0}
        store.chunks.write(chunk, arrays, counts)


def test_index__of_an_extended_store__has_new_pieces_only(tmp_path):
    whole = write_store(tmp_path / "whole.zarr", RUN)
    url = tmp_path / "s.zarr"
    shutil.copytree(whole.url, url)
    shorten(url, whole, 130)
    make_index(Store.open(url))
    longer_store(url, whole, 230)
    recorder = Recorder()
    instances = np.arange(0, 230, 2)

    make_index(Store.open(url), listeners=[recorder])

    assert pieces_written(recorder) == ["piece 2", "piece 3"]
    found = SubsetIndex(Store.open(url))
    assert found.is_complete
    assert_same_moments(
        found.moments(instances), SubsetIndex(Store.open(whole.url)).moments(instances)
    )
    assert verify(url).is_sound


def shorten(url, whole, n):
    """Write the first rows of a run as a store of its own."""
    shutil.rmtree(url)
    plan = replace(whole.plan, n_instances=n)
    statics = {
        spec.path: whole.read(spec.path, 0, n) for spec in plan.arrays if spec.is_static
    }
    store = Store.create(url, plan, static=statics)
    for chunk, (start, stop) in enumerate(store.chunks.spans):
        arrays = {path: whole.read(path, start, stop) for path in store.chunks.arrays}
        counts = {"n_instances": stop - start, "n_unreadable": 0, "n_saturated": 0}
        store.chunks.write(chunk, arrays, counts)


DAMAGES = [
    "activations_float16/c/0/0",
    "row_crc32_float16/c/0",
    "top_channels/c/0",
    "top_channels_offsets/c/0",
    "pairs/c/0",
    "influences/c/0",
]


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *((name, "flipped") for name in DAMAGES),
        (DAMAGES[0], "cut"),
        (DAMAGES[2], "cut"),
        (DAMAGES[4], "gone"),
    ],
)
def test_index__with_a_damaged_piece__is_never_served(planted, tmp_path, name, damage):
    sound, instances, plain = planted
    shutil.copytree(sound.url, tmp_path / "s.zarr")
    spoil(tmp_path / "s.zarr" / piece_path(1) / name, damage)
    store = Store.open(tmp_path / "s.zarr")

    index = SubsetIndex(store)
    found = answers(index, instances)

    np.testing.assert_array_equal(found, plain)
    assert len(index.problems) == 1
    assert "'index/00001'" in index.problems[0]
    assert "nnviz verify" in index.advice
    report = verify(store.url)
    assert not report.is_sound
    assert any(d.array.startswith("index/00001") for d in report.damages)
    state = make_index(Store.open(store.url))
    assert state.is_complete
    assert verify(store.url).is_sound


def answers(index, instances):
    """Return all that an index answers of some instances, as one array."""
    counts = index.activation_counts(instances)
    moments = index.moments(instances)
    pairs = index.influence_sums([instances])
    return np.concatenate(
        [
            *counts.values(),
            *(moments[layer].total for layer in moments),
            *(matrix.toarray()[0] for matrix in pairs.values()),
        ]
    )


def spoil(path, damage):
    data = bytearray(path.read_bytes())
    if damage == "gone":
        path.unlink()
        return
    # Values that are not looked at must not matter, those of every row do.
    data[0::7] = bytes(byte ^ 1 for byte in data[0::7])
    path.write_bytes(data if damage == "flipped" else data[: len(data) // 2])


def test_verify__of_a_damaged_chunk__takes_the_index_back(tmp_path):
    store = write_store(tmp_path / "s.zarr", RUN)
    make_index(store)
    spoil(tmp_path / "s.zarr" / PIECES / "3/0", "flipped")

    report = verify(store.url)

    assert piece_path(1) in report.taken_back
    assert not index_state(Store.open(store.url)).is_current.any()


def test_inspect__says_how_much_is_indexed(tmp_path):
    store = write_store(tmp_path / "s.zarr", RUN)
    make_index(store)

    report = describe_store(Store.open(store.url))

    assert report.groups["index"] == {"complete": True, "covered": 230}
    assert "nnviz index" not in str(report)


@pytest.fixture
def objects():
    """Return a place of object storage, empty again at the end."""
    fsspec = pytest.importorskip("fsspec")
    yield "memory://index/run.zarr"
    fsspec.filesystem("memory").rm("/index", recursive=True)


@pytest.mark.parametrize("loaded_bytes", [1 << 30, 1000], ids=["all", "few"])
def test_index__in_object_storage__the_same_bits(planted, objects, loaded_bytes):
    local, instances, _ = planted
    make_index(write_store(objects, RUN))

    index = SubsetIndex(Store.open(objects), loaded_bytes=loaded_bytes)

    expected = answers(SubsetIndex(local), instances)
    np.testing.assert_array_equal(answers(index, instances), expected)
    assert index.is_complete
