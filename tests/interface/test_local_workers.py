"""Workers of this machine: who else could reach them?"""

from __future__ import annotations

import os

import dask
import psutil
import pytest

from nnviz.errors import ConfigError
from nnviz.interface.local_workers import local_workers, n_workers_for


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
