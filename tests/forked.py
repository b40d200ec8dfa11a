"""Programs in processes of their own, forked from one that has imported.

Most of the time of a command here is the import of its libraries, and there are many
commands. From its first line on, such a program is as one that was started: it has its
own streams, signals, group of processes and children, and its own end.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
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
from collections.abc import Mapping
from multiprocessing import forkserver, resource_tracker, util
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, BinaryIO, TextIO

FORKSERVER = multiprocessing.get_context("forkserver")

PR_SET_PDEATHSIG = 1
"""Of ``prctl(2)``: the signal that a process has once its parent has ended."""

PLACES = tuple(sys.path)
"""Where modules are found, before tests add places of their own."""

FORKED_WORKERS = """
import dask
dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"})
"""
"""Statements for ``before`` of a program of Dask that starts workers; it otherwise
starts a Python for each, which imports."""

INHERITED_SETTINGS = """
import dask
dask.config.refresh()
"""
"""Likewise of one whose settings are handed to it by the environment."""

FORKED_COMMANDS = """
import subprocess, types
from nnviz_dashboards.serving import network_runs
from tests.forked import ForkedCommand
forking = {**vars(subprocess), "Popen": ForkedCommand}
network_runs.subprocess = types.SimpleNamespace(**forking)
"""
"""Likewise of a server that runs the network when a visitor asks."""


class Forked:
    """``python -m module arguments``, with what tests use of ``subprocess.Popen``.

    The name of a file is ``python file``.

    Parameters
    ----------
    module
        What is run as ``__main__``, or the script.
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
    has_server
        Whether the fork server of its workers is forked, too, if it starts one. As
        users have it, that imports for seconds: for tests of what happens meanwhile.
    """

    def __init__(
        self,
        module: str,
        *arguments: str,
        n_streams: int = 2,
        folder: Path | None = None,
        env: Mapping[str, str] | None = None,
        before: str = "",
        has_server: bool = False,
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
                has_server,
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


class ForkedCommand(Forked):
    """A command that a program starts, which hears of errors by a file.

    Its workers are forked, too, and its output has room until it ends.
    """

    def __init__(
        self,
        command: list[str],
        *,
        stderr: BinaryIO,
        env: Mapping[str, str],
        **_: Any,
    ) -> None:
        _, switch, module, *arguments = command
        assert switch == "-m"
        self._said = stderr
        super().__init__(
            module, *arguments, env=env, before=FORKED_WORKERS, has_server=True
        )

    def wait(self, timeout: float | None = None) -> int:
        """Return how the command has ended, and write down what it said."""
        code = super().wait(timeout)
        assert self.stderr is not None
        self._said.write(self.stderr.read().encode())
        return code


class ForkedInLoop:
    """A command that Dask starts from a running loop, of which nobody hears."""

    def __init__(self, module: str, *arguments: str) -> None:
        before = INHERITED_SETTINGS + FORKED_WORKERS
        self._process = Forked(
            module, *arguments, n_streams=0, before=before, has_server=True
        )
        self.stderr = None

    @classmethod
    async def start(cls, *command: str, **_: Any) -> ForkedInLoop:
        """Start a command as :func:`asyncio.create_subprocess_exec` does."""
        _, switch, module, *arguments = command
        assert switch == "-m"
        return cls(module, *arguments)

    @property
    def returncode(self) -> int | None:
        """How the process has ended; None if it has not."""
        return self._process.returncode

    async def end(self) -> None:
        """End the process and all that it has started."""
        self._process.kill_group()
        await asyncio.to_thread(self._process.wait)


def _text_of(reader: Connection) -> TextIO:
    with reader:
        return os.fdopen(os.dup(reader.fileno()), encoding="utf-8")


def _run(
    command: list[str],
    writers: tuple[Connection, ...],
    folder: Path,
    env: dict[str, str],
    before: str,
    has_server: bool,
) -> None:
    """Become the program, in the process that was forked for it."""
    _end_with_the_tests()
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
    if has_server:
        _fork_the_server()
    sys.argv = command
    if before:
        exec(before, {})
    if command[0].endswith(".py"):
        runpy.run_path(command[0], run_name="__main__")
    else:
        runpy.run_module(command[0], run_name="__main__", alter_sys=True)


def _end_with_the_tests() -> None:
    """Let this process end once that from which it was forked is not there any more.

    That is when the tests have ended, or were killed. Processes that are forked keep it
    there otherwise, as they could ask it for others: a program has a server of its own.
    """
    os.close(forkserver._forkserver._forkserver_alive_fd)
    forkserver._forkserver._forkserver_alive_fd = None
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _fork_the_server() -> None:
    """Let the fork server of this program be a fork of it, before it runs anything.

    Later it has threads. What waits here becomes a fork server when the program starts
    one, with the variables and the blocked signals of that moment. A second one, if
    that has been killed, is started as users have it.
    """
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        try:
            ours.close()
            _become_the_server(theirs)
        finally:
            os._exit(0)
    theirs.close()
    start = util.spawnv_passfds

    def start_or_ask(path: bytes, arguments: list[str], numbers: list[int]) -> int:
        *_, code = arguments
        if "multiprocessing.forkserver" not in code or ours.fileno() < 0:
            return int(start(path, arguments, numbers))
        blocked = [int(n) for n in signal.pthread_sigmask(signal.SIG_BLOCK, [])]
        with ours:
            if os.waitpid(pid, os.WNOHANG) != (0, 0):
                return int(start(path, arguments, numbers))
            socket.send_fds(ours, [b"."], numbers)
            ours.sendall(
                json.dumps([code, numbers, blocked, dict(os.environ)]).encode()
            )
        return pid

    util.spawnv_passfds = start_or_ask


def _become_the_server(program: socket.socket) -> None:
    """Run the code of a fork server, if the program gives it before it ends."""
    dot, given, _, _ = socket.recv_fds(program, 1, 8)
    if not dot:
        return
    with program, program.makefile(encoding="utf-8") as stream:
        code, numbers, blocked, environment = json.load(stream)
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    os.environ.clear()
    os.environ.update(environment)
    # The code names its files by their numbers in the program.
    given = [fcntl.fcntl(number, fcntl.F_DUPFD, 1 << 10) for number in given]
    for number, there in zip(given, numbers, strict=True):
        os.dup2(number, there)
        os.close(number)
    exec(code, {})
