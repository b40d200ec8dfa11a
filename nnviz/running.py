"""What does a command need to run? Workers, and listeners that tell of them.

Imports are inside the functions, so that ``nnviz --help`` answers at once.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from nnviz.errors import ConfigError, TaskError

if TYPE_CHECKING:
    from distributed import Client

    from nnviz.engine.progress import Listener

__all__ = ["client_of", "listeners_of"]


@contextlib.contextmanager
def client_of(
    workers: int | None, scheduler: str | None, threads: int = 1
) -> Iterator[Client]:
    """Connect to a running scheduler, or start workers on this machine.

    Parameters
    ----------
    workers
        Processes to start; None for as many as the cores allow.
    scheduler
        Address of a running scheduler; then no worker is started.
    threads
        Threads inside one operation of the network.

    Raises
    ------
    TaskError
        If no scheduler answers.
    """
    if scheduler is not None:
        from distributed import Client

        try:
            connected = Client(scheduler, timeout=20)
        except (OSError, ValueError) as error:
            msg = (
                f"no Dask scheduler answers at {scheduler!r}: {error}; check the "
                "address that 'dask scheduler' printed"
            )
            raise TaskError(msg) from error
        with connected:
            yield connected
        return
    from nnviz_cluster.local import client

    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    n_workers = workers or max(1, n_cores // threads)
    with client(n_workers=n_workers, threads=threads) as started:
        yield started


@contextlib.contextmanager
def listeners_of(log: Path | None, *, quiet: bool) -> Iterator[list[Listener]]:
    """Open a progress bar, and a log of events as lines of JSON.

    Parameters
    ----------
    log
        File to append to; ``-`` for standard output; None for no log.
    quiet
        Whether to leave out the progress bar.

    Raises
    ------
    ConfigError
        If the log cannot be written.
    """
    from nnviz.engine.progress import JsonLog, ProgressBar

    listeners: list[Listener] = [] if quiet else [ProgressBar()]
    if log is None:
        yield listeners
        return
    if str(log) == "-":
        yield [*listeners, JsonLog(sys.stdout)]
        return
    try:
        stream = log.open("a", encoding="utf-8")
    except OSError as error:
        msg = f"cannot write the log {str(log)!r}: {error.strerror or error}"
        raise ConfigError(msg) from error
    with stream:
        yield [*listeners, JsonLog(stream)]
