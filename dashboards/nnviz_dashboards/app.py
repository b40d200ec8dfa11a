"""How do the parts make one page? A selection, view models, views and the template.

:func:`create_app` runs once for every visitor; the results are shared between them.
"""

from __future__ import annotations

from pathlib import Path

import panel as pn
import param

from nnviz.errors import MissingDataError
from nnviz_dashboards.selection import NONE, Selection
from nnviz_dashboards.theme import css_variables
from nnviz_dashboards.viewmodels.channels import ChannelsModel
from nnviz_dashboards.viewmodels.layers import LayersModel
from nnviz_dashboards.viewmodels.results import RunResults, first_layer
from nnviz_dashboards.viewmodels.run import run_facts
from nnviz_dashboards.viewmodels.subsets import SubsetsModel
from nnviz_dashboards.views.channels import ChannelsView
from nnviz_dashboards.views.layers import LayersView
from nnviz_dashboards.views.message import MessageView
from nnviz_dashboards.views.run import header_html, page_title
from nnviz_dashboards.views.subsets import EmbeddingView, SubsetListView

__all__ = ["PICTURES", "create_app"]

PICTURES = "pictures"
"""Where the server answers with stored pictures, relative to the page."""

_VIEWS = Path(__file__).parent / "views"


def create_app(results: RunResults) -> pn.Template:
    """Build the page for one visitor.

    Parameters
    ----------
    results
        The run, shared by all visitors.
    """
    facts = run_facts(results)
    template = (_VIEWS / "page.html").read_text(encoding="utf-8")
    page = pn.Template(template, location=True)
    page.add_variable("page_title", page_title(facts))
    page.add_variable("css_variables", css_variables())
    page.add_variable("page_style", (_VIEWS / "page.css").read_text(encoding="utf-8"))
    page.add_variable("page_script", (_VIEWS / "page.js").read_text(encoding="utf-8"))
    page.add_variable("header", header_html(facts))
    selection = _selection(results)
    layers = LayersModel(results, selection)
    page.add_panel("layers", LayersView(layers))
    try:
        subsets = SubsetsModel(results, selection)
    except MissingDataError:
        page.add_variable("has_message", True)  # noqa: FBT003  a template's variable
        page.add_panel("message", MessageView(results.missing_stage()))
        return page
    embedding = EmbeddingView(subsets, layers.labels)
    channels = ChannelsView(
        ChannelsModel(results, selection),
        subsets,
        pictures=f"{PICTURES}/{results.store.fingerprint[:12]}",
        layers=layers.labels,
    )
    page.add_panel("embedding", embedding)
    page.add_panel("subsets", SubsetListView(subsets, embedding))
    page.add_panel("channels", channels)
    _follow_address(selection)
    return page


def _selection(results: RunResults) -> Selection:
    """Start with a late layer and the class that has most instances."""
    try:
        n_instances = results.class_table().n_instances
        present = results.class_table().present.tolist()
    except MissingDataError:
        present = []
    subset = max(present, key=lambda i: n_instances[i], default=NONE)
    return Selection(
        {layer.name: layer.n_channels for layer in results.layers},
        present,
        layer=first_layer(results.layers, len(results.store.class_names)),
        subset=subset,
    )


def _follow_address(selection: Selection) -> None:
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
            selection.restore(location.search)
            leave()

    leave()
    selection.param.watch(leave, Selection.choices())
    location.param.watch(arrive, "search")
