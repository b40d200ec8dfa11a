"""Programs of Dask's own command that tests start, in a folder of their own."""

import contextlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from tests.forked import FORKED_WORKERS, Forked

ROOT = Path(__file__).resolve().parents[2]
LOOPBACK = ["--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0"]
SCHEDULER = re.compile(r"tcp://127\.0\.0\.1:\d+")
REGISTERED = re.compile(r"Registered to")


def dask(*arguments, folder, before=()):
    command = ["dask", *map(str, arguments), *LOOPBACK]
    places = [ROOT, ROOT / "cluster", ROOT / "dashboards"]
    path = [os.environ.get("PYTHONPATH", ""), *map(str, places)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, path))}
    if not before:
        more = {}
        if "worker" in arguments:
            more = {"before": FORKED_WORKERS, "has_server": True}
        return Forked(*command, n_streams=1, folder=folder, env=environment, **more)
    return subprocess.Popen(
        [*before, sys.executable, "-m", *command],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


@contextlib.contextmanager
def running(*arguments, folder, sign, before=()):
    """Start a program of Dask's, yield what it has said of itself, and kill it.

    Words before its command start it through another program, and no longer by forking.
    """
    process = dask(*arguments, folder=folder, before=before)
    try:
        yield next(found[0] for line in process.stdout if (found := sign.search(line)))
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=20)
