"""Is the connection to the scheduler lost, and what becomes of results meanwhile?"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from distributed import Client, Future
from distributed.comm.core import CommClosedError

from nnviz.errors import NnvizError, TaskError

__all__ = ["LOST", "NotThereError", "Results", "connected"]

LOST = (
    "the connection to the Dask scheduler was lost; what is done is in the store: "
    "start the cluster again and repeat the command"
)

RESULT_TIMEOUT_S = 1.0
PAUSE_S = 0.5

REFUSALS = 60
"""Results in a row that do not come because a connection breaks, until it is lost."""


class NotThereError(Exception):
    """A result has to be asked for again."""


@contextlib.contextmanager
def connected(client: Client) -> Iterator[None]:
    """Say that the connection is lost, whatever else is raised because of that.

    Parameters
    ----------
    client
        The client that is used inside.

    Raises
    ------
    TaskError
        In place of an error of a connection, or of any error that is none of nnviz,
        where the client is no longer connected.
    """
    if client.status != "running":
        raise TaskError(LOST)
    try:
        yield
    except NnvizError:
        raise
    except Exception as error:
        if isinstance(error, CommClosedError) or client.status != "running":
            raise TaskError(LOST) from error
        raise


class Results:
    """The results of tasks, which may be away for a moment.

    A worker may die with the result of a finished task, and Dask computes it again. The
    scheduler may die while it hands one over, which the client learns a little later.
    """

    def __init__(self) -> None:
        self._n_refused = 0

    def value_of(self, future: Future[Any]) -> Any:
        """Return the value of a finished task.

        Parameters
        ----------
        future
            Of a task that has ended, neither by an error nor cancelled.

        Raises
        ------
        NotThereError
            If it is to be asked for again, after a look at the connection. That takes
            a moment, so whoever asks at once does not spin.
        TaskError
            If the connection has broken all too often.
        """
        try:
            value = future.result(timeout=RESULT_TIMEOUT_S)
        except CommClosedError as error:
            self._n_refused += 1
            if self._n_refused >= REFUSALS:
                raise TaskError(LOST) from error
            time.sleep(PAUSE_S)
            raise NotThereError from error
        except Exception as error:
            # A wait that is cancelled as its time ends leaves distributed's `sync` with
            # neither a result nor an error, which is an UnboundLocalError there.
            late = isinstance(error, (TimeoutError, UnboundLocalError))
            if future.status == "finished" and not late:
                raise
            _drop_cancelled_gathering(future.client)
            raise NotThereError from error
        self._n_refused = 0
        return value


def _drop_cancelled_gathering(client: Client) -> None:
    """Let a client gather again after a wait that has ended before it had begun to.

    What gathers for several callers at once is cancelled with the one whose time is
    over. Where the loop was so late that it had not begun, distributed keeps it, and
    all who ask later wait for what is cancelled: for good.
    """

    def drop() -> None:
        pending = getattr(client, "_gather_future", None)
        if pending is not None and pending.cancelled():
            client._gather_future = None

    if client.loop is not None:
        # On the loop, before what is asked next.
        client.loop.add_callback(drop)
