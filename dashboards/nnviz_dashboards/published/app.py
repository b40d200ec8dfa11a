"""How do a folder's graphs make a page? The list of its classes beside the graph."""

from __future__ import annotations

import panel as pn

from nnviz.results.published_graphs import PublishedGraphs
from nnviz_dashboards.graph.view import GraphView
from nnviz_dashboards.page.template import follow_address, made_page
from nnviz_dashboards.published.model import PublishedModel, published_selection
from nnviz_dashboards.published.view import (
    FilesView,
    PublishedFactsView,
    published_header,
)

__all__ = ["create_published_app"]


def create_published_app(graphs: PublishedGraphs) -> pn.Template:
    """Build the page of SUMMIT's files for one visitor.

    Parameters
    ----------
    graphs
        The files, shared by all visitors.
    """
    selection = published_selection(graphs)
    follow_address(selection)
    model = PublishedModel(graphs, selection)
    roots: dict[str, pn.viewable.Viewer] = {
        "subsets": FilesView(model),
        "facts": PublishedFactsView(model),
        "graph": GraphView(model, pictures="", layers={}, options=()),
    }
    title, header = "SUMMIT's graphs · nnviz", published_header(model)
    return made_page(roots, title=title, header=header)
