"""Who may see the store, and how does the server end?"""

import contextlib
import http.client
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

from nnviz.errors import ConfigError, StoreNotFoundError
from nnviz_dashboards.serving.server import make_server
from tests.dashboards.served_pages import served


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


def test_password__guards_page_and_pictures(finished_url, tmp_path):
    file = tmp_path / "password.txt"
    file.write_text("open sesame")

    with served(finished_url, "--basic-auth", str(file)) as (_, address):
        for path in ("", "pictures/abc/2/0/0"):
            _, headers, body = get(f"http://{address}/{path}")
            assert headers["Content-Type"].startswith("text/html")
            assert b"password" in body.lower()
            assert b"planted" not in body
