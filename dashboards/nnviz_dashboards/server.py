"""How is a store served? One process, one read-only store, any number of visitors."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import secrets
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import panel as pn
from bokeh.server.server import Server
from bokeh.server.views.auth_request_handler import AuthRequestHandler
from tornado.platform.asyncio import BaseAsyncIOLoop
from tornado.web import HTTPError, authenticated
from tornado.websocket import WebSocketClosedError

from nnviz.errors import ConfigError, MissingDataError, NnvizError
from nnviz.store.store import Store
from nnviz_dashboards.app import PICTURES, create_app
from nnviz_dashboards.viewmodels.results import RunResults, stage_state

__all__ = ["make_server", "serve"]

LOGIN_PAGE = Path(__file__).parent / "views" / "login.html"
"""Panel's own loads a picture from elsewhere."""

YEAR_SECONDS = 31_536_000
SECONDS_TO_END = 10


class SharedResults:
    """The results that all visitors share; opened again once a stage has run.

    Parameters
    ----------
    url
        Of the store.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._lock = threading.Lock()
        self._state: object = None
        self._results = self.current()

    def current(self) -> RunResults:
        """Return the results of the store as it is now."""
        with self._lock:
            store = Store.open(self._url)
            state = stage_state(store)
            if state != self._state:
                self._results, self._state = RunResults(store), state
            return self._results

    @property
    def latest(self) -> RunResults:
        """The results that the last visitor got."""
        return self._results


class PictureHandler(AuthRequestHandler):
    """Answers with a stored picture: three numbers, never a path."""

    def initialize(self, results: SharedResults) -> None:
        """Take what `make_server` gives."""
        self._shared = results

    @authenticated
    def get(self, layer: str, channel: str, rank: str) -> None:
        """Send the picture of one rank of one channel of one shown layer."""
        results = self._shared.latest
        if int(layer) >= len(results.layers):
            raise HTTPError(404)
        try:
            name = results.layers[int(layer)].name
            picture = results.picture(name, int(channel), int(rank))
        except MissingDataError:
            picture = b""
        if not picture:
            raise HTTPError(404)
        self.set_header("Content-Type", _content_type(picture))
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Cache-Control", f"private, max-age={YEAR_SECONDS}, immutable")
        self.finish(picture)


def make_server(
    store_url: str,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    allow_origin: Sequence[str] = (),
    basic_auth: str | Path | None = None,
) -> Server:
    """Make a server that listens and does not answer yet.

    Parameters
    ----------
    store_url
        Of the store; it is opened read-only, and nothing that it names is run.
    host
        Address to listen on.
    port
        0 takes a free one.
    allow_origin
        ``host:port`` of the pages that may connect, besides loopback.
    basic_auth
        File with a password, or with JSON of users and their passwords.

    Raises
    ------
    ConfigError
        If `host` is not loopback, and origins or a password are not given; if the port
        is taken.
    StoreNotFoundError
        If there is no store.
    """
    _check_exposure(host, allow_origin, basic_auth)
    return _listen(SharedResults(store_url), host, port, allow_origin, basic_auth)


def _listen(
    shared: SharedResults,
    host: str,
    port: int,
    allow_origin: Sequence[str],
    basic_auth: str | Path | None,
) -> Server:
    pattern = rf"/{PICTURES}/[0-9a-f]+/(\d{{1,6}})/(\d{{1,9}})/(\d{{1,6}})"
    auth: dict[str, Any] = {}
    if basic_auth is not None:
        auth = {
            "basic_auth": _passwords(basic_auth),
            "login_template": str(LOGIN_PAGE),
            "cookie_secret": secrets.token_hex(32),
        }
    try:
        server: Server = pn.io.server.get_server(
            lambda: create_app(shared.current),
            port=port,
            address=host,
            websocket_origin=list(allow_origin),
            extra_patterns=[(pattern, PictureHandler, {"results": shared})],
            **auth,
        )
    except OSError as error:
        msg = (
            f"cannot listen on {host!r}, port {port}: {error.strerror or error}; "
            "choose another --port, or 0 for a free one"
        )
        raise ConfigError(msg) from error
    # The port is known only now, and Bokeh allows no more than localhost by itself.
    for name in ("127.0.0.1", "localhost", _in_address(host)):
        server._tornado.websocket_origins.add(f"{name}:{server.port}")
    return server


def serve(
    store_url: str,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    allow_origin: Sequence[str] = (),
    basic_auth: str | Path | None = None,
    open_browser: bool = False,
    announce: Callable[[str], None] | None = None,
) -> None:
    """Serve a store until the process is told to stop.

    Parameters
    ----------
    store_url, host, port, allow_origin, basic_auth
        See :func:`make_server`.
    open_browser
        Whether to open the page here.
    announce
        Called with the address once the server answers; None prints it.

    Raises
    ------
    ConfigError
        If `host` is not loopback, and origins or a password are not given.
    StoreNotFoundError
        If there is no store.
    """
    _check_exposure(host, allow_origin, basic_auth)
    shared = SharedResults(store_url)
    server = _listen(shared, host, port, allow_origin, basic_auth)
    warm_up = threading.Thread(target=_warm_up, args=(shared.latest,), daemon=True)
    loop = server.io_loop
    assert isinstance(loop, BaseAsyncIOLoop)
    loop.asyncio_loop.set_exception_handler(_report)
    wake = loop.asyncio_loop.call_soon_threadsafe
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: wake(loop.stop))
    server.start()
    warm_up.start()
    address = f"http://{_in_address(host)}:{server.port}/"
    (announce or _print_address)(address)
    if open_browser:
        server.show("/")
    try:
        loop.start()
    finally:
        server.stop()
        # A read that outlives the interpreter's pools of threads would raise.
        warm_up.join(timeout=SECONDS_TO_END)


def _report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Report what went wrong, unless it is that a visitor has closed the page."""
    if not isinstance(context.get("exception"), WebSocketClosedError):
        loop.default_exception_handler(context)


def _print_address(address: str) -> None:
    sys.stdout.write(f"Dashboard at {address} (Ctrl+C stops it)\n")
    sys.stdout.flush()


def _warm_up(results: RunResults) -> None:
    """Read what the first visitor needs while the browser starts."""
    try:
        results.class_table()
        results.confusions()
        results.graphs.warm_up(results.kind)
    except NnvizError:
        return  # the page says it


def _check_exposure(
    host: str, allow_origin: Sequence[str], basic_auth: str | Path | None
) -> None:
    if "*" in allow_origin:
        raise ConfigError(
            "the origin '*' lets every web page read the store through its visitors' "
            "browsers; name the pages as host:port"
        )
    if _is_loopback(host) or (allow_origin and basic_auth is not None):
        return
    msg = (
        f"{host!r} can be reached from other machines; pass --allow-origin HOST:PORT "
        "and --basic-auth FILE, or stay on 127.0.0.1 and use an SSH tunnel"
    )
    raise ConfigError(msg)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _in_address(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _passwords(path: str | Path) -> str | dict[str, str]:
    """Return the one password of everybody, or each user's own."""
    file = Path(path)
    text = file.read_text(encoding="utf-8").strip() if file.is_file() else ""
    if not text:
        msg = (
            f"the password file {str(path)!r} is missing or empty; write a password "
            'into it, or JSON like {"user": "password"}'
        )
        raise ConfigError(msg)
    try:
        users = json.loads(text)
    except ValueError:
        return text
    return (
        {str(k): str(v) for k, v in users.items()} if isinstance(users, dict) else text
    )


def _content_type(picture: bytes) -> str:
    if picture[:4] == b"RIFF" and picture[8:12] == b"WEBP":
        return "image/webp"
    if picture[:8] == b"\x89PNG\r\n\x1a\n":
        return "image/png"
    return "image/jpeg"
