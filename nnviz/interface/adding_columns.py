"""How does one add a column to a run's table, from Python? By one's own function."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from nnviz.engine.handing_over import holding
from nnviz.engine.progress import Listener
from nnviz.interface.given import objects_for
from nnviz.interface.local_workers import local_workers, n_workers_for, reaching
from nnviz.interface.notebook_bar import bars
from nnviz.store.added_columns import AddedColumn, ColumnSource
from nnviz.store.store import Store
from nnviz.upkeep.user_columns import add_column as add_column_to
from nnviz.upkeep.user_columns import instances_to_ask, key_of, seconds_each

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["add_column"]


def add_column(
    store: Store,
    name: str,
    function: Callable[[Any], object],
    *,
    over: ColumnSource,
    batch_size: int | None,
    replace: bool,
    dataset: object,
    client: Client | None,
    workers: int | None,
    listeners: Sequence[Listener] | None,
    progress: bool,
    trust: bool,
) -> AddedColumn:
    """Add a column; see :meth:`nnviz.interface.run_store.Store.add_column`.

    Rows are asked for in this process. Instances are, too, where that takes less time
    than to start others; the first few of them tell.
    """
    shown = bars(progress=progress) if listeners is None else list(listeners)
    asked = instances_to_ask(store, name, function, over=over, replace=replace)
    with contextlib.ExitStack() as stack:
        if over == "instances":
            objects = objects_for(store, model=None, dataset=dataset)
            objects[key_of(function, over)] = function
            if client is None and workers != 0 and len(asked):
                with holding(objects):
                    each = seconds_each(
                        store, asked, function, batch_size=batch_size, trust=trust
                    )
                n = n_workers_for(len(asked) * each, objects, workers, shown)
                if n:
                    client = stack.enter_context(local_workers(n))
            stack.enter_context(reaching(objects, client))
        return add_column_to(
            store,
            name,
            function,
            over=over,
            batch_size=batch_size,
            replace=replace,
            client=client,
            trust=trust,
            listeners=shown,
        )
