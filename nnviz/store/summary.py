"""What is in a store, in a few lines? For the terminal and for notebooks."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

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


def _facts(store: Store) -> list[tuple[str, str]]:
    done, plan = store.done_chunks(), store.plan
    return [
        ("model", str(plan["model"]["source"])),
        ("data", f"{plan['dataset']['kind']}, {store.n_instances:,} instances"),
        ("classes", f"{len(store.class_names):,}"),
        ("layers", f"{len(store.layers)} recorded, {len(store.shown_layers)} shown"),
        ("extraction", f"{int(done.sum()):,} of {len(done):,} chunks"),
        ("aggregates", ", ".join(store.group_names("aggregates")) or "none"),
        ("artifacts", ", ".join(store.group_names("artifacts")) or "none"),
    ]
