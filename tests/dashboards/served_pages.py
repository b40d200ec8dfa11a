"""The real server, as a process of its own."""

from __future__ import annotations

import contextlib
import queue
import re
import threading

import pytest

from tests.forked import FORKED_COMMANDS, Forked

SECONDS_TO_START = 60


@contextlib.contextmanager
def served(url, *options, with_token=False, may_fail=False, before="", forks=False):
    """Serve a store on a free port; gives the process and the page's address.

    Statements of Python can be run before, which set what has no option. One that runs
    the network can fork the commands that it starts.
    """
    command = [str(url), "--port", "0", *map(str, options)]
    command += [] if with_token else ["--no-token"]
    before += FORKED_COMMANDS if forks else ""
    process = Forked(
        "nnviz_dashboards", *command, n_streams=1, before=before, has_server=forks
    )
    lines = queue.Queue()
    threading.Thread(target=_follow, args=(process, lines), daemon=True).start()
    seen = []
    try:
        while not (seen and "http://" in seen[-1]):
            line = lines.get(timeout=SECONDS_TO_START)
            assert line is not None, "".join(seen)
            seen.append(line)
        yield process, seen[-1].split("http://")[1].split()[0].rstrip("/")
    finally:
        process.terminate()
        process.wait(timeout=20)
        while (line := lines.get(timeout=20)) is not None:
            seen.append(line)
        process.stdout.close()
    if not may_fail:  # the log may have a traceback, the browser never
        assert not [line for line in seen if "Traceback" in line], "".join(seen)


def _follow(process, lines):
    with contextlib.suppress(ValueError):
        for line in process.stdout:
            lines.put(line)
    lines.put(None)


def wait_until(page, condition):
    """Wait until something on a page is so, which it is some frames after its cause."""
    for _ in range(600):
        if condition():
            return
        page.wait_for_timeout(50)
    pytest.fail("what was waited for has not happened")


def expect_address(page, **wanted):
    """Wait until the page's address says this."""
    for name, value in wanted.items():
        page.wait_for_url(re.compile(rf"[?&]{name}={re.escape(value)}(&|$)"))
