"""What did an output rest on, in one instance? Its own graph, made as its class's is.

Nodes are the channels of largest relevance in each layer, arcs lead to each from its
strongest sources at the position where it is largest. Walks start at the explained
output and follow contributions; of the nodes that they pass, those are kept that hold a
share of the layer's relevance, and what connects them. So the graph has the size of a
class's, and the two can be laid beside each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Unpack

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from nnviz.aggregation.relevance import RelevanceSums
from nnviz.aggregation.totals import InfluenceTotal
from nnviz.errors import ConfigError, MissingDataError
from nnviz.explanation.instance_explanation import InstanceExplanation
from nnviz.graphs.attribution_graph import AttributionGraph
from nnviz.graphs.from_totals import FullGraphs, with_names
from nnviz.graphs.options import GraphChoices, GraphOptions
from nnviz.graphs.presets import directed_selection, kept_graph
from nnviz.network.top_channels import planned_top_channels
from nnviz.store.store import Store

__all__ = ["own_graph"]


def own_graph(
    store: Store,
    explanation: InstanceExplanation,
    *,
    graphs: FullGraphs | None = None,
    **options: Unpack[GraphChoices],
) -> AttributionGraph:
    """Return the graph of one instance, whose nodes are kept by their relevance.

    Parameters
    ----------
    store
        Of the instance, with aggregates of influences: they give base rates.
    explanation
        What the network did with it.
    graphs
        Full graphs of the store; None: they are opened.
    **options
        ``share``, of each layer's relevance that kept channels hold (1 keeps all
        through which evidence runs), and ``inner``, as in :class:`GraphOptions`.

    Returns
    -------
    AttributionGraph
        Of one instance. A node's count says whether it is a top channel, its score is
        its relevance.

    Raises
    ------
    MissingDataError
        If no influences were aggregated.
    ConfigError
        If an option has no such value, or says how other graphs are made.
    """
    chosen = GraphOptions(**options)
    usual = GraphOptions(share=chosen.share, inner=chosen.inner)
    if chosen != usual:
        msg = (
            "the graph of one instance is made of contributions, from the output down, "
            "and keeps channels by relevance; leave out preset, scoring and weight"
        )
        raise ConfigError(msg)
    graphs = FullGraphs(store) if graphs is None else graphs
    totals = _Totals(store, explanation)
    layers = graphs.layers_of(chosen)
    full = graphs.full(totals, layers=layers)
    start, problems = graphs.start(totals, full)
    # Of the outputs one alone is explained: its score is where walks start.
    scores = [
        np.asarray(start[1], dtype=np.float64)
        if name == start[0]
        else np.maximum(np.nan_to_num(explanation.layer(name).relevance()), 0.0)
        for name in layers
    ]
    selection = directed_selection(
        full,
        start,
        weights=graphs.sums(totals),
        ranking=np.concatenate(scores),
        share=chosen.kept_share,
    )
    graph = kept_graph(
        full,
        selection,
        subset=totals.name,
        preset="directed",
        everything=graphs.everything(layers),
        problems=(*explanation.problems, *problems),
    )
    return with_names(store, graph)


@dataclass(frozen=True, slots=True, eq=False)
class _Totals:
    """One instance, as what is counted in a subset."""

    store: Store
    explanation: InstanceExplanation

    @property
    def name(self) -> str:
        explanation = self.explanation
        of = explanation.output_name
        return f"{explanation.id} as {of}" if of else explanation.id

    @property
    def class_index(self) -> int | None:
        return self.explanation.output

    @property
    def n_instances(self) -> int:
        return 1

    def counts(self, layer: str) -> NDArray[np.int64]:
        """Return which channels are top channels, by what the run has stored."""
        number = self.explanation.instance
        values = self.store.activations(layer, number, number + 1)
        top = planned_top_channels(values, layer, self.store.plan.extraction)
        return np.asarray(top.toarray()[0], dtype=np.int64)

    def influences(self, target: str, what: InfluenceTotal) -> sparse.csr_array:
        """Return the positive contributions to the targets, or that there are some."""
        layer = self.explanation.layer(target)
        edges = self.store.plan.architecture.edges
        n_sources = sum(
            self.store.layer(edge.source).n_channels
            for edge in edges
            if edge.target == target
        )
        row, rank = np.nonzero((layer.source >= 0) & (layer.influence > 0))
        values = layer.influence[row, rank].astype(np.float64)
        places = layer.target[row] * n_sources + layer.source[row, rank]
        data = values if what == "influence_sums" else np.ones(len(row), np.int64)
        shape = (1, self.store.layer(target).n_channels * n_sources)
        found = sparse.csr_array((data, (np.zeros_like(places), places)), shape=shape)
        found.sort_indices()
        return found

    def relevance(self, layer: str) -> RelevanceSums:
        """Of one instance it is told by the explanation itself."""
        msg = f"layer {layer!r}: the relevance of one instance is in its explanation"
        raise MissingDataError(msg)
