"""How are tasks run on a Dask cluster? Bounded submission, and reduction in order.

The scheduler sees a window of tasks, never all of them: its memory and its time per
task stay flat, and a dying worker drags few innocent tasks along (every task assigned
to a worker that dies is suspected, running or not).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from distributed import Client, Future, KilledWorker, as_completed

from nnviz.errors import NnvizError, TaskError

__all__ = ["TaskOutcome", "run_tasks"]

ATTEMPTS = 4
"""How often a task is tried when its worker dies or the file system fails."""

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class TaskOutcome(Generic[Item]):
    """What became of one task."""

    item: Item
    value: Any = None
    error: BaseException | None = None
    """Why it failed for good; None if it did not."""


def run_tasks(
    client: Client,
    function: Callable[..., Any],
    items: Iterable[Item],
    *,
    arguments: Sequence[Any] = (),
    window: int | None = None,
) -> Iterator[TaskOutcome[Item]]:
    """Run ``function(item, *arguments)`` for every item, a bounded number at a time.

    Parameters
    ----------
    client
        Of a running cluster.
    function
        Module-level function; may run several times for one item, and must not mind.
    items
        Small values, one for each task.
    arguments
        Further arguments, the same for every task.
    window
        Tasks handed to the scheduler at a time; None for twice the workers' threads.

    Yields
    ------
    TaskOutcome
        In order of completion. A failure is an outcome, so that the others go on.

    Raises
    ------
    TaskError
        If the connection to the scheduler is lost.
    """
    waiting = iter(items)
    attempts: dict[object, int] = {}
    running: dict[object, Item] = {}
    pool = as_completed(loop=client.loop)

    def submit(item: Item, attempt: int) -> None:
        future = client.submit(function, item, *arguments, pure=False, retries=0)
        running[future.key], attempts[future.key] = item, attempt
        pool.add(future)

    def fill() -> None:
        limit = window or 2 * max(1, sum(client.nthreads().values()))
        while len(running) < limit:
            try:
                item = next(waiting)
            except StopIteration:
                return
            submit(item, 1)

    fill()
    while running:
        future: Future[Any] = next(pool)
        item, attempt = running.pop(future.key), attempts.pop(future.key)
        if future.status == "finished":
            outcome = TaskOutcome(item, value=future.result())
        elif future.status == "cancelled":
            msg = (
                "the connection to the Dask scheduler was lost; what is done is in the "
                "store: start the cluster again and repeat the command"
            )
            raise TaskError(msg)
        else:
            error = future.exception()
            is_passing = isinstance(error, (OSError, KilledWorker))
            is_ours = isinstance(error, NnvizError)
            if is_passing and not is_ours and attempt < ATTEMPTS:
                submit(item, attempt + 1)
                continue
            outcome = TaskOutcome(item, error=error)
        del future
        fill()
        yield outcome
