"""What does a command need to run? Workers, and listeners that tell of them.

Imports are inside the functions, so that ``nnviz --help`` answers at once.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from nnviz.errors import ConfigError

if TYPE_CHECKING:
    from distributed import Client

    from nnviz.engine.progress import Listener

__all__ = ["client_of", "listeners_of"]


def client_of(
    cluster: str | None, workers: int | None = None, threads: int = 1
) -> AbstractContextManager[Client]:
    """Start workers, or connect to a running scheduler.

    Parameters
    ----------
    cluster
        A kind, a cluster file, or an address; None for this machine.
    workers
        Processes to start; None for what the file says, or as the cores allow.
    threads
        Threads inside one operation of the network.

    Raises
    ------
    ConfigError
        If there is no such cluster, or its file is wrong.
    TaskError
        If no scheduler answers.
    """
    from nnviz_cluster.opening import open_client
    from nnviz_cluster.site import load_site

    return open_client(load_site(cluster or "local", workers=workers), threads)


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
