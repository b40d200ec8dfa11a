"""One tiny run with faults to switch on, and processes that can be killed."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from distributed import Client

import nnviz
from nnviz.runs.config import load_config
from nnviz.store.store import Store
from nnviz_cluster import local
from tests.forked import FORKED_WORKERS, Forked

N_INSTANCES, ROWS, BATCH = 192, 16, 8
N_CHUNKS = N_INSTANCES // ROWS

NETWORK = '''
"""A tiny network, and a device that a file in a folder lets fail."""

from pathlib import Path

import torch
from torch import nn

FAULTS = Path(__file__).parent / "faults"


class Limited(nn.ReLU):
    def forward(self, x):
        if (FAULTS / "device").exists():
            device(FAULTS / "device", len(x))
        return super().forward(x)


def device(file, n):
    what, _, much = file.read_text().partition(" ")
    with (FAULTS / "device.tries").open("a") as log:
        log.write(f"{n} ")
    if what == "memory" and n > int(much):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
    if what == "lost" and len((FAULTS / "device.tries").read_text().split()) == 1:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), Limited(), nn.Conv2d(6, 8, 3, padding=1),
        nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4),
    ).eval()
'''

# Without torch: a process that reads instances one by one has nothing else to import.
PICTURES = '''
"""A data set with faults that files in a folder switch on."""

import errno
import os
import time
from pathlib import Path

import numpy as np

FAULTS = Path(__file__).parent / "faults"


class Pictures:
    targets = [index %% 4 for index in range(%d)]

    def __len__(self):
        return %d

    def __getitem__(self, index):
        for name in (str(index), "all"):
            if (FAULTS / name).exists():
                act(FAULTS / name, index)
        rng = np.random.default_rng(index)
        return rng.standard_normal((1, 8, 8)).astype("float32"), index %% 4


def act(file, index):
    what, _, much = file.read_text().partition(" ")
    if what == "sleep":
        time.sleep(float(much))
    elif what == "hold":
        while file.exists():
            time.sleep(0.02)
    elif what == "sleep-once":
        with (file.parent / f"{index}.pid").open("a") as log:
            log.write(f"{os.getpid()}\\n")
        file.unlink()
        time.sleep(float(much))
    elif what == "kill":
        with (file.parent / f"{index}.deaths").open("a") as log:
            log.write("x")
        os.kill(os.getpid(), 9)
    elif what == "hog":
        taken = bytearray(b"x") * int(much)
        time.sleep(600)
    elif what in ("flaky", "memory"):
        log = file.parent / f"{index}.tries"
        with log.open("a") as stream:
            stream.write("x")
        if log.stat().st_size <= int(much):
            if what == "memory":
                raise MemoryError
            raise OSError(errno.EIO, "the file server is away")


def pictures():
    return Pictures()
'''

RUN = """
[model]
source = "tiny_network.py:network"

[dataset]
kind = "torch"
source = "tiny_pictures.py:pictures"

[preprocessing]
kind = "array"
layout = "CHW"

[extraction]
instances_per_chunk = {rows}
batch_size = {batch}
max_unreadable_fraction = 1.0
"""


class TinyRun:
    """A run file, faults that can be switched on, and the store without any."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.faults = folder / "faults"
        self.faults.mkdir(parents=True)
        (folder / "tiny_network.py").write_text(NETWORK)
        code = PICTURES % (N_INSTANCES, N_INSTANCES)
        (folder / "tiny_pictures.py").write_text(code)
        self.file = folder / "run.toml"
        self.file.write_text(RUN.format(rows=ROWS, batch=BATCH))
        self._empty = folder / "empty.zarr"
        plan, probe = nnviz.plan_run(load_config(self.file))
        nnviz.prepare_store(plan, str(self._empty), probe=probe)

    def store(self, path: Path) -> Path:
        """Return a new store of the run, of which nothing is extracted."""
        shutil.copytree(self._empty, path)
        return path

    def fault(self, instance: int | str, what: str) -> None:
        """Switch a fault on."""
        (self.faults / str(instance)).write_text(what)

    def repair(self) -> None:
        """Switch all faults off."""
        shutil.rmtree(self.faults)
        self.faults.mkdir()


def checksums(store: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of a store, but for who writes to it."""
    return {
        str(path.relative_to(store)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(store.rglob("*"))
        if path.is_file() and path.relative_to(store).parts[0] != "writer"
    }


@contextlib.contextmanager
def workers(n: int, memory_limit: str = "auto") -> Iterator[Client]:
    """Start workers as ``nnviz extract`` does."""
    with local.client(n_workers=n, memory_limit=memory_limit) as client:
        yield client


def pids(client: Client) -> list[int]:
    """Return the processes of the workers that answer."""
    found = client.run(os.getpid, on_error="ignore")
    return [pid for pid in found.values() if isinstance(pid, int)]


class Events:
    """Keeps every event of a run, and calls functions when they come."""

    def __init__(self, on_event: Callable[[object], None] | None = None) -> None:
        self.seen: list[object] = []
        self._on_event = on_event

    def receive(self, event: object) -> None:
        self.seen.append(event)
        if self._on_event is not None:
            self._on_event(event)

    def of(self, name: str) -> list[object]:
        return [event for event in self.seen if type(event).__name__ == name]

    def reasons(self) -> str:
        return "\n".join(event.reason for event in self.of("TaskRetried"))


class Driver:
    """A command of nnviz in a process group of its own.

    What its workers are forked from need not import, if it `has_server`.
    """

    def __init__(self, *arguments: object, has_server: bool = True) -> None:
        self.process = Forked(
            *("nnviz", *map(str, arguments)),
            env=dict(os.environ, PYTHONWARNINGS="ignore"),
            has_server=has_server,
        )

    def signal(self, number: int) -> None:
        """Send a signal to the process alone."""
        self.process.send_signal(number)

    def kill_group(self) -> None:
        """Kill the process and all that it has started."""
        self.process.kill_group()

    def finish(self, timeout: float = 240) -> tuple[int, str, str]:
        """Return exit code, output and errors."""
        try:
            out, errors = self.process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.kill_group()
            raise
        return self.process.wait(), out, errors


def wait_for(condition: Callable[[], object], timeout: float = 240) -> None:
    """Wait until something holds; the time is a guard against hanging only."""
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            pytest.fail("what was waited for has not happened")
        time.sleep(0.05)


def n_done(store: Path) -> int:
    """Return how many chunks are complete."""
    return int(_opened(store).chunks.done().sum())


@functools.cache
def _opened(store: Path) -> Store:
    """Open a store once: to do so costs far more than to read its marks again."""
    return nnviz.open_store(store)


def group_is_gone(pid: int) -> bool:
    """Whether no process of a group is left, apart from dead ones."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(fields[2]) == pid and fields[0] not in "ZX":
                return False
    return True


def children_of(pid: int, *parts: str) -> list[int]:
    """Return what a driver has started, and whose command says one of these."""
    found: list[int] = []
    try:
        children = psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return found  # the driver has just ended
    for child in children:
        with contextlib.suppress(psutil.Error):  # it has just ended
            if any(part in " ".join(child.cmdline()) for part in parts):
                found.append(child.pid)
    return found


def workers_of(pid: int) -> list[int]:
    """Return the worker processes of a command, and what they are forked from."""
    return children_of(pid, "spawn_main", "multiprocessing.forkserver")


def start_dask(folder: Path, *command: str) -> Forked:
    """Start a scheduler or a worker as a process of its own."""
    env = dict(os.environ, PYTHONWARNINGS="ignore")
    has_server = command[0] == "worker"
    before = FORKED_WORKERS if has_server else ""
    start = functools.partial(Forked, folder=folder, env=env, before=before)
    return start("dask", *command, n_streams=0, has_server=has_server)


def address_in(file: Path) -> str:
    """Return the address that a scheduler has written."""

    def written() -> bool:
        with contextlib.suppress(OSError, ValueError):
            return bool(json.loads(file.read_text()))
        return False

    wait_for(written)
    return str(json.loads(file.read_text())["address"])
