"""Which instances does a user's function get? Those of the plan, before preparation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nnviz.errors import InputError, UnreadableInstanceError
from nnviz.extraction.planned import hashes_in, open_stored_dataset, planned_reader
from nnviz.extraction.worker_tasks import Opening
from nnviz.store.store import Store

__all__ = ["RunInstances"]


class RunInstances:
    """The instances of a run, opened once in a process.

    Parameters
    ----------
    opening
        What is opened of the run.

    Raises
    ------
    PlanMismatchError
        If the store has another plan, or the data are not those of the plan.
    """

    def __init__(self, opening: Opening) -> None:
        store = Store.open(opening.url)
        self.ids = [str(name) for name in store.column("id")]
        """Of all instances, in the order of the store."""
        dataset = open_stored_dataset(
            store.plan,
            self.ids,
            store.positions(),
            trust=opening.trust,
            hashes=hashes_in(store, store.plan),
        )
        self._reader = planned_reader(store.plan, dataset)

    def read(self, instances: Sequence[int]) -> Iterator[object]:
        """Yield instances: Pillow images, or arrays, in this order.

        Raises
        ------
        InputError
            If one cannot be read any more.
        """
        originals = self._reader.iter_originals(instances)
        for index in instances:
            try:
                yield next(originals)
            except UnreadableInstanceError as error:
                msg = (
                    f"instance {self.ids[index]!r} cannot be read: {error}; it could "
                    "when it was extracted"
                )
                raise InputError(msg) from error
