"""How is it drawn that there is nothing to look at yet?"""

from __future__ import annotations

from panel.viewable import Viewable, Viewer

from nnviz.results.missing import Missing
from nnviz_dashboards.shared.component import Component, SentDict, missing_value, script

__all__ = ["MessageView"]


class Message(Component):
    """What has to happen first."""

    missing = SentDict(None, allow_None=True)

    _esm = script(__file__, "message.js")


class MessageView(Viewer):
    """A page without views: which stage has to run.

    Parameters
    ----------
    missing
        What is missing; None says that nothing is.
    """

    def __init__(self, missing: Missing | None) -> None:
        super().__init__()
        self._message = Message({}, missing=missing_value(missing))

    def __panel__(self) -> Viewable:
        return self._message
