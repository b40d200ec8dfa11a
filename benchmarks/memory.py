"""Does memory stay flat while a million instances go through the pipeline?

A data set that costs nothing (constants, made where they are read) and a network that
costs almost nothing go through ``nnviz.extract`` on real worker processes, thousands of
chunks. Sampled on the way: the resident memory of client, scheduler and workers, the
tasks that the scheduler holds, and how many workers have nothing to do.

The scheduler runs in a process of its own, so that its memory is its own.

Usage::

    python -m benchmarks.memory [--instances 1000000] [--chunk 512] [--workers 2]

Results are kept in ``benchmarks/results/memory.json`` and ``docs/images/memory.svg``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.environment import describe_machine
from benchmarks.lines import Line, draw

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).resolve().parent / "results"

RUN_FILE = """\
[model]
source = "{networks}:tiny"
weights = "tiny.safetensors"

[dataset]
kind = "torch"
source = "{memory}:Constants"
arguments = {{ n_instances = {n_instances} }}

[preprocessing]
kind = "array"
dtype = "float32"

[extraction]
instances_per_chunk = {chunk}
batch_size = {batch}
reader_threads = 1
"""


class Constants:
    """A torch data set of so many grey 8 x 8 images, all the same."""

    def __init__(self, n_instances: int) -> None:
        self._n_instances = n_instances
        self.targets = np.zeros(n_instances, np.int64)
        self._value: NDArray[np.float32] = np.linspace(
            0, 1, 64, dtype=np.float32
        ).reshape(1, 8, 8)

    def __len__(self) -> int:
        return self._n_instances

    def __getitem__(self, index: int) -> tuple[NDArray[np.float32], int]:
        if not 0 <= index < self._n_instances:
            raise IndexError(index)
        return self._value, 0


def main() -> None:
    """Run, sample, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--instances", type=int, default=1_000_000)
    parser.add_argument("--chunk", type=int, default=512)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--every", type=float, default=1.0, help="seconds")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        found = measure(
            Path(name),
            n_instances=arguments.instances,
            chunk=arguments.chunk,
            n_workers=arguments.workers,
            every_s=arguments.every,
        )
    result = {
        "command": " ".join(["python -m benchmarks.memory", *sys.argv[1:]]),
        "machine": describe_machine(),
        **found,
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / "memory.json"
    path.write_text(json.dumps(result) + "\n", encoding="utf-8")
    plot(result, ROOT / "docs" / "images" / "memory.svg")
    print(json.dumps(result["summary"], indent=1))
    print(path)


def measure(
    folder: Path, *, n_instances: int, chunk: int, n_workers: int, every_s: float
) -> dict[str, Any]:
    """Extract in `folder`; return the samples, and what they come to."""
    import torch
    from safetensors.torch import save_file

    import nnviz
    from benchmarks import networks
    from nnviz.runs.config import load_config

    torch.manual_seed(0)
    save_file(networks.tiny().state_dict(), folder / "tiny.safetensors")
    text = RUN_FILE.format(
        networks=ROOT / "benchmarks" / "networks.py",
        memory=Path(__file__).resolve(),
        n_instances=n_instances,
        chunk=chunk,
        batch=min(256, chunk),
    )
    (folder / "run.toml").write_text(text, encoding="utf-8")
    plan, probe = nnviz.plan_run(load_config(folder / "run.toml"))
    store = nnviz.prepare_store(plan, str(folder / "run.zarr"), probe=probe)
    with cluster(n_workers) as client:
        samples: list[dict[str, Any]] = []
        with sampled(client, samples, every_s):
            summary = nnviz.extract(store, client=client)
    if summary.failed or store.chunks.missing():
        raise RuntimeError(str(summary))
    return {
        "instances": n_instances,
        "tasks": summary.n_chunks,
        "workers": n_workers,
        "seconds": summary.seconds,
        "parts": summary.parts,
        "samples": samples,
        "summary": summarise(samples, summary.n_chunks),
    }


@contextlib.contextmanager
def cluster(n_workers: int) -> Iterator[Any]:
    """Start a scheduler and workers, each a process, and hand out a client.

    ``client.cluster.scale`` starts more of them.
    """
    import dask
    from distributed import Client, SpecCluster
    from distributed.deploy.subprocess import SubprocessScheduler, SubprocessWorker

    from nnviz_cluster.site import ClusterConfig
    from nnviz_cluster.worker_start import kept_environment, settings_of

    settings = {
        **settings_of(ClusterConfig(), 1),
        # Nobody reads what the scheduler's process logs, and a full pipe would stop it.
        "logging": {"distributed": "error"},
    }
    logging.getLogger("distributed.deploy").setLevel(logging.ERROR)
    scheduler = {
        "cls": SubprocessScheduler,
        "options": {
            "scheduler_kwargs": {
                "host": "127.0.0.1",
                "dashboard": False,
                "dashboard_address": "127.0.0.1:0",
            }
        },
    }
    worker = {
        "cls": SubprocessWorker,
        "options": {
            "worker_class": "distributed.Nanny",
            "worker_kwargs": {"nthreads": 1, "host": "127.0.0.1"},
        },
    }
    with (
        kept_environment(),
        dask.config.set(settings),
        inherited_settings(),
        SpecCluster(
            scheduler=scheduler,
            workers=dict.fromkeys(range(n_workers), worker),
            worker=worker,
        ) as started,
        Client(started) as client,
    ):
        if n_workers:
            client.wait_for_workers(n_workers, timeout=120)
        yield client


@contextlib.contextmanager
def inherited_settings() -> Iterator[None]:
    """Hand Dask's settings to processes, which it does for some kinds of them only."""
    import dask

    name = "DASK_INTERNAL_INHERIT_CONFIG"
    os.environ[name] = dask.config.serialize(dask.config.global_config)
    try:
        yield
    finally:
        del os.environ[name]


def state_of_scheduler(dask_scheduler: Any) -> dict[str, Any]:
    """Return what the scheduler holds; runs in its process."""
    import psutil

    return {
        "bytes": psutil.Process().memory_info().rss,
        "tasks": len(dask_scheduler.tasks),
        "groups": len(dask_scheduler.task_groups),
        "idle": sum(not w.processing for w in dask_scheduler.workers.values()),
    }


def resident_bytes() -> int:
    """Return this process's resident memory."""
    import psutil

    return int(psutil.Process().memory_info().rss)


@contextlib.contextmanager
def sampled(
    client: Any, samples: list[dict[str, Any]], every_s: float
) -> Iterator[None]:
    """Append a sample every few seconds while the block runs."""
    started, stop = time.perf_counter(), threading.Event()

    def watch() -> None:
        while not stop.wait(every_s):
            samples.append(
                {
                    "second": round(time.perf_counter() - started, 2),
                    "client": resident_bytes(),
                    "scheduler": client.run_on_scheduler(state_of_scheduler),
                    "workers": list(client.run(resident_bytes).values()),
                }
            )

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def summarise(samples: list[dict[str, Any]], n_tasks: int) -> dict[str, Any]:
    """Return growth over the second half of the run, and the most of everything."""
    half = samples[len(samples) // 2 :]
    of = {
        "client": lambda s: s["client"],
        "scheduler": lambda s: s["scheduler"]["bytes"],
        "largest worker": lambda s: max(s["workers"]),
    }
    growth = {}
    for name, value in of.items():
        seconds = np.array([s["second"] for s in half])
        slope = np.polyfit(seconds, [value(s) for s in half], 1)[0]
        growth[name] = {
            "megabytes_at_half": round(value(half[0]) / 1e6, 1),
            "megabytes_at_end": round(value(half[-1]) / 1e6, 1),
            "bytes_per_task": round(
                slope * (seconds[-1] - seconds[0]) / max(1, n_tasks / 2)
            ),
        }
    return {
        "memory": growth,
        "most_tasks_in_the_scheduler": max(s["scheduler"]["tasks"] for s in samples),
        "most_task_groups": max(s["scheduler"]["groups"] for s in samples),
        "samples": len(samples),
        "samples_with_an_idle_worker": sum(s["scheduler"]["idle"] > 0 for s in samples),
    }


def plot(result: dict[str, Any], path: Path) -> None:
    """Draw resident memory over the run."""
    samples = result["samples"]
    seconds = [s["second"] for s in samples]
    lines = [
        Line("client", seconds, [s["client"] / 1e6 for s in samples]),
        Line("scheduler", seconds, [s["scheduler"]["bytes"] / 1e6 for s in samples]),
    ]
    lines += [
        Line(f"worker {i + 1}", seconds, [s["workers"][i] / 1e6 for s in samples])
        for i in range(result["workers"])
        if all(len(s["workers"]) > i for s in samples)
    ]
    title = (
        f"Resident memory, {result['instances']:,} instances in "
        f"{result['tasks']:,} tasks"
    )
    path.write_text(draw(lines, title=title, x="seconds", y="MB"), encoding="utf-8")


if __name__ == "__main__":
    main()
