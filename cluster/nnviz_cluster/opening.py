"""Which cluster is meant? From a site's file to a client, whatever the kind."""

from __future__ import annotations

import importlib
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from nnviz_cluster.site import ClusterConfig

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["open_client"]


def open_client(
    config: ClusterConfig, threads: int = 1
) -> AbstractContextManager[Client]:
    """Start the cluster, or connect to it; leaving the context stops what was started.

    Parameters
    ----------
    config
        Configuration from :func:`nnviz_cluster.site.load_site`.
    threads
        Threads inside one operation of the network.
    """
    # Each kind is a module of its name; its libraries are imported only here.
    module = importlib.import_module(f"nnviz_cluster.{config.kind}")
    opened: AbstractContextManager[Client] = module.open_client(config, threads)
    return opened
