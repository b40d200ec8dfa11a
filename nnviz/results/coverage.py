"""Do the shown numbers cover all instances? A store may have grown since then.

Extraction adds instances; aggregates and artifacts keep what they were made of until
their commands run again, and say so.
"""

from __future__ import annotations

import shlex

from nnviz.results.missing import Missing
from nnviz.runs.declarations import ERROR, TARGET
from nnviz.store.groups import covered_by, stage_of
from nnviz.store.store import Store

__all__ = ["stale_results"]

BY_THEMSELVES = ("all", "label", "outcome", "prediction")
"""Collections that ``nnviz aggregate`` makes without being told, of classes."""

WORDS = {"instance_places": "places of instances"}
"""What artifacts are called that have another name in the store."""


def stale_results(store: Store) -> Missing | None:
    """Return what does not cover all instances, and the commands that complete it.

    Parameters
    ----------
    store
        Opened; only attributes are read.

    Returns
    -------
    Missing or None
        None if everything that was written covers every instance.
    """
    n, before = store.n_instances, store.plan.extensions
    covered: dict[str, int] = {}
    for parent in ("aggregates", "artifacts"):
        for name in store.groups.names(parent):
            path = f"{parent}/{name}"
            if store.groups.is_complete(path):
                rows = covered_by(store.groups.attributes(path), before, n)
                if rows < n:
                    covered[path] = rows
    if not covered:
        return None
    stages = {stage_of(path) for path in covered} | _stages_before(store, covered)
    order = ("extract", "aggregate", "derive", "ablate")
    url = shlex.quote(store.url)
    names = sorted({path.partition("/")[2] for path in covered})
    said = sorted(WORDS.get(name, name) for name in names)
    shown = ", ".join(said[:4]) + (", …" if len(said) > 4 else "")
    own = [name for name in names if f"aggregates/{name}" in covered]
    of_values = (store.plan.target_column, TARGET, ERROR)
    own = [name for name in own if name not in (*BY_THEMSELVES, *of_values)]
    again = f" Name the file of {', '.join(own)} with --subsets again." if own else ""
    return Missing(
        "Not of all instances",
        f"The store has {n:,} instances, and what is shown was made of the first "
        f"{min(covered.values()):,} ({shown}). Run this, and reload the page.{again}",
        " && ".join(f"nnviz {stage} {url}" for stage in order if stage in stages),
    )


def _stages_before(store: Store, covered: dict[str, int]) -> set[str]:
    """Return the stages without which the others would only repeat themselves."""
    stages = {"extract"} if store.chunks.missing() else set()
    is_aggregate = [path.startswith("aggregates/") for path in covered]
    # What was derived of old aggregates is old as well.
    return stages | ({"derive"} if any(is_aggregate) else set())
