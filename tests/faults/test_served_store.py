"""Rows 31 to 33: a server whose store breaks, whose visitors are many, or hostile."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import re
import shutil
import urllib.parse
from concurrent.futures import ThreadPoolExecutor

import pytest
import tornado.web
from bokeh.protocol import Protocol
from bokeh.protocol.receiver import Receiver
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

from nnviz.errors import ConfigError
from nnviz.testing import PlantedRun, write_complete_store, write_store
from nnviz_dashboards.serving.server import make_server
from tests.dashboards.served_pages import served
from tests.forked import Forked


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    url = str(tmp_path_factory.mktemp("served") / "run.zarr")
    write_complete_store(url, PlantedRun(n_instances=200, examples_per_channel=2))
    return url


@pytest.fixture(scope="module")
def guarded(url):
    """Return address and token of a server as it is by default."""
    with served(url, with_token=True) as (_, printed):
        address, _, token = printed.partition("/?token=")
        yield address, token


def ask(address, path="/", **headers):
    with contextlib.closing(http.client.HTTPConnection(address, timeout=30)) as line:
        line.request(
            "GET", path, headers={k.replace("_", "-"): v for k, v in headers.items()}
        )
        with line.getresponse() as answer:
            return answer.status, answer.headers, answer.read().decode(errors="replace")


def enter(address, token):
    status, headers, _ = ask(address, f"/?layer=late&token={token}")
    assert (status, headers["Location"]) == (302, "./?layer=late")
    return headers["Set-Cookie"].split(";")[0]


SOCKET = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec_WebSocket_Version": "13",
    "Sec_WebSocket_Protocol": "bokeh, token",
}


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/?token=wrong",
        "/pictures/ab/2/0/0",
        "/pictures/ab/instances/5",
        "/static/js/bokeh.min.js",
        f"/scripts/{64 * '0'}.js",
        "/ws",
    ],
)
def test_visitor__without_the_token_gets_nothing(guarded, path):
    """Row 33: 401, for every kind of handler."""
    address, _ = guarded
    headers = {**SOCKET, "Origin": f"http://{address}"} if path == "/ws" else {}

    status, _, body = ask(address, path, **headers)

    assert status == 401
    assert "planted" not in body
    assert len(body) < 200


def test_token__becomes_a_cookie_that_scripts_cannot_read(guarded):
    address, token = guarded

    _, headers, _ = ask(address, f"/?token={token}")
    status, _, body = ask(address, "/", Cookie=enter(address, token))

    assert "HttpOnly" in headers["Set-Cookie"]
    assert "SameSite=Lax" in headers["Set-Cookie"]
    assert token not in headers["Set-Cookie"]
    assert (status, "planted" in body) == (200, True)


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"Origin": "http://evil.example"}, id="other-page"),
        pytest.param({"Origin": "http://{}.evil"}, id="prefix"),
        pytest.param({"Origin": "null"}, id="null"),
        pytest.param({"Origin": "file://{}"}, id="file"),
        pytest.param({}, id="none"),
    ],
)
def test_socket__refuses_other_pages_and_those_that_say_none(guarded, headers):
    """Row 33: 403, also where no origin is stated."""
    address, token = guarded
    headers = {name: value.format(address) for name, value in headers.items()}

    status, _, _ = ask(
        address, "/ws", Cookie=enter(address, token), **SOCKET, **headers
    )

    assert status == 403


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1:1"])
def test_page__under_a_foreign_name_is_refused(guarded, host):
    """Row 33: a name that was made to point at this machine afterwards."""
    address, token = guarded

    status, _, body = ask(address, f"/?token={token}", Host=host)

    assert (status, "planted" in body) == (403, False)


@pytest.mark.parametrize(
    "path",
    [
        "/autoload.js?bokeh-autoload-element=x",
        "/components/antigravity/x/_css/y",
        "/metadata",
        "/static/../../../../etc/passwd",
        "/static/%2e%2e/%2e%2e/etc/passwd",
        "/pictures/abc/../../../etc/passwd",
        "/pictures/abc/a/0/0",
        "/nothing",
    ],
)
def test_path__that_the_page_does_not_need_has_no_answer(guarded, path):
    """Row 33: 403 or 404, with neither file nor traceback."""
    address, token = guarded

    status, headers, body = ask(address, path, Cookie=enter(address, token))

    assert status in (403, 404)
    assert "root:" not in body
    assert "Traceback" not in body
    assert "Access-Control-Allow-Origin" not in headers


def test_answers__have_headers_that_keep_others_out(guarded):
    address, token = guarded

    for path in ("/", "/nothing"):
        _, headers, _ = ask(address, path, Cookie=enter(address, token))

        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'self'" in policy
        assert "'unsafe-inline'" not in policy.split("script-src")[1].split(";")[0]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "same-origin"
        assert "Server" not in headers


def test_address__longer_than_a_page_makes_is_refused(guarded):
    address, _ = guarded

    try:
        status, _, _ = ask(address, "/?find=" + "x" * 20_000)
    except (http.client.HTTPException, ConnectionError):
        status = 0  # the server has hung up

    assert status in (0, 400, 414, 431)


async def talk(address, body, *messages):
    """Open the page's line, send messages, and return the types of the answers."""
    token = re.search(r'"token":\s*"([^"]+)"', body).group(1)
    request = HTTPRequest(f"ws://{address}/ws", headers={"Origin": f"http://{address}"})
    line = await websocket_connect(request, subprotocols=["bokeh", token])
    protocol, answers = Protocol(), []
    receiver = Receiver(protocol)

    async def next_answer():
        message = None
        while message is None:
            fragment = await line.read_message()
            if fragment is None:
                return None
            message = await receiver.consume(fragment)
        return message

    answers.append(await next_answer())
    for make in messages:
        await make(protocol).send(_Line(line))
        answers.append(await next_answer())
    stream = line.protocol.stream if line.protocol else None
    line.close()
    # The loop ends with this, and the socket has to be closed before.
    while stream is not None and not stream.closed():
        await asyncio.sleep(0.01)
    return answers


def talked(address, body, *messages):
    """Talk in a thread: a browser may hold the loop of this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, talk(address, body, *messages)).result()


class _Line:
    """What a message of Bokeh wants to write to."""

    def __init__(self, line):
        self._line = line
        self.write_lock = tornado.locks.Lock()

    async def write_message(self, message, binary=False, locked=True):
        del locked
        await self._line.write_message(message, binary)


@pytest.mark.slow
def test_socket__cannot_replace_the_document_and_tells_no_traceback(url):
    """Row 33: an error on the line has no details."""

    def push(protocol):
        from bokeh.document import Document

        return protocol.create("PUSH-DOC", Document())

    def patch(protocol):
        message = protocol.create("PULL-DOC-REQ")
        message.header["msgtype"] = "PATCH-DOC"
        message.content = {"events": [{"kind": "ModelChanged", "model": {"id": "no"}}]}
        return message

    with served(url, may_fail=True) as (_, address):
        _, _, body = ask(address)
        *_, answer = talked(address, body, patch)
        closed = talked(address, ask(address)[2], push)

    assert answer.msgtype == "ERROR"
    assert answer.content == {"text": "the server could not do this", "traceback": None}
    assert closed[0].msgtype == "ACK"
    assert closed[1] is None


SERVER = """
import gc, sys, json, threading
import psutil
from bokeh.document import Document
from tornado.iostream import IOStream
from nnviz_dashboards.serving import server as serving

made = serving.make_server(sys.argv[1], with_token=False)
made._tornado._cleanup_job.callback_time = 100
made.start()
context = made._tornado.applications["/"]

def count():
    # Only when all have been opened: one that nobody has connected to is unused, too.
    n_left = len(context.sessions)
    made._tornado._unused_session_lifetime_milliseconds = 0 if n_left else 60_000
    if not n_left:
        gc.collect()
    rss = psutil.Process().memory_info().rss
    kept = gc.get_objects()
    documents = sum(isinstance(one, Document) for one in kept)
    closed = sum(isinstance(one, IOStream) and one.closed() for one in kept)
    print(json.dumps([n_left, rss, documents, closed]), flush=True)

def listen():
    for _ in open(sys.argv[2]):
        made.io_loop.add_callback(count)
    made.io_loop.add_callback(made.io_loop.stop)

threading.Thread(target=listen, daemon=True).start()
print(made.port, flush=True)
made.io_loop.start()
"""


@pytest.mark.slow
def test_sessions__that_are_dropped_leave_nothing(url, tmp_path):
    """Row 32: 30 pages opened and closed; the last 20 take less than 1 MB each.

    Of no page is the document kept, nor its connections, which are two or more.
    """
    (tmp_path / "server.py").write_text(SERVER)
    questions = tmp_path / "questions"
    os.mkfifo(questions)
    process = Forked("server.py", url, str(questions), folder=tmp_path)
    address = f"127.0.0.1:{process.stdout.readline().strip()}"
    with contextlib.ExitStack() as at_the_end:
        at_the_end.callback(process.kill_group)
        asking = at_the_end.enter_context(questions.open("w"))

        def count():
            print(file=asking, flush=True)
            return json.loads(process.stdout.readline())

        def settled():
            import time

            for _ in range(120):
                n_sessions, rss, *kept = count()
                if n_sessions == 0:
                    return rss, kept
                time.sleep(0.5)
            raise AssertionError(n_sessions)

        def pull(protocol):
            return protocol.create("PULL-DOC-REQ")

        left = []
        for n_pages in (10, 20):
            for _ in range(n_pages):
                answers = talked(address, ask(address)[2], pull)
                assert answers[1].msgtype == "PULL-DOC-REPLY"
            left.append(settled())
        asking.close()
        process.communicate(timeout=30)

    sizes, (before, after) = zip(*left, strict=True)
    assert (sizes[1] - sizes[0]) / 20 < 1e6
    n_documents, n_closed = zip(before, after, strict=True)
    assert n_documents[1] <= n_documents[0]
    assert n_closed[1] <= n_closed[0]


@pytest.mark.slow
def test_server__asks_more_pages_than_it_holds_to_wait(url):
    """Row 32: pages are bounded in number."""
    fewer = "from nnviz_dashboards.serving import guarding\nguarding.MAX_SESSIONS = 3"
    with served(url, before=fewer) as (_, address):
        statuses = [ask(address)[0] for _ in range(5)]

    assert statuses == [200, 200, 200, 503, 503]


EVIL = "<img src=x onerror=\"window.harmed='{}';alert(1)\"><script>alert(2)</script>"


@pytest.mark.browser
@pytest.mark.slow
def test_hostile_names__are_texts_wherever_they_are_shown(tmp_path, visit):
    """Row 33: classes, layers and the store's own path; no dialog and no error."""
    folder = tmp_path / EVIL.format("path").replace("/", "")
    folder.mkdir()
    run = PlantedRun(
        n_classes=4,
        n_instances=80,
        class_names=tuple(f"{EVIL.format('class')} {i}" for i in range(4)),
        layers=(
            (EVIL.format("layer").replace("/", "") + " 0", 32, (8, 8)),
            (EVIL.format("layer").replace("/", "") + " 1", 48, (4, 4)),
        ),
    )
    stores = [str(folder / "whole.zarr"), str(folder / "begun.zarr")]
    write_complete_store(stores[0], run)
    write_store(stores[1], run, missing_chunks=[0])
    for store in stores:
        with served(store) as (_, address):
            page = visit(address)
            page.wait_for_timeout(1500)
            for locator in (".row", ".layer", ".channel-row"):
                for node in page.locator(locator).all()[:3]:
                    node.hover(force=True)
                    # At its start: in the middle of a row are its examples.
                    node.click(force=True, position={"x": 6, "y": 6})
                    page.wait_for_timeout(300)
            assert page.evaluate("window.harmed") is None
            assert page.locator("img[src='x']").count() == 0
            page.goto("about:blank")


@pytest.mark.browser
@pytest.mark.slow
def test_store__deleted_under_the_page_is_said(tmp_path, visit):
    """Row 31: progress while it is written; a sentence if it is missing or damaged."""
    store = write_store(tmp_path / "run.zarr", missing_chunks=[1])
    with served(store.url, may_fail=True) as (_, address):
        page = visit(address, has_views=False, may_complain=True)
        page.get_by_text("3 of 4 chunks are done").wait_for(timeout=60_000)
        shutil.rmtree(tmp_path / "run.zarr" / "activations")
        (tmp_path / "run.zarr" / "zarr.json").write_text("{damaged")
        page.reload()
        page.get_by_text("The store cannot be shown").wait_for(timeout=60_000)
        shutil.rmtree(tmp_path / "run.zarr")
        page.reload()
        page.get_by_text("The store cannot be shown").wait_for(timeout=60_000)
        text = page.content()
        page.goto("about:blank")

    assert "Traceback" not in text


@pytest.mark.browser
@pytest.mark.slow
def test_store__deleted_between_two_clicks_is_said(tmp_path, visit):
    """Row 31: a click finds nothing to read, and the page says it in its words."""
    url = str(tmp_path / "run.zarr")
    write_complete_store(url, PlantedRun(n_instances=200, examples_per_channel=2))
    with served(url, may_fail=True) as (_, address):
        page = visit(address, may_complain=True)
        page.wait_for_selector("[data-layer='early']")
        shutil.rmtree(url)
        page.locator("[data-layer='early']").click()  # the other one has been read
        page.get_by_role("button", name="Channels", exact=True).click()
        page.get_by_text("The store is gone").wait_for(timeout=60_000)
        page.get_by_label("Query").fill("not correct")
        page.keyboard.press("Enter")
        said = page.locator(".sentence", has_text="The store is gone: there is no")
        said.wait_for(timeout=60_000)
        page.reload()
        page.get_by_text("The store cannot be shown").wait_for(timeout=60_000)
        assert "Traceback" not in page.content()
        page.goto("about:blank")


@pytest.fixture
def oauth_secrets(monkeypatch):
    for name in ("KEY", "SECRET"):
        monkeypatch.setenv(f"PANEL_OAUTH_{name}", f"the {name}")
    monkeypatch.setenv("PANEL_COOKIE_SECRET", "cookie secret")


def test_oauth__needs_secrets_and_names(url, oauth_secrets, monkeypatch):
    with pytest.raises(ConfigError, match="--oauth-user NAME"):
        make_server(url, oauth="github")
    monkeypatch.delenv("PANEL_COOKIE_SECRET")
    with pytest.raises(ConfigError, match="missing: PANEL_COOKIE_SECRET"):
        make_server(url, oauth="github", oauth_users=["alice"])


@pytest.mark.slow
def test_oauth__sends_to_the_provider_and_lets_only_those_named_in(url, oauth_secrets):
    """Row 33: whoever is not logged in, or not on the list, sees nothing."""
    options = ["--oauth", "github", "--oauth-user", "alice"]
    with served(url, *options) as (_, address):
        status, headers, _ = ask(address, "/")
        assert (status, headers["Location"].split("?")[0]) == (302, "./login")
        status, headers, _ = ask(address, "/login")
        there = urllib.parse.urlsplit(headers["Location"])
        assert (status, there.netloc) == (302, "github.com")
        assert urllib.parse.parse_qs(there.query)["client_id"] == ["the KEY"]
        found = {}
        for user in ("alice", "mallory"):
            value = tornado.web.create_signed_value("cookie secret", "user", user)
            for path in ("/", "/pictures/ab/2/0/0"):
                found[user, path] = ask(address, path, Cookie=f"user={value.decode()}")[
                    0
                ]

    assert found == {
        ("alice", "/"): 200,
        ("alice", "/pictures/ab/2/0/0"): 200,
        ("mallory", "/"): 403,
        ("mallory", "/pictures/ab/2/0/0"): 403,
    }
