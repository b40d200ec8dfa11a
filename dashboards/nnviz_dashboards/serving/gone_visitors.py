"""What is said of a visitor who closes the page while it is answered? Nothing.

What the page had sent is worked on although nobody waits for it any more: writing the
answer then fails, and so does Bokeh's look for the session that the connection had. Any
other error is told as before.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from bokeh.server.connection import ServerConnection
from tornado.websocket import WebSocketClosedError

__all__ = ["is_without_session", "report", "say_nothing_of_gone_visitors"]

LOGGERS = (
    "bokeh.server.protocol_handler",
    "bokeh.server.views.ws",
    "tornado.application",
)
"""Who tells what went wrong with a message of a page, or when it was closed."""


def report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Report what went wrong, unless it is that a visitor has closed the page."""
    if not isinstance(context.get("exception"), WebSocketClosedError):
        loop.default_exception_handler(context)


def say_nothing_of_gone_visitors() -> None:
    """Leave out of the log that a message came of a page that is closed by now."""
    for name in LOGGERS:
        logging.getLogger(name).addFilter(_is_told)


def is_without_session(error: BaseException | None) -> bool:
    """Whether a connection was asked for its session after it had given it up."""
    if not isinstance(error, AssertionError) or error.__traceback__ is None:
        return False
    last = error.__traceback__
    while last.tb_next is not None:
        last = last.tb_next
    asked = vars(ServerConnection)["session"].fget
    return last.tb_frame.f_code is asked.__code__


def _is_told(record: logging.LogRecord) -> bool:
    return record.exc_info is None or not is_without_session(record.exc_info[1])
