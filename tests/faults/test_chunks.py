"""What may happen to a chunk: crashes at every write, zombies, failing reads."""

import os
import random
import signal

import pytest

import nnviz
from nnviz.errors import StoreFormatError
from nnviz.extraction.worker_tasks import Opening, extract_chunk
from nnviz.store.store import Store
from nnviz.upkeep.verification import verify
from tests.faults.tiny_run import N_CHUNKS, checksums, wait_for
from tests.forked import FORKSERVER, Forked


def extract_all(store, order=range(N_CHUNKS)):
    fingerprint = nnviz.open_store(store).fingerprint
    opening = Opening(str(store), fingerprint, writable=True)
    return [extract_chunk(i, opening) for i in order]


@pytest.mark.slow
def test_extract_chunk__dies_at_each_of_its_writes__ends_in_the_same_bytes(
    run, undisturbed, tmp_path
):
    """Row 14: a crash before every write of a chunk, the completion mark included."""
    store = run.store(tmp_path / "run.zarr")

    crashes = Forked("tests.faults.crash_everywhere", str(store))
    out, errors = crashes.communicate(timeout=240)

    assert crashes.returncode == 0, errors
    # Every array that a chunk writes, the mark among them.
    stored = Store.open(store).stored.specs
    n_arrays = sum(not spec.is_static for spec in stored)
    assert int(out) >= n_arrays
    # What was written when a process died is beside the file that it was to be.
    left = list(store.rglob("*.partial"))
    assert len(left) >= int(out)
    for path in left:
        path.unlink()
    assert checksums(store) == undisturbed


@pytest.mark.slow
def test_extract_chunk__a_zombie_writes_later__ends_in_the_same_bytes(
    run, undisturbed, tmp_path
):
    """Row 16: a process stops, its chunk is done by others, and it wakes up."""
    store = run.store(tmp_path / "run.zarr")
    run.fault(50, "sleep-once 1")
    opening = Opening(str(store), Store.open(store).fingerprint, writable=True)
    zombie = FORKSERVER.Process(target=extract_chunk, args=(3, opening))
    zombie.start()
    wait_for((run.faults / "50.pid").exists)
    os.kill(zombie.pid, signal.SIGSTOP)

    extract_all(store)
    before = checksums(store)
    os.kill(zombie.pid, signal.SIGCONT)
    zombie.join(timeout=240)

    assert zombie.exitcode == 0
    assert before == checksums(store) == undisturbed


def test_extract_chunk__any_order__writes_the_same_bytes(run, undisturbed, tmp_path):
    """Row 25: chunks in any order, some of them twice."""
    store = run.store(tmp_path / "run.zarr")
    order = [*range(N_CHUNKS), 3, 0]
    random.Random(5).shuffle(order)

    extract_all(store, order)

    assert checksums(store) == undisturbed


@pytest.mark.slow
def test_read__fails_for_a_moment__is_tried_again(run, undisturbed, tmp_path):
    """Row 26: a file server that is away for three tries costs nothing but time."""
    store = run.store(tmp_path / "run.zarr")
    run.fault(20, "flaky 3")
    run.fault(21, "flaky 1")

    extract_all(store)

    assert (run.faults / "20.tries").read_text() == "xxxx"
    assert checksums(store) == undisturbed


@pytest.mark.slow
def test_read__fails_five_times__is_listed_once(run, tmp_path):
    """Row 26: after five tries the instance is unreadable, and counted once."""
    store = run.store(tmp_path / "run.zarr")
    run.fault(20, "flaky 1000")

    reports = extract_all(store)

    assert (run.faults / "20.tries").read_text() == "xxxxx"
    assert [report.n_unreadable for report in reports] == [0, 1, *[0] * 10]
    status = nnviz.open_store(store).column("status")
    assert "the file server is away" in status[20]
    assert "5 tries" in status[20]
    assert (status != "").sum() == 1


@pytest.mark.slow
def test_power_is_lost__what_was_not_synced_is_noticed_and_made_again(
    run, undisturbed, tmp_path, monkeypatch
):
    """Row 28, as far as a test can: what no fsync has reached is empty afterwards."""
    store = run.store(tmp_path / "run.zarr")
    extract_all(store, range(N_CHUNKS - 1))
    synced, before = set(), set(store.rglob("*"))
    sync = os.fsync

    def note(file):
        synced.add(os.fstat(file).st_ino)
        sync(file)

    monkeypatch.setattr(os, "fsync", note)
    extract_all(store, [N_CHUNKS - 1])
    new = [path for path in store.rglob("*") if path not in before and path.is_file()]
    lost = [path for path in new if path.stat().st_ino not in synced]
    assert len(new) - len(lost) == 1  # the mark
    for path in lost:
        path.write_bytes(b"")

    opened = nnviz.open_store(store)
    for layer in ("0", "2"):
        with pytest.raises(StoreFormatError, match=f"activations/{layer}"):
            opened.activations(layer)
    report = verify(str(store))
    assert {damage.chunk for damage in report.damages} == {N_CHUNKS - 1}
    assert nnviz.open_store(store).chunks.missing() == [N_CHUNKS - 1]
    extract_all(store, [N_CHUNKS - 1])
    assert checksums(store) == undisturbed
