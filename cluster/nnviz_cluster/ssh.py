"""A Dask cluster on machines that are reached with SSH."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import dask
from distributed import Client, SSHCluster
from distributed.security import Security

from nnviz.errors import ConfigError, TaskError
from nnviz_cluster.site import ClusterConfig
from nnviz_cluster.tls import (
    check_listening,
    is_loopback,
    security_of,
    settings_of_tls,
)
from nnviz_cluster.worker_start import missing, settings_of

__all__ = ["cluster_arguments", "open_client"]

IDLE_TIMEOUT = "10 minutes"
"""After so long without a task, the scheduler ends, and its workers with it."""


def cluster_arguments(
    config: ClusterConfig, security: Security | None
) -> dict[str, Any]:
    """Return the arguments of ``distributed.SSHCluster``.

    Raises
    ------
    ConfigError
        If there are not at least two hosts.
    """
    ssh = config.ssh
    if len(ssh.hosts) < 2:
        msg = (
            f"[ssh] has the hosts {list(ssh.hosts)}; it should have one for the "
            "scheduler, and one for each worker; a name may be repeated"
        )
        raise ConfigError(msg)
    scheduler, *workers = ssh.hosts
    if config.workers is not None:
        # More workers than machines: the machines take turns.
        workers = [workers[i % len(workers)] for i in range(config.workers)]
    connection: dict[str, Any] = {"port": ssh.port}
    if ssh.username is not None:
        connection["username"] = ssh.username
    if ssh.key is not None:
        connection["client_keys"] = [ssh.key]
    if ssh.known_hosts is not None:
        connection["known_hosts"] = ssh.known_hosts
    protocol = {"protocol": "tls" if security else "tcp"}
    local = {"host": config.host} if config.host is not None else {}
    if config.interface is not None:
        local = {"interface": config.interface}
    return {
        "hosts": [scheduler, *workers],
        "connect_options": connection,
        "scheduler_options": {
            **protocol,
            **local,
            "port": 0,
            "dashboard": False,
            "dashboard_address": "127.0.0.1:0",
        },
        "worker_options": {
            **protocol,
            **local,
            "nthreads": 1,
            "dashboard": False,
            "dashboard_address": "127.0.0.1:0",
            "memory_limit": config.memory,
            "local_directory": ssh.local_folder,
        },
        "remote_python": config.python,
        "security": security,
    }


@contextlib.contextmanager
def open_client(config: ClusterConfig, threads: int = 1) -> Iterator[Client]:
    """Start scheduler and workers on their machines, and stop them.

    Raises
    ------
    ConfigError
        If there are too few hosts, or they would listen without TLS.
    MissingDependencyError
        If asyncssh is not installed.
    TaskError
        If a machine does not let us in, or a process does not start there.
    """
    try:
        import asyncssh  # noqa: PLC0415  optional
    except ImportError as error:
        raise missing("ssh", "asyncssh", "ssh") from error
    hosts = config.ssh.hosts
    is_local = all(map(is_loopback, hosts)) and is_loopback(config.host or "")
    check_listening(config, "127.0.0.1" if is_local else config.host)
    settings = settings_of(config, threads)
    # Dask waits for a line that the workers log, which the preload would leave unsaid;
    # an interrupt at our terminal does not reach them anyway.
    settings["distributed.worker.preload"] = []
    # A driver that was killed cannot stop them.
    settings["distributed.scheduler.idle-timeout"] = IDLE_TIMEOUT
    with (
        dask.config.set(settings),
        security_of(config) as security,
        # They reach the machines as settings: paths of files, never the keys.
        dask.config.set(settings_of_tls(security)),
    ):
        arguments = cluster_arguments(config, security)
        try:
            cluster = SSHCluster(**arguments)
        except (asyncssh.Error, OSError, RuntimeError) as error:
            msg = (
                f"cannot start a cluster on {', '.join(sorted(set(hosts)))}: {error}; "
                "check that 'ssh HOST' works without a password, that [ssh] names the "
                "right key, and that 'python' names an interpreter with nnviz there"
            )
            raise TaskError(msg) from error
        with cluster, Client(cluster, security=security) as connected:
            yield connected
