"""Row 1: adaptive workers, and spot machines that vanish: the same bytes at the end.

Reading waits while a file is there, so that what happens in the middle of a run happens
there on every machine, however fast it is.
"""

import concurrent.futures
import contextlib
import os
import signal

import dask
import pytest
from slurm_site import wait_for

import nnviz
from nnviz_cluster.opening import open_client
from nnviz_cluster.site import load_site
from tests.cluster.running_dask import SCHEDULER, running
from tests.faults.small_run import create, one_worker, write_inputs
from tests.faults.tiny_run import start_dask

pytestmark = pytest.mark.cluster

N_CHUNKS = 8
ROWS = """
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent


class Rows:
    def __init__(self):
        stored = np.load(HERE / "rows.npz")
        self.values, self.targets = stored["data"], stored["label"].tolist()

    def __len__(self):
        return len(self.values)

    def __getitem__(self, index):
        part = "last" if index >= len(self) - 16 else "middle" if index >= 32 else ""
        while (HERE / f"hold-{part}").exists():
            time.sleep(0.02)
        return self.values[index], self.targets[index]
"""


@pytest.fixture
def folder(tmp_path):
    """Return a run of eight chunks: two that flow, and six that wait for us."""
    write_inputs(tmp_path, n=16 * N_CHUNKS)
    (tmp_path / "slow_rows.py").write_text(ROWS)
    run = tmp_path / "run.toml"
    text = run.read_text().replace('kind = "arrays"\npath = "rows.npz"', DATASET)
    run.write_text(text + "reader_threads = 1\n")
    return tmp_path


DATASET = 'kind = "torch"\nsource = "slow_rows.py:Rows"'


@pytest.fixture
def expected(folder, checksums):
    """Return what one undisturbed worker writes."""
    store = create(folder, folder / "undisturbed.zarr")
    with one_worker() as client:
        nnviz.extract(store, client=client)
    return checksums(folder / "undisturbed.zarr")


@contextlib.contextmanager
def extracting(store, client, folder):
    """Extract in a thread, held back; yields its future and the hold's releases."""
    holds = {part: folder / f"hold-{part}" for part in ("middle", "last")}
    for hold in holds.values():
        hold.touch()
    pool = concurrent.futures.ThreadPoolExecutor(1)
    try:
        yield pool.submit(nnviz.extract, store, client=client), holds
    finally:
        for hold in holds.values():
            hold.unlink(missing_ok=True)
        # It ends with the client; without workers it would not end before.
        pool.shutdown(wait=False)


def busy(client):
    """Return the addresses of the workers that have a chunk."""
    return [address for address, tasks in client.processing().items() if tasks]


def test_adaptive__workers_join_vanish_and_retire__the_same_bytes(
    folder, expected, checksums
):
    """One worker, then two, one of which is killed; at last one again: equal bytes."""
    site = folder / "site.toml"
    site.write_text('kind = "local"\nminimum = 1\nmaximum = 2\nmemory = "2GB"\n')
    store = create(folder)
    patience = {"target-duration": "10ms", "interval": "100ms", "wait-count": 3}
    with (
        dask.config.set({"distributed.adaptive": patience}),
        open_client(load_site(str(site))) as client,
    ):
        client.wait_for_workers(1, timeout=240)
        first = list(client.nthreads())
        with extracting(store, client, folder) as (run, holds):
            wait_for(lambda: len(busy(client)) == 2 or run.done())
            (joined,) = set(busy(client)) - set(first)
            pid = client.run(os.getpid, workers=[joined])[joined]
            os.kill(pid, signal.SIGKILL)
            wait_for(lambda: joined not in client.nthreads() or run.done())
            assert not run.done()
            holds["middle"].unlink()
            wait_for(lambda: len(store.chunks.missing()) == 1 or run.done())
            wait_for(lambda: len(client.nthreads()) == 1 or run.done())
            assert not run.done()
            holds["last"].unlink()
            summary = run.result(timeout=240)

    assert len(first) == 1
    assert (summary.failed, summary.n_instances) == ({}, 16 * N_CHUNKS)
    assert checksums(folder / "run.zarr") == expected


@pytest.fixture
def machine(folder):
    """Return a function that starts a worker with its nanny, as a machine has them."""
    machines = []

    def start(scheduler, *options):
        machines.append(
            start_dask(
                folder,
                *("worker", scheduler, "--nthreads", "1", "--host", "127.0.0.1"),
                *("--no-dashboard", "--dashboard-address", "127.0.0.1:0"),
                *("--local-directory", str(folder), *options),
            )
        )
        return machines[-1]

    yield start
    for process in machines:
        process.kill_group()
        process.wait(timeout=20)


@pytest.fixture
def scheduler(tmp_path):
    """Return the address of a scheduler of its own process."""
    with running("scheduler", "--port", "0", folder=tmp_path, sign=SCHEDULER) as found:
        yield found


def end_gracefully(dask_worker):
    """Let a worker do what it does when its lifetime is over."""
    dask_worker.loop.add_callback(dask_worker.close_gracefully)


def test_spot_machines__vanish_and_others_come__the_same_bytes(
    folder, expected, checksums, scheduler, machine
):
    """A machine vanishes with its nanny, a second retires, a third does the rest."""
    store = create(folder)
    spot = machine(scheduler)
    with (
        open_client(load_site(scheduler)) as client,
        extracting(store, client, folder) as (run, holds),
    ):
        client.wait_for_workers(1, timeout=240)
        wait_for(lambda: len(store.chunks.missing()) == N_CHUNKS - 2 or run.done())
        wait_for(lambda: busy(client) or run.done())
        (vanishing,) = client.nthreads()
        os.killpg(spot.pid, signal.SIGKILL)
        wait_for(lambda: vanishing not in client.nthreads())

        machine(scheduler)
        client.wait_for_workers(1, timeout=240)
        client.run(end_gracefully)
        wait_for(lambda: not client.nthreads())
        machine(scheduler)
        client.wait_for_workers(1, timeout=240)
        for hold in holds.values():
            hold.unlink()
        summary = run.result(timeout=240)

    assert (summary.failed, summary.n_instances) == ({}, 16 * N_CHUNKS)
    assert checksums(folder / "run.zarr") == expected
