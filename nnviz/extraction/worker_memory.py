"""Have the workers the memory that a task of the plan needs?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnviz.engine.connection import connected
from nnviz.errors import PlanError
from nnviz.formatting import size_text

if TYPE_CHECKING:
    from distributed import Client

    from nnviz.runs.plan import Plan

__all__ = ["check_worker_memory"]


def check_worker_memory(plan: Plan, client: Client) -> None:
    """Refuse a plan whose tasks need more memory than a worker has.

    Parameters
    ----------
    plan
        Says what a task needs.
    client
        Client of a running cluster; workers without a limit are not asked.

    Raises
    ------
    PlanError
        With the worker, and what both of them say.
    """
    with connected(client):
        workers = client.scheduler_info(n_workers=-1)["workers"]
    limits = {
        address: worker["memory_limit"]
        for address, worker in workers.items()
        if worker.get("memory_limit")
    }
    for address, limit in limits.items():
        if plan.task_bytes > limit:
            msg = (
                f"a task needs about {size_text(plan.task_bytes)} but the worker at "
                f"{address} has {size_text(limit)}; give workers more memory, or plan "
                "with a smaller extraction.batch_size or instances_per_chunk"
            )
            raise PlanError(msg)
