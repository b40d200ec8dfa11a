"""How are the files listed, and what is said above a graph?"""

from __future__ import annotations

from html import escape

import param
from panel.viewable import Viewable, Viewer

from nnviz_dashboards.page.facts import FactsBar
from nnviz_dashboards.published.model import PublishedModel
from nnviz_dashboards.shared.component import Component, SentList, script, style
from nnviz_dashboards.shared.theme import format_count, shorten_path

__all__ = ["FilesView", "PublishedFactsView", "published_header"]

UNNAMED = (
    "Files have numbers of classes only: serve them with --classes FILE for names."
)


class FilesList(Component):
    """Names of the files' classes."""

    names = SentList([], doc="Of the class of each file.")
    files = SentList([], doc="Name of each file.")
    chosen = param.Integer(doc="Number of the file that is looked at.")

    _esm = script(__file__, "files.js")
    _style = style(__file__, "files.css")


class FilesView(Viewer):
    """The list of the files.

    Parameters
    ----------
    model
        Files and intentions.
    """

    def __init__(self, model: PublishedModel) -> None:
        super().__init__()
        files = model.graphs.files
        self._list = FilesList(
            {"choose": lambda number: model.choose_file(int(number))},
            names=[file.name for file in files],
            files=[file.path.name for file in files],
            chosen=model.selection.param.subset,
        )

    def __panel__(self) -> Viewable:
        return self._list


class PublishedFactsView(Viewer):
    """What is looked at, above its graph.

    Parameters
    ----------
    model
        The graph.
    """

    def __init__(self, model: PublishedModel) -> None:
        super().__init__()
        self._model = model
        self._bar = FactsBar({}, facts=self._facts(), view="graph", has_views=False)
        model.param.watch(self._update, ["drawing", "choices"])

    def _update(self, *_: param.parameterized.Event) -> None:
        self._bar.facts = self._facts()

    def _facts(self) -> dict[str, object]:
        drawing, versus = self._model.drawing, self._model.selection.versus
        layers = 0 if drawing is None else len(drawing.layers)
        file = self._model.graphs.files[self._model.selection.subset]
        text = f"{file.path.name}, as SUMMIT published it"
        named = "" if self._model.graphs.has_names else f". {UNNAMED}"
        return {
            "name": file.name,
            "mark": "",
            "text": text if drawing is None else f"{text}, {layers} layers{named}",
            "confusions": [],
            "against": f"; beside {versus}" if versus else "",
        }

    def __panel__(self) -> Viewable:
        return self._bar


def published_header(model: PublishedModel) -> str:
    """Return what the page's head says, as markup."""
    path, n = model.graphs.path, len(model.graphs.files)
    said = "files" if model.graphs.has_names else f"files. {UNNAMED}"
    fields = [
        (
            "graphs",
            "SUMMIT's own, published",
            "read as they are, without a network",
        ),
        ("from", shorten_path(path), path),
        ("classes", format_count(n), said),
    ]
    return "".join(
        f'<div title="{escape(title)}"><dt>{escape(name)}</dt>'
        f"<dd>{escape(value)}</dd></div>"
        for name, value, title in fields
    )
