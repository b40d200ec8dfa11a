"""Answers of other threads, while a document's events are held back as Panel does."""

import logging
import threading
import time
import urllib.request

import panel as pn
import pytest
from bokeh.events import DocumentReady

from nnviz_dashboards.shared.delivery import delivered
from tests.dashboards.threaded_server import threaded_server

SECONDS = 20
"""A guard against hanging, no measurement."""


@pytest.fixture
def visited():
    """Return a function that calls another with the document of a visitor.

    It is called on the thread of a real server.
    """
    documents = []

    def page():
        documents.append(pn.state.curdoc)
        return pn.pane.Str("a page")

    def call(function, *, is_ready=True):
        (document,) = documents
        if is_ready:
            document.add_next_tick_callback(lambda: ready_in(document))
        document.add_next_tick_callback(lambda: function(document))

    with threaded_server(page, SECONDS) as server:
        urllib.request.urlopen(f"http://127.0.0.1:{server.port}/").close()
        yield call


def ready_in(document):
    """Say what a browser says when it shows the document."""
    document.callbacks.trigger_event(DocumentReady())


def on_another_thread(function):
    thread = threading.Thread(target=function)
    thread.start()
    thread.join(SECONDS)


def test_delivered__while_events_are_taken_away__arrives_once(visited):
    arrived, threads, is_there = [], [], threading.Event()

    def done(value):
        arrived.append((value, pn.state.curdoc))
        threads.append(threading.get_ident())
        is_there.set()

    def answer(document):
        threads.append(threading.get_ident())
        deliver = delivered(done)
        document.hold("combine")
        on_another_thread(lambda: deliver("answer"))
        # What panel.io.document.unlocked does once it has taken the events.
        document.callbacks._held_events = []
        document.unhold()
        arrived.append(document)

    visited(answer)

    assert is_there.wait(SECONDS)
    time.sleep(0.1)  # in which it could arrive again
    document, *answers = arrived
    assert answers == [("answer", document)]
    assert threads[0] == threads[1]


def test_delivered__before_the_browser_is_ready__waits_for_it(visited):
    arrived, is_asked, is_there = [], threading.Event(), threading.Event()

    def done(value):
        arrived.append(value)
        is_there.set()

    def answer(document):
        deliver = delivered(done)
        on_another_thread(lambda: deliver("answer"))
        is_asked.set()

    visited(answer, is_ready=False)
    assert is_asked.wait(SECONDS)
    time.sleep(0.2)  # in which it could arrive
    assert arrived == []

    visited(ready_in, is_ready=False)

    assert is_there.wait(SECONDS)
    assert arrived == ["answer"]


def test_delivered__to_somebody_who_has_left__is_dropped(visited, caplog):
    found, is_there = [], threading.Event()

    def answer(document):
        context = document.session_context
        context.server_context.sessions[0].request_expiration()
        found.extend((context, delivered(found.append)))
        is_there.set()

    visited(answer)
    assert is_there.wait(SECONDS)
    context, deliver = found
    until = time.monotonic() + SECONDS
    while not context.destroyed:
        assert time.monotonic() < until
        time.sleep(0.02)
    on_another_thread(lambda: deliver("answer"))
    time.sleep(0.2)  # in which it could arrive

    assert found == [context, deliver]
    assert not [one for one in caplog.records if one.levelno >= logging.WARNING]


def test_delivered__without_a_visitor__does_nothing():
    arrived = []

    on_another_thread(lambda: delivered(arrived.append)("answer"))

    assert arrived == []
