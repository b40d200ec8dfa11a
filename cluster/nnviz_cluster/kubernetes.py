"""A Dask cluster in Kubernetes, through the Dask operator."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
from distributed import Client

from nnviz.errors import ConfigError, TaskError
from nnviz_cluster.site import ClusterConfig
from nnviz_cluster.tls import check_listening
from nnviz_cluster.worker_start import PRELOAD, missing, settings_of, worker_environment

__all__ = ["cluster_arguments", "cluster_document", "open_client"]

SCHEDULER_PORT, PAGES_PORT, HEALTH_PORT = 8786, 8787, 8788
OF_SCHEDULER = {"cpu": "1", "memory": "2G"}
"""What a scheduler of nnviz needs, with room: it holds tasks, never data."""
POD_RIGHTS = {
    "automountServiceAccountToken": False,
    "securityContext": {
        "runAsNonRoot": True,
        "runAsUser": 1000,
        "runAsGroup": 1000,
        "fsGroup": 1000,
        "seccompProfile": {"type": "RuntimeDefault"},
    },
}
CONTAINER_RIGHTS = {
    "securityContext": {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
}
"""Of Kubernetes' standard 'restricted', which a namespace may ask of all its pods."""


def cluster_arguments(config: ClusterConfig, threads: int) -> dict[str, Any]:
    """Return the arguments of ``dask_kubernetes.operator.KubeCluster``.

    Raises
    ------
    ConfigError
        If the manifest that the cluster file names is not there.
    """
    place = config.kubernetes
    specification: str | dict[str, Any]
    if place.manifest is None:
        specification = cluster_document(config, threads)
    elif Path(place.manifest).expanduser().is_file():
        specification = str(Path(place.manifest).expanduser())
    else:
        msg = (
            f"there is no file {place.manifest!r}, which kubernetes.manifest of the "
            "cluster file names; it holds a DaskCluster, as "
            "cluster/kubernetes/run/cluster.yaml does"
        )
        raise ConfigError(msg)
    return {
        "custom_cluster_spec": specification,
        "namespace": place.namespace,
        "shutdown_on_close": True,
        "quiet": True,  # it would draw on standard output, where --json writes
    }


def cluster_document(config: ClusterConfig, threads: int) -> dict[str, Any]:
    """Return the ``DaskCluster`` that the operator makes pods of, as JSON values.

    dask-kubernetes' own starts ``dask-scheduler``, a command that Dask has no more.
    ``cluster/kubernetes/run/cluster.yaml`` is the same, with what a site may want.

    Parameters
    ----------
    config
        With image, amounts and the number of workers.
    threads
        Threads inside one operation of the network.
    """
    place = config.kubernetes
    amounts = {"cpu": place.cpu}
    if config.memory != "auto":
        amounts["memory"] = config.memory.removesuffix("B")  # 8GB is 8G there
    if place.gpus:
        amounts["nvidia.com/gpu"] = str(place.gpus)
    variables = worker_environment(threads) | dict(config.environment)
    health = {"path": "/health", "port": "http-dashboard"}
    scheduler = {
        "name": "scheduler",
        "image": place.image,
        "args": ["dask", "scheduler", "--host", "0.0.0.0", "--no-dashboard"],
        # nnviz decides whom to blame when a worker dies.
        "env": [
            {"name": "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES", "value": "0"}
        ],
        **CONTAINER_RIGHTS,
        "resources": {"requests": OF_SCHEDULER, "limits": OF_SCHEDULER},
        "ports": [
            {"name": "tcp-comm", "containerPort": SCHEDULER_PORT},
            {"name": "http-dashboard", "containerPort": PAGES_PORT},
        ],
        "readinessProbe": {"httpGet": health, "periodSeconds": 5},
        "livenessProbe": {
            "httpGet": health,
            "initialDelaySeconds": 15,
            "periodSeconds": 20,
        },
    }
    worker = {
        "name": "worker",
        "image": place.image,
        "args": [
            *("dask", "worker", "--name", "$(DASK_WORKER_NAME)", "--nthreads", "1"),
            # Of all that the pod may take; by default the share of one of its cores.
            *("--memory-limit", "1.0", "--preload", PRELOAD),
            *("--no-dashboard", "--dashboard-address", str(HEALTH_PORT)),
        ],
        "env": [{"name": name, "value": text} for name, text in variables.items()],
        **CONTAINER_RIGHTS,
        "resources": {"requests": amounts, "limits": amounts},
        "ports": [{"name": "http-dashboard", "containerPort": HEALTH_PORT}],
    }
    return {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskCluster",
        "metadata": {"name": place.name},
        "spec": {
            "idleTimeout": place.idle_timeout,
            "scheduler": {
                "spec": {**POD_RIGHTS, "containers": [scheduler]},
                "service": {
                    "type": "ClusterIP",
                    "selector": {
                        "dask.org/cluster-name": place.name,
                        "dask.org/component": "scheduler",
                    },
                    "ports": [
                        {
                            "name": name,
                            "protocol": "TCP",
                            "port": port,
                            "targetPort": name,
                        }
                        for name, port in (
                            ("tcp-comm", SCHEDULER_PORT),
                            ("http-dashboard", PAGES_PORT),
                        )
                    ],
                },
            },
            "worker": {
                "replicas": config.workers or config.minimum or 1,
                "spec": {**POD_RIGHTS, "containers": [worker]},
            },
        },
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
    arguments = cluster_arguments(config, threads)
    with dask.config.set(settings_of(config, threads)):
        try:
            cluster = KubeCluster(**arguments)
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
            elif config.kubernetes.manifest is not None and config.workers is not None:
                cluster.scale(config.workers)
            yield connected
