"""What is this run? Model, data and counts for the header."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nnviz.errors import MissingDataError
from nnviz.results.run_results import RunResults

__all__ = ["RunFacts", "run_facts"]


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What the header says."""

    model: str
    data: str
    n_instances: int
    """Usable instances."""
    n_unusable: int
    """Instances that were read, and are excluded everywhere."""
    n_pending: int
    """Instances of chunks that are not complete."""
    n_classes: int | None
    """Classes that have instances; None while that is not known."""
    n_outputs: int
    """Classes that the network knows."""
    accuracy: float
    """Fraction of the labelled instances that is predicted right; NaN if unknown."""
    n_shown: int
    n_recorded: int
    """Layers."""


def run_facts(results: RunResults) -> RunFacts:
    """Collect what the header says; all of it from a few small arrays."""
    store = results.store
    plan = store.plan
    marks = store.chunks.marks()
    n_read = int(marks["n_instances"].sum())
    n_unusable = int(marks["n_unreadable"].sum())
    n_classes, accuracy = None, float("nan")
    try:
        classes = results.class_table()
        n_classes = len(classes.present)
        is_known = ~np.isnan(classes.accuracy)
        n_known = int(classes.n_instances[is_known].sum())
        if n_known:
            n_right = (classes.accuracy * classes.n_instances)[is_known].sum()
            accuracy = float(n_right) / n_known
    except MissingDataError:
        pass
    return RunFacts(
        model=plan.model.source,
        data=plan.dataset.path or plan.dataset.source or plan.dataset.kind,
        n_instances=n_read - n_unusable,
        n_unusable=n_unusable,
        n_pending=store.n_instances - n_read,
        n_classes=n_classes,
        n_outputs=len(store.class_names),
        accuracy=accuracy,
        n_shown=len(store.shown_layers),
        n_recorded=len(store.layers),
    )
