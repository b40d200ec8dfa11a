"""How does an answer that another thread has made reach the page of its visitor?"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import TypeVar

import panel as pn
from bokeh.document import Document

__all__ = ["delivered"]

Result = TypeVar("Result")


def delivered(done: Callable[[Result], None]) -> Callable[[Result], None]:
    """Return a function that any thread may call, for one of this visitor's document.

    To be called on the thread that answers visitors. What is delivered to somebody who
    has left is dropped.

    Parameters
    ----------
    done
        Called with the same value, on the thread that answers visitors, once the
        document may be changed: not before the visitor's browser has it.
    """
    document = pn.state.curdoc
    loop = asyncio.get_running_loop() if document is not None else None

    def call(result: Result) -> None:
        if document is None or loop is None:
            return
        # Panel holds a document's events while it changes models, takes them and puts
        # an empty list in their place. A callback that another thread adds in between
        # is lost, and the page waits for ever; so only the loop's own thread adds one.
        with contextlib.suppress(RuntimeError):  # the server has stopped
            loop.call_soon_threadsafe(_add, document, lambda: done(result))

    return call


def _add(document: Document, callback: Callable[[], None]) -> None:
    context = document.session_context

    def answer() -> None:
        with pn.io.hold(document):  # as one message
            callback()

    if context is not None and not context.destroyed:
        # Panel drops what changes before the browser says that it is ready, since it
        # will get the document as it is then; it may have got it a moment before.
        document.add_next_tick_callback(lambda: pn.state.onload(answer))
