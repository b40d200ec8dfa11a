"""Which of SUMMIT's graphs is looked at, and which one beside it?"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from nnviz.errors import NnvizError
from nnviz.graphs.drawing import GraphDrawing, draw_comparison, draw_graph
from nnviz.results.missing import Missing
from nnviz.results.published_graphs import PublishedGraphs
from nnviz_dashboards.graph.shown import ShownGraph, SubsetChoices
from nnviz_dashboards.shared.publishing import follow, publish
from nnviz_dashboards.shared.selection import Selection

__all__ = ["PublishedModel", "published_selection"]

ANY_CHANNEL = 10**9
"""A file does not say how many channels a layer has."""

COLLECTION = "published"


def published_selection(graphs: PublishedGraphs) -> Selection:
    """Return what a visitor has chosen at first: the first graph that can be read."""
    first, layers = 0, tuple[str, ...]()
    for number in range(len(graphs.files)):
        try:
            first, layers = number, graphs.graph(number).layers
            break
        except NnvizError:
            continue
    return Selection(
        dict.fromkeys(layers, ANY_CHANNEL) or {"": 0},
        range(len(graphs.files)),
        layer=layers[-1] if layers else "",
        subset=first,
        collections=(COLLECTION,),
    )


class PublishedModel(ShownGraph):
    """One of SUMMIT's graphs, or two that are compared.

    Parameters
    ----------
    graphs
        The files, shared by visitors.
    selection
        What the visitor has chosen; a class is the number of a file.
    """

    def __init__(self, graphs: PublishedGraphs, selection: Selection) -> None:
        super().__init__(selection, ())
        self.graphs = graphs
        self._numbers = {file.name: i for i, file in enumerate(graphs.files)}
        follow(selection, ["subset", "versus"], self._update)

    def choose_file(self, number: int) -> None:
        """Look at the graph of this file."""
        self.selection.choose(subset=number)

    def _update(self, _: set[str]) -> None:
        selection, files = self.selection, self.graphs.files
        if selection.versus and selection.versus not in self._numbers:
            selection.choose(versus="")
        file = files[selection.subset]
        other = self._numbers.get(selection.versus, selection.subset)
        names = tuple(one.name for one in files if one is not file)
        updates: dict[str, object] = {
            "choices": SubsetChoices((), (), file.name, names, is_of_class=True),
            "code": self._lines(dict.fromkeys((selection.subset, other))),
            "missing": None,
        }
        try:
            self._whole = self._drawn(selection.subset, other)
            updates["drawing"] = self._placed(self._whole)
        except NnvizError as error:
            self._whole = None
            missing = Missing("This graph cannot be shown", str(error))
            updates |= {"drawing": None, "missing": missing}
        publish(self, updates)

    def _drawn(self, number: int, other: int) -> GraphDrawing:
        name = self.graphs.files[number].name
        if other == number:
            graph = self.graphs.graph(number)
            return draw_graph(dataclasses.replace(graph, subset=name))
        found = self.graphs.comparison(number, other)
        versus = self.graphs.files[other].name
        return draw_comparison(
            dataclasses.replace(
                found,
                first=dataclasses.replace(found.first, subset=name),
                second=dataclasses.replace(found.second, subset=versus),
            )
        )

    def _lines(self, numbers: Iterable[int]) -> str:
        """Return lines of Python that read the graphs that are shown."""
        paths = [str(self.graphs.files[number].path) for number in numbers]
        names = ["graph"] if len(paths) == 1 else ["first", "second"]
        read = [
            f"{name} = nnviz.attribution_graph({path!r})"
            for name, path in zip(names, paths, strict=True)
        ]
        return "\n".join(["import nnviz", *read])
