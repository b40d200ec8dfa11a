"""A Dask cluster on this machine: one process per worker, on loopback only."""

from __future__ import annotations

import contextlib
import logging
import signal
import sys
from collections.abc import Iterator

import dask
import distributed.utils
from distributed import Client, LocalCluster

from nnviz_cluster import fork_server
from nnviz_cluster.keeping import kept_workers, wait_for_workers
from nnviz_cluster.main_guard import check_main_guard
from nnviz_cluster.site import ClusterConfig
from nnviz_cluster.tls import check_listening, security_of
from nnviz_cluster.worker_defaults import usual_workers, worker_environment
from nnviz_cluster.worker_start import kept_environment, settings_of

__all__ = ["client", "open_client", "usual_workers", "worker_environment"]


@contextlib.contextmanager
def client(
    *, n_workers: int = 1, threads: int = 1, memory_limit: str = "auto"
) -> Iterator[Client]:
    """Start workers, hand out their client, and stop everything at the end.

    Parameters
    ----------
    n_workers
        Worker processes; each holds one copy of the network.
    threads
        Threads inside one operation; a worker runs one task at a time.
    memory_limit
        Memory of a worker, as Dask writes it: ``"8GB"``; ``"auto"`` shares the
        machine.
    """
    config = ClusterConfig(workers=n_workers, memory=memory_limit)
    with open_client(config, threads) as connected:
        yield connected


@contextlib.contextmanager
def open_client(config: ClusterConfig, threads: int = 1) -> Iterator[Client]:
    """Start the workers of a configuration, fixed or adaptive, and stop them.

    Raises
    ------
    ConfigError
        If it would listen beyond loopback without TLS, or its processes would run the
        main script again.
    TaskError
        If its workers cannot be started.
    """
    check_main_guard()
    host = config.host or "127.0.0.1"
    check_listening(config, host)
    n_workers = config.workers or config.minimum
    if n_workers is None:
        n_workers = usual_workers(threads)
    with (
        kept_environment(),
        dask.config.set(settings_of(config, threads) | _method()),
        security_of(config) as security,
        LocalCluster(
            n_workers=0,
            threads_per_worker=1,
            processes=True,
            memory_limit=config.memory,
            host=None if config.interface else host,
            interface=config.interface,
            protocol="tls://" if security else "tcp://",
            security=security,
            # No page, and a free port for what remains of the HTTP server.
            scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},
            worker_dashboard_address=None,
            # Workers that die are events of a run, which says what it does about them.
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster, security=security) as connected,
        kept_workers(cluster, connected) as keeper,
    ):
        # Processes inherit from the thread that starts them that Ctrl-C is not theirs.
        cluster.sync(_leave_interrupts)
        if config.maximum is not None:
            cluster.adapt(minimum=config.minimum, maximum=config.maximum)
        else:
            cluster.scale(n_workers)
            wait_for_workers(n_workers, keeper)
        yield connected


def _method() -> dict[str, str]:
    """Return Dask's setting of how processes start, where the fork server is ready."""
    if not fork_server.is_running():
        return {}
    # Dask would import what it forks with here, too; the server has its own list.
    distributed.utils._forkserver_preload_set = True
    return {"distributed.worker.multiprocessing-method": fork_server.METHOD}


async def _leave_interrupts() -> None:
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
