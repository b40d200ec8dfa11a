"""Which failures of reading may be gone at the next try? And how often is it tried?

A file server that restarts, a connection that breaks, too many open files: the trouble
is not the instance's. What stays away for five tries counts as gone.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from nnviz.errors import UnreadableInstanceError

__all__ = ["N_TRIES", "may_pass", "patiently"]

PASSING = frozenset(
    (
        errno.EAGAIN,
        errno.EBUSY,
        errno.EIO,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.ESTALE,
        errno.ETIMEDOUT,
    )
)
PAUSES_S = (0.05, 0.25, 1.0, 3.0)
"""Between the tries."""
N_TRIES = len(PAUSES_S) + 1

Arguments = ParamSpec("Arguments")
Value = TypeVar("Value")


def may_pass(error: BaseException) -> bool:
    """Whether a failure may be gone at the next try: a file server's, a connection's.

    Of an error that was raised from another one, the other one is looked at: a data set
    that wraps somebody's code says what that has raised.
    """
    cause = error.__cause__ or error
    if isinstance(cause, (ConnectionError, TimeoutError)):
        return True
    return isinstance(cause, OSError) and cause.errno in PASSING


def patiently(
    read: Callable[Arguments, Value], *args: Arguments.args, **named: Arguments.kwargs
) -> Value:
    """Call a function that reads, five times if it fails in a way that may pass.

    Raises
    ------
    Exception
        What the function raised, the last time if it was called again.
    """
    for pause_s in PAUSES_S:
        try:
            return read(*args, **named)
        except (OSError, UnreadableInstanceError) as error:
            if not may_pass(error):
                raise
        time.sleep(pause_s)
    return read(*args, **named)
