"""How does a visitor have the network run? By a command, in a process of its own.

The server itself imports nothing that a store names, and stays small. One command runs
at a time; visitors who ask for the same one wait for the same process.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

__all__ = ["NetworkRuns"]

SECONDS = 3600.0
"""After so long a command is ended."""

N_WAITING = 8
"""Commands that run or wait; further ones are sent away."""

SECONDS_TO_END = 20

BUSY = "The network runs for other visitors. Ask again in a while."

Done = Callable[[str], None]
"""Takes what went wrong; nothing if nothing did."""

QUIET = {"ablate": ("--quiet",)}
"""What keeps a command from drawing its progress."""


class NetworkRuns:
    """Runs ``nnviz ablate`` and ``nnviz explain`` for visitors.

    Parameters
    ----------
    cluster
        Where it runs, as its option ``--cluster`` has it.
    seconds
        How long one may take.
    """

    def __init__(self, cluster: str, *, seconds: float = SECONDS) -> None:
        self._cluster = cluster
        self._seconds = seconds
        self._lock = threading.Lock()
        self._asked: dict[tuple[str, ...], list[Done]] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._is_closed = False
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="network")

    def run(self, words: Sequence[str], done: Done) -> None:
        """Run a command, later and on another thread.

        Parameters
        ----------
        words
            Of the command, as :func:`nnviz.results.causal_effects.ablate_words` or
            :func:`nnviz.results.explained_instances.explain_words` returns them.
        done
            Called once, from any thread.
        """
        key = tuple(words)
        with self._lock:
            asked = self._asked.get(key)
            if asked is not None:
                asked.append(done)
                return
            is_busy = self._is_closed or len(self._asked) >= N_WAITING
            if not is_busy:
                self._asked[key] = [done]
                self._pool.submit(self._answer, key)
        if is_busy:
            done(BUSY)

    def close(self) -> None:
        """End what runs, and drop what waits."""
        with self._lock:
            self._is_closed = True
            process = self._process
        self._pool.shutdown(wait=False, cancel_futures=True)
        if process is not None:  # one that does not heed is killed: nobody waits long
            self._end(process)

    def _answer(self, key: tuple[str, ...]) -> None:
        try:
            problem = self._made(key)
        except (OSError, ValueError) as error:  # too long for a command line, say
            problem = f"It cannot be started: {error}"
        with self._lock:
            asked = self._asked.pop(key)
        for done in asked:
            done(problem)

    def _made(self, key: tuple[str, ...]) -> str:
        """Run the command; return what it says went wrong."""
        _, stage, *rest = key
        command = [sys.executable, "-m", "nnviz", stage]
        command += ["--cluster", self._cluster, *QUIET.get(stage, ()), *rest]
        folders = os.pathsep.join(filter(None, sys.path))
        with tempfile.TemporaryFile() as said:
            with self._lock:
                if self._is_closed:
                    return BUSY
                process = self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=said,
                    env=dict(os.environ, PYTHONPATH=folders),
                )
            try:
                code = process.wait(timeout=self._seconds)
            except subprocess.TimeoutExpired:
                self._end(process)
                return f"It took more than {self._seconds:g} seconds, and was ended."
            finally:
                with self._lock:
                    self._process = None
            said.seek(0)
            return "" if code == 0 else _last_words(said.read(), code)

    @staticmethod
    def _end(process: subprocess.Popen[bytes]) -> None:
        process.terminate()
        try:
            process.wait(timeout=SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _last_words(said: bytes, code: int) -> str:
    """Return the error of a command from what it printed."""
    lines = said.decode(errors="replace").strip().splitlines()
    starts = [i for i, line in enumerate(lines) if line.startswith("Error:")]
    text = " ".join(lines[starts[-1] :]) if starts else "".join(lines[-1:])
    return text.removeprefix("Error:").strip() or f"It ended with code {code}."
