"""Do workers import what a stage needs before they get a task of it?"""

import contextlib
import os
import signal
import sys

import pytest

from nnviz.engine.importing_ahead import import_ahead
from nnviz_cluster import local
from tests.faults.tiny_run import wait_for

pytestmark = pytest.mark.cluster

MODULE = "wsgiref.simple_server"
"""One of Python's own that nothing of ours imports."""


def _seen(client):
    """Return whether each worker process has imported the module, by its number."""

    def look():
        return os.getpid(), MODULE in sys.modules

    with contextlib.suppress(OSError):  # one of them may just be dying
        return dict(client.run(look).values())
    return {}


def test_import_ahead__workers_without_a_task_and_their_replacements():
    with local.client(n_workers=1) as client:
        ((first, imported),) = _seen(client).items()
        assert not imported

        import_ahead(client, [MODULE, "nnviz_no_such_module"])
        wait_for(lambda: _seen(client).get(first))

        os.kill(first, signal.SIGKILL)
        wait_for(lambda: any(pid != first and ok for pid, ok in _seen(client).items()))
        assert client.submit(sum, [1, 2]).result(timeout=30) == 3
