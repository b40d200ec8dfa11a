"""A Dask cluster that is running already, by the address of its scheduler."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

from distributed import Client

from nnviz.errors import ConfigError, TaskError
from nnviz_cluster.site import ClusterConfig
from nnviz_cluster.tls import security_of

__all__ = ["open_client"]

ANSWER_TIMEOUT_S = 20
"""How long a scheduler may take to answer."""


@contextlib.contextmanager
def open_client(config: ClusterConfig, threads: int = 1) -> Iterator[Client]:
    """Connect to a running scheduler; its workers are left as they are.

    Parameters
    ----------
    config
        With the address, and certificates where the scheduler asks for them.
    threads
        Is up to whoever started the workers.

    Raises
    ------
    ConfigError
        If there is no address, or TLS without certificates.
    TaskError
        If no scheduler answers, or it does not accept the certificates.
    """
    address = config.address or _address_in(config)
    if address.startswith("tls://") and config.tls is None:
        msg = (
            f"the scheduler at {address!r} speaks TLS and no certificates are given; "
            "'nnviz cluster-config address' prints a file in which [tls] names them: "
            "hand it over with --cluster FILE"
        )
        raise ConfigError(msg)
    with security_of(config) as security:
        try:
            connected = Client(address, timeout=ANSWER_TIMEOUT_S, security=security)
        except (OSError, ValueError, RuntimeError, TypeError) as error:
            msg = (
                f"no Dask scheduler answers at {address!r}: {error}; check the "
                "address that 'dask scheduler' printed, whether it speaks TLS (then "
                "it begins with tls://), and that the certificates in [tls] are of "
                "the same authority"
            )
            raise TaskError(msg) from error
        with connected:
            yield connected


def _address_in(config: ClusterConfig) -> str:
    if config.scheduler_file is None:
        msg = (
            "the cluster file names no scheduler; add 'address = \"tls://host:8786\"', "
            "or the 'scheduler_file' that 'dask scheduler' wrote"
        )
        raise ConfigError(msg)
    try:
        text = Path(config.scheduler_file).read_text(encoding="utf-8")
        return str(json.loads(text)["address"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        msg = (
            f"cannot read the scheduler's address from {config.scheduler_file!r}: "
            f"{error}; 'dask scheduler --scheduler-file' writes it"
        )
        raise ConfigError(msg) from error
