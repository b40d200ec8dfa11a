"""How does a large value reach every worker once, however many of them die?"""

from __future__ import annotations

import time
from typing import Any

from distributed import Client, Future

from nnviz.engine.workers import Workers
from nnviz.errors import TaskError

__all__ = ["Shared"]

TRIES = 10
"""How often a value is sent to workers that die meanwhile, though others are there."""

PAUSE_S = 0.5


class Shared:
    """A value that tasks of one cluster take as an argument, and workers hold.

    Parameters
    ----------
    value
        Can be pickled.
    """

    def __init__(self, value: Any) -> None:
        self.value = value
        self._sent: Future[Any] | None = None

    def on(self, client: Client, workers: Workers) -> Future[Any]:
        """Return the value as tasks take it; send it if no worker has it.

        Parameters
        ----------
        client
            Of the cluster, the same each time.
        workers
            Those of the cluster. If all of them die while it is sent, it is sent to
            those that come after them; if they die later, what needs it is cancelled.

        Raises
        ------
        TaskError
            If there are no workers for too long, or they cannot be sent it.
        """
        n_tries = 0
        while self._sent is None or self._sent.status != "finished":
            try:
                self._sent = client.scatter(self.value, broadcast=True, hash=False)
            except (OSError, KeyError) as error:
                # KeyError: the scheduler has just forgotten one of them.
                workers.check()
                n_tries += bool(workers.addresses)
                if n_tries >= TRIES:
                    msg = (
                        f"workers cannot be sent what they need: {error!r}; see what "
                        "their logs say, and repeat the command"
                    )
                    raise TaskError(msg) from error
                time.sleep(PAUSE_S)
        return self._sent
