"""What does a command need to run? Workers, listeners, limits of time; and to print.

Imports are inside the functions, so that ``nnviz --help`` answers at once.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nnviz.errors import ConfigError
from nnviz.store.places import trouble_text

if TYPE_CHECKING:
    from distributed import Client

    from nnviz.engine.progress import Listener
    from nnviz.store.store import Store


__all__ = [
    "client_of",
    "draw_chunks",
    "listeners_of",
    "seconds_of",
    "stage_of",
    "tell_advice",
]

_LOGGERS = ("distributed", "distributed.client")


@contextlib.contextmanager
def stage_of(
    store: Store,
    stage: str,
    *,
    cluster: str | None,
    workers: int | None,
    log: Path | None,
    quiet: bool,
    threads: int = 1,
    ahead: str | None = None,
) -> Iterator[tuple[Client, list[Listener]]]:
    """Be the only driver that writes to a store, with workers and listeners.

    Whoever comes second learns it before anything is started.

    Parameters
    ----------
    store
        Opened for writing.
    stage
        What is done, for the message that another driver gets.
    cluster, workers, threads, ahead
        See :func:`client_of`.
    log, quiet
        See :func:`listeners_of`.

    Raises
    ------
    StoreInUseError
        If another driver writes to the store.
    """
    from nnviz.store.lock import writing

    with (
        writing(store.url, stage),
        listeners_of(log, quiet=quiet) as listeners,
        client_of(
            cluster, workers, threads, most=store.plan.n_chunks, ahead=ahead
        ) as client,
    ):
        yield client, listeners


@contextlib.contextmanager
def client_of(
    cluster: str | None,
    workers: int | None = None,
    threads: int = 1,
    *,
    most: int | None = None,
    ahead: str | None = None,
) -> Iterator[Client]:
    """Start workers, or connect to a running scheduler.

    What happens to them is said by events and errors; Dask's log stays silent.

    Parameters
    ----------
    cluster
        A kind, a cluster file, or an address; None for this machine.
    workers
        Processes to start; None for what the file says, or as the cores allow.
    threads
        Threads inside one operation of the network.
    most
        More workers on this machine would have nothing to do, and each one takes
        seconds of a core to start; what `cluster` or `workers` says is done all the
        same.
    ahead
        Module that imports what workers on this machine need: it is imported once, and
        they are forked from there; None lets each of them import.

    Raises
    ------
    ConfigError
        If there is no such cluster, or its file is wrong.
    TaskError
        If no scheduler answers.
    """
    from nnviz_cluster import fork_server
    from nnviz_cluster.site import load_site
    from nnviz_cluster.worker_defaults import usual_workers, worker_environment

    if cluster is None and workers is None and most is not None:
        workers = max(1, min(usual_workers(threads), most))
    site = load_site(cluster or "local", workers=workers)
    environment = worker_environment(threads) | dict(site.environment)
    imported = ahead if site.kind == "local" else None
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    with fork_server.running(imported, environment):
        # It imports Dask, while the other process imports as well.
        from nnviz_cluster.opening import open_client

        try:
            with open_client(site, threads) as client:
                for logger in loggers:
                    logger.setLevel(logging.CRITICAL)
                yield client
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


@contextlib.contextmanager
def listeners_of(log: Path | None, *, quiet: bool) -> Iterator[list[Listener]]:
    """Open a progress bar, and a log of events as lines of JSON.

    Parameters
    ----------
    log
        File to append to; ``-`` for standard output; None for no log.
    quiet
        Whether to leave out the progress bar; what nobody can do without is still said.

    Raises
    ------
    ConfigError
        If the log cannot be written.
    """
    from nnviz.engine.progress import Calls, JsonLog, ProgressBar

    listeners: list[Listener] = [Calls() if quiet else ProgressBar()]
    if log is None:
        yield listeners
        return
    if str(log) == "-":
        yield [*listeners, JsonLog(sys.stdout)]
        return
    try:
        stream = log.open("a", encoding="utf-8")
    except OSError as error:
        msg = f"cannot write the log {trouble_text(error)}"
        raise ConfigError(msg) from error
    with stream:
        yield [*listeners, JsonLog(stream)]


def print_result(value: dict[str, Any] | str) -> None:
    """Print a command's result: text for a person, a mapping as one line of JSON."""
    if isinstance(value, str):
        click.echo(value)
    else:
        click.echo(json.dumps(value, ensure_ascii=False, allow_nan=False))


def draw_chunks(store: Store) -> None:
    """Draw a bar on standard error while an answer reads many chunks of a store."""
    from nnviz.aggregation.chunk_progress import tell_of_chunks
    from nnviz.engine.progress import ProgressBar

    tell_of_chunks(store, [ProgressBar()])


def tell_advice(store: Store) -> None:
    """Say on standard error what would have made an answer faster, if anything."""
    from nnviz.aggregation.subset_index import SubsetIndex

    index = store.kept.get(SubsetIndex)  # there only if instances were counted
    if isinstance(index, SubsetIndex) and index.advice:
        click.echo(index.advice, err=True)


_UNITS = re.compile(
    r"(?:(\d+(?:\.\d+)?)d)?(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m(?:in)?)?"
    r"(?:(\d+(?:\.\d+)?)s?)?"
)


_CLOCK = re.compile(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)")


_SECONDS = (86_400, 3_600, 60, 1)


def seconds_of(text: str) -> float:
    """Return the seconds of a duration.

    Parameters
    ----------
    text
        Seconds (``90``), units (``1h30m``), or a clock as batch systems write it
        (``30:00``, ``02:00:00``, ``1-12:00:00``).

    Raises
    ------
    ConfigError
        If it is none of these, or not positive.

    Examples
    --------
    >>> seconds_of("90"), seconds_of("1h30m"), seconds_of("1-12:00:00")
    (90.0, 5400.0, 129600.0)
    """
    stripped = text.strip().lower()
    match = _CLOCK.fullmatch(stripped) or _UNITS.fullmatch(stripped)
    parts = match.groups() if match else ()
    seconds = sum(
        float(part or 0) * unit for part, unit in zip(parts, _SECONDS, strict=False)
    )
    if seconds <= 0:
        msg = (
            f"{text!r} is not a duration; write seconds (90), units (1h30m) or a clock "
            "(02:00:00), more than zero"
        )
        raise ConfigError(msg)
    return seconds
