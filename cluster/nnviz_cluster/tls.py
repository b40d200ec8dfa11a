"""Who may talk to a cluster? Certificates, and the refusal to listen without them.

Whoever reaches a Dask scheduler runs code as its user, and every user of a machine
reaches its loopback. So the parts of a cluster on one machine know each other by
certificates that are made for it and forgotten after it, and nothing listens elsewhere
without TLS, unless the site's file says ``insecure = true``.
"""

from __future__ import annotations

import contextlib
import ipaddress
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from distributed.security import Security

from nnviz.errors import ConfigError, MissingDependencyError
from nnviz_cluster.site import ClusterConfig, TlsConfig

__all__ = [
    "check_listening",
    "is_loopback",
    "security_of",
    "settings_of_tls",
    "write_certificates",
]


ON_THIS_MACHINE = ("local", "cuda")
"""Kinds whose temporary certificates no other machine has to read."""


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches a host's address.

    Examples
    --------
    >>> [is_loopback(host) for host in ("127.0.0.1", "::1", "0.0.0.0", "node7")]
    [True, True, False, False]
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_listening(config: ClusterConfig, host: str | None) -> None:
    """Refuse to listen where others reach it, without TLS.

    Parameters
    ----------
    config
        With what the site allows.
    host
        Where the cluster is going to listen; None for all addresses of a machine.

    Raises
    ------
    ConfigError
        If that is not loopback, there is no TLS, and the site does not insist.
    """
    is_open = host is None or config.interface is not None or not is_loopback(host)
    if is_open and config.tls is None and not config.insecure:
        place = config.interface or host or "all addresses"
        msg = (
            f"the {config.kind} cluster would listen on {place} without TLS, and "
            "whoever reaches it could run code as you; add a table [tls] with "
            "'temporary = true' or with certificates, or write 'insecure = true' at "
            "the top of the cluster file where the network is trusted"
        )
        raise ConfigError(msg)


@contextlib.contextmanager
def security_of(config: ClusterConfig) -> Iterator[Security | None]:
    """Open the certificates of a cluster; temporary ones are removed at the end.

    They lie in files that only the user reads, never in an argument of a command,
    which every user of a machine sees.

    Raises
    ------
    ConfigError
        If a file is missing, or names only a part of a certificate.
    MissingDependencyError
        If temporary certificates cannot be made.
    """
    tls = config.tls
    is_here = config.kind in ON_THIS_MACHINE
    if tls is None and is_here and not config.insecure:
        tls = TlsConfig(temporary=True)
    if tls is None:
        yield None
    elif tls.temporary:
        usual = tempfile.gettempdir() if is_here else "."
        folder = Path(config.shared_folder or usual).expanduser().resolve()
        try:
            place = tempfile.mkdtemp(prefix=".nnviz-tls-", dir=folder)
        except OSError as error:
            msg = f"cannot keep certificates in shared_folder {str(folder)!r}: {error}"
            raise ConfigError(msg) from error
        try:
            ca, key = write_certificates(place)
            yield _security(TlsConfig(ca=str(ca), cert=str(ca), key=str(key)))
        finally:
            shutil.rmtree(place, ignore_errors=True)
    else:
        yield _security(tls)


def settings_of_tls(security: Security | None) -> dict[str, Any]:
    """Return Dask's settings that name the same files; none without certificates."""
    if security is None:
        return {}
    roles = ("scheduler", "worker", "client")
    files = {role: security.get_tls_config_for_role(role) for role in roles}
    place = "distributed.comm.tls"
    return {
        "distributed.comm.require-encryption": True,
        f"{place}.ca-file": files["scheduler"]["ca_file"],
        **{f"{place}.{role}.cert": files[role]["cert"] for role in roles},
        **{f"{place}.{role}.key": files[role]["key"] for role in roles},
    }


def write_certificates(folder: str | Path) -> tuple[Path, Path]:
    """Write a new certificate, its own authority, and its key into a folder.

    Returns
    -------
    tuple of Path
        ``cert.pem``, which is authority and certificate, and ``key.pem``.

    Raises
    ------
    MissingDependencyError
        If the library that makes them is not installed.
    """
    try:
        made = Security.temporary().get_tls_config_for_role("scheduler")
    except ImportError as error:
        msg = (
            "temporary certificates need the library 'cryptography', which cannot be "
            f"imported ({error}); pip install cryptography, or name certificates in "
            "[tls]; on a machine without other users, 'insecure = true' does without"
        )
        raise MissingDependencyError(msg) from error
    place = Path(folder)
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    files = place / "cert.pem", place / "key.pem"
    for file, text in zip(files, (made["ca_file"], made["key"]), strict=True):
        file.touch(mode=0o600)
        file.write_text(text, encoding="utf-8")
    return files


def _security(tls: TlsConfig) -> Security:
    files = {"ca": tls.ca, "cert": tls.cert, "key": tls.key}
    missing = [name for name, file in files.items() if not file]
    if missing:
        msg = (
            f"the table [tls] lacks {', '.join(missing)}; it has either "
            "'temporary = true', or all of ca, cert and key"
        )
        raise ConfigError(msg)
    paths = {name: str(Path(str(file)).expanduser()) for name, file in files.items()}
    absent = [path for path in paths.values() if not Path(path).is_file()]
    if absent:
        msg = f"there is no certificate {absent[0]!r}, which the table [tls] names"
        raise ConfigError(msg)
    roles = ("scheduler", "worker", "client")
    return Security(
        require_encryption=True,
        tls_ca_file=paths["ca"],
        **{f"tls_{role}_cert": paths["cert"] for role in roles},
        **{f"tls_{role}_key": paths["key"] for role in roles},
    )
