"""How is the header drawn? Markup, with every text from data escaped."""

from __future__ import annotations

from html import escape
from math import isnan

from nnviz.results.missing import Missing
from nnviz_dashboards.page.run_facts import RunFacts
from nnviz_dashboards.shared.theme import format_count, format_percent, shorten_path

__all__ = ["header_html", "page_title", "stale_html"]


def page_title(facts: RunFacts) -> str:
    """Return the title of the browser's tab, as markup."""
    return escape(f"{shorten_path(facts.model)} · nnviz")


def header_html(facts: RunFacts) -> str:
    """Return model, data and counts as the header's markup."""
    fields = [
        ("model", shorten_path(facts.model), facts.model),
        ("data", shorten_path(facts.data), facts.data),
        ("instances", format_count(facts.n_instances), "usable instances"),
    ]
    if facts.n_outputs:
        title = "with instances, of those of the network"
        fields.append(("classes", _classes(facts), title))
    if not isnan(facts.accuracy):
        title = "of the labelled instances are predicted right"
        fields.append(("accuracy", format_percent(facts.accuracy), title))
    title = f"of {format_count(facts.n_recorded)} recorded"
    fields.append(("layers", format_count(facts.n_shown), title))
    if facts.n_unusable:
        title = "could not be read or used; excluded everywhere"
        fields.append(("unusable", format_count(facts.n_unusable), title))
    if facts.n_pending:
        title = "in chunks that are not extracted yet"
        fields.append(("pending", format_count(facts.n_pending), title))
    return "".join(
        f'<div title="{escape(title)}"><dt>{escape(name)}</dt>'
        f"<dd>{escape(value)}</dd></div>"
        for name, value, title in fields
    )


def stale_html(stale: Missing | None) -> str:
    """Return what is shown of old numbers, as markup; empty where there are none."""
    if stale is None:
        return ""
    return (
        f"<strong>{escape(stale.title)}</strong> <span>{escape(stale.text)}</span> "
        f"<code>{escape(stale.command)}</code>"
    )


def _classes(facts: RunFacts) -> str:
    n, n_outputs = facts.n_classes, format_count(facts.n_outputs)
    if n is None or n == facts.n_outputs:
        return n_outputs
    return f"{format_count(n)} of {n_outputs}"
