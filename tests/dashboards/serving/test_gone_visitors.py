"""A visitor who closes the page is no error, and everything else still is one."""

import asyncio
import logging
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from bokeh.application import Application
from bokeh.document import Document
from bokeh.protocol import Protocol
from bokeh.server.connection import ServerConnection
from bokeh.server.contexts import ApplicationContext
from bokeh.server.protocol_handler import ProtocolHandler
from bokeh.server.session import ServerSession
from bokeh.server.views.ws import WSHandler
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine

from nnviz_dashboards.serving.gone_visitors import say_nothing_of_gone_visitors

HANDLER = "bokeh.server.protocol_handler"


@pytest.fixture
def connection():
    """Return Bokeh's own connection of a visitor."""
    say_nothing_of_gone_visitors()
    session = ServerSession("one", Document())
    context = ApplicationContext(Application())
    return ServerConnection(Protocol(), None, context, session)


def asked(connection):
    message = connection.protocol.create("PULL-DOC-REQ")
    handled = ProtocolHandler().handle(message, connection)
    with ThreadPoolExecutor(1) as thread:  # a browser's loop may run in this one
        return thread.submit(asyncio.run, handled).result()


def test_message__of_a_closed_page_is_no_error(connection, caplog):
    connection.detach_session()

    reply = asked(connection)

    assert reply.msgtype == "ERROR"  # which nobody receives
    assert not caplog.records


def test_message__that_goes_wrong_is_told(connection, caplog, monkeypatch):
    def fails(*_):
        raise AssertionError("of something else")

    monkeypatch.setattr(ServerSession, "_handle_pull", fails)

    asked(connection)

    assert [record.name for record in caplog.records] == [HANDLER]
    assert caplog.records[0].levelno == logging.ERROR


def test_message__of_an_open_page_is_answered(connection, caplog):
    assert asked(connection).msgtype == "PULL-DOC-REPLY"
    assert not caplog.records


def closed(connection):
    """Close the socket of a page as Tornado does, which tells what goes wrong."""
    handler = WSHandler.__new__(WSHandler)  # no request came over a wire
    handler.connection, handler.close_code, handler.close_reason = connection, 1001, ""
    handler.request = HTTPServerRequest(
        start_line=RequestStartLine("GET", "/ws", "HTTP/1.1"),
        headers=HTTPHeaders({"Host": "127.0.0.1"}),
    )
    try:
        handler.on_close()
    except AssertionError:
        handler.log_exception(*sys.exc_info())


def test_closing__of_a_page_that_was_given_up_is_no_error(connection, caplog):
    connection.detach_session()

    closed(connection)

    assert not [one for one in caplog.records if one.levelno >= logging.WARNING]


def test_closing__that_goes_wrong_is_told(connection, caplog, monkeypatch):
    def fails(*_):
        raise AssertionError("of something else")

    monkeypatch.setattr(ServerSession, "notify_connection_lost", fails)

    closed(connection)

    told = [one for one in caplog.records if one.levelno >= logging.WARNING]
    assert [record.name for record in told] == ["tornado.application"]
