"""Which instance ends the process that reads it? Each is read in a process of its own.

A decoder may crash, or ask for more memory than there is, or never come back. That
takes down a worker and says nothing about which of its thousand instances it was. Here
another process, which has no network and nothing to lose, reads the instances of a
chunk one after the other and says before each which it is. When it dies or hangs, that
instance is known, and the next process goes on behind it: one round for each bad
instance, where cutting the chunk into halves takes log2(chunk) dead workers.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import selectors
import signal
import subprocess
import sys
from typing import IO

from nnviz.errors import TaskError
from nnviz.extraction.planned import open_stored_dataset, planned_reader
from nnviz.store.store import Store

__all__ = ["MAX_FATAL", "fatal_instances"]

MAX_FATAL = 100
"""Instances of one chunk that may end the process; more are not an accident."""

START_S = 300.0
"""For the process to import and to open the data set."""

ORPHANED_S = 10.0
"""After which the process ends by itself where nobody has ended it: whoever started it
may have been killed."""


def fatal_instances(
    url: str,
    start: int,
    stop: int,
    *,
    trust: bool,
    seconds_each: float,
    memory_bytes: int | None = None,
) -> dict[int, str]:
    """Return the instances that cannot be read without the loss of a process.

    Parameters
    ----------
    url
        URL of the store.
    start, stop
        First and past-last instance.
    trust
        Whether files that run code when read may be read.
    seconds_each
        Reading one instance may take so long.
    memory_bytes
        The process may have so much; None for no limit.

    Returns
    -------
    dict
        The reason by instance; empty if all can be read, or merely fail.

    Raises
    ------
    TaskError
        If the process does not start, or too many instances end it.
    """
    fatal: dict[int, str] = {}
    limits = [str(seconds_each), str(memory_bytes or 0)]
    while start < stop:
        last, reason = _read_until_death(
            [url, str(start), str(stop), str(int(trust)), *limits], seconds_each
        )
        if last is None:
            break
        fatal[last] = reason
        if len(fatal) > MAX_FATAL:
            msg = (
                f"more than {MAX_FATAL} instances of one chunk end the process that "
                f"reads them ({reason}); check the decoder and the data"
            )
            raise TaskError(msg)
        start = last + 1
    _allow_time(0.0)
    return fatal


def _allow_time(seconds: float) -> None:
    """Let the task of this worker take so long."""
    # The process that reads instances imports this module, and starts without Dask.
    from nnviz.engine.workers import allow_time  # noqa: PLC0415

    allow_time(seconds)


def _read_until_death(
    arguments: list[str], seconds_each: float
) -> tuple[int | None, str]:
    """Return the instance at which the process ended, and how; None at the end."""
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(filter(None, sys.path)))
    with subprocess.Popen(
        [sys.executable, "-m", "nnviz.extraction.isolation", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
    ) as process:
        assert process.stdout is not None
        try:
            last, is_hung = _follow(process.stdout, seconds_each)
        finally:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
    if last == "end":
        return None, ""
    if last == "":
        msg = (
            "the process that reads instances one by one did not start (exit code "
            f"{process.returncode}); see whether 'nnviz plan' can open the data set"
        )
        raise TaskError(msg)
    index, _, what = last.partition(" ")
    if what:
        return int(index), what
    if is_hung:
        return int(index), f"reading it takes more than {seconds_each:g} s"
    return int(index), f"reading it ends the process ({_ending(process.returncode)})"


def _follow(stream: IO[bytes], seconds_each: float) -> tuple[str, bool]:
    """Return the last line that a process wrote, and whether it fell silent."""
    last, rest = "", b""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while True:
            seconds = seconds_each if last else START_S
            # Whether the process hangs is judged here, and not by the task's deadline.
            _allow_time(seconds)
            if not selector.select(seconds):
                return last, True
            data = os.read(stream.fileno(), 1 << 16)
            if not data:
                return last, False
            *lines, rest = (rest + data).split(b"\n")
            if lines:
                last = lines[-1].decode()


def _ending(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    with contextlib.suppress(ValueError):
        return signal.Signals(-code).name
    return f"signal {-code}"


def _read_one_by_one(
    url: str,
    start: int,
    stop: int,
    *,
    trust: bool,
    seconds_each: float,
    memory_bytes: int,
) -> None:
    """Read instances, and write the number of each before it is read."""
    # Also where a decoder holds the interpreter's lock: no Python thread could do it.
    faulthandler.dump_traceback_later(START_S + ORPHANED_S, exit=True)
    # Native libraries print where they please: the pipe is kept for the numbers.
    pipe = os.dup(1)
    os.dup2(2, 1)
    store = Store.open(url)
    plan = store.plan
    ids = store.column("id").tolist()
    dataset = open_stored_dataset(plan, ids, store.positions(), trust=trust)
    reader = planned_reader(plan, dataset)
    if memory_bytes and sys.platform != "win32":
        import resource  # noqa: PLC0415  not on every platform

        resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    for index in range(start, stop):
        os.write(pipe, f"{index}\n".encode())
        faulthandler.dump_traceback_later(seconds_each + ORPHANED_S, exit=True)
        try:
            reader.prepare(index)
        except MemoryError:
            os.write(pipe, f"{index} reading it takes too much memory\n".encode())
            return
        except Exception:  # noqa: BLE001  the worker meets and reports it
            continue
    os.write(pipe, b"end\n")


if __name__ == "__main__":
    _url, _start, _stop, _trust, _seconds, _memory = sys.argv[1:]
    _read_one_by_one(
        _url,
        int(_start),
        int(_stop),
        trust=_trust == "1",
        seconds_each=float(_seconds),
        memory_bytes=int(_memory),
    )
    # Threads of a decoder may not end.
    os._exit(0)
