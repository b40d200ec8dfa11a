"""How are tasks run on a Dask cluster? A bounded number at a time."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any

from distributed import Client

from nnviz.engine.progress import Listener
from nnviz.engine.tasks import Item, Remedy, RunLimits, TaskOutcome, TaskRun

__all__ = ["RunLimits", "TaskOutcome", "run_tasks"]


def run_tasks(
    client: Client,
    function: Callable[..., Any],
    items: Iterable[Item],
    *,
    arguments: Sequence[Any] = (),
    window: int | None = None,
    limits: RunLimits | None = None,
    remedy: Remedy | None = None,
    stage: str = "",
    listeners: Iterable[Listener] = (),
) -> Generator[TaskOutcome[Item], None, None]:
    """Run ``function(item, *arguments)`` for every item, a bounded number at a time.

    Parameters
    ----------
    client
        Of a running cluster.
    function
        Module-level function; may run several times for one item, also at the same
        time, and must not mind.
    items
        Small values, one for each task; their text names the task in events.
    arguments
        Further arguments, the same for every task.
    window
        Tasks handed to the scheduler at a time; None for twice the workers' threads.
    limits
        How long things may take.
    remedy
        What to run instead of an item that kills its worker, hangs, or needs more
        memory than there is, for the second time; None to repeat it a few times.
    stage
        For events.
    listeners
        Told about attempts that failed, and about workers that come and go.

    Yields
    ------
    TaskOutcome
        In order of completion. A failure is an outcome, so that the others go on.

    Raises
    ------
    TaskError
        If the connection to the scheduler is lost, or there are no workers.
    OutOfTimeError
        If the time limit is reached before all is done.
    """
    run = TaskRun(
        client,
        function,
        iter(items),
        tuple(arguments),
        window=window,
        limits=limits or RunLimits(),
        remedy=remedy,
        stage=stage,
        listeners=tuple(listeners),
    )
    try:
        yield from run.outcomes()
    finally:
        run.close()
