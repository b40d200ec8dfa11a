"""How does a run scale, and where does it stop scaling?

Measured on this machine, all in one run:

- real networks on real pictures, with and without exact influences, strong and weak
  scaling, against plain loops without Dask (:mod:`benchmarks.scaling_runs`);
- a load that sleeps, on more worker processes than there are cores;
- what a task costs scheduler and client, with up to hundreds of Dask workers, what a
  chunk asks of the file system, what listing, decoding, and a worker's start take
  (:mod:`benchmarks.scaling_costs`).

From these, and stated assumptions about machines that are not at hand, a simulation
(:mod:`benchmarks.scaling_model`) says how a run on 8, 64 and 512 GPUs would go and what
stops it. The same simulation predicts the sleeping load that was measured here.

Usage::

    python -m benchmarks.scaling [--workers 1,2] [--repeat 2]

Results are kept in ``benchmarks/results/scaling.json`` and two plots,
``docs/images/scaling*.svg``; ``python -m benchmarks.report`` writes the tables of
``docs/performance.md`` and of ``docs/scaling.md``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.environment import describe_machine
from benchmarks.pictures import make_like_shared, shared_folder
from benchmarks.scaling_costs import (
    chunk_costs,
    decoding_cost,
    listing_costs,
    scheduling_costs,
)
from benchmarks.scaling_model import (
    Cluster,
    Work,
    best_chunk,
    cores_needed,
    first_limits,
    simulate,
)
from benchmarks.scaling_report import WAYS, plot
from benchmarks.scaling_runs import Stores, loops, real_runs, synthetic_runs

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).resolve().parent / "results"
IMAGENET = 1_281_167
GPUS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    cases: dict[str, tuple[int, int]]
    """Instances of a chunk, and chunks of each worker, by network."""
    sleeping: Sequence[int]
    """Numbers of workers of the load that sleeps."""
    sleeping_chunks: int
    """Chunks of each of them."""
    milliseconds: float
    """What an instance of it takes."""
    scheduled: Sequence[int]
    """Numbers of Dask workers for tasks that do nothing."""
    n_tasks: int
    n_listed: int
    n_decoded: int


FULL = Sizes(
    cases={"resnet20": (512, 4), "squeezenet1_0": (64, 6)},
    sleeping=(1, 2, 4, 8, 16),
    sleeping_chunks=10,
    milliseconds=8.0,
    scheduled=(2, 32, 512),
    n_tasks=2000,
    n_listed=50_000,
    n_decoded=100,
)
SMALL = Sizes(
    cases={"squeezenet1_0": (2, 2)},
    sleeping=(1,),
    sleeping_chunks=2,
    milliseconds=1.0,
    scheduled=(2,),
    n_tasks=100,
    n_listed=500,
    n_decoded=8,
)


@dataclass(frozen=True)
class Assumptions:
    """Of the machines that are not at hand; every one can be given as an option."""

    forward_per_s: float = 3000.0
    """Images a second of a network like ResNet-50 on one GPU, everything recorded."""
    cores_per_gpu: float = 8.0
    read_gigabytes_per_s: float = 20.0
    """Of a file system that all nodes share."""
    write_gigabytes_per_s: float = 10.0
    names_per_s: float = 50_000.0
    """Files that it opens, makes, renames or tells the size of in a second."""
    chunk: int = 1024
    batch: int = 64


def main() -> None:
    """Measure, simulate, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    cores = len(os.sched_getaffinity(0))
    counts = ",".join(
        str(n) for n in range(1, cores + 1) if n & (n - 1) == 0 or n == cores
    )
    parser.add_argument("--workers", default=counts, help="numbers, with commas")
    parser.add_argument("--repeat", type=int, default=2)
    for name, default in asdict(Assumptions()).items():
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, type=type(default), default=default)
    options = vars(parser.parse_args())
    workers = [int(n) for n in options.pop("workers").split(",")]
    repeat = options.pop("repeat")
    machine = describe_machine()
    with tempfile.TemporaryDirectory() as name:
        found = measure(Path(name), FULL, workers, repeat)
    result = {
        "command": " ".join(["python -m benchmarks.scaling", *sys.argv[1:]]),
        "machine": machine,
        **found,
        **conclusions(found, Assumptions(**options)),
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / "scaling.json"
    path.write_text(json.dumps(rounded(result), indent=1) + "\n", encoding="utf-8")
    plot(result, ROOT / "docs" / "images")
    print(path)


def measure(
    folder: Path, sizes: Sizes, workers: Sequence[int], repeat: int
) -> dict[str, Any]:
    """Measure everything on this machine; a step's seconds are in ``took``."""
    found: dict[str, Any] = {"cores": len(os.sched_getaffinity(0)), "took": {}}
    with contextlib.suppress(ValueError):
        # Hundreds of connections need as many descriptors.
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    shared = shared_folder()
    found["pictures"] = "real" if shared else "generated"
    if shared is None:
        most = max(c * n for c, n in sizes.cases.values()) * max(workers)
        shared = make_like_shared(folder / "shared", most)
    with loops(max(workers)) as plain:
        steps: dict[str, Callable[[], Any]] = {
            "real": lambda: real_runs(
                folder, shared, sizes.cases, workers, repeat, plain
            ),
            "synthetic": lambda: synthetic_runs(
                folder,
                sizes.sleeping,
                chunk=32,
                milliseconds=sizes.milliseconds,
                n_chunks=sizes.sleeping_chunks,
                plain=plain,
            ),
            "chunk": lambda: _chunk_costs(folder, shared, sizes),
            "scheduling": lambda: scheduling_costs(sizes.scheduled, sizes.n_tasks),
            "listing": lambda: listing_costs(sizes.n_listed),
            "decoding": lambda: decoding_cost(shared, sizes.n_decoded),
        }
        for name, step in steps.items():
            started = time.perf_counter()
            found[name] = step()
            found["took"][name] = time.perf_counter() - started
            print(f"{name}: {found['took'][name]:.0f} s", flush=True)
    return found


def _chunk_costs(folder: Path, shared: Path, sizes: Sizes) -> dict[str, Any]:
    """Count what a chunk of each network, with influences, asks of the file system."""
    costs = {}
    for network, (chunk, n_chunks) in sizes.cases.items():
        stores = Stores(folder / network, folder / network / "run.toml")
        with stores.new(chunk * n_chunks) as store:
            costs[network] = chunk_costs(store, shared / "data")
    return costs


def conclusions(found: dict[str, Any], assumed: Assumptions) -> dict[str, Any]:
    """Return what the simulation says of this machine, and of larger ones."""
    work = work_of(found, assumed)
    # Pixels as they go into the network, in few large files.
    pixels = replace(
        work,
        read_bytes=224 * 224 * 3,
        read_operations=0.0,
        decode_core_s=0.0,
        listed_operations=0.0,
        listing_core_s=0.0,
    )
    rows = []
    for gpus in GPUS:
        cluster = cluster_of(found, assumed, gpus)
        free = [best_chunk(at_size(of, found, gpus), cluster) for of in (work, pixels)]
        for way, of in zip(WAYS, [at_size(work, found, gpus), *free], strict=True):
            outcome = simulate(of, cluster)
            size = {"instances_per_chunk": of.instances_per_chunk}
            rows.append({"gpus": gpus, "way": way, **size, **asdict(outcome)})
    single = cluster_of(found, assumed, 1)
    return {
        "assumptions": asdict(assumed),
        "work": asdict(work),
        "simulated": rows,
        "cores_for_a_gpu": cores_needed(work, single),
        "gpus_at_which_it_is_the_limit": first_limits(
            at_size(work, found, max(GPUS)), single
        ),
        "predicted": predictions(found),
    }


def work_of(found: dict[str, Any], assumed: Assumptions) -> Work:
    """Return ImageNet's training images as a run, with the costs measured here."""
    chunk = found["chunk"]["squeezenet1_0"]
    return Work(
        instances=IMAGENET,
        instances_per_chunk=assumed.chunk,
        batch_size=assumed.batch,
        read_bytes=found["decoding"]["bytes_of_a_file"],
        # The strongest instances of each channel are kept once for a chunk.
        written_bytes=chunk["array_bytes_of_an_instance"]
        + chunk["array_bytes_of_a_chunk"] / assumed.chunk,
        read_operations=chunk["data_questions_of_an_instance"],
        task_operations=chunk["store_questions"],
        # Its size; the names come by the folder.
        listed_operations=1.0,
        decode_core_s=found["decoding"]["core_s"],
        # Measured for a smaller chunk: mostly the number of files decides.
        task_core_s=chunk["write_s"],
        listing_core_s=found["listing"]["seconds_of_a_file"],
    )


def at_size(work: Work, found: dict[str, Any], workers: int) -> Work:
    """Return the work with what a task costs scheduler and client by workers."""
    import numpy as np

    of = found["scheduling"]
    numbers = [row["workers"] for row in of]
    costs = {
        name: float(np.interp(workers, numbers, [row[name] for row in of]))
        for name in ("scheduler_s", "client_s")
    }
    return replace(work, **costs)


def cluster_of(found: dict[str, Any], assumed: Assumptions, gpus: int) -> Cluster:
    """Return so many GPUs with what is assumed, and what a worker's start took here."""
    start = found["synthetic"]["starts"][0]
    return Cluster(
        workers=gpus,
        forward_per_s=assumed.forward_per_s,
        cores_per_worker=assumed.cores_per_gpu,
        read_bytes_per_s=assumed.read_gigabytes_per_s * 1e9,
        write_bytes_per_s=assumed.write_gigabytes_per_s * 1e9,
        operations_per_s=assumed.names_per_s,
        start_s=start["register_s"]
        + start["import_s"]
        + found["synthetic"]["loop"]["load_s"],
    )


def predictions(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Return measured and simulated seconds of every run of the load that sleeps."""
    of, rows = found["synthetic"], []
    loop, chunk = of["loop"], of["instances_per_chunk"]
    # What a task costs a single worker, with Dask's part, is known; the rest follows.
    single = min(of["runs"], key=lambda run: run["workers"])
    for run in of["runs"]:
        work = Work(
            instances=run["chunks"] * chunk,
            instances_per_chunk=chunk,
            batch_size=chunk,
            read_bytes=0.0,
            written_bytes=0.0,
            read_operations=0.0,
            task_operations=0.0,
            listed_operations=0.0,
            decode_core_s=0.0,
            task_core_s=max(single["worker_core_s"], loop["chunk_core_s"]),
        )
        cluster = Cluster(
            workers=run["workers"],
            forward_per_s=chunk / (loop["chunk_s"] - loop["chunk_core_s"]),
            load_core_s=loop["load_core_s"],
            shared_cores=found["cores"],
        )
        seconds = simulate(at_size(work, found, run["workers"]), cluster).seconds
        rows.append(
            {
                "kind": run["kind"],
                "workers": run["workers"],
                "measured_s": run["seconds"],
                "simulated_s": seconds,
                "error": seconds / run["seconds"] - 1,
            }
        )
    return rows


def rounded(value: Any) -> Any:
    """Return the value with floats of six digits: more were never measured."""
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(one) for one in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


if __name__ == "__main__":
    main()
