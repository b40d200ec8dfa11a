"""Loaded by every worker process of this machine: Ctrl-C is for the driver alone.

A terminal sends the interrupt to all processes of the command. Workers that took it
would each print a traceback; the driver ends them anyway, and says one thing.
"""

from __future__ import annotations

import logging
import signal

from distributed import Worker

from nnviz.garbage import look_at_old_objects_seldom

__all__ = ["dask_setup"]


def dask_setup(worker: Worker) -> None:
    """Leave interrupts to the driver, and warnings about cancelled tasks unsaid.

    Like the driver, it also begins sooner where old objects are seldom looked through.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.getLogger("distributed").setLevel(logging.ERROR)
    look_at_old_objects_seldom()
