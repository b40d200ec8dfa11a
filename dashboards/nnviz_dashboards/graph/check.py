"""Is the graph that is looked at being checked? By whoever asks for it."""

from __future__ import annotations

import param

from nnviz_dashboards.graph.shown import ShownGraph
from nnviz_dashboards.shared.network_run import RunNetwork
from nnviz_dashboards.shared.publishing import publish

__all__ = ["CheckModel"]


class CheckModel(param.Parameterized):
    """A causal check of a graph, for a visitor who asks for it.

    Parameters
    ----------
    graph
        The graph that is looked at.
    run
        Runs the command; None where no worker is at hand.
    """

    is_running = param.Boolean(
        default=False, constant=True, doc="Whether this graph is being checked."
    )
    problem = param.String(constant=True, doc="Why it could not be.")

    def __init__(self, graph: ShownGraph, run: RunNetwork | None = None) -> None:
        super().__init__()
        self._graph = graph
        self._run = run
        self._asked: set[tuple[str, ...]] = set()
        graph.param.watch(self._renew, "check_words")

    @property
    def can_run(self) -> bool:
        """Whether a visitor can ask for a check."""
        return self._run is not None

    def begin(self) -> None:
        """Check the graph that is looked at."""
        words = self._graph.check_words
        if self._run is None or not words or words in self._asked:
            return
        self._asked.add(words)
        self._renew()
        self._run(words, lambda problem: self._end(words, problem))

    def _renew(self, *_: param.parameterized.Event) -> None:
        is_running = self._graph.check_words in self._asked
        publish(self, {"is_running": is_running, "problem": ""})

    def _end(self, words: tuple[str, ...], problem: str) -> None:
        self._asked.discard(words)
        if words == self._graph.check_words:
            publish(self, {"is_running": False, "problem": problem})
            self._graph.read_effects()
