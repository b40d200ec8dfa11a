"""Who starts a worker of this machine again that its nanny has given up?

A nanny replaces a process that dies under it, but not one that dies before its first
worker has connected: then the nanny ends itself, and the cluster takes it for a worker
all the same. So it is looked for, and started again. Where process after process ends
before any worker connects, there will never be one, and the client is told.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

from distributed import Client
from distributed.core import Status

from nnviz.engine.workers import TROUBLE
from nnviz.errors import TaskError

__all__ = ["kept_workers", "wait_for_workers"]

SECONDS_BETWEEN_LOOKS = 0.5

STARTS = 3
"""Processes for each worker that end before one connects, until this is trouble."""

START_TIMEOUT_S = 300
"""Workers import torch; on a busy file server that takes long."""


class _Keeper:
    """What has become of the processes of one cluster's workers."""

    def __init__(self, cluster: Any, client: Client) -> None:
        self._cluster, self._client = cluster, client
        self._processes: dict[Any, int] = {}
        self._n_ended = 0
        self.trouble = ""

    @property
    def n_connected(self) -> int:
        """How many workers the scheduler has, which is in this process."""
        return len(self._cluster.scheduler.workers)

    def look(self) -> None:
        """Start again who has ended, and count who has ended before it connected."""
        n_given_up = self._cluster.sync(self._replace)
        if self.n_connected:
            self._n_ended = 0
            return
        self._n_ended += n_given_up + self._n_replaced()
        n_workers = max(1, len(self._cluster.worker_spec))
        if self._n_ended >= STARTS * n_workers:
            self.trouble = (
                f"{self._n_ended} worker processes in a row have ended before they "
                "were ready; what is done is in the store: see whether this machine "
                "has memory left and whether "
                "'python -c \"import nnviz.extraction.extraction\"' works here, start "
                "fewer with --workers, and repeat the command"
            )
            # Again each time: a stage that begins later has to hear of it, too.
            self._client.log_event(TROUBLE, self.trouble)

    async def _replace(self) -> int:
        """Drop nannies that have ended; the cluster starts others for their names."""
        # On the loop of the cluster, where nobody else changes its workers meanwhile.
        ended = (Status.closed, Status.failed)
        workers = self._cluster.workers
        given_up = [name for name, nanny in workers.items() if nanny.status in ended]
        for name in given_up:
            del workers[name]
            self._processes.pop(name, None)
        if given_up:
            self._cluster.scale(len(self._cluster.worker_spec))
        return len(given_up)

    def _n_replaced(self) -> int:
        """Return how many nannies have another process than at the last look."""
        now = {name: nanny.pid for name, nanny in list(self._cluster.workers.items())}
        found = {name: pid for name, pid in now.items() if pid is not None}
        before, self._processes = self._processes, self._processes | found
        return sum(before.get(name, pid) != pid for name, pid in found.items())


@contextlib.contextmanager
def kept_workers(cluster: Any, client: Client) -> Iterator[_Keeper]:
    """Start workers again that have ended for good, as long as the context lasts.

    Parameters
    ----------
    cluster
        A ``LocalCluster`` of processes.
    client
        Its client; hears under the topic of trouble where no worker can be started.
    """
    keeper, stopped = _Keeper(cluster, client), threading.Event()

    def watch() -> None:
        while not stopped.wait(SECONDS_BETWEEN_LOOKS):
            # The cluster may be closing, or the scheduler busy: the next look tells.
            with contextlib.suppress(Exception):
                keeper.look()

    watching = threading.Thread(target=watch, name="nnviz-keeper", daemon=True)
    watching.start()
    try:
        yield keeper
    finally:
        stopped.set()
        watching.join(timeout=10)


def wait_for_workers(n_workers: int, keeper: _Keeper) -> None:
    """Wait until workers have connected.

    Raises
    ------
    TaskError
        If they cannot be started, or it takes too long.
    """
    end = time.monotonic() + START_TIMEOUT_S
    while (n_found := keeper.n_connected) < n_workers:
        if keeper.trouble:
            raise TaskError(keeper.trouble)
        if time.monotonic() > end:
            msg = (
                f"{n_found} of {n_workers} worker processes have started in "
                f"{START_TIMEOUT_S} s; see whether "
                "'python -c \"import nnviz.extraction.extraction\"' works here, and "
                "start fewer with --workers"
            )
            raise TaskError(msg)
        time.sleep(0.05)
