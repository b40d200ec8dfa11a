"""How do all workers import what a stage needs at once, and not one after another?

A worker imports the network's libraries in its first task, which takes seconds. The
first task of a run is one that a single worker does for all (the check of the inputs);
the others would begin to import when it is done.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from distributed.diagnostics.plugin import WorkerPlugin

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["import_ahead"]


class _ImportAhead(WorkerPlugin):
    """Starts the imports as soon as a worker is there, beside what it does."""

    def __init__(self, modules: tuple[str, ...]) -> None:
        self.modules = modules

    def setup(self, worker: Any) -> None:
        del worker
        lacking = [name for name in self.modules if name not in sys.modules]
        if lacking:
            threading.Thread(target=_import, args=(lacking,), daemon=True).start()


def _import(modules: list[str]) -> None:
    for name in modules:
        # A module that cannot be imported is told by the task that needs it.
        with contextlib.suppress(Exception):
            importlib.import_module(name)


def import_ahead(client: Client, modules: Sequence[str]) -> None:
    """Let every worker import modules now, those that join later as well.

    Parameters
    ----------
    client
        Client of a running cluster.
    modules
        Names of modules.
    """
    plugin = _ImportAhead(tuple(modules))
    # Only time is lost without it; a cluster that is lost is told by the next call.
    with contextlib.suppress(Exception):
        client.register_plugin(plugin, name=f"nnviz-import-{'-'.join(modules)}")
