"""What does a store hold, in a few lines or a table?"""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from nnviz.store.groups import PACKED, covered_by

if TYPE_CHECKING:
    from nnviz.store.store import Store

__all__ = ["summary_html", "summary_text"]


def summary_text(store: Store) -> str:
    """Return what was planned and what is complete, as lines."""
    facts = _facts(store)
    width = max(len(name) for name, _ in facts)
    lines = [f"  {name:<{width}}  {value}" for name, value in facts]
    return "\n".join([f"<nnviz.Store {store.url}>", *lines])


def summary_html(store: Store) -> str:
    """Return what was planned and what is complete, as a table."""
    rows = "".join(
        f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
        f"<td style='text-align:left'>{html.escape(value)}</td></tr>"
        for name, value in _facts(store)
    )
    return f"<b>nnviz.Store</b> {html.escape(store.url)}<table>{rows}</table>"


def _counted(n: int, what: str) -> str:
    return f"{n:,} {what}" + ("" if n == 1 else "s") if n else "none"


def _covering(store: Store, parent: str) -> str:
    """Return the names of groups, and of how many instances where not of all."""
    shown = []
    for name in store.groups.names(parent):
        path, n = f"{parent}/{name}", store.n_instances
        covered = n
        if store.groups.is_complete(path):
            attributes = store.groups.attributes(path)
            covered = covered_by(attributes, store.plan.extensions, n)
        shown.append(f"{name} (of {covered:,} of {n:,})" if covered < n else name)
    return ", ".join(shown) or "none"


def _facts(store: Store) -> list[tuple[str, str]]:
    done, plan = store.chunks.done(), store.plan
    pieces = set(map("index/{}".format, store.groups.names("index"))) - {PACKED}
    return [
        ("model", plan.model.source),
        ("data", f"{plan.dataset.kind}, {store.n_instances:,} instances"),
        ("classes", f"{len(store.class_names):,}"),
        ("layers", f"{len(store.layers)} recorded, {len(store.shown_layers)} shown"),
        ("extraction", f"{int(done.sum()):,} of {len(done):,} chunks"),
        ("aggregates", _covering(store, "aggregates")),
        ("artifacts", _covering(store, "artifacts")),
        ("index", _counted(len(pieces), "piece")),
    ]
