"""A Dask cluster on this machine's GPUs: one process for each, through dask-cuda."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import dask
from distributed import Client
from distributed.security import Security

from nnviz.errors import ConfigError
from nnviz_cluster.keeping import kept_workers
from nnviz_cluster.site import ClusterConfig
from nnviz_cluster.tls import check_listening, security_of
from nnviz_cluster.worker_start import kept_environment, missing, settings_of

__all__ = ["check_devices", "cluster_arguments", "open_client"]


def cluster_arguments(
    config: ClusterConfig, security: Security | None
) -> dict[str, Any]:
    """Return the arguments of ``dask_cuda.LocalCUDACluster``."""
    return {
        "n_workers": config.workers,  # None: one for each of CUDA_VISIBLE_DEVICES
        "threads_per_worker": 1,
        "memory_limit": config.memory,
        # torch has an allocator of its own; spilling of RAPIDS' would be in its way.
        "device_memory_limit": None,
        "host": None if config.interface else config.host or "127.0.0.1",
        "interface": config.interface,
        "protocol": "tls" if security else "tcp",
        "security": security,
        "dashboard_address": "127.0.0.1:0",
    }


def check_devices(config: ClusterConfig) -> None:
    """Refuse to start where torch, which the workers use, sees no GPU.

    Raises
    ------
    ConfigError
        If there is none, or the number of workers is to change.
    """
    import torch  # noqa: PLC0415  seconds, that other kinds do not need

    if config.maximum is not None:
        msg = (
            f"a cuda cluster has one worker for each GPU and cannot be adaptive, but "
            f"minimum is {config.minimum} and maximum {config.maximum}; leave them out"
        )
        raise ConfigError(msg)
    if not torch.cuda.is_available():
        build = torch.version.cuda
        known = f"is built for CUDA {build}" if build else "is built for CPUs only"
        msg = (
            f"there is no GPU for a cuda cluster: torch {torch.__version__} {known} "
            "and sees none; check 'nvidia-smi', CUDA_VISIBLE_DEVICES and the build of "
            "torch, or run without --cluster cuda"
        )
        raise ConfigError(msg)


@contextlib.contextmanager
def open_client(config: ClusterConfig, threads: int = 1) -> Iterator[Client]:
    """Start a worker for each GPU, and stop them.

    Raises
    ------
    ConfigError
        If it would listen beyond loopback without TLS, or there is no GPU.
    MissingDependencyError
        If dask-cuda is not installed.
    """
    check_listening(config, config.host or "127.0.0.1")
    try:
        from dask_cuda import LocalCUDACluster  # noqa: PLC0415  optional
    except ImportError as error:
        raise missing("cuda", "dask-cuda", "cuda") from error
    check_devices(config)
    settings = settings_of(config, threads)
    # Without it CUDA numbers devices by speed, and nvidia-smi by their slots.
    settings["distributed.nanny.pre-spawn-environ"]["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    with (
        kept_environment(),
        dask.config.set(settings),
        security_of(config) as security,
        LocalCUDACluster(**cluster_arguments(config, security)) as cluster,
        Client(cluster, security=security) as connected,
        kept_workers(cluster, connected),
    ):
        yield connected
