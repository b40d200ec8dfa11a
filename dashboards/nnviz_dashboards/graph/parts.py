"""Which parts does the graph that is looked at share with those of other classes?"""

from __future__ import annotations

import param

from nnviz.graphs.motifs import Motif
from nnviz.results.graph_results import GraphRequest, GraphResults
from nnviz_dashboards.graph.model import GraphModel
from nnviz_dashboards.shared.publishing import publish

__all__ = ["PartsModel"]

STANDARD = ("label", "prediction")
"""Kinds of collections whose subsets are classes, chosen by their number."""


class PartsModel(param.Parameterized):
    """The parts that graphs share, as derivation has stored them.

    Parameters
    ----------
    graph
        The graph that is looked at.
    graphs
        All of the run.
    """

    motifs = param.ClassSelector(
        class_=tuple, default=(), constant=True, doc="Parts that graphs share."
    )
    here = param.ClassSelector(
        class_=tuple, default=(), constant=True, doc="Numbers of those in this graph."
    )

    def __init__(self, graph: GraphModel, graphs: GraphResults) -> None:
        super().__init__()
        self._graph = graph
        self._graphs = graphs
        graph.param.watch(self._update, "drawing")
        self._update()

    def choose(self, number: int) -> Motif | None:
        """Look at a class whose graph has this part, if the present one has it not.

        Returns
        -------
        Motif or None
            The part; None if there is none of this number.
        """
        request = self._graph.request
        if request is None or not 0 <= number < len(self.motifs):
            return None
        motif: Motif = self.motifs[number]
        if number not in self.here:
            aggregates = self._graphs.collection(request.collection)
            name = motif.subsets[0]
            if aggregates.kind in STANDARD:
                index = int(aggregates.index[aggregates.row(name)])
                self._graph.selection.choose(subset=index)
            else:
                self._graph.choose_member(name)
        return motif

    def _update(self, *_: param.parameterized.Event) -> None:
        request = self._graph.request
        motifs = () if request is None else self._motifs(request)
        name = "" if request is None else request.subset
        here = tuple(i for i, one in enumerate(motifs) if name in one.subsets)
        publish(self, {"motifs": motifs, "here": here})

    def _motifs(self, request: GraphRequest) -> tuple[Motif, ...]:
        kind = self._graphs.collection(request.collection).kind
        if request.sets or kind == "outcome":  # no class alone brings those up
            return ()
        found = self._graphs.stored_motifs(request)
        return () if found is None else found.motifs
