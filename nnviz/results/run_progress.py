"""How far is a run that is still going on? Counted from what the store says is done.

Nothing is kept: a run goes on, and the store is looked at again every few seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from nnviz.results.run_results import stage_state
from nnviz.store.store import Store

__all__ = ["Progress", "progress_of"]

CLASSES = ("label", "prediction")
"""Collections of subsets that are classes."""

Stage = Literal["extract", "aggregate", "derive", ""]


@dataclass(frozen=True, slots=True)
class Progress:
    """What is done of a run."""

    stage: Stage
    """The first stage that is not complete; empty if all are."""
    n_done: int
    """Instances of complete chunks, usable or not."""
    n_instances: int
    n_chunks_done: int
    n_chunks: int
    written: tuple[object, ...]
    """Changes whenever a later stage has written something."""

    @property
    def share(self) -> float:
        """Instances that are done, in [0, 1]."""
        return self.n_done / self.n_instances if self.n_instances else 1.0


def progress_of(url: str, kind: str) -> Progress:
    """Return how far a run is.

    Parameters
    ----------
    url
        URL of the store.
    kind
        Collection of subsets that the page shows.

    Raises
    ------
    StoreNotFoundError
        If there is no store any more.
    """
    store = Store.open(url)
    done = store.chunks.done()
    spans = store.chunks.spans
    groups = store.groups
    # Only of classes the page shows how alike they are.
    needed = (kind, "examples") if kind in CLASSES else ("examples",)
    stage: Stage = ""
    if not done.all():
        stage = "extract"
    elif not groups.is_complete(f"aggregates/{kind}"):
        stage = "aggregate"
    elif not all(groups.is_complete(f"artifacts/{name}") for name in needed):
        stage = "derive"
    fingerprint, _, *written = stage_state(store)
    return Progress(
        stage,
        sum(stop - start for (start, stop), is_done in zip(spans, done, strict=True)
            if is_done),
        store.n_instances,
        int(done.sum()),
        len(done),
        (fingerprint, *written),
    )  # fmt: skip
