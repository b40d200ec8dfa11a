"""What does a store hold? The report that ``nnviz inspect`` prints."""

from __future__ import annotations

import collections
from dataclasses import dataclass, field
from typing import Any

from nnviz.formatting import printable, size_text
from nnviz.runs.plan import Plan, plan_lines
from nnviz.store.added_columns import COLUMNS
from nnviz.store.groups import (
    EXPLANATIONS,
    PACKED,
    SAVED_SUBSETS,
    covered_by,
    stage_of,
)
from nnviz.store.lock import writer_of
from nnviz.store.store import Store
from nnviz.upkeep.provenance import provenance_lines, provenance_of

__all__ = ["StoreReport", "describe_store"]


@dataclass(frozen=True, slots=True)
class StoreReport:
    """What a store holds, as text and as JSON values."""

    url: str
    plan: Plan
    n_done: int
    n_chunks: int
    counts: dict[str, int]
    """Sums of the completion marks' counts over the complete chunks."""
    groups: dict[str, dict[str, Any]]
    """Aggregates and artifacts by path, and the index: complete or not, how many
    subsets, how many instances."""
    reasons: dict[str, int] = field(default_factory=dict)
    """How many instances cannot be used, by reason."""
    unreadable: dict[str, str] | None = None
    """Reason by id, if asked for."""
    batch_sizes: dict[int, int] = field(default_factory=dict)
    """Of chunks that were not computed with the plan's, by chunk."""
    writer: str = ""
    """Who writes to the store right now; empty for nobody."""
    arrays: list[dict[str, Any]] | None = None
    provenance: dict[str, Any] | None = None
    """What the store was made of, if asked for."""

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        value: dict[str, Any] = {
            "store": self.url,
            "plan": self.plan.to_json(),
            "chunks": self.n_chunks,
            "chunks_done": self.n_done,
            "counts": self.counts,
            "writer": self.writer,
            "smaller_batches": self.batch_sizes,
            "groups": self.groups,
            "reasons": self.reasons,
        }
        if self.unreadable is not None:
            value["unreadable"] = self.unreadable
        if self.arrays is not None:
            value["arrays"] = self.arrays
        if self.provenance is not None:
            value["provenance"] = self.provenance
        return value

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        lines = [f"store          {self.url}", *plan_lines(self.plan)]
        lines.append(
            f"extraction     {self.n_done:,} of {self.n_chunks:,} chunks, "
            f"{self.counts['n_instances']:,} instances, "
            f"{self.counts['n_unreadable']:,} of them cannot be used"
        )
        lines += [f"  {n:>6,}  {reason}" for reason, n in self.reasons.items()]
        if self.writer:
            lines.append(f"written now by {self.writer}")
        if self.counts["n_saturated"]:
            lines.append(
                f"saturated      {self.counts['n_saturated']:,} activations are stored "
                "as 65,504, the largest float16"
            )
        if self.batch_sizes:
            lines.append(
                f"batches        {len(self.batch_sizes):,} chunks were computed in "
                "smaller ones than planned, for lack of memory: equal to rounding"
            )
        shown = {path: _shown(path, facts) for path, facts in self.groups.items()}
        width = max(24, *map(len, shown.values()), 0)
        for path, facts in self.groups.items():
            state = "complete" if facts["complete"] else "not complete"
            subsets = f", {facts['subsets']:,} subsets" if "subsets" in facts else ""
            if "explained" in facts:
                subsets = f", answers about single instances: {facts['explained']:,}"
            covered = facts.get("covered", self.plan.n_instances)
            stale = (
                f", covers {covered:,} of {self.plan.n_instances:,} instances: run "
                f"nnviz {stage_of(path)} {self.url}"
                if covered < self.plan.n_instances
                else ""
            )
            lines.append(f"{shown[path]:<{width}} {state}{subsets}{stale}")
        if self.n_done < self.n_chunks:
            lines.append(f"next: nnviz extract {self.url}")
        if self.unreadable is not None:
            lines += [
                f"{printable(name)}\t{printable(reason)}"
                for name, reason in self.unreadable.items()
            ]
        for array in self.arrays or ():
            lines.append(
                f"{array['path']:<48} {array['shape']!s:<20} {array['dtype']:<8} "
                f"{size_text(array['bytes']):>10}  {array['meaning']}"
            )
        lines += provenance_lines(self.provenance) if self.provenance else []
        return "\n".join(lines)


def describe_store(
    store: Store,
    *,
    arrays: bool = False,
    unreadable: bool = False,
    provenance: bool = False,
) -> StoreReport:
    """Collect what a store holds; nothing that it names is imported or run.

    Parameters
    ----------
    store
        Opened.
    arrays
        Whether to list every array of the run.
    unreadable
        Whether to list the instances that cannot be used, with the reason.
    provenance
        Whether to say what the store was made of.
    """
    plan = store.plan
    done = store.chunks.done()
    marks = store.chunks.marks()
    counts = {name: int(values.sum()) for name, values in marks.items()}
    reasons = _reasons(store)
    by_reason = collections.Counter(reasons.values())
    listed = [
        {
            "path": spec.path,
            "shape": list(spec.shape),
            "dtype": spec.dtype,
            "bytes": spec.n_bytes,
            "meaning": spec.declaration.meaning,
        }
        for spec in plan.arrays
    ]
    return StoreReport(
        url=store.url,
        plan=plan,
        n_done=int(done.sum()),
        n_chunks=len(done),
        counts=counts,
        groups=_groups(store, plan),
        batch_sizes=store.chunks.batch_sizes(),
        writer=writer_of(store.url),
        reasons=dict(by_reason.most_common(20)),
        unreadable=reasons if unreadable else None,
        arrays=listed if arrays else None,
        provenance=provenance_of(store) if provenance else None,
    )


def _shown(path: str, facts: dict[str, Any]) -> str:
    """Return what a group is called, where its path is made of a hash."""
    kinds = {COLUMNS: "column", SAVED_SUBSETS: "saved subset"}
    kind = kinds.get(path.rpartition("/")[0], "")
    return f"{kind} {printable(facts['name'])}" if "name" in facts else path


def _reasons(store: Store) -> dict[str, str]:
    """Return why instances of the complete chunks cannot be used, by id."""
    reasons: dict[str, str] = {}
    marks = store.chunks.marks()
    for index, (start, stop) in enumerate(store.chunks.spans):
        if marks["done"][index] != 1 or marks["n_unreadable"][index] == 0:
            continue
        status = store.read("instances/status", start, stop)
        ids = store.read("instances/id", start, stop)
        reasons |= {
            str(name): str(reason)
            for name, reason in zip(ids, status, strict=True)
            if reason
        }
    return reasons


def _written(store: Store, parent: str, levels: int = 3) -> list[str]:
    """Return what stages write as one: groups below a path, also in folders of them."""
    found = []
    for name in store.groups.names(parent):
        path = f"{parent}/{name}"
        is_whole = levels == 1 or store.groups.is_complete(path)
        inside = [] if is_whole else _written(store, path, levels - 1)
        whole = [one for one in inside if store.groups.is_complete(one)]
        found += whole or [path]
    return found


def _groups(store: Store, plan: Plan) -> dict[str, dict[str, Any]]:
    groups: dict[str, dict[str, Any]] = {}
    for parent in ("aggregates", "artifacts"):
        for path in _written(store, parent):
            if path.startswith(EXPLANATIONS):
                continue
            facts: dict[str, Any] = {"complete": store.groups.is_complete(path)}
            if facts["complete"]:
                attributes = store.groups.attributes(path)
                if path.startswith(COLUMNS):
                    facts["covered"] = attributes["n_asked"]
                # A saved query is asked of all instances, whenever it was saved.
                elif not path.startswith(SAVED_SUBSETS):
                    facts["covered"] = covered_by(
                        attributes, plan.extensions, plan.n_instances
                    )
                if path.startswith((COLUMNS, SAVED_SUBSETS)):
                    facts["name"] = attributes["name"]
                names = attributes.get("names")
                if names is not None:
                    facts["subsets"] = len(names)
            groups[path] = facts
    # Of single instances there may be many.
    if explained := store.groups.names(EXPLANATIONS):
        are_whole = all(
            store.groups.is_complete(f"{EXPLANATIONS}/{name}") for name in explained
        )
        groups[EXPLANATIONS] = {"complete": are_whole, "explained": len(explained)}
    names = store.groups.names("index")
    if pieces := [path for path in map("index/{}".format, names) if path != PACKED]:
        whole = [path for path in pieces if store.groups.is_complete(path)]
        spans = [store.groups.attributes(path)["span"] for path in whole]
        groups["index"] = {
            "complete": len(whole) == len(pieces),
            "covered": sum(stop - start for start, stop in spans),
        }
    return groups
