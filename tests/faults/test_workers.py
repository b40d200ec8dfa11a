"""What may happen to workers: they are killed, hang, or run out of memory."""

import contextlib
import os
import random
import signal

import numpy as np
import pytest

import nnviz
from nnviz.engine.tasks import RunLimits
from nnviz.store.store import Store
from nnviz.upkeep.inspection import describe_store
from nnviz.upkeep.recomputation import recompute
from nnviz.upkeep.verification import verify
from tests.faults.tiny_run import (
    N_CHUNKS,
    ROWS,
    Events,
    checksums,
    pids,
    wait_for,
    workers,
)

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


@pytest.fixture(scope="module")
def _pair():
    with workers(2) as client:
        yield client


@pytest.fixture
def two(_pair):
    """Return a client of two workers; their nannies have replaced what was killed."""
    wait_for(lambda: len(pids(_pair)) == 2)
    return _pair


@pytest.fixture(scope="module")
def one():
    """Return a client of one worker."""
    with workers(1) as client:
        yield client


def end(pid):
    """Let the nanny start another worker instead of one that never comes back."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def worker_of(event):
    """Return the process that did a task: one that has loaded the network.

    Another may be loading it, for which it has a time of its own.
    """
    return int(event.worker.rpartition(":")[2])


def of_other_chunks(sums, *chunks):
    """Leave out the files of some chunks."""
    folders = {f"/c/{chunk}" for chunk in chunks}
    return {
        path: value
        for path, value in sums.items()
        if not any(f"{folder}/" in f"/{path}/" for folder in folders)
        and not path.startswith(("instances/status/",))
    }


def test_extract__workers_killed_in_the_middle__writes_the_same_bytes(
    run, undisturbed, tmp_path, two
):
    """Rows 1, 2 and 25: SIGKILL to a worker, three times, at seeded moments."""
    store = run.store(tmp_path / "run.zarr")
    run.fault("all", "sleep 0.01")
    rng = random.Random(1)
    killed = []

    def kill(event):
        moments = (2, 4, 7)[len(killed) :][:1]
        alive = pids(two) if len(events.of("TaskDone")) in moments else []
        if len(alive) == 2:
            killed.append(rng.choice(alive))
            os.kill(killed[-1], signal.SIGKILL)

    events = Events(kill)
    summary = nnviz.extract(
        Store.open(store, writable=True), client=two, listeners=[events]
    )

    assert len(killed) >= 1
    assert summary.failed == {}
    assert "died" in events.reasons()
    assert events.of("WorkersChanged")
    assert checksums(store) == undisturbed


def test_extract__instance_that_kills_its_worker__is_found_and_listed(
    run, undisturbed, tmp_path, two
):
    """Row 3: found within log2(chunk) rounds, everything else done, nobody blamed."""
    store = run.store(tmp_path / "run.zarr")
    run.fault(37, "kill")
    events = Events()
    summary = nnviz.extract(
        Store.open(store, writable=True), client=two, listeners=[events]
    )

    assert summary.failed == {}
    n_deaths = len((run.faults / "37.deaths").read_text())
    # Two workers before it is suspected, then rounds.
    assert n_deaths <= 2 + np.log2(ROWS)
    status = nnviz.open_store(store).column("status")
    assert status[37] == "reading it ends the process (SIGKILL)"
    assert (status != "").sum() == summary.n_unreadable == 1
    found = of_other_chunks(checksums(store), 37 // ROWS)
    assert found == of_other_chunks(undisturbed, 37 // ROWS)


def test_extract__worker_hangs__another_one_does_its_chunk(
    run, undisturbed, tmp_path, two
):
    """Row 27: after the deadline the chunk runs elsewhere; the first result counts."""
    store = run.store(tmp_path / "run.zarr")
    run.fault(50, "sleep-once 3600")
    events = Events()
    summary = nnviz.extract(
        Store.open(store, writable=True),
        client=two,
        listeners=[events],
        limits=RunLimits(deadline=2.0),
    )
    end(int((run.faults / "50.pid").read_text()))

    assert summary.failed == {}
    assert "another worker gets it too" in events.reasons()
    assert checksums(store) == undisturbed


def test_extract__worker_is_stopped__another_one_does_its_chunk(
    run, undisturbed, tmp_path, two
):
    """Rows 16 and 27: SIGSTOP to a worker that has chunks to do.

    Whether it could still say that it has begun the next one is chance: then
    another worker gets it too, and otherwise another one may take it.
    """
    store = run.store(tmp_path / "run.zarr")
    run.fault("all", "sleep 0.01")
    stopped = []

    def stop(event):
        if not stopped and type(event).__name__ == "TaskDone":
            stopped.append(worker_of(event))
            os.kill(stopped[0], signal.SIGSTOP)

    events = Events(stop)
    summary = nnviz.extract(
        Store.open(store, writable=True),
        client=two,
        listeners=[events],
        limits=RunLimits(deadline=5.0),
    )
    end(stopped[0])

    assert summary.failed == {}
    assert "another worker" in events.reasons()
    assert checksums(store) == undisturbed


def test_extract__worker_is_stopped_and_goes_on__its_late_result_changes_nothing(
    run, undisturbed, tmp_path, two
):
    """Rows 16 and 27: SIGSTOP, and SIGCONT when another one has taken its chunk."""
    store = run.store(tmp_path / "run.zarr")
    run.fault("all", "sleep 0.01")
    stopped = []

    def stop_and_go_on(event):
        if not stopped and type(event).__name__ == "TaskDone":
            stopped.append(worker_of(event))
            os.kill(stopped[0], signal.SIGSTOP)
        elif stopped and "another worker" in events.reasons():
            with contextlib.suppress(ProcessLookupError):  # ended: it was slower
                os.kill(stopped[0], signal.SIGCONT)

    events = Events(stop_and_go_on)
    summary = nnviz.extract(
        Store.open(store, writable=True),
        client=two,
        listeners=[events],
        limits=RunLimits(deadline=5.0),
    )
    at_the_end = checksums(store)
    wait_for(lambda: len(pids(two)) == 2)
    wait_for(lambda: not any(two.processing().values()))

    assert summary.failed == {}
    assert "another worker" in events.reasons()
    assert at_the_end == checksums(store) == undisturbed


def test_extract__instances_that_always_hang__are_found_and_listed(run, tmp_path):
    """Row 27: who reads them hangs, too, until they are read in a process of their own.

    To read them one by one takes far longer than a chunk may.
    """
    store = run.store(tmp_path / "run.zarr")
    hanging = [0, 9]
    for index in hanging:
        run.fault(index, "sleep 3600")
    with workers(1) as client:
        summary = nnviz.extract(
            Store.open(store, writable=True),
            client=client,
            limits=RunLimits(deadline=2.0),
        )

    assert summary.failed == {}
    status = nnviz.open_store(store).column("status")
    assert np.flatnonzero(status != "").tolist() == hanging
    assert set(status[hanging]) == {"reading it takes more than 2 s"}


def test_extract__memory_is_short_for_a_moment__writes_the_same_bytes(
    run, undisturbed, tmp_path, one
):
    """Row 17: the same again, then with the instances looked at first."""
    store = run.store(tmp_path / "run.zarr")
    run.fault(5, "memory 2")
    events = Events()
    summary = nnviz.extract(
        Store.open(store, writable=True), client=one, listeners=[events]
    )

    assert summary.failed == {}
    assert summary.smaller_batches == {}
    assert "it is repeated as chunk 0, its instances read one by" in events.reasons()
    assert checksums(store) == undisturbed


def test_extract__batch_too_large_for_the_device__is_halved_and_recorded(
    run, undisturbed, tmp_path, two
):
    """Rows 17 and 18: said in report, event, store; the run's verification knows it."""
    store = run.store(tmp_path / "run.zarr")
    run.fault("device", "memory 4")
    events = Events()
    summary = nnviz.extract(
        Store.open(store, writable=True), client=two, listeners=[events]
    )
    run.repair()
    opened = Store.open(store)
    again = recompute(opened, 1.0, client=two)

    assert summary.failed == {}
    assert summary.smaller_batches == dict.fromkeys(range(N_CHUNKS), 4)
    assert "CUDA out of memory. Tried to allocate 2 GiB" in events.reasons()
    assert {event.batch_size for event in events.of("TaskDone")} == {4}
    assert "12 chunks were computed in smaller batches" in str(summary)
    assert opened.chunks.batch_sizes() == summary.smaller_batches
    assert "12 chunks were computed in smaller" in str(describe_store(opened))
    assert verify(str(store), repair=False).is_sound
    assert not again.wrong
    labels = {k: v for k, v in checksums(store).items() if "instances/id/" in k}
    assert labels.items() <= undisturbed.items()


def test_extract__device_fails__its_process_is_replaced(
    run, undisturbed, tmp_path, one
):
    """Row 18: an error of the device ends the worker; nothing is retried in it."""
    store = run.store(tmp_path / "run.zarr")
    run.fault("device", "lost")
    events = Events()
    before = pids(one)
    summary = nnviz.extract(
        Store.open(store, writable=True), client=one, listeners=[events]
    )
    after = pids(one)

    assert summary.failed == {}
    assert "DeviceLostError: the GPU has failed: CUDA error" in events.reasons()
    assert before != after
    assert checksums(store) == undisturbed


def test_extract__worker_over_its_memory_limit__no_other_chunk_is_blamed(
    run, undisturbed, tmp_path
):
    """Row 17: the nanny kills a worker; the instance that takes the memory is found."""
    store = run.store(tmp_path / "run.zarr")
    run.fault(70, "hog 1500000000")
    with workers(1, memory_limit="1000MB") as client:
        summary = nnviz.extract(Store.open(store, writable=True), client=client)

    assert summary.failed == {}
    status = nnviz.open_store(store).column("status")
    assert status[70] == "reading it takes too much memory"
    assert (status != "").sum() == 1
    found = of_other_chunks(checksums(store), 70 // ROWS)
    assert found == of_other_chunks(undisturbed, 70 // ROWS)
    assert nnviz.open_store(store).chunks.done().sum() == N_CHUNKS
