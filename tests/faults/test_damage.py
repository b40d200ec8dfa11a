"""Rows 11 to 13, 36: what happens to a byte of a store is found, named and repaired."""

import collections
import itertools
import os
import random
import shutil
from pathlib import Path

import numpy as np
import pytest

import nnviz
from benchmarks.faults_store import ablate
from nnviz.derivation.embedding import read_similarity
from nnviz.errors import MissingDataError, NnvizError, StoreFormatError
from nnviz.store.store import Store, open_store
from nnviz.testing import PlantedRun, write_complete_store
from nnviz.upkeep.verification import verify
from tests.faults.small_run import create, later_stages, one_worker, write_inputs
from tests.oracles.files import tree_bytes

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """Return the folder of a small run with all stages."""
    folder = write_inputs(tmp_path_factory.mktemp("real"))
    store = create(folder)
    with one_worker() as client:
        nnviz.extract(store, client=client)
    later_stages(store)
    return folder


@pytest.fixture
def copy(real, tmp_path):
    """Return a copy of the store, beside which the original's data set lies."""
    shutil.copytree(real / "run.zarr", tmp_path / "run.zarr")
    return tmp_path / "run.zarr"


def flip(path, rng):
    data = bytearray(path.read_bytes())
    place = rng.randrange(len(data) * 8)
    data[place // 8] ^= 1 << place % 8
    path.write_bytes(bytes(data))


def flip_first(path):
    """Flip a bit of the first column of a wide array."""
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(bytes(data))


def files_of(url):
    return sorted(p for p in Path(url).rglob("*") if p.is_file())


def test_sound_store__passes(copy):
    before = tree_bytes(copy)

    report = verify(copy)

    assert report.is_sound
    assert (report.damages, report.n_checked) == ([], 3)
    assert tree_bytes(copy) == before


def test_flipped_bit__sixty_of_sixty_are_found_and_named(copy):
    """Row 11: any single bit, of any array, mark or metadata, by a fixed seed."""
    rng, files = random.Random(11), files_of(copy)
    chosen = rng.sample(files, 60)
    places = open_store(copy).stored.places
    found = 0

    for path in chosen:
        data = path.read_bytes()
        flip(path, rng)
        report = verify(copy, repair=False)
        path.write_bytes(data)
        name = path.relative_to(copy).as_posix()
        arrays = [d.array for d in report.damages]
        stored = [places[a].spec.path if a in places else a for a in arrays]
        found += any(array in name or not array for array in stored)

    assert found == 60


def test_flipped_bits__are_repaired_and_the_store_is_as_before(copy, real):
    """Row 11: verify, extract, and the later stages again give the same bytes."""
    before, rng = tree_bytes(copy), random.Random(12)
    chosen = ["activations/float16/c/1/0", "extraction_done/c/2/0", "instances/id/c/0"]
    chosen += [
        "instances/site/c/0",
        "instances/label/c/0",
        "activations/float16/zarr.json",
    ]
    chosen += ["zarr.json", "recovery/zarr.json", "influences/zarr.json"]
    chosen += ["aggregates/label/n_instances/c/0", "aggregates/zarr.json"]
    chosen += ["artifacts/examples/zarr.json", "instances/status/c/0"]
    chosen.remove("recovery/zarr.json")
    for name in chosen:
        flip(copy / name, rng)

    report = verify(copy)
    store = Store.open(copy, writable=True)
    assert not report.is_sound
    assert store.chunks.missing() == [0, 1, 2]
    with one_worker() as client:
        summary = nnviz.extract(store, client=client)
    later_stages(store)

    assert summary.n_instances == 40
    assert tree_bytes(copy) == before
    assert verify(copy).damages == []


def test_one_damaged_chunk__is_the_only_one_that_is_repeated(copy):
    """Row 11: repair costs what is damaged."""
    before = tree_bytes(copy)
    flip_first(copy / "activations/float16/c/1/0")

    report = verify(copy)
    store = Store.open(copy, writable=True)
    with one_worker() as client:
        summary = nnviz.extract(store, client=client)
    later_stages(store)

    (damage,) = report.damages
    assert (damage.array, damage.chunk) == ("activations/first", 1)
    assert "nnviz extract" in damage.remedy
    assert (summary.n_instances, summary.n_done_before) == (16, 2)
    assert tree_bytes(copy) == before


def exchange(one, other):
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


def test_one_damaged_chunk__takes_back_what_was_made_from_it(copy):
    """Row 36: sums and what follows from them count as not there, and it is said."""
    exchange(*(copy / f"activations/float16/c/{i}/0" for i in (0, 1)))

    report = verify(copy)
    store = open_store(copy)

    assert {(d.array, d.chunk) for d in report.damages} == {
        ("activations/float16", 0),
        ("activations/float16", 1),
    }
    assert {"aggregates/all", "aggregates/label", "artifacts/label"} < set(
        report.taken_back
    )
    assert "artifacts/examples" not in report.taken_back
    assert "taken back: 'aggregates/label'" in str(report)
    assert f"'nnviz derive {copy}'" in str(report)
    assert not report.is_sound
    with pytest.raises(MissingDataError, match="nnviz aggregate"):
        nnviz.aggregates_of(store, "label")


def test_damaged_aggregates__take_back_the_artifacts_of_their_subsets_alone(copy):
    """Row 36: what was made from other sums stays; instances lie between classes."""
    flip(copy / "aggregates/label/n_instances/c/0", random.Random(1))

    report = verify(copy)

    assert report.taken_back == [
        "artifacts/label",
        "artifacts/instance_places",
        "artifacts/attribution_graphs/label/summit",
        "artifacts/attribution_graphs/label/directed",
    ]


def test_damaged_peaks__take_back_the_examples_alone(copy):
    """Row 36: nothing else is made from them."""
    flip(copy / "peaks/float32/c/1/0", random.Random(1))

    assert verify(copy, repair=False).taken_back == ["artifacts/examples"]


def test_exchanged_files__of_one_kind_are_named_by_verify_and_never_read(copy):
    """Row 36: any two files of one name and size, or metadata of any two groups."""
    rng, clean = random.Random(36), [read() for read in _readers(open_store(copy))]
    alike = collections.defaultdict(list)
    groups = []
    for path in files_of(copy):
        alike[path.name, path.stat().st_size].append(path)
        if b'"node_type": "group"' in path.read_bytes():
            groups.append(path)
    chosen = rng.sample(differing(alike.values()), 40)
    chosen += rng.sample(differing([groups]), 20)
    n_refused, unnoticed = 0, []

    for one, other in chosen:
        exchange(one, other)
        try:
            values = [read() for read in _readers(open_store(copy))]
        except NnvizError:
            n_refused += 1
        else:
            assert all(map(same, values, clean))
        if not verify(copy, repair=False).damages:
            unnoticed.append((one, other))
        exchange(one, other)

    assert unnoticed == []
    assert n_refused > 10


@pytest.mark.parametrize(
    "group", ["activations", "artifacts", "artifacts/attribution_graphs/label"]
)
def test_document_of_another_group__where_groups_have_none_of_their_own(copy, group):
    """Row 36: found by the campaign; nobody reads it, but other tools would."""
    document = copy / group / "zarr.json"
    before = document.read_bytes()
    shutil.copyfile(copy / "aggregates/all/influence_counts/second/zarr.json", document)
    assert document.read_bytes() != before

    report = verify(copy)

    assert [(d.array, d.is_repaired) for d in report.damages] == [(group, True)]
    assert "of another group" in report.damages[0].reason
    assert document.read_bytes() == before
    assert verify(copy).damages == []


def test_document_of_an_array__in_place_of_a_group_between_two_stages(copy):
    """Row 36: found by the campaign; a stage that writes again does not replace it."""
    ablate(str(copy))
    document = copy / "artifacts/ablation/label/zarr.json"
    before = document.read_bytes()
    shutil.copyfile(copy / "artifacts/label/embedding/first/zarr.json", document)

    report = verify(copy)

    assert {d.array for d in report.damages} == {"artifacts/ablation/label"}
    assert all(damage.is_repaired for damage in report.damages)
    assert document.read_bytes() == before
    assert verify(copy).damages == []


def differing(families):
    """Return the pairs of files of one family that have not the same bytes."""
    pairs = (itertools.combinations(paths, 2) for paths in families)
    both = itertools.chain.from_iterable(pairs)
    return [pair for pair in both if pair[0].read_bytes() != pair[1].read_bytes()]


def _readers(store):
    return [
        lambda: store.activations("first"),
        lambda: store.instances(),
        lambda: store.read("peaks/first/value"),
        lambda: store.read("influences/second/source"),
        lambda: nnviz.aggregates_of(store, "label").counts("first"),
        lambda: nnviz.aggregates_of(store, "label").mean("first"),
        lambda: read_similarity(store, "label", "first"),
    ]


def test_reader_of_flipped_bits__raises_our_error_or_reads_what_was_written(copy):
    """Row 11: never a wrong number, never zeros, never a traceback of Zarr."""
    rng, files = random.Random(13), files_of(copy)
    clean = [read() for read in _readers(open_store(copy))]
    n_errors = 0

    for path in rng.sample(files, 60):
        data = path.read_bytes()
        flip(path, rng)
        try:
            values = [read() for read in _readers(open_store(copy))]
        except NnvizError:
            n_errors += 1
        else:
            assert all(map(same, values, clean))
        path.write_bytes(data)

    assert n_errors > 5


def same(one, other):
    if hasattr(one, "equals"):
        return one.equals(other)
    if hasattr(one, "toarray"):
        return (one != other).nnz == 0
    return np.array_equal(one, other, equal_nan=True)


READ_FROM = {
    "activations/float16": "activations/first",
    "outcomes/int32": "instances/prediction",
    "peaks/float32": "peaks/first/value",
}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        pytest.param("activations/float16/c/1/0", "chunk 1", id="activations"),
        pytest.param("outcomes/int32/c/2/0", "chunk 2", id="column"),
        pytest.param("peaks/float32/c/1/0", "chunk 1", id="peaks"),
        pytest.param("instances/id/c/0", "chunk 0", id="ids"),
    ],
)
@pytest.mark.parametrize("kind", ["gone", "cut", "empty"])
def test_missing_or_cut_piece__is_never_zeros(copy, name, words, kind):
    """Rows 12 and 13: the reader names array, chunk and command; verify finds it."""
    path = copy / name
    spoil(path, kind)
    stored = name.partition("/c/")[0]
    array = READ_FROM.get(stored, stored)

    with pytest.raises(StoreFormatError, match=rf"'{array}.*nnviz verify") as raised:
        open_store(copy).read(array)
    report = verify(copy, repair=False)

    assert words in str(raised.value)
    assert [(d.array, f"chunk {d.chunk}") for d in report.damages] == [(stored, words)]


def spoil(path, kind):
    if kind == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-9] if kind == "cut" else b"")


@pytest.mark.parametrize("kind", ["gone", "cut", "empty"])
@pytest.mark.parametrize(
    "name",
    [
        "zarr.json",
        "activations/zarr.json",
        "activations/float16/zarr.json",
        "extraction_done/zarr.json",
        "checksums/zarr.json",
        "recovery/zarr.json",
        "aggregates/label/zarr.json",
        "aggregates/label/checksums/zarr.json",
        "artifacts/zarr.json",
    ],
)
def test_missing_or_cut_metadata__are_restored_or_the_command_is_named(
    copy, name, kind
):
    """Row 13: JSON that cannot be read."""
    before = tree_bytes(copy)
    spoil(copy / name, kind)

    report = verify(copy)

    assert report.damages
    if name.startswith("aggregates/label"):
        assert "nnviz aggregate" in report.damages[0].remedy
    else:
        assert report.is_sound
        assert tree_bytes(copy) == before


def test_half_written_file__is_removed_when_nobody_writes_it_any_more(copy):
    """Row 13: what a killed writer leaves."""
    before = tree_bytes(copy)
    old, young = (
        copy / f"activations/float16/c/0/0.{name}.partial" for name in ("old", "young")
    )
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (1, 1))

    report = verify(copy)

    assert report.strays == ["activations/float16/c/0/0.old.partial"]
    assert report.is_sound
    young.unlink()
    assert tree_bytes(copy) == before


def test_root_and_its_copy_damaged__says_that_nothing_helps(copy):
    """Row 13: two damages at once are told, not guessed."""
    for name in ("zarr.json", "recovery/zarr.json"):
        flip(copy / name, random.Random(3))

    with pytest.raises(StoreFormatError, match="their copy is too"):
        verify(copy)


def test_labels_damaged_and_data_set_gone__says_why(copy, real):
    """Row 11: ids and labels come from the data set, if it is the same."""
    flip(copy / "instances/label/c/0", random.Random(3))
    moved = real / "moved.npz"
    (real / "rows.npz").rename(moved)

    report = verify(copy)
    moved.rename(real / "rows.npz")

    (damage,) = report.damages
    assert "cannot be restored from the data set" in damage.remedy
    assert not report.is_sound


def test_verify__on_a_cluster_finds_the_same(tmp_path):
    """Row 11: spread over workers."""
    run = PlantedRun(n_instances=60, instances_per_chunk=8)
    url = tmp_path / "run.zarr"
    write_complete_store(url, run)
    piece = url / "activations/float16/c/5/0"
    piece.write_bytes(b"no shard")
    flip(url / "extraction_done/c/2/0", random.Random(1))

    here = verify(url, repair=False)
    with one_worker() as client:
        there = verify(url, client=client, repair=False)

    assert {(d.array, d.chunk) for d in here.damages} == {
        ("activations/float16", 5),
        ("extraction_done", 2),
    }
    assert set(there.damages) == set(here.damages)
