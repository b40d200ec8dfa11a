"""A Dask cluster in Kubernetes, through the Dask operator."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import dask
from distributed import Client

from nnviz.errors import TaskError
from nnviz_cluster.site import ClusterConfig
from nnviz_cluster.tls import check_listening
from nnviz_cluster.workers import PRELOAD, missing, settings_of, worker_environment

__all__ = ["cluster_arguments", "open_client"]


def cluster_arguments(config: ClusterConfig, threads: int) -> dict[str, Any]:
    """Return the arguments of ``dask_kubernetes.operator.KubeCluster``."""
    place = config.kubernetes
    amounts = {"cpu": place.cpu}
    if config.memory != "auto":
        amounts["memory"] = config.memory.removesuffix("B")  # 8GB is 8G there
    if place.gpus:
        amounts["nvidia.com/gpu"] = str(place.gpus)
    return {
        "name": place.name,
        "namespace": place.namespace,
        "image": place.image,
        "n_workers": config.workers or config.minimum or 1,
        "resources": {"requests": amounts, "limits": amounts},
        "env": worker_environment(threads) | dict(config.environment),
        "worker_command": [
            *("dask", "worker", "--nthreads", "1", "--no-dashboard"),
            *("--preload", PRELOAD),
        ],
        "idle_timeout": place.idle_timeout,
        "shutdown_on_close": True,
    }


@contextlib.contextmanager
def open_client(config: ClusterConfig, threads: int = 1) -> Iterator[Client]:
    """Let the operator start a cluster, and delete it at the end.

    Raises
    ------
    ConfigError
        If the site has not said that it trusts the network between its pods: the
        operator's clusters speak without TLS.
    MissingDependencyError
        If dask-kubernetes is not installed.
    TaskError
        If the operator does not answer.
    """
    check_listening(config, None)
    try:
        from dask_kubernetes.operator import KubeCluster  # noqa: PLC0415  optional
    except ImportError as error:
        raise missing("kubernetes", "dask-kubernetes", "kubernetes") from error
    with dask.config.set(settings_of(config, threads)):
        try:
            cluster = KubeCluster(**cluster_arguments(config, threads))
        except Exception as error:  # its client raises many kinds
            msg = (
                f"Kubernetes did not start the cluster: {error}; check that "
                "'kubectl get daskclusters' works, that the operator is installed, "
                "and the namespace and image of the cluster file"
            )
            raise TaskError(msg) from error
        with cluster, Client(cluster) as connected:
            if config.maximum is not None:
                cluster.adapt(minimum=config.minimum, maximum=config.maximum)
            yield connected
