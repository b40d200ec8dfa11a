"""How is a store served? One process, one read-only store, any number of visitors."""

from __future__ import annotations

import contextlib
import functools
import gc
import ipaddress
import json
import logging
import os
import secrets
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import panel as pn
from bokeh.server.server import Server
from tornado.platform.asyncio import BaseAsyncIOLoop

from nnviz.background import in_background
from nnviz.errors import (
    ConfigError,
    DatasetError,
    NnvizError,
    StoreFormatError,
)
from nnviz.graphs.summit_files import holds_summit_files
from nnviz.planning.class_maps import read_class_map
from nnviz.results.published_graphs import PublishedGraphs
from nnviz.results.run_results import RunResults
from nnviz_cluster.site import load_site
from nnviz_dashboards.page.app import create_app, read_ahead
from nnviz_dashboards.published.app import create_published_app
from nnviz_dashboards.serving.connections import IDLE_SECONDS
from nnviz_dashboards.serving.gone_visitors import report, say_nothing_of_gone_visitors
from nnviz_dashboards.serving.guarding import Gate, guard
from nnviz_dashboards.serving.network_runs import NetworkRuns
from nnviz_dashboards.serving.pictures import picture_patterns
from nnviz_dashboards.serving.scripts import script_patterns
from nnviz_dashboards.serving.shared_results import SharedResults
from nnviz_dashboards.serving.tokens import cookie_of, kept_token, new_token

__all__ = ["Access", "make_server", "serve"]

LOGIN_PAGE = Path(__file__).parent / "login.html"
"""Panel's own loads a picture from elsewhere."""

OAUTH_VARIABLES = ("PANEL_OAUTH_KEY", "PANEL_OAUTH_SECRET", "PANEL_COOKIE_SECRET")
"""Where Panel itself looks for what is secret."""

SECONDS_OF_UNUSED_PAGES = 15

MAX_MESSAGE_BYTES = 1 << 21
"""Of what a page sends: a click, a selection of up to 200,000 points."""

MAX_HEADER_BYTES = 1 << 14
"""Of a request with its address; also what is read of a form."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Access:
    """Who may see the store; by default this machine, with the token."""

    allow_origin: Sequence[str] = ()
    """``host:port`` of the pages that may connect, besides loopback."""
    basic_auth: str | Path | None = None
    """File with a password, or with JSON of users and their passwords."""
    oauth: str | None = None
    """One of Panel's providers; key and secrets are in the environment."""
    oauth_users: Sequence[str] = ()
    """Who may enter of all the users of the provider, by its name for them."""
    with_token: bool = True
    """Whether a random token in the address is asked for where nobody logs in."""
    token_file: str | Path | None = None
    """Where the token is kept, so that links outlive the server; None: it is not."""


def make_server(
    store_url: str, *, host: str = "127.0.0.1", port: int = 0, **access: Any
) -> Server:
    """Make a server that listens and does not answer yet.

    Parameters
    ----------
    store_url
        URL of the store; it is opened read-only, and nothing that it names is run.
    host
        Address to listen on.
    port
        0 takes a free one.
    **access
        See :class:`Access`.

    Raises
    ------
    ConfigError
        If `host` is not loopback, and origins and a way to log in are not given; if
        the port is taken.
    StoreNotFoundError
        If there is no store.
    """
    rights = Access(**access)
    _check_exposure(host, rights)
    shared = SharedResults(store_url)
    server, _ = _listen_for_run(shared, None, host, port, rights)
    return server


def _listen_for_run(
    shared: SharedResults,
    runs: NetworkRuns | None,
    host: str,
    port: int,
    rights: Access,
) -> tuple[Server, Gate]:
    patterns = picture_patterns(shared)
    return _listen(lambda: _page(shared, runs), patterns, host, port, rights)


def _listen(
    make_page: Callable[[], pn.Template],
    patterns: Sequence[tuple[str, type, dict[str, Any]]],
    host: str,
    port: int,
    rights: Access,
) -> tuple[Server, Gate]:
    kept = rights.token_file
    token = new_token() if kept is None else kept_token(kept)
    try:
        server: Server = pn.io.server.get_server(
            make_page,
            port=port,
            address=host,
            websocket_origin=list(rights.allow_origin),
            extra_patterns=[*script_patterns(), *patterns],
            # Only a page that was handed out may open a line, and only its own.
            sign_sessions=True,
            secret_key=secrets.token_hex(32),
            unused_session_lifetime_milliseconds=1000 * SECONDS_OF_UNUSED_PAGES,
            websocket_max_message_size=MAX_MESSAGE_BYTES,
            http_server_kwargs={
                "max_header_size": MAX_HEADER_BYTES,
                "max_body_size": MAX_HEADER_BYTES,
                "idle_connection_timeout": IDLE_SECONDS,
                "body_timeout": IDLE_SECONDS,
            },
            **_login(rights),
        )
    except OSError as error:
        msg = (
            f"cannot listen on {host!r}, port {port}: {error.strerror or error}; "
            "choose another --port, or 0 for a free one"
        )
        raise ConfigError(msg) from error
    # The port is known only now.
    names = {"127.0.0.1", "localhost", _in_address(host)}
    known = {f"{name}:{server.port}" for name in names} | set(rights.allow_origin)
    has_login = rights.basic_auth is not None or rights.oauth is not None
    is_open = has_login or not rights.with_token
    gate = Gate(
        frozenset(name.lower() for name in known),
        token=None if is_open else token,
        users=frozenset(rights.oauth_users),
        cookie=cookie_of(token),
    )
    server._tornado.websocket_origins.update(gate.hosts)
    guard(server, gate)
    return server, gate


def _page(shared: SharedResults, runs: NetworkRuns | None) -> pn.Template:
    """Build a page; of a store that cannot be read, one that says so."""
    try:
        run_network = None if runs is None else runs.run
        return create_app(shared.current, run_network=run_network)
    except Exception:  # noqa: BLE001 - logged, and the visitor gets a page
        # Zarr and the file system raise anything when a store is taken away.
        _log.exception("the page could not be built")
    msg = (
        "it is damaged, or was moved while it was read; the server's output has the "
        "error: put the store back, or run its stages again, and reload the page"
    )

    def refuse() -> RunResults:
        raise StoreFormatError(msg)

    return create_app(refuse)


def _login(rights: Access) -> dict[str, Any]:
    """Return what Panel needs to ask who a visitor is."""
    if rights.basic_auth is not None:
        return {
            "basic_auth": _passwords(rights.basic_auth),
            "login_template": str(LOGIN_PAGE),
            "cookie_secret": secrets.token_hex(32),
        }
    if rights.oauth is None:
        return {}
    missing = [name for name in OAUTH_VARIABLES if not os.environ.get(name)]
    if missing or not rights.oauth_users:
        msg = (
            f"--oauth needs {', '.join(OAUTH_VARIABLES)} in the environment (missing: "
            f"{', '.join(missing) or 'none'}), and --oauth-user NAME for each who may "
            f"enter: everybody in the world has an account somewhere"
        )
        raise ConfigError(msg)
    key, secret, cookie_secret = (os.environ[name] for name in OAUTH_VARIABLES)
    return {
        "oauth_provider": rights.oauth,
        "oauth_key": key,
        "oauth_secret": secret,
        "cookie_secret": cookie_secret,
    }


def serve(
    store_url: str,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    open_browser: bool = False,
    announce: Callable[[str], None] | None = None,
    network_on: str | None = None,
    other_store: str | None = None,
    published: str | None = None,
    classes: str | Path | None = None,
    **access: Any,
) -> None:
    """Serve a store until the process is told to stop.

    Parameters
    ----------
    store_url
        URL of the store; or a folder of the files that SUMMIT published, or one of
        them, which are then shown without a run.
    host, port
        See :func:`make_server`.
    open_browser
        Whether to open the page here.
    announce
        Called with the address once the server answers; None prints it.
    network_on
        Where the network runs when a visitor asks, to check a graph or to explain an
        instance: a kind of cluster, a cluster file or an address. The store is then
        written to, and network and data of the run are opened there. None: visitors get
        the command.
    other_store
        URL of another network's store over the same instances, whose graphs can be
        looked at beside those of the run.
    published
        SUMMIT's file of a class, or a folder of them, likewise.
    classes
        CSV with the columns ``index`` and ``name``: of the classes of SUMMIT's files,
        which have numbers only.
    **access
        See :class:`Access`.

    Raises
    ------
    ConfigError
        See :func:`make_server`; if there is no such cluster, or there are no published
        files of the run's classes; if classes of a run are to be named.
    DatasetError
        If the names of the classes cannot be read.
    StoreNotFoundError
        If there is no store, and no file of SUMMIT either.
    ShapeError
        If the other network has other layers.
    """
    rights = Access(**access)
    _check_exposure(host, rights)
    if holds_summit_files(store_url):
        if network_on or other_store or published:
            msg = (
                f"{store_url!r} has SUMMIT's graphs, of which no network is at hand; "
                "serve it alone, or a store with --published and this folder"
            )
            raise ConfigError(msg)
        names = None if classes is None else _class_names(classes)
        graphs = PublishedGraphs(store_url, names)
        server, gate = _listen(
            lambda: create_published_app(graphs), (), host, port, rights
        )
        _run(server, gate, host, announce, open_browser=open_browser)
        return
    if classes is not None:
        msg = "a run has names of its classes; --classes is for a folder of SUMMIT's"
        raise ConfigError(msg)
    if network_on is not None:
        load_site(network_on)
    shared = SharedResults(store_url, other_store=other_store, published=published)
    runs = None if network_on is None else NetworkRuns(network_on)
    server, gate = _listen_for_run(shared, runs, host, port, rights)
    warm_up = in_background(
        functools.partial(_warm_up, shared.latest), "nnviz-first-page"
    )
    try:
        _run(
            server, gate, host, announce, open_browser=open_browser, begin=warm_up.start
        )
    finally:
        if runs is not None:
            runs.close()
        shared.latest.close()


def _class_names(path: str | Path) -> dict[int, str]:
    """Return the name of each class by its number."""
    class_map = read_class_map(path)
    if "name" not in class_map.columns:
        known = ", ".join(class_map.columns) or "no other"
        msg = f"the class map {str(path)!r} needs a column 'name'; it has {known}"
        raise DatasetError(msg)
    return dict(zip(class_map.index, class_map.columns["name"], strict=True))


def _run(
    server: Server,
    gate: Gate,
    host: str,
    announce: Callable[[str], None] | None,
    *,
    open_browser: bool,
    begin: Callable[[], None] = lambda: None,
) -> None:
    """Answer visitors until the process is told to stop."""
    loop = server.io_loop
    assert isinstance(loop, BaseAsyncIOLoop)
    loop.asyncio_loop.set_exception_handler(report)
    say_nothing_of_gone_visitors()
    wake = loop.asyncio_loop.call_soon_threadsafe
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: wake(loop.stop))
    # Panel has the garbage collected whenever a visitor leaves, and all others wait;
    # what was imported stays anyway.
    gc.freeze()
    server.start()
    begin()
    path = "/" if gate.token is None else f"/?token={gate.token}"
    (announce or _print_address)(f"http://{_in_address(host)}:{server.port}{path}")
    if open_browser:
        server.show(path)
    try:
        loop.start()
    finally:
        server.stop()


def _print_address(address: str) -> None:
    sys.stdout.write(f"Dashboard at {address} (Ctrl+C stops it)\n")
    sys.stdout.flush()


def _warm_up(results: RunResults) -> None:
    """Read what the first visitor needs while the browser starts."""
    with contextlib.suppress(NnvizError):  # the page says it
        read_ahead(results)


def _check_exposure(host: str, rights: Access) -> None:
    if any("*" in origin for origin in rights.allow_origin):
        raise ConfigError(
            "the origin '*' lets every web page read the store through its visitors' "
            "browsers; name the pages as host:port"
        )
    has_login = rights.basic_auth is not None or rights.oauth is not None
    if _is_loopback(host) or (rights.allow_origin and has_login):
        return
    msg = (
        f"{host!r} can be reached from other machines; pass --allow-origin HOST:PORT "
        "and --basic-auth FILE or --oauth, or stay on 127.0.0.1 and use an SSH tunnel"
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
