"""How do the parts make one page? A selection, view models, views and the template.

:func:`create_app` runs once for every visitor; the results are shared between them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import panel as pn

from nnviz.errors import MissingDataError, NnvizError
from nnviz.results.coverage import stale_results
from nnviz.results.graph_results import OF_A
from nnviz.results.missing import Missing
from nnviz.results.run_results import RunResults, first_layer
from nnviz_dashboards.channels.model import ChannelsModel
from nnviz_dashboards.channels.view import ChannelsView
from nnviz_dashboards.classes.model import SubsetsModel
from nnviz_dashboards.classes.view import EmbeddingView, SubsetListView
from nnviz_dashboards.confusions.model import ConfusionsModel
from nnviz_dashboards.confusions.view import ConfusionsView
from nnviz_dashboards.differences.model import DifferencesModel
from nnviz_dashboards.differences.view import DifferencesView
from nnviz_dashboards.graph.check import CheckModel
from nnviz_dashboards.graph.faces import ChannelFaces
from nnviz_dashboards.graph.model import GraphModel
from nnviz_dashboards.graph.parts import PartsModel
from nnviz_dashboards.graph.view import GraphView
from nnviz_dashboards.instance_map.model import InstanceMapModel
from nnviz_dashboards.instance_map.view import InstanceMapView
from nnviz_dashboards.instances.inside import InsideModel
from nnviz_dashboards.instances.model import InstancesModel
from nnviz_dashboards.instances.view import InstancesView
from nnviz_dashboards.layers.model import LayersModel
from nnviz_dashboards.layers.network_stages import StagesModel
from nnviz_dashboards.layers.view import LayersView
from nnviz_dashboards.matrix.stack import MatrixStack
from nnviz_dashboards.matrix.view import MatrixView
from nnviz_dashboards.network.model import NetworkModel
from nnviz_dashboards.network.view import NetworkView
from nnviz_dashboards.page.facts import FactsView
from nnviz_dashboards.page.header import header_html, page_title, stale_html
from nnviz_dashboards.page.run_facts import run_facts
from nnviz_dashboards.page.template import follow_address, made_page
from nnviz_dashboards.page.unfinished import running_view
from nnviz_dashboards.shared.delivery import delivered, while_here
from nnviz_dashboards.shared.message import MessageView
from nnviz_dashboards.shared.network_run import RunNetwork
from nnviz_dashboards.shared.selection import NONE, Selection
from nnviz_dashboards.subsets.model import SubsetPairModel
from nnviz_dashboards.subsets.parts_view import PartsView
from nnviz_dashboards.subsets.view import SubsetBarView

__all__ = ["PICTURES", "create_app", "read_ahead"]

T = TypeVar("T")

PICTURES = "pictures"
"""Where the server answers with stored pictures, relative to the page."""


def create_app(
    open_results: Callable[[], RunResults], *, run_network: RunNetwork | None = None
) -> pn.Template:
    """Build the page for one visitor.

    Parameters
    ----------
    open_results
        Returns the run, shared by all visitors. Where it, or a first read, raises an
        error of nnviz, the page shows the error's text.
    run_network
        Runs a command that needs the network when a visitor asks; None where no worker
        is at hand.
    """
    try:
        results = open_results()
        header, title = _header(results)
        stale = stale_html(stale_results(results.store))
        roots = _roots(results, run_network)
    except NnvizError as error:
        header, title, stale = "", "nnviz", ""
        missing = Missing("The store cannot be shown", str(error))
        roots = {"message": MessageView(missing)}
    return made_page(roots, title=title, header=header, stale=stale)


def read_ahead(results: RunResults) -> None:
    """Read, and work out, what a page opens with, so that the first visitor finds it.

    Raises
    ------
    NnvizError
        If something cannot be read; the page says it.
    """
    selection = _selection(results)
    results.graphs.warm_up(results.kind)
    SubsetsModel(results, selection)
    SubsetPairModel(results, selection, run_later=lambda work, done: None)


def _header(results: RunResults) -> tuple[str, str]:
    facts = run_facts(results)
    return header_html(facts), page_title(facts)


def _roots(
    results: RunResults, run_network: RunNetwork | None
) -> dict[str, pn.viewable.Viewer]:
    """Return the views by the name that the template has for their places."""
    selection = _selection(results)
    layers = LayersModel(results, selection)
    stages = StagesModel(results.store.plan.architecture, selection)

    def run_later(work: Callable[[], T], done: Callable[[T | Missing], None]) -> None:
        results.graphs.queries.run(while_here(work), delivered(done))

    def count_later(work: Callable[[], T], done: Callable[[T | Missing], None]) -> None:
        # Counting loads compiled code, and the page, which can be seen without it,
        # would wait for that.
        pn.state.onload(lambda: run_later(work, done))

    def read_later(work: Callable[[], T], done: Callable[[T | Missing], None]) -> None:
        results.reads.run(while_here(work), delivered(done))

    def look_later(work: Callable[[], T], done: Callable[[T | Missing], None]) -> None:
        results.looks.run(work, delivered(done))

    # A page with nothing to work with loads itself again when there is something.
    has_nothing = results.missing_stage() is not None
    bar = running_view(results, reloads=has_nothing, run_later=run_later)
    running: dict[str, pn.viewable.Viewer] = {} if bar is None else {"running": bar}
    try:
        subsets = SubsetsModel(results, selection)
    except MissingDataError:
        message = MessageView(results.missing_stage())
        return {**running, "layers": LayersView(layers, stages), "message": message}
    pictures = f"{PICTURES}/{results.store.fingerprint[:12]}"
    follow_address(selection)
    graph = GraphModel(
        results, results.graphs, selection, run_later=run_later, stages=stages
    )
    run = _of_this_visitor(run_network)
    checks = CheckModel(graph, run)
    pairs = SubsetPairModel(results, selection, run_later=count_later)
    missing = results.missing_classes()
    classes: dict[str, pn.viewable.Viewer] = {
        "embedding": EmbeddingView(
            subsets, layers.labels, compare=pairs.compare_classes
        ),
        "subsets": SubsetListView(subsets),
    }
    if missing is not None:
        classes = {"subsets": PartsView(pairs, missing)}
    matrices = MatrixStack(results, subsets, pairs, run_later=run_later)
    instances = InstancesModel(
        results, pairs, point_at=matrices.point_at, run_later=read_later
    )
    return {
        **running,
        "layers": LayersView(layers, stages),
        "bar": SubsetBarView(pairs, layers.labels),
        **classes,
        "matrix": MatrixView(matrices, layers.labels, run_later=run_later),
        "facts": FactsView(subsets, graph, pairs),
        "graph": GraphView(
            graph,
            pictures=pictures,
            layers=layers.labels,
            checks=checks,
            parts=PartsModel(graph, results.graphs),
            faces=ChannelFaces(results, run_later=look_later),
        ),
        "channels": ChannelsView(
            ChannelsModel(results, pairs), pictures=pictures, layers=layers.labels
        ),
        "instances": InstancesView(
            instances,
            pictures=pictures,
            layers=layers.labels,
            keep=matrices.chosen.keep,
            inside=InsideModel(instances, run=run, run_later=run_later),
        ),
        "differences": DifferencesView(
            DifferencesModel(results, pairs), pictures=pictures, layers=layers.labels
        ),
        "map": InstanceMapView(
            InstanceMapModel(results, pairs, run_later=read_later),
            pictures=pictures,
            layers=layers.labels,
            point_at=matrices.point_at,
        ),
        "confusions": ConfusionsView(ConfusionsModel(results, pairs)),
        "model": NetworkView(NetworkModel(results, pairs, graph)),
    }


def _of_this_visitor(run_network: RunNetwork | None) -> RunNetwork | None:
    """Return what runs the network and tells it on this visitor's page."""
    if run_network is None:
        return None
    return lambda words, done: run_network(words, delivered(done))


def _selection(results: RunResults) -> Selection:
    """Start with a late layer and the class that has most instances."""
    try:
        classes = results.class_table()
        present = classes.present.tolist()
        subset = max(present, key=lambda i: int(classes.n_instances[i]), default=NONE)
    except MissingDataError:
        present, subset = [], NONE
    graphs, store = results.graphs, results.store
    collections = graphs.collections(results.kind)
    if not results.has_classes and OF_A in collections:
        collections = (OF_A, *(name for name in collections if name != OF_A))
    shape = store.plan.architecture.output_shape
    n_outputs = len(store.class_names) or (shape[0] if len(shape) == 1 else 0)
    return Selection(
        {layer.name: layer.n_channels for layer in results.layers},
        present,
        layer=first_layer(results.layers, n_outputs),
        subset=subset,
        collections=collections,
        # Without influences the channels are all that there is to look at.
        view="graph" if graphs.has_influences(results.kind) else "channels",
    )
