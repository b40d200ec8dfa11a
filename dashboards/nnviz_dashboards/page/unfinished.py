"""What does the page show of a run that is still going on?

A bar of what is done, which refreshes itself. A page that has nothing to show yet loads
itself again once a stage is complete; one that somebody works with offers it.
"""

from __future__ import annotations

from collections.abc import Callable

import panel as pn
import param
from panel.viewable import Viewable, Viewer

from nnviz.errors import NnvizError
from nnviz.results.missing import Missing
from nnviz.results.run_progress import Progress, progress_of
from nnviz.results.run_results import RunResults
from nnviz_dashboards.shared.component import Component, script, style
from nnviz_dashboards.shared.publishing import publish
from nnviz_dashboards.shared.theme import format_count, format_percent
from nnviz_dashboards.subsets.model import RunLater

__all__ = ["SECONDS", "RunningModel", "RunningView", "running_view"]

SECONDS = 4
"""Between two looks at the store."""

NEXT = {
    "aggregate": "All instances are extracted; aggregates come next.",
    "derive": "Aggregates are complete; what is derived of them comes next.",
    "": "The run is complete.",
}


class RunningModel(param.Parameterized):
    """How far the run is.

    Parameters
    ----------
    results
        The run, as this page shows it.
    run_later
        Looks at the store; None looks at once.
    """

    n_looks = param.Integer(default=0, constant=True, doc="At the store, so far.")
    has_news = param.Boolean(
        default=False, constant=True, doc="Whether a stage has written something."
    )

    def __init__(
        self, results: RunResults, *, run_later: RunLater | None = None
    ) -> None:
        super().__init__()
        self._results = results
        self._run_later = run_later or (lambda work, done: done(work()))
        self._is_asked = False
        self.seen: Progress
        """What was seen last."""
        self._first = self.seen = progress_of(results.store.url, results.kind)

    @property
    def is_complete(self) -> bool:
        """Whether nothing more is expected."""
        return not self.seen.stage

    def look(self) -> None:
        """Look at the store again."""
        if self._is_asked:  # the last look is not over
            return
        self._is_asked = True
        url, kind = self._results.store.url, self._results.kind

        def work() -> Progress | None:
            try:
                return progress_of(url, kind)
            except NnvizError:  # it is being moved, say
                return None

        self._run_later(work, self._show)

    def _show(self, found: Progress | Missing | None) -> None:
        self._is_asked = False
        if isinstance(found, Progress):
            before = (self._first.stage, self._first.written)
            news = (found.stage, found.written) != before
            self.seen = found
            publish(self, {"n_looks": self.n_looks + 1, "has_news": news})


class RunningBar(Component):
    """How far the run is."""

    text = param.String()
    share = param.Number(0.0)
    has_news = param.Boolean(default=False)
    reloads = param.Boolean(default=False)

    _esm = script(__file__, "unfinished.js")
    _style = style(__file__, "unfinished.css")


class RunningView(Viewer):
    """A bar of what is done.

    Parameters
    ----------
    model
        How far the run is.
    reloads
        Whether the page loads itself again when there are news.
    """

    def __init__(self, model: RunningModel, *, reloads: bool) -> None:
        super().__init__()
        self._model = model
        self._bar = RunningBar({}, reloads=reloads, **self._values())
        model.param.watch(self._update, ["n_looks", "has_news"])

    def follow(self) -> None:
        """Look at the store every few seconds, as long as the visitor stays."""
        pn.state.add_periodic_callback(self._model.look, period=1000 * SECONDS)

    def _update(self, *_: param.parameterized.Event) -> None:
        self._bar.param.update(**self._values())

    def _values(self) -> dict[str, object]:
        progress = self._model.seen
        text = NEXT.get(progress.stage, "")
        if not text:
            text = (
                f"Extracted: {format_count(progress.n_done)} of "
                f"{format_count(progress.n_instances)} instances "
                f"({format_percent(progress.share)}), "
                f"{format_count(progress.n_chunks_done)} of "
                f"{format_count(progress.n_chunks)} chunks."
            )
        return {
            "text": text,
            "share": round(progress.share, 4),
            "has_news": self._model.has_news,
        }

    def __panel__(self) -> Viewable:
        return self._bar


def running_view(
    results: RunResults, *, reloads: bool, run_later: Callable[..., None]
) -> RunningView | None:
    """Return the bar of a run that goes on; None of one that is complete."""
    model = RunningModel(results, run_later=run_later)
    if model.is_complete:
        return None
    view = RunningView(model, reloads=reloads)
    view.follow()
    return view
