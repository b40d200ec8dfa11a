"""A page that is closed ends what only its visitor waited for, on a real server."""

import threading
import time
import urllib.request
from collections import Counter

import panel as pn
import pytest
from bokeh.events import DocumentReady

from nnviz.aggregation.aggregation import aggregate
from nnviz.results.run_results import RunResults
from nnviz.results.subset_pairs import SubsetPairs
from nnviz.store.completion import Completion
from nnviz.store.store import Store
from nnviz.subsets.subsets import class_subsets
from nnviz.testing import PlantedRun, write_store
from nnviz_dashboards.page.app import create_app
from tests.dashboards.threaded_server import threaded_server

SECONDS = 60
"""A guard against hanging, no measurement."""

RUN = PlantedRun(n_classes=4, n_instances=200, influence_ranks=2, instances_per_chunk=8)
QUERY = "correct"
"""Nothing has counted its instances: all chunks have to be read."""


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """Return a store without an index, in which counting reads chunk after chunk."""
    url = str(tmp_path_factory.mktemp("closed") / "run.zarr")
    store = write_store(url, RUN)
    aggregate(store, [class_subsets(store.column("label"), store.class_names)])
    return url


@pytest.fixture
def results(url):
    results = RunResults(Store.open(url))
    yield results
    results.close()


class Counts:
    """Follows what is counted, and holds the first read of it."""

    def __init__(self, monkeypatch):
        self.read, self.n_asked = [], 0
        self.is_running, self._goes_on = threading.Event(), threading.Event()
        read, count = Completion.read, SubsetPairs.count

        def followed_read(chunks, path, start=0, stop=None, *columns):
            if path.startswith("activations/"):
                self.read.append((path, start))
                self.is_running.set()
                self._goes_on.wait(SECONDS)
            return read(chunks, path, start, stop, *columns)

        def followed_count(pairs, pair):
            self.n_asked += 1
            return count(pairs, pair)

        monkeypatch.setattr(Completion, "read", followed_read)
        monkeypatch.setattr(SubsetPairs, "count", followed_count)

    def go_on(self):
        self._goes_on.set()


@pytest.fixture
def counts(monkeypatch):
    followed = Counts(monkeypatch)
    yield followed
    followed.go_on()


@pytest.fixture
def open_page(results):
    """Return a function that opens the page, and gives the visitor's session."""
    documents = []

    def page():
        documents.append(pn.state.curdoc)
        return create_app(lambda: results)

    def visit():
        address = f"http://127.0.0.1:{server.port}/?a={QUERY}"
        urllib.request.urlopen(address, timeout=SECONDS).close()
        document = documents[-1]
        document.add_next_tick_callback(
            lambda: document.callbacks.trigger_event(DocumentReady())
        )
        return document.session_context

    # No browser holds a line to it: pages end when a test says so.
    kept = {"unused_session_lifetime_milliseconds": 1000 * 60 * SECONDS}
    with threaded_server(page, SECONDS, **kept) as server:
        yield visit


def close(context):
    """Give up a page as the server does once its connection is gone."""
    sessions = {session.id: session for session in context.server_context.sessions}
    sessions[context.id].request_expiration()
    wait_until(lambda: context.destroyed)


def wait_until(is_so):
    until = time.monotonic() + SECONDS
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.02)


def wait_for_all(results):
    """Return when both threads that answer questions are free again."""
    meeting = threading.Barrier(3)
    for _ in range(2):
        results.graphs.queries.run(lambda: meeting.wait(SECONDS), lambda _: None)
    meeting.wait(SECONDS)


def is_counted(results):
    return results.pairs.is_counted(results.pairs.pair(QUERY))


def test_count__for_a_page_that_is_closed__ends(open_page, results, counts):
    visitor = open_page()
    assert counts.is_running.wait(SECONDS)

    close(visitor)
    counts.go_on()
    wait_for_all(results)

    assert not is_counted(results)
    assert len({start for _, start in counts.read}) == 1


@pytest.mark.slow
def test_count__that_another_visitor_waits_for__goes_on_and_is_made_once(
    open_page, results, counts
):
    first = open_page()
    assert counts.is_running.wait(SECONDS)
    open_page()
    wait_until(lambda: counts.n_asked == 2)
    time.sleep(0.2)  # in which the other one begins to wait

    close(first)
    counts.go_on()
    wait_for_all(results)

    assert is_counted(results)
    assert max(Counter(counts.read).values()) == 1
    assert len({start for _, start in counts.read}) == 25
