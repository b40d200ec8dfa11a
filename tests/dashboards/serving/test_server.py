"""Who may see the store, and how does the server end?"""

import asyncio
import contextlib
import gzip
import hashlib
import http.client
import re
import resource
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

from nnviz.errors import ConfigError, StoreNotFoundError
from nnviz_dashboards.serving.server import make_server
from tests.dashboards.served_pages import served

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def address(finished_url):
    with served(finished_url) as (_, address):
        yield address


def get(url):
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, b""


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"allow_origin": ["example.org:80"]}, id="origin-only"),
        pytest.param({"basic_auth": "password.txt"}, id="password-only"),
    ],
)
def test_server__refuses_to_be_reached_from_elsewhere(finished_url, options):
    with pytest.raises(ConfigError, match="SSH tunnel"):
        make_server(finished_url, host="0.0.0.0", **options)


def test_server__refuses_every_origin(finished_url):
    with pytest.raises(ConfigError, match="every web page"):
        make_server(finished_url, allow_origin=["*"])


def test_server__refuses_an_empty_password_file(finished_url, tmp_path):
    file = tmp_path / "password.txt"
    file.write_text("\n")

    with pytest.raises(ConfigError, match="missing or empty"):
        make_server(finished_url, basic_auth=file)


def test_server__of_no_store_says_so(tmp_path):
    with pytest.raises(StoreNotFoundError, match="there is no store"):
        make_server(str(tmp_path / "none.zarr"))


def test_command__names_the_port_that_is_taken(finished_url):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "nnviz_dashboards", finished_url]

        done = subprocess.run(
            [*command, "--port", str(port)],
            capture_output=True,
            text=True,
            check=False,
        )

    assert done.returncode == 1
    assert done.stderr.startswith("cannot listen on '127.0.0.1'")
    assert f"port {port}" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_server__ends_at_a_signal(extracted_url, number):
    with served(extracted_url) as (process, address):
        status, _, _ = get(f"http://{address}/")

        process.send_signal(number)

        assert (status, process.wait(timeout=20)) == (200, 0)


def test_scripts__are_compressed_and_pages_are_not(address):
    with get_compressed(f"http://{address}/static/js/bokeh.min.js") as script:
        assert script.headers["Content-Encoding"] == "gzip"
        packed = script.read()
        assert len(packed) < 0.5 * len(gzip.decompress(packed))
    with get_compressed(f"http://{address}/") as page:
        assert page.headers["Content-Encoding"] is None


def test_scripts__are_the_same_with_and_without_compression_and_are_kept(address):
    url = f"http://{address}/static/js/bokeh.min.js?v=1"
    with get_compressed(url) as first, get_compressed(url) as second:
        packed, tag = first.read(), first.headers["ETag"]
        assert packed == second.read()
        assert int(first.headers["Content-Length"]) == len(packed)
        assert first.headers["Vary"] == "Accept-Encoding"
        assert "max-age" in first.headers["Cache-Control"]
    status, headers, plain = get(url)

    assert (status, headers["Content-Encoding"]) == (200, None)
    assert gzip.decompress(packed) == plain
    with pytest.raises(urllib.error.HTTPError, match="304"):
        get_compressed(url, **{"If-None-Match": tag})
    with pytest.raises(urllib.error.HTTPError, match="404"):
        get_compressed(f"http://{address}/static/js/none.js")


def test_scripts_of_views__come_by_addresses_that_name_what_is_there(address):
    _, _, page = get(f"http://{address}/")
    places = re.findall(rb'rel="modulepreload" href="[.]/(scripts/[^"]+)"', page)

    assert len(places) > 10
    for place in map(bytes.decode, places):
        status, headers, plain = get(f"http://{address}/{place}")
        assert status == 200
        assert headers["Content-Type"].startswith("text/javascript")
        assert headers["Content-Encoding"] is None
        assert headers["Vary"] == "Accept-Encoding"
        for word in ("private", "immutable"):
            assert word in headers["Cache-Control"]
        assert place == f"scripts/{hashlib.sha256(plain).hexdigest()}.js"
        assert b"export function render(" in plain
        with get_compressed(f"http://{address}/{place}") as packed:
            assert packed.headers["Content-Encoding"] == "gzip"
            assert gzip.decompress(packed.read()) == plain
    # It holds none of them, and those of the next visitor are the same.
    assert b"export function render(" not in page
    _, _, next_page = get(f"http://{address}/")
    assert all(place in next_page for place in places)
    for none in (f"scripts/{64 * '0'}.js", "scripts/shared.js", "scripts/"):
        assert get(f"http://{address}/{none}")[0] == 404


def get_compressed(url, **headers):
    headers = {"Accept-Encoding": "gzip", **headers}
    return urllib.request.urlopen(
        urllib.request.Request(url, headers=headers), timeout=20
    )


def test_pictures__are_images_that_may_be_kept(address):
    status, headers, body = get(f"http://{address}/pictures/abc123/2/0/0")

    assert status == 200
    assert headers["Content-Type"] in {"image/jpeg", "image/png", "image/webp"}
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "private" in headers["Cache-Control"]
    assert len(body) > 100


@pytest.mark.parametrize(
    "path",
    [
        "pictures/abc/99/0/0",
        "pictures/abc/0/9999/0",
        "pictures/abc/0/0/99",
        "pictures/abc/0/0/-1",
        "pictures/abc/features/0/0",  # there is no such folder beside the store
        "pictures/abc/features/99/0",
        "pictures/abc/features/0/../0",
        "pictures/abc/instances/5",  # there are no data beside the store
        "pictures/abc/instances/-1",
        "pictures/abc/instances/5/larger",
        "pictures/abc/../../../etc/passwd",
        "pictures/abc/%2e%2e/%2e%2e/etc",
    ],
)
def test_pictures__are_nothing_else(address, path):
    status, _, body = get(f"http://{address}/{path}")

    assert (status, body) == (404, b"")


@pytest.mark.parametrize("origin", ["http://evil.example", "http://{}.evil"])
def test_websocket__refuses_other_pages(address, origin):
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Origin": origin.format(address),
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Protocol": "bokeh",
    }

    with contextlib.closing(http.client.HTTPConnection(address, timeout=20)) as line:
        line.request("GET", "/ws", headers=headers)
        with line.getresponse() as answer:
            assert answer.status == 403


async def open_line(address):
    """Open the page's line to the server, as a browser does, and hear from it."""
    page = await asyncio.to_thread(get, f"http://{address}/")
    token = re.search(rb'"token":"([^"]+)"', page[2])[1].decode()
    request = HTTPRequest(f"ws://{address}/ws", headers={"Origin": f"http://{address}"})
    line = await websocket_connect(request, subprotocols=["bokeh", token])
    assert "ACK" in await line.read_message()
    return line


def test_websocket__keeps_no_part_of_a_message_back(finished_url):
    """A small frame waits for receipts of others where the system is not told."""

    async def delays():
        server = make_server(finished_url, with_token=False)
        server.start()
        try:
            client = await open_line(f"127.0.0.1:{server.port}")
            (line,) = server._tornado._clients
            stream = line._socket.ws_connection.stream
            client.close()
            return stream.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        finally:
            server.stop()

    with ThreadPoolExecutor(1) as thread:  # a browser's loop may run in this one
        assert thread.submit(asyncio.run, delays()).result()


@pytest.mark.parametrize("path", ["", "pictures/abc/2/0/0", "pictures/abc/instances/5"])
def test_password__guards_page_and_pictures(guarded, path):
    _, headers, body = get(f"http://{guarded}/{path}")

    assert headers["Content-Type"].startswith("text/html")
    assert b"password" in body.lower()
    assert b"planted" not in body


@pytest.fixture
def few_descriptors():
    """Let processes that are started here have 256 files and connections."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, limits[1]))
    yield lambda: resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_server__with_half_a_header_from_too_many__answers_visitors(
    finished_url, few_descriptors
):
    """Row 38: more connections than descriptors; they end by themselves, too."""
    with served(finished_url) as (_, address), contextlib.ExitStack() as held:
        few_descriptors()
        host, port = address.split(":")
        lines = [
            held.enter_context(socket.create_connection((host, int(port)), timeout=60))
            for _ in range(400)
        ]
        for line in lines:
            with contextlib.suppress(OSError):
                line.sendall(b"GET / HTTP/1.1\r\nHost: ")
        status, _, _ = get(f"http://{address}/")
        ended = [_is_ended(line) for line in lines]

    assert status == 200
    assert all(ended)


def _is_ended(line):
    """Whether the server ends a connection, which is waited for."""
    try:
        return line.recv(1) == b""
    except ConnectionError:
        return True


def ask_as(address, path, body=None, **headers):
    """Return status, Location and text of an answer that is not followed."""
    method = "GET" if body is None else "POST"
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    with contextlib.closing(http.client.HTTPConnection(address, timeout=60)) as line:
        line.request(method, path, body, named)
        with line.getresponse() as answer:
            return answer.status, answer.headers["Location"], answer.read().decode()


@pytest.fixture(scope="module")
def address_and_token(finished_url):
    with served(finished_url, with_token=True) as (_, address):
        yield address.split("/?token=")


@pytest.mark.parametrize(
    ("path", "place"),
    [
        pytest.param("/?token={}", "./", id="root"),
        pytest.param("/?token={}&layer=late", "./?layer=late", id="selection"),
        pytest.param("/pictures/ab/2/0/0?token={}", "../../../../pictures", id="deep"),
    ],
)
def test_redirect__behind_a_prefix__is_relative(address_and_token, path, place):
    """A proxy that takes a prefix off hands the address on as it is."""
    address, token = address_and_token

    status, location, _ = ask_as(address, path.format(token))

    assert status == 302
    assert location.startswith(place)


def test_refusal__of_another_port__names_address_and_option(address):
    """Through a tunnel whose end here has another port."""
    status, _, text = ask_as(address, "/", Host="localhost:8000")

    assert status == 403
    assert "'localhost:8000' is not admitted" in text
    assert "--allow-origin localhost:8000" in text


@pytest.fixture(scope="module")
def guarded(finished_url, tmp_path_factory):
    """Return the address of a server that asks for a password, a second after another.

    It does not take longer and longer.
    """
    file = tmp_path_factory.mktemp("guarded") / "password.txt"
    file.write_text("open sesame")
    wait = (
        "from nnviz_dashboards.serving import guarding\n"
        "guarding.SECONDS_AFTER_WRONG = (1.0,)"
    )
    options = ("--basic-auth", str(file))
    with served(finished_url, *options, before=wait) as (_, address):
        yield address


FORM = {"Content_Type": "application/x-www-form-urlencoded"}


def test_login__from_a_page_of_another_origin__is_refused(guarded):
    """Row 39: nobody logs a visitor in, or out, from elsewhere."""
    right = "username=visitor&password=open+sesame"

    found = {
        origin: ask_as(guarded, "/login", right, Origin=origin, **FORM)[:2]
        for origin in (f"http://{guarded}", "http://evil.example", "null")
    }

    assert found == {
        f"http://{guarded}": (302, "./"),
        "http://evil.example": (403, None),
        "null": (403, None),
    }


def test_login__many_wrong_passwords_at_once__are_refused_and_slow(guarded):
    """Row 39: one at a time is looked at; of the others few may wait."""
    wrong = "username=visitor&password=guess"
    with ThreadPoolExecutor(12) as pool:
        answers = list(
            pool.map(lambda _: ask_as(guarded, "/login", wrong, **FORM), range(12))
        )
    status, location, _ = ask_as(
        guarded, "/login", "username=visitor&password=open+sesame", **FORM
    )

    assert sorted(answer[0] for answer in answers) == [302] * 5 + [429] * 7
    assert {answer[1] for answer in answers if answer[0] == 302} == {
        "./login?error=Invalid+username+or+password%21"
    }
    assert (status, location) == (302, "./")
