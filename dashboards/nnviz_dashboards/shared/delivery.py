"""How does an answer that another thread has made reach the page of its visitor?

Nobody waits for it once the page was closed and the server has given up its session:
then it is not made any further, and not delivered.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import TypeVar

import panel as pn
from bokeh.document import Document

from nnviz.engine.wanted import while_wanted

__all__ = ["delivered", "while_here"]

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


def while_here(work: Callable[[], Result]) -> Callable[[], Result]:
    """Return work that ends once this visitor has closed the page.

    To be called on the thread that answers visitors.

    Parameters
    ----------
    work
        Asks by :func:`nnviz.engine.wanted.check_wanted` whether to go on.

    Returns
    -------
    callable
        For any thread; it raises NotWantedError where the visitor has left.
    """
    document = pn.state.curdoc
    if document is None or document.session_context is None:
        return work

    def is_here() -> bool:
        return not _has_left(document)

    def run() -> Result:
        with while_wanted(is_here):
            return work()

    return run


def _has_left(document: Document) -> bool:
    context = document.session_context
    return context is None or context.destroyed


def _add(document: Document, callback: Callable[[], None]) -> None:
    def answer() -> None:
        with pn.io.hold(document):  # as one message
            callback()

    if not _has_left(document):
        # Panel drops what changes before the browser says that it is ready, since it
        # will get the document as it is then; it may have got it a moment before.
        document.add_next_tick_callback(lambda: pn.state.onload(answer))
