"""What does a site say about its cluster? One TOML file, read into frozen dataclasses.

Nothing in it is part of a run's result: the same store comes out of every cluster.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Literal, get_args

from nnviz.errors import ConfigError, did_you_mean
from nnviz.runs.json_values import from_json

__all__ = [
    "KINDS",
    "QUEUED",
    "ClusterConfig",
    "Kind",
    "TlsConfig",
    "load_site",
    "template",
]

Kind = Literal["local", "cuda", "slurm", "kubernetes", "ssh", "address"]
KINDS: tuple[str, ...] = get_args(Kind)
QUEUED: tuple[Kind, ...] = ("slurm", "kubernetes")
"""Kinds whose workers may wait for machines."""


@dataclass(frozen=True, slots=True)
class TlsConfig:
    """Certificates with which the parts of a cluster know each other."""

    temporary: bool = False
    """Whether to make certificates for this cluster alone, and forget them after."""
    ca: str | None = None
    """File of the authority's certificate."""
    cert: str | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True)
class SlurmConfig:
    """What a worker's job asks of Slurm."""

    queue: str | None = None
    account: str | None = None
    walltime: str = "04:00:00"
    """Of each worker's job; a job that ends is followed by another."""
    lifetime: str | None = None
    """After it a worker ends between two tasks; shorter than `walltime`."""
    lifetime_stagger: str = "2m"
    """Spread of the `lifetime`, so that not all workers end together."""
    directives: tuple[str, ...] = ()
    """Further ``#SBATCH`` options: ``--gres=gpu:1``."""
    prologue: tuple[str, ...] = ()
    """Lines of shell before the worker starts: ``module load cuda``."""
    log_folder: str | None = None
    local_folder: str | None = None
    """Scratch space on the machine of the worker."""
    resubmit_after: str = "15s"
    """How long a worker may be away before its job is replaced."""


@dataclass(frozen=True, slots=True)
class KubernetesConfig:
    """What the Dask operator starts."""

    image: str = "nnviz:latest"
    namespace: str = "default"
    name: str = "nnviz"
    cpu: str = "2"
    gpus: int = 0
    idle_timeout: int = 600
    """Seconds without work after which the operator deletes the cluster, also where
    the command was killed."""
    manifest: str | None = None
    """File with a whole DaskCluster, in place of all but `namespace` and the number of
    workers: for volumes, spot machines, and what else a site wants of its pods."""


@dataclass(frozen=True, slots=True)
class SshConfig:
    """Machines that are reached with a key."""

    hosts: tuple[str, ...] = ()
    """The first runs the scheduler, each of the others one worker; repeat a name."""
    username: str | None = None
    port: int = 22
    key: str | None = None
    """File of the private key; None asks the agent and the user's usual keys."""
    known_hosts: str | None = None
    """File of the machines' public keys; None takes the user's."""
    local_folder: str | None = None
    """Scratch space of the workers."""


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    """One cluster: of which kind, how many workers, and who may talk to them."""

    kind: Kind = "local"
    workers: int | None = None
    """Worker processes, one for each device; None: as many as there are."""
    minimum: int | None = None
    """Fewest workers of an adaptive cluster; with `maximum` in place of `workers`."""
    maximum: int | None = None
    memory: str = "auto"
    """Of each worker, as Dask writes it: ``"8GB"``."""
    host: str | None = None
    """Address at which the scheduler listens; loopback unless told otherwise."""
    interface: str | None = None
    """Network interface at which scheduler and workers listen: ``"ib0"``."""
    insecure: bool = False
    """Whether to go without TLS: on this machine, whose users could then run code as
    you, and on other addresses than loopback, where whoever reaches them could."""
    python: str | None = None
    """Interpreter on the workers' machines; None: this one's path."""
    shared_folder: str | None = None
    """Seen by all machines; holds temporary certificates; None: the working folder, or
    that for temporary files where the cluster is on this machine alone."""
    address: str | None = None
    """Of a running scheduler: ``tls://host:8786``."""
    scheduler_file: str | None = None
    """File that ``dask scheduler --scheduler-file`` wrote, in place of `address`."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables that worker processes start with, beside those of nnviz."""
    tls: TlsConfig | None = None
    slurm: SlurmConfig = field(default_factory=SlurmConfig)
    kubernetes: KubernetesConfig = field(default_factory=KubernetesConfig)
    ssh: SshConfig = field(default_factory=SshConfig)

    def __post_init__(self) -> None:
        if (self.minimum is None) != (self.maximum is None):
            msg = (
                f"an adaptive cluster has 'minimum' and 'maximum', not only one of "
                f"them: minimum is {self.minimum}, maximum is {self.maximum}"
            )
            raise ConfigError(msg)
        numbers = (self.workers, self.maximum)
        if any(n is not None and n < 1 for n in numbers) or (
            self.minimum is not None and not 0 <= self.minimum <= (self.maximum or 0)
        ):
            msg = (
                f"workers is {self.workers}, minimum {self.minimum}, maximum "
                f"{self.maximum}; there should be at least one worker, and minimum "
                "at most as large as maximum"
            )
            raise ConfigError(msg)


def load_site(source: str, *, workers: int | None = None) -> ClusterConfig:
    """Return the cluster that ``--cluster`` names.

    Parameters
    ----------
    source
        A kind, the path of a TOML file, or the address of a running scheduler.
    workers
        Number of workers, in place of the file's.

    Raises
    ------
    ConfigError
        If it is none of these, or the file says what nnviz does not know.
    """
    if "://" in source:
        config = ClusterConfig(kind="address", address=source)
    elif source in KINDS:
        config = _parsed(template(source), f"the template of {source!r}")
        if source == "address":
            msg = (
                "'address' needs to be told which; write --cluster tcp://host:8786, "
                "or a file: 'nnviz cluster-config address' prints one to edit"
            )
            raise ConfigError(msg)
    elif source.endswith(".toml"):
        try:
            text = Path(source).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            msg = f"cannot read the cluster file {source!r}: {error}"
            raise ConfigError(msg) from error
        config = _parsed(text, source)
    else:
        msg = (
            f"unknown cluster {source!r}{did_you_mean(source, KINDS)}; it can be "
            f"{', '.join(KINDS[:-1])}, a file that ends in .toml, or the address of a "
            "running scheduler (tcp://host:8786)"
        )
        raise ConfigError(msg)
    if workers is not None:
        config = dataclasses.replace(
            config, workers=workers, minimum=None, maximum=None
        )
    return config


def template(kind: str) -> str:
    """Return the commented configuration file of a kind, to be edited by a site."""
    folder = resources.files("nnviz_cluster") / "templates"
    return (folder / f"{kind}.toml").read_text(encoding="utf-8")


def _parsed(text: str, name: str) -> ClusterConfig:
    try:
        value = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        msg = f"{name!r} is not a TOML file: {error}"
        raise ConfigError(msg) from error
    return from_json(ClusterConfig, value, place="cluster file")
