"""Who may ask the server for what? Every request passes here first.

The server's handlers are Panel's, Bokeh's and nnviz's own; :func:`guard` puts the same
checks before all of them:

* The address that a browser was told (``Host``) and the page that it comes from
  (``Origin``) are known ones. Without the first, a foreign page whose name is made to
  point at this machine could read everything.
* The visitor brought the token that was printed with the address, or is logged in, and
  is on the list if there is one.
* A form comes from one of the server's own pages, and who tries passwords waits longer
  for each answer.
* What the page does not need does not answer: Bokeh's script for embedding, which lets
  any page read it, and Panel's files of components, which imports any module by name.
* A message cannot replace the document, and no traceback leaves the server.
"""

from __future__ import annotations

import asyncio
import collections
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NoReturn
from urllib.parse import urlencode, urlsplit

from bokeh.server.server import Server
from panel.auth import BasicLoginHandler
from tornado.web import (
    ErrorHandler,
    GZipContentEncoding,
    HTTPError,
    RequestHandler,
    StaticFileHandler,
)
from tornado.websocket import WebSocketHandler

from nnviz_dashboards.serving.compressed_files import CompressedFiles
from nnviz_dashboards.serving.connections import Connections

__all__ = ["MAX_SESSIONS", "Gate", "guard"]

MAX_SESSIONS = 100
"""Open pages; one more is asked to wait. A page holds a few megabytes here."""

_CLOSED = ("autoload.js", "components/", "metadata")
_WAIT_SECONDS = 20
SECONDS_AFTER_WRONG = (1.0, 2.0, 4.0, 8.0)
"""How long the answer to a wrong password takes; the last one for all that follow."""
WAITING_TRIES = 5
"""Passwords from one address that are waiting; one more is refused."""
KNOWN_ADDRESSES = 10_000
"""That have tried a wrong password; of more, the first ones are forgotten."""

_REASONS = {
    401: "Open the address that 'nnviz serve' printed, with its token.",
    403: "This address, page or user is not admitted; see 'nnviz serve --help'.",
    404: "There is nothing here.",
    429: "Too many passwords are being tried; try again in a minute.",
    503: "Too many pages are open; try again in a moment.",
}


class Tries:
    """Passwords that are being tried, from each address in turn."""

    def __init__(self) -> None:
        self._turns: dict[str, asyncio.Lock] = collections.defaultdict(asyncio.Lock)
        self._waiting: collections.Counter[str] = collections.Counter()
        self._wrong: collections.Counter[str] = collections.Counter()

    async def is_right(self, address: str, check: Callable[[], bool]) -> bool:
        """Check a password when its turn has come; a wrong one takes seconds.

        Raises
        ------
        HTTPError
            If too many of this address are waiting.
        """
        if self._waiting[address] >= WAITING_TRIES:
            raise HTTPError(429)
        self._waiting[address] += 1
        try:
            async with self._turns[address]:
                if check():
                    self._wrong.pop(address, None)
                    return True
                n_before = min(self._wrong[address], len(SECONDS_AFTER_WRONG) - 1)
                self._wrong[address] = self._wrong.pop(address, 0) + 1  # the latest
                await asyncio.sleep(SECONDS_AFTER_WRONG[n_before])
                return False
        finally:
            self._waiting[address] -= 1
            if not self._waiting[address]:
                del self._waiting[address], self._turns[address]
            while len(self._wrong) > KNOWN_ADDRESSES:
                del self._wrong[next(iter(self._wrong))]


@dataclass(frozen=True, slots=True)
class Gate:
    """What is let through."""

    hosts: frozenset[str]
    """Names and ports under which the server is reached, in lower case."""
    token: str | None = None
    """What the first request has to bring; None where visitors log in instead."""
    users: frozenset[str] = frozenset()
    """Who may enter of those who have logged in; empty for everybody."""
    cookie: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    """What a browser keeps once it has brought the token."""

    tries: Tries = field(default_factory=lambda: Tries())
    """Passwords that are being tried."""
    connections: Connections = field(default_factory=Connections)
    """What is open."""

    def knows(self, address: str | None) -> bool:
        """Whether a host, or an origin without its scheme, is a known one."""
        return address is not None and address.lower() in self.hosts


def guard(server: Server, gate: Gate) -> None:
    """Put the checks before every handler of a server that does not answer yet."""
    application = server._tornado
    for rule in application.wildcard_router.rules:
        rule.target = _guarded(rule.target, gate)
    application.settings["default_handler_class"] = _guarded(ErrorHandler, gate)
    application.settings["default_handler_args"] = {"status_code": 404}
    application.add_transform(_Compressed)
    gate.connections.watch(server._http)


class _Compressed(GZipContentEncoding):
    """Compresses scripts and styles, which are the same for everybody.

    Pages are not: they hold the token of a session, and what is compressed together
    with a text that a foreign page chooses can be guessed from its length.
    """

    def _compressible_type(self, ctype: str) -> bool:
        return ctype in ("application/javascript", "text/javascript", "text/css")


def _guarded(handler: Any, gate: Gate) -> Any:
    if not (isinstance(handler, type) and issubclass(handler, RequestHandler)):
        return handler
    guards: type[_Guard] = _Guard
    if issubclass(handler, WebSocketHandler):
        guards = _SocketGuard
    elif issubclass(handler, BasicLoginHandler):
        guards = _LoginGuard
    elif getattr(handler, "get", None) is StaticFileHandler.get:
        guards = _FileGuard  # one with its own checks keeps them
    return type(f"Guarded{handler.__name__}", (guards, handler), {"gate": gate})


class _Guard(RequestHandler):
    """Checks before, and headers after, whatever the handler does."""

    gate: Gate

    def set_default_headers(self) -> None:
        super().set_default_headers()
        host = self.request.headers.get("Host", "")
        host = host if self.gate.knows(host) else ""
        self._nonce = secrets.token_urlsafe(16)
        policy = {
            "default-src": "'none'",
            # BokehJS compiles what CustomJS holds; components are imported as blobs.
            "script-src": f"'self' 'nonce-{self._nonce}' 'unsafe-eval' blob:",
            "style-src": "'self' 'unsafe-inline'",
            "img-src": "'self' data: blob:",
            "font-src": "'self' data:",
            "connect-src": f"'self' blob: ws://{host} wss://{host}"
            if host
            else "'self'",
            "worker-src": "blob:",
            "frame-ancestors": "'self'",
            "form-action": "'self'",
            "base-uri": "'none'",
        }
        text = "; ".join(f"{name} {value}" for name, value in policy.items())
        self.set_header("Content-Security-Policy", text)
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("X-Frame-Options", "SAMEORIGIN")
        # With "no-referrer", browsers send the login form with the origin "null".
        self.set_header("Referrer-Policy", "same-origin")
        self.set_header("Cross-Origin-Resource-Policy", "same-origin")
        self.clear_header("Server")
        for name in ("Origin", "Headers", "Credentials"):
            self.clear_header(f"Access-Control-Allow-{name}")

    async def prepare(self) -> None:
        self.gate.connections.asked(getattr(self.request.connection, "stream", None))
        self._check_address()
        self._check_form()
        if not self._has_token():
            return
        prepared: Any = super().prepare()
        if prepared is not None:
            await prepared
        users, user = self.gate.users, self.current_user
        if users and user and str(user) not in users:
            raise HTTPError(403)
        context = getattr(self, "application_context", None)
        if context is not None and self._is_one_too_many(len(context.sessions)):
            self.set_header("Retry-After", str(_WAIT_SECONDS))
            raise HTTPError(503)

    def write(self, chunk: str | bytes | dict[str, Any]) -> None:
        if isinstance(chunk, str) and "<script" in chunk:
            # The page's own scripts; texts from data are escaped before they are here.
            chunk = chunk.replace("<script", f'<script nonce="{self._nonce}"')
        super().write(chunk)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        del kwargs  # the exception is for the log alone
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        reason = self._refusal or _REASONS.get(status_code, self._reason)
        self.finish(f"{status_code} {reason}\n")

    _refusal = ""

    def redirect(self, url: str, permanent: bool = False, status: Any = None) -> None:  # noqa: FBT001, FBT002  Tornado's
        """Redirect by a relative address: a proxy may have taken a prefix off."""
        if url.startswith("/") and not url.startswith("//"):
            depth = self.request.path.lstrip("/").count("/")
            url = ("../" * depth or "./") + url.lstrip("/")
        super().redirect(url, permanent, status)

    def _check_address(self) -> None:
        host = self.request.headers.get("Host")
        if not self.gate.knows(host):
            self._refuse_address("address", host)
        path = self.request.path.lstrip("/")
        if path.startswith(_CLOSED):
            raise HTTPError(404)

    def _refuse_address(self, what: str, address: str | None) -> NoReturn:
        """Say which address was seen, and what would admit it."""
        seen = "".join(c for c in (address or "")[:100] if c.isprintable())
        self._refusal = (
            f"The {what} {seen!r} is not admitted. Open the one that 'nnviz serve' "
            "printed; for a tunnel or a proxy start it with '--allow-origin "
            f"{seen or 'HOST:PORT'}'."
        )
        raise HTTPError(403)

    def _check_form(self) -> None:
        """Refuse what a page of another origin sends in a visitor's name."""
        if self.request.method in ("GET", "HEAD", "OPTIONS"):
            return
        headers = self.request.headers
        origin = headers.get("Origin")
        if origin is None:
            # Browsers say it with every form; what says nothing is none.
            if headers.get("Sec-Fetch-Site", "none") in ("none", "same-origin"):
                return
            raise HTTPError(403)
        if not self.gate.knows(urlsplit(origin).netloc):
            self._refuse_address("page", urlsplit(origin).netloc or origin)

    def _has_token(self) -> bool:
        """Whether to go on; otherwise the request has been answered."""
        gate, port = self.gate, urlsplit(f"//{self.request.host}").port or 0
        if gate.token is None:
            return True
        name = f"nnviz-{port}"
        if _is_same(self.get_cookie(name), gate.cookie):
            return True
        if not _is_same(self.get_query_argument("token", None), gate.token):
            raise HTTPError(401)
        if isinstance(self, WebSocketHandler):
            return True
        # The token stays neither in the history nor in what the page names.
        self.set_cookie(name, gate.cookie, httponly=True, samesite="Lax")
        pairs = [
            (key, value.decode(errors="replace"))
            for key, values in self.request.query_arguments.items()
            if key != "token"
            for value in values
        ]
        path = "/" + self.request.path.lstrip("/")
        self.redirect(f"{path}?{urlencode(pairs)}" if pairs else path)
        return False

    def _is_one_too_many(self, n_sessions: int) -> bool:
        return n_sessions >= MAX_SESSIONS


class _LoginGuard(_Guard, BasicLoginHandler):
    """For the form that asks for a password."""

    async def post(self) -> None:
        name = self.get_argument("username", "")
        password = self.get_argument("password", "")
        address = self.request.remote_ip or ""
        check = partial(self._validate, name, password)
        if not await self.gate.tries.is_right(address, check):
            text = urlencode({"error": "Invalid username or password!"})
            self.redirect(f"/login?{text}")
            return
        super().post()


class _FileGuard(_Guard, CompressedFiles):
    """For files, which are the same for everybody."""


class _SocketGuard(_Guard, WebSocketHandler):
    """For the line on which the page and the server talk."""

    handler: Any

    def _check_address(self) -> None:
        super()._check_address()
        # Browsers always say where a page comes from; without it, it is none. Tornado
        # does not ask `check_origin` where the origin looks like the host.
        origin = self.request.headers.get("Origin")
        if origin is None or not self.check_origin(origin):
            raise HTTPError(403)

    def check_origin(self, origin: str) -> bool:
        parts = urlsplit(origin)
        return parts.scheme in ("http", "https") and self.gate.knows(parts.netloc)

    def get_compression_options(self) -> dict[str, int]:
        # Smaller windows than zlib's own: a line keeps them as long as it is open.
        return {"compression_level": 5, "mem_level": 6}

    def _is_one_too_many(self, n_sessions: int) -> bool:
        # Its page was counted; only signed tokens of such pages open a line.
        return n_sessions > MAX_SESSIONS

    async def _async_open(self, token: str) -> None:
        # A message is several frames, and the system keeps a small one back until what
        # was sent before has arrived: on this machine 40 ms, and elsewhere a way there
        # and back.
        self.set_nodelay(True)
        await super()._async_open(token)  # type: ignore[misc] # of Bokeh's handler
        if self.handler is not None:
            self.handler._handlers.pop("PUSH-DOC", None)

    async def send_message(self, message: Any) -> None:
        if message.msgtype == "ERROR":
            message.content = {"text": "the server could not do this"}
            message.content["traceback"] = None
        await super().send_message(message)  # type: ignore[misc] # of Bokeh's handler


def _is_same(given: str | None, wanted: str) -> bool:
    return given is not None and hmac.compare_digest(given.encode(), wanted.encode())
