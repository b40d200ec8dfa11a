"""A Dask cluster whose workers are jobs of Slurm, through dask-jobqueue.

Slurm ends jobs: at their time limit, for others of higher priority, with their machine.
A worker's job that has ended is replaced after ``resubmit_after``.
"""

from __future__ import annotations

import contextlib
import shlex
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any

import dask
from distributed import Client
from distributed.security import Security

from nnviz.engine.workers import TROUBLE
from nnviz.errors import ConfigError, TaskError
from nnviz_cluster.site import ClusterConfig
from nnviz_cluster.tls import check_listening, security_of
from nnviz_cluster.worker_start import PRELOAD, missing, settings_of, worker_environment

__all__ = ["cluster_arguments", "open_client"]

SECONDS_BETWEEN_LOOKS = 3.0
SECONDS_BETWEEN_QUESTIONS = 15.0
"""Slurm is not to be asked all the time."""
DEAD_JOBS = 3
"""Jobs that may end before any worker connects; more are not an accident."""


def cluster_arguments(
    config: ClusterConfig, security: Security | None, threads: int
) -> dict[str, Any]:
    """Return the arguments of ``dask_jobqueue.SLURMCluster``."""
    slurm = config.slurm
    extra = ["--preload", PRELOAD]
    extra += ["--no-dashboard", "--dashboard-address", "127.0.0.1:0"]
    if config.host is not None and config.interface is None:
        # Workers listen where the scheduler does only if that is loopback.
        extra += ["--host", config.host] if config.host.startswith("127.") else []
    if slurm.lifetime is not None:
        extra += ["--lifetime", slurm.lifetime]
        extra += ["--lifetime-stagger", slurm.lifetime_stagger]
    environment = worker_environment(threads) | dict(config.environment)
    exports = [f"export {k}={shlex.quote(v)}" for k, v in environment.items()]
    host = {"host": config.host} if config.host and not config.interface else {}
    return {
        # One worker, which is one device, in each job; it runs one task at a time.
        "cores": 1,
        "processes": 1,
        "job_cpu": threads,
        "memory": "4GB" if config.memory == "auto" else config.memory,
        "queue": slurm.queue,
        "account": slurm.account,
        "walltime": slurm.walltime,
        "job_extra_directives": list(slurm.directives),
        "job_script_prologue": [*slurm.prologue, *exports],
        "worker_extra_args": extra,
        "log_directory": slurm.log_folder,
        "local_directory": slurm.local_folder,
        "python": config.python,
        "interface": config.interface,
        "security": security,
        "shared_temp_directory": config.shared_folder,
        "job_name": "nnviz-worker",
        # Only the driver's machine sees the pages of the scheduler.
        "scheduler_options": {
            "dashboard": False,
            "dashboard_address": "127.0.0.1:0",
            **host,
        },
    }


@contextlib.contextmanager
def open_client(config: ClusterConfig, threads: int = 1) -> Iterator[Client]:
    """Submit the workers' jobs, replace those that end, and cancel them at the end.

    Raises
    ------
    ConfigError
        If it would listen beyond loopback without TLS.
    MissingDependencyError
        If dask-jobqueue is not installed.
    TaskError
        If Slurm does not take a job.
    """
    try:
        from dask_jobqueue import SLURMCluster  # noqa: PLC0415  optional
    except ImportError as error:
        raise missing("slurm", "dask-jobqueue", "slurm") from error
    check_listening(config, config.host or socket.gethostname())
    with (
        dask.config.set(settings_of(config, threads)),
        security_of(config) as security,
    ):
        arguments = cluster_arguments(config, security, threads)
        try:
            cluster = SLURMCluster(**arguments)
        except (ValueError, OSError, RuntimeError) as error:
            msg = f"cannot start a cluster on Slurm: {error}; check the cluster file"
            raise ConfigError(msg) from error
        with cluster:
            _check_accepted(cluster.job_script())
            with (
                Client(cluster, security=security) as client,
                _kept(cluster, config, client),
            ):
                yield client


def _check_accepted(script: str) -> None:
    """Ask Slurm whether it would take a job: later it would be refused in silence."""
    answer = subprocess.run(
        ["sbatch", "--test-only"],
        input=script,
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode:
        msg = (
            f"Slurm does not take the job of a worker: {answer.stderr.strip()}; "
            "check queue, account, memory and directives in the cluster file"
        )
        raise TaskError(msg)


@contextlib.contextmanager
def _kept(cluster: Any, config: ClusterConfig, client: Client) -> Iterator[None]:
    """Keep the number of workers.

    A cluster's ``scale`` submits what lacks when it is called, and never again; so it
    is called again and again. ``adapt`` looks by itself, but only at demand. Neither
    hears of a job that ends before its worker connects: Slurm is asked.
    """
    if config.maximum is not None:
        cluster.adapt(minimum=config.minimum, maximum=config.maximum)
        yield
        return
    n_workers = config.workers or 1
    cluster.scale(n_workers)
    stopped = threading.Event()

    def look() -> None:
        asked, n_dead = time.monotonic(), 0
        while not stopped.wait(SECONDS_BETWEEN_LOOKS):
            if time.monotonic() - asked > SECONDS_BETWEEN_QUESTIONS:
                asked = time.monotonic()
                connected = _connected(client)
                dead = _dead_jobs(cluster, connected)
                n_dead = 0 if connected else n_dead + len(dead)
                if n_dead >= DEAD_JOBS:
                    client.log_event(TROUBLE, _dead_text(cluster, config, n_dead))
                    return
                cluster.sync(cluster.scale_down, dead)
            cluster.scale(n_workers)

    looking = threading.Thread(target=look, name="nnviz-slurm-jobs", daemon=True)
    looking.start()
    try:
        yield
    finally:
        stopped.set()
        looking.join()


def _connected(client: Client) -> set[str]:
    """Return the names of the workers that are there."""
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    return {str(worker["name"]) for worker in workers}


def _dead_jobs(cluster: Any, connected: set[str]) -> list[str]:
    """Return the workers whose jobs Slurm does not know any more, by name."""
    waiting = {
        str(job.job_id): str(name)
        for name, job in cluster.workers.items()
        if str(name) not in connected and getattr(job, "job_id", None)
    }
    if not waiting:
        return []
    answer = subprocess.run(
        ["squeue", "--noheader", "--format=%i", "--jobs", ",".join(waiting)],
        capture_output=True,
        text=True,
        check=False,
    )
    # It fails if it knows none of them, or is busy: then they are not taken for dead.
    is_unknown = "Invalid job id" in answer.stderr
    if answer.returncode and not is_unknown:
        return []
    known = set(answer.stdout.split())
    return [name for number, name in waiting.items() if number not in known]


def _dead_text(cluster: Any, config: ClusterConfig, n: int) -> str:
    folder = config.slurm.log_folder
    logs = f"the logs in {folder!r} say why" if folder else "slurm-<job>.out says why"
    return (
        f"{n} jobs of Slurm have ended before a worker connected to the scheduler at "
        f"{cluster.scheduler_address}; {logs}: check 'python', 'prologue' and "
        "'interface' in the cluster file, and whether jobs reach this machine"
    )
