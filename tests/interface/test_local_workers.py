"""Workers of this machine: who else could reach them?"""

from __future__ import annotations

import os
import threading

import dask
import psutil
import pytest

from nnviz.engine.callers_objects import cannot_travel
from nnviz.engine.handing_over import handed_over
from nnviz.errors import ConfigError, TaskError
from nnviz.interface.local_workers import local_workers, n_workers_for, reaching


def listening():
    """Return the addresses at which this process and its children listen."""
    process = psutil.Process(os.getpid())
    return {
        connection.laddr.ip
        for one in [process, *process.children(recursive=True)]
        for connection in one.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    }


@pytest.mark.parametrize(
    "n_workers",
    [
        pytest.param(0, id="thread"),
        pytest.param(1, id="process", marks=pytest.mark.cluster),
    ],
)
def test_local_workers__are_reached_by_nobody_else(n_workers):
    """Who reaches a scheduler runs code as its user: also others of this machine."""
    before = listening()
    with local_workers(n_workers) as client:
        assert client.submit(sum, [1, 2]).result() == 3
        addresses = listening() - before
        protocol = client.scheduler.address.partition("://")[0]

    assert protocol == ("tls" if n_workers else "inproc")
    assert addresses <= {"127.0.0.1"}  # where Dask says how it is


@pytest.mark.parametrize("workers", [-1, True])
def test_n_workers__that_is_no_number_of_processes__is_refused(workers):
    with pytest.raises(ConfigError, match="number of processes"):
        n_workers_for(1.0, {}, workers, [])


@pytest.mark.parametrize("n_workers", [0, 1])
def test_local_workers__are_not_profiled_whatever_dask_is_told(n_workers):
    """A profile of threads may stop the process for ever."""
    with (
        dask.config.set({"distributed.worker.profile.enabled": True}),
        local_workers(n_workers) as client,
    ):
        found = client.run(lambda dask_worker: list(dask_worker.periodic_callbacks))

    assert len(found) == 1
    assert not [name for names in found.values() for name in names if "profile" in name]


def test_reaching__a_thread_of_this_process__has_the_object_itself_and_no_copy():
    objects = {"network@here": {"lock": threading.Lock()}}
    assert "pickle" in cannot_travel(objects)

    with local_workers(0) as client, reaching(objects, client):
        found = client.submit(lambda: id(handed_over("network@here"))).result()

    assert found == id(objects["network@here"])
    assert handed_over("network@here") is None


@pytest.mark.cluster
def test_reaching__a_process__says_what_cannot_be_sent():
    objects = {"network@here": {"lock": threading.Lock()}}

    with (
        local_workers(1) as client,
        pytest.raises(TaskError, match="network cannot be sent to workers"),
        reaching(objects, client),
    ):
        pytest.fail("it was sent")
