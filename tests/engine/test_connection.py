"""Schedulers that are killed, or whose connection breaks, while results are fetched."""

import contextlib
import functools
from dataclasses import dataclass
from pathlib import Path

import pytest
from distributed import Client
from distributed.comm.core import CommClosedError

from nnviz.engine.connection import LOST, NotThereError, Results, connected
from nnviz.engine.reductions import run_reductions
from nnviz.engine.tasks import run_tasks
from nnviz.errors import MissingDataError, TaskError
from tests.faults.tiny_run import address_in, start_dask, wait_for

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).parents[2]


@pytest.fixture
def scheduler(tmp_path):
    """Start a scheduler with a worker; return its process and its address."""
    file = tmp_path / "scheduler.json"
    common = ["--scheduler-file", str(file), "--host", "127.0.0.1", "--no-dashboard"]
    first = start_dask(
        ROOT, "scheduler", *common, "--port", "0", "--dashboard-address", "127.0.0.1:0"
    )
    processes = [first]
    try:
        address = address_in(file)
        processes.append(start_dask(ROOT, "worker", *common, "--nthreads", "1"))
        yield first, address
    finally:
        for process in processes:
            process.kill_group()
            process.wait(timeout=60)


@dataclass(frozen=True)
class Product:
    """A reduction of one leaf."""

    number: int

    @property
    def leaves(self):
        return [self.number]

    def compute(self, leaf, shared):
        return leaf * shared

    def combine(self, partials):
        return functools.reduce(lambda one, other: one * other, partials)

    def finish(self, partial):
        return partial


def test_scheduler__killed_with_results_that_nobody_has_fetched__is_lost(scheduler):
    """What is fetched finds a closed connection before the client knows of it."""
    process, address = scheduler
    with (
        Client(address, set_as_default=False) as one,
        Client(address, set_as_default=False) as other,
    ):
        one.wait_for_workers(1, timeout=240)
        tasks = run_tasks(one, abs, range(6), window=6)
        reductions = run_reductions(other, map(Product, range(6)), shared=2)
        assert next(tasks).error is None
        assert next(reductions)[1] in range(0, 12, 2)
        wait_for(lambda: not any(one.processing().values()))

        process.kill_group()

        with pytest.raises(TaskError, match="connection to the Dask scheduler"):
            list(tasks)
        with pytest.raises(TaskError, match="connection to the Dask scheduler"):
            list(reductions)
        with pytest.raises(TaskError, match="connection to the Dask scheduler"):
            next(run_tasks(one, abs, [1]))


def test_connected__stream_that_is_closed__is_one_message(client):
    """The client may learn of it a little later."""
    with pytest.raises(TaskError) as caught, connected(client):
        raise CommClosedError(
            "in <TCP (closed) ConnectionPool.gather>: Stream is closed"
        )

    assert str(caught.value) == LOST


def test_connected__client_that_is_closed__is_one_message(client):
    with Client(client.scheduler.address, set_as_default=False) as another:
        outcomes = run_tasks(another, abs, range(9), window=1)
        next(outcomes)

    with pytest.raises(TaskError) as caught:
        list(outcomes)

    assert str(caught.value) == LOST


def test_connected__leaves_what_has_nothing_to_do_with_it(client):
    with pytest.raises(KeyError), connected(client):
        raise KeyError("a")
    with pytest.raises(MissingDataError, match="nothing there"), connected(client):
        raise MissingDataError("nothing there")


def test_result__gathering_was_given_up_before_it_began__is_gathered_later(client):
    """As on a busy machine, where the loop may be later than the time is long."""
    slots = client._gather_semaphore

    async def take():
        return [await slots.acquire() for _ in range(5)]

    async def give():
        for _ in range(5):
            slots.release()

    future = client.submit(abs, -7)
    wait_for(future.done)
    results = Results()
    client.sync(take)
    with pytest.raises(NotThereError):
        results.value_of(future)
    client.sync(give)

    found = None
    for _ in range(10):
        with contextlib.suppress(NotThereError):
            found = results.value_of(future)

    assert found == 7
