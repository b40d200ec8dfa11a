"""What is every page made of? The template with its places, and the address."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import panel as pn
import param
from bokeh.document import Document

from nnviz_dashboards.shared.selection import Selection
from nnviz_dashboards.shared.theme import css_variables

__all__ = ["follow_address", "made_page"]

_FOLDER = Path(__file__).parent

_UNUSED = re.compile(
    r"<script\b[^>]*\bsrc=[^>]*/(?:bokeh-gl|es-module-shims)\b[^>]*></script>\s*"
)
"""No view draws with WebGL; and what imports modules is the browser's own."""


class _Page(pn.Template):
    """A template with a short text: Panel asks for it at every view that is added.

    Its own has all that all views show, which was a sixth of opening a page.
    """

    def __repr__(self) -> str:
        return type(self).__name__

    def _init_doc(
        self, doc: Document | None = None, *args: Any, **kwargs: Any
    ) -> Document:
        document: Document | None = doc or pn.state.curdoc
        assert document is not None  # there is one wherever a page is served
        # Else it looks for all that is in it again at every view, and more often.
        with document.models.freeze():
            super()._init_doc(document, *args, **kwargs)
        # So that they come beside all else, not once it has been read.
        document.template_variables["scripts"] = [
            getattr(root, "esm")  # noqa: B009 - of Panel's models, which have no types
            for root in document.roots
            if getattr(root, "bundle", "") == "url"
        ]
        return document


def made_page(
    roots: Mapping[str, pn.viewable.Viewer],
    *,
    title: str,
    header: str,
    stale: str = "",
) -> pn.Template:
    """Return a page.

    Parameters
    ----------
    roots
        The views by the name that the template has for their places.
    title, header, stale
        Markup of the tab's title, of what is known of the run, and of what is old.
    """
    page = _Page(_compiled(), location=True)
    page.add_variable("css_variables", css_variables())
    page.add_variable("page_style", (_FOLDER / "page.css").read_text(encoding="utf-8"))
    page.add_variable("page_script", _script())
    page.add_variable("page_title", title)
    page.add_variable("needed", _needed)
    page.add_variable("header", header)
    page.add_variable("stale", stale)
    page.add_variable("shown", list(roots))
    for name, root in roots.items():
        page.add_panel(name, root)
    return page


@functools.cache
def _compiled() -> Any:
    """Compile the markup once, as Panel does it for each visitor."""
    return pn.Template((_FOLDER / "page.html").read_text(encoding="utf-8")).template


def _needed(scripts: str) -> str:
    """Return the tags of Bokeh's and Panel's scripts without those that no view needs.

    The shim reads all scripts of all views once more, a twelfth of what a browser has
    to do until the page is there.
    """
    return _UNUSED.sub("", scripts)


def _script() -> str:
    """Return what the page itself does, beside its views."""
    names = ("page.js", "appearance.js", "connection.js", "cut_texts.js")
    return ";\n".join((_FOLDER / name).read_text(encoding="utf-8") for name in names)


def follow_address(selection: Selection) -> None:
    """Keep the selection and the browser's address equal."""
    location = pn.state.location
    if location is None:
        return
    if location.search:
        selection.restore(location.search)

    def leave(*_: param.parameterized.Event) -> None:
        location.search = selection.address()

    def arrive(*_: param.parameterized.Event) -> None:
        if location.search != selection.address():
            with pn.io.hold():  # as one message
                selection.restore(location.search)
                leave()

    leave()
    selection.param.watch(leave, Selection.choices())
    location.param.watch(arrive, "search")
