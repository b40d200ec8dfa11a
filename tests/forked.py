"""Programs in processes of their own, forked from one that has imported.

Most of the time of a command here is the import of its libraries, and there are many
commands. From its first line on, such a program is as one that was started: it has its
own streams, signals, group of processes and children, and its own end.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import multiprocessing
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import warnings
from collections.abc import Mapping, Sequence
from multiprocessing import resource_tracker, util
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn, TextIO

FORKSERVER = multiprocessing.get_context("forkserver")

PLACES = tuple(sys.path)
"""Where modules are found, before tests add places of their own."""


class Forked:
    """``python -m module arguments``, with what tests use of ``subprocess.Popen``.

    Parameters
    ----------
    module
        What is run as ``__main__``.
    arguments
        Of the command line.
    n_streams
        2 keep output and errors apart, 1 has both; without any, nobody hears of them.
    folder
        Where it runs; where this process is otherwise.
    env
        The environment; that of this process otherwise. Libraries that are imported
        have read theirs already.
    before
        Statements of Python that are run first.
    has_fork_server
        Whether a fork server that it starts is a fork as well, which waits from the
        beginning on; otherwise that one imports anew.
    """

    def __init__(
        self,
        module: str,
        *arguments: str,
        n_streams: int = 2,
        folder: Path | None = None,
        env: Mapping[str, str] | None = None,
        before: str = "",
        has_fork_server: bool = False,
    ) -> None:
        env = dict(os.environ if env is None else env)
        readers, writers = zip(
            *(FORKSERVER.Pipe(duplex=False) for _ in range(n_streams + 1)),
            strict=True,
        )
        self._process = FORKSERVER.Process(
            target=_run,
            args=(
                [module, *arguments],
                writers,
                folder or Path.cwd(),
                env,
                before,
                has_fork_server,
            ),
            daemon=False,
        )
        self._process.start()
        for writer in writers:
            writer.close()
        started, *streams = readers
        with started, contextlib.suppress(EOFError):
            started.recv()
        self.pid = int(self._process.pid or 0)
        self._streams = [_text_of(stream) for stream in streams]
        nobody: list[Any] = [None, None]
        self.stdin, (self.stdout, self.stderr) = None, [*self._streams, *nobody][:2]

    @property
    def returncode(self) -> int | None:
        """How the process has ended: below 0 by a signal; None if it has not."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """Return how the process has ended."""
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """Send a signal to the process alone, if it is there."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask the process to end."""
        self._process.terminate()

    def kill(self) -> None:
        """End the process."""
        self._process.kill()

    def kill_group(self) -> None:
        """End the process and all that it has started, as far as they are there."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int:
        """Return how the process has ended, as soon as it has."""
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self._process.name, timeout or 0.0)
        return self.returncode

    def communicate(self, timeout: float | None = None) -> list[str]:
        """Return output, and errors, once nobody writes any more."""
        texts = [""] * len(self._streams)

        def follow(place: int) -> None:
            if not self._streams[place].closed:
                texts[place] = self._streams[place].read()
                self._streams[place].close()

        threads = [
            threading.Thread(target=follow, args=[place], daemon=True)
            for place in range(len(texts))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout)
        self.wait(0.0 if any(thread.is_alive() for thread in threads) else timeout)
        return texts


def _text_of(reader: Connection) -> TextIO:
    with reader:
        return os.fdopen(os.dup(reader.fileno()), encoding="utf-8")


def _run(
    command: list[str],
    writers: tuple[Connection, ...],
    folder: Path,
    env: dict[str, str],
    before: str,
    has_fork_server: bool,
) -> None:
    """Become the program, in the process that was forked for it."""
    os.setsid()
    os.chdir(folder)
    places = [str(folder), *filter(None, env.get("PYTHONPATH", "").split(os.pathsep))]
    sys.path[:] = [*places, *PLACES]
    os.environ.clear()
    os.environ.update(env)
    if env.get("PYTHONWARNINGS") == "ignore":
        warnings.simplefilter("ignore")
    # What is started has a tracker of resources of its own, once it needs one.
    os.close(resource_tracker._resource_tracker._fd)
    resource_tracker._resource_tracker.__init__()
    if has_fork_server:
        _fork_a_server_ahead()
    started, *streams = writers
    with Path(os.devnull).open("w") as nobody:
        ends = [stream.fileno() for stream in streams] or [nobody.fileno()]
        os.dup2(ends[0], 1)
        os.dup2(ends[-1], 2)
    for stream in streams:
        stream.close()
    sys.stdout, sys.stderr = (
        open(number, "w", encoding="utf-8", buffering=1, closefd=False)  # noqa: SIM115
        for number in (1, 2)
    )
    started.send("")
    started.close()
    sys.argv = command
    if before:
        exec(before, {})
    runpy.run_module(command[0], run_name="__main__", alter_sys=True)


def _fork_a_server_ahead() -> None:
    """Fork a process that waits to be this one's fork server: threads forbid it later.

    Python starts such servers by a line of statements, and files by their numbers.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    child = os.fork()
    if child == 0:
        ours.close()
        _become_a_server(theirs)
    theirs.close()
    spawn = util.spawnv_passfds  # type: ignore[attr-defined]

    def start(path: bytes, command: Sequence[str], files: Sequence[int]) -> int:
        if "forkserver" not in command[-1]:
            return int(spawn(path, command, files))
        util.spawnv_passfds = spawn  # type: ignore[attr-defined]
        message = json.dumps([command[-1], list(files), dict(os.environ)]).encode()
        try:
            socket.send_fds(ours, [message], files)
        except OSError:  # it has been killed
            return int(spawn(path, command, files))
        finally:
            ours.close()
        return child

    util.spawnv_passfds = start  # type: ignore[attr-defined]


def _become_a_server(line: socket.socket) -> NoReturn:
    # As nnviz starts it: Ctrl-C is for the program alone.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    message, received, _, _ = socket.recv_fds(line, 1 << 20, 2)
    if not message:
        os._exit(0)  # the program has ended without one
    statements, files, environment = json.loads(message)
    # Of all that is open, what it is handed is left, by the numbers that it had.
    free = 1 + max(*received, *files, line.fileno())
    kept = [fcntl.fcntl(file, fcntl.F_DUPFD, free) for file in received]
    os.closerange(3, free)
    for file, number in zip(kept, files, strict=True):
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(environment)
    with contextlib.suppress(SystemExit):
        exec(statements, {})
    os._exit(0)
