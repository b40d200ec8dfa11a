"""Rows 8 to 10: a disk that is full, read-only, or forbidden, and one that is slow."""

import os
import shutil
import subprocess
import tempfile
from multiprocessing import get_context
from pathlib import Path

import pytest
import zarr
from zarr.storage import LocalStore
from zarr.testing.store import LatencyStore

import nnviz
from nnviz.aggregation.index import make_index
from nnviz.errors import StoreError
from nnviz.store.hierarchy import Hierarchy
from nnviz.store.store import Store, open_store
from nnviz.testing import PlantedRun, write_store
from tests.faults.small_run import create, one_worker, write_inputs
from tests.oracles.files import tree_bytes

RUN = PlantedRun(
    n_classes=3,
    n_instances=60,
    layers=(("early", 70, (4, 4)), ("late", 6, ())),
    instances_per_chunk=20,
)
PAGE = 4096


@pytest.fixture
def small_disk(tmp_path):
    """Return a file system of 4 MB; skip where none may be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if done.returncode:
        pytest.skip(f"a file system may not be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=False)


def chunk_of(store, index):
    start, stop = store.chunks.spans[index]
    arrays = {
        path: store.read(
            path, *((index, index + 1) if "peaks" in path else (start, stop))
        )
        for path in store.chunks.arrays
    }
    return arrays, {"n_instances": stop - start, "n_unreadable": 0, "n_saturated": 0}


def test_disk_that_fills_at_any_point__leaves_no_mark_and_loses_nothing(small_disk):
    """Rows 8 and 9: any free space, up to enough; a piece, or the mark, fails."""
    whole = write_store(small_disk / "whole.zarr", RUN)
    before, source = tree_bytes(small_disk / "whole.zarr"), open_store(whole.url)
    url = small_disk / "run.zarr"
    write_store(url, RUN, missing_chunks=[1])
    arrays, counts = chunk_of(source, 1)
    outcomes = []

    for n_pages in range(24):
        store = Store.open(url, writable=True)
        if n_pages == 0:
            assert store.chunks.missing() == [1]
        fill(small_disk, n_pages)
        try:
            store.chunks.write(1, arrays, counts)
        except StoreError as raised:
            message = str(raised)
            assert open_store(url).chunks.missing() == [1]
            assert len(open_store(url).activations("late", 0, 20)) == 20
            outcomes.append(
                "full" if "disk is full; free space" in message else message
            )
        else:
            outcomes.append("done")
        (small_disk / "filling").unlink()
        if outcomes[-1] == "done":
            break

    assert outcomes.count("full") > 3
    assert outcomes[-1] == "done"
    assert tree_bytes(url) == before


def fill(folder, n_pages):
    """Leave this many pages free."""
    path = folder / "filling"
    free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
    path.write_bytes(b"\0" * (free - n_pages * PAGE))


def test_extract__disk_full__says_so_and_goes_on_when_there_is_space(
    small_disk, tmp_path
):
    """Row 8: through the whole stage; after freeing space the bytes are the same."""
    folder = write_inputs(tmp_path)
    reference, store = create(folder), create(folder, small_disk / "run.zarr")
    with one_worker() as client:
        nnviz.extract(reference, client=client)
        fill(small_disk, 3)
        failed = nnviz.extract(store, client=client).failed
        (small_disk / "filling").unlink()
        done = nnviz.extract(store, client=client)

    assert len(failed) >= 2
    assert all("its disk is full; free space" in why for why in failed.values())
    assert not done.failed
    assert pieces(small_disk / "run.zarr") == pieces(folder / "run.zarr")


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["aggregate", "index", "derive"])
def test_later_stage__disk_full_at_any_point__says_so_and_is_repeated(
    small_disk, stage
):
    """Row 8: one message, a store that opens; after freeing space the same bytes."""
    url = small_disk / "run.zarr"
    write_store(url, RUN)
    stages = {
        "aggregate": aggregate_labels,
        "index": index_all,
        "derive": derive_artifacts,
    }
    if stage != "aggregate":
        aggregate_labels(url)
    with tempfile.TemporaryDirectory() as elsewhere:
        shutil.copytree(url, Path(elsewhere) / "run.zarr")
        stages[stage](Path(elsewhere) / "run.zarr")
        whole = tree_bytes(Path(elsewhere) / "run.zarr")

    said = []
    for n_pages in (0, 1, 2, 5, 20):
        fill(small_disk, n_pages)
        try:
            stages[stage](url)
        except StoreError as error:
            said.append(str(error))
        (small_disk / "filling").unlink()
        assert open_store(url).activations("early").shape == (60, 70)
    stages[stage](url)

    assert said
    assert all("its disk is full; free space" in message for message in said)
    assert tree_bytes(url) == whole


def aggregate_labels(url):
    store = Store.open(url, writable=True)
    nnviz.aggregate(store, [nnviz.named_subsets(store, "label")])


def index_all(url):
    make_index(Store.open(url, writable=True))


def derive_artifacts(url):
    nnviz.derive(Store.open(url, writable=True), pictures=False)


def test_export__disk_full__says_so_and_leaves_nothing_behind(small_disk):
    store = write_store(small_disk / "run.zarr", RUN)
    fill(small_disk, 1)

    with pytest.raises(StoreError, match=r"cannot export to.*disk is full; free space"):
        nnviz.write_bundle(store, small_disk / "tables")

    assert {path.name for path in small_disk.iterdir()} == {"run.zarr", "filling"}


def pieces(url):
    """Return every file but the plan, which holds the time that a read took."""
    files = tree_bytes(url)
    return {
        k: v for k, v in files.items() if k not in ("zarr.json", "recovery/zarr.json")
    }


def test_plan_create__disk_full__says_so(small_disk, tmp_path):
    """Row 9: the metadata of a new store."""
    folder = write_inputs(tmp_path)
    fill(small_disk, 12)

    with pytest.raises(StoreError, match="its disk is full; free space"):
        create(folder, small_disk / "run.zarr")


def test_read_only_file_system__fails_at_the_start_and_can_be_read(small_disk):
    """Row 10: before any inference, and named."""
    url = str(small_disk / "run.zarr")
    write_store(url, RUN, missing_chunks=[1])
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)

    with pytest.raises(
        StoreError, match="cannot be written: it is on a read-only file"
    ):
        Store.open(url, writable=True)

    assert len(open_store(url).activations("early", 0, 20)) == 20


def _as_nobody(url, pipe):
    os.setgid(65534)
    os.setuid(65534)
    try:
        Store.open(url, writable=True)
    except StoreError as error:
        pipe.send(str(error))
    else:
        pipe.send("opened")


@pytest.mark.skipif(os.geteuid() != 0, reason="another user can be root's only")
def test_permission_lost__fails_at_the_start(tmp_path_factory):
    """Row 10: by a user who may read and not write."""
    folder = tmp_path_factory.mktemp("open")
    for parent in (folder, *folder.parents):
        if parent.stat().st_uid == 0 and parent.name.startswith(
            ("open", "popen", "pytest")
        ):
            parent.chmod(0o755)
    url = str(folder / "run.zarr")
    write_store(url, RUN)
    ours, theirs = get_context("fork").Pipe()

    task = get_context("fork").Process(target=_as_nobody, args=(url, theirs))
    task.start()
    task.join(60)

    assert ours.poll(1)
    assert "cannot be written" in ours.recv()


def test_permission_lost_below__is_named(tmp_path, monkeypatch):
    """Row 10: a folder of the store that may not be written any more."""
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    store = write_store(tmp_path / "run.zarr", RUN, missing_chunks=[1])
    arrays, counts = chunk_of(write_store(tmp_path / "whole.zarr", RUN), 1)
    (tmp_path / "run.zarr/extraction_done/c").chmod(0o500)

    with pytest.raises(StoreError, match="not permitted; change the permissions"):
        store.chunks.write(1, arrays, counts)


def test_slow_file_system__only_takes_longer(tmp_path):
    """A store whose operations take 30 ms each: nothing gives up, nothing differs."""
    write_store(tmp_path / "whole.zarr", RUN)
    write_store(tmp_path / "run.zarr", RUN, missing_chunks=[1])
    slow = LatencyStore(
        LocalStore(tmp_path / "run.zarr"), get_latency=0.03, set_latency=0.03
    )
    store = Store(
        Hierarchy(zarr.open_group(slow, mode="r+"), str(tmp_path / "run.zarr"))
    )
    arrays, counts = chunk_of(open_store(tmp_path / "whole.zarr"), 1)

    assert store.chunks.missing() == [1]
    store.chunks.write(1, arrays, counts)

    assert store.chunks.missing() == []
    assert tree_bytes(tmp_path / "run.zarr") == tree_bytes(tmp_path / "whole.zarr")
    assert store.activations("early").shape == (60, 70)
