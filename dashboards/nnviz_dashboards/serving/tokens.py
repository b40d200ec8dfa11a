"""With which token may one enter? A new one at each start, or one that is kept.

A kept token lies in a file that its owner alone can read: links to the page, and the
cookies of browsers that know it, then outlive the server.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
import sys
from pathlib import Path

from nnviz.errors import ConfigError

__all__ = ["cookie_of", "kept_token", "new_token"]

LEAST_CHARACTERS = 20
N_BYTES = 24


def new_token() -> str:
    """Return a random token that may stand in an address."""
    return secrets.token_urlsafe(N_BYTES)


def cookie_of(token: str) -> str:
    """Return what a browser keeps that has brought a token: the same at each start."""
    return hmac.new(token.encode(), b"nnviz cookie", hashlib.sha256).hexdigest()


def kept_token(path: str | Path) -> str:
    """Return the token of a file, which is written where there is none.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    ConfigError
        If others may read it, if it holds no token, or if it cannot be written.
    """
    file = Path(path)
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return _read(file)
    except OSError as error:
        msg = f"the token file {str(path)!r} cannot be written: {error.strerror}"
        raise ConfigError(msg) from error
    token = new_token()
    with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
        opened.write(token + "\n")
    return token


def _read(file: Path) -> str:
    status = file.stat()
    if not stat.S_ISREG(status.st_mode):
        msg = f"the token file {str(file)!r} is not a file; name one, or a new one"
        raise ConfigError(msg)
    # Windows has no such bits: there, folders of users are their own.
    if sys.platform != "win32" and status.st_mode & 0o077:
        msg = (
            f"others may read the token file {str(file)!r} (mode "
            f"{stat.S_IMODE(status.st_mode):o}); it is a password: chmod 600 "
            f"{str(file)!r}"
        )
        raise ConfigError(msg)
    try:
        token = file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError as error:
        msg = f"the token file {str(file)!r} cannot be read: {error.strerror}"
        raise ConfigError(msg) from error
    allowed = token.replace("-", "").replace("_", "")
    if len(token) < LEAST_CHARACTERS or not (allowed.isascii() and allowed.isalnum()):
        msg = (
            f"the token file {str(file)!r} holds no token: {LEAST_CHARACTERS} letters, "
            "digits, '-' or '_' at least; delete it, and a new one is written"
        )
        raise ConfigError(msg)
    return token
