"""How fast is extraction? Four questions, each a ratio measured in one run.

(a) recording the maxima of all layers against the bare forward pass, both at their best
    (same loader, folded batch normalisation, channels last, allocator);
(b) the whole extraction through Dask against the script that a researcher would write;
(c) two Dask workers against a pool of two plain processes on the same chunks;
(d) bytes per instance in the store.

Usage, with the real data in ``../shared`` or where ``NNVIZ_SHARED`` points::

    python -m benchmarks.extraction --network resnet20 --instances 4096

Results are printed and kept in ``benchmarks/results/extraction-NETWORK.json``.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import csv
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.environment import describe_machine
from nnviz_cluster.local import worker_environment

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).resolve().parent / "results"

BLOCK = (".bn1", "")

CASES: dict[str, dict[str, Any]] = {
    "resnet20": {
        "weights": "models/resnet20-cifar10.safetensors",
        "root": "data/cifar10-test",
        "size": None,
        "batch_size": 128,
        "modules": [
            "bn1",
            *(f"layer{s}.{b}{m}" for s in (1, 2, 3) for b in (0, 1, 2) for m in BLOCK),
            "linear",
        ],
    },
    "squeezenet1_0": {
        "weights": "models/squeezenet1_0-imagenet.safetensors",
        "root": "data/tiny-imagenet-val",
        "size": 128,
        "batch_size": 32,
        "modules": [
            "features.1",
            *(
                f"features.{n}{m}"
                for n in (3, 4, 5, 7, 8, 9, 10, 12)
                for m in (".squeeze_activation", "")
            ),
            "classifier.2",
        ],
    },
    # Without weights of its own: random ones take as long.
    "resnet18": {
        "weights": None,
        "root": "data/imagenet-sample",
        "size": 224,
        "batch_size": 32,
        "modules": [
            "bn1",
            *(f"layer{s}.{b}{m}" for s in (1, 2, 3, 4) for b in (0, 1) for m in BLOCK),
            "fc",
        ],
    },
}

RUN_FILE = """\
[model]
source = "{networks}:{network}"
weights = "{weights}"
class_names = {class_names}

[dataset]
kind = "table"
path = "table.csv"
root = "{root}"
allow_outside_root = true

[preprocessing]
{geometry}
mean = [0.485, 0.456, 0.406]
std = [0.229, 0.224, 0.225]

{classes}

[extraction]
{chunk}
batch_size = {batch_size}
"""


def main() -> None:
    """Run the chosen questions and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--network", choices=CASES, default="resnet20")
    parser.add_argument("--instances", type=int, default=2048)
    parser.add_argument("--chunk", type=int, default=512)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--only", choices=["a", "b", "c"], help="one question")
    arguments = parser.parse_args()
    result: dict[str, Any] = {
        "command": " ".join(["python -m benchmarks.extraction", *sys.argv[1:]]),
        "machine": describe_machine(),
        "network": arguments.network,
        "instances": arguments.instances,
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, arguments.network, arguments.instances, arguments.chunk)
        questions: dict[str, Callable[[Path, int], dict[str, Any]]] = {
            "a": recording_against_forward,
            "b": dask_against_script,
            "c": dask_against_pool,
        }
        for letter, question in questions.items():
            if arguments.only in (None, letter):
                result[question.__name__] = question(folder, arguments.repeat)
                print(json.dumps({question.__name__: result[question.__name__]}))
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"extraction-{arguments.network}.json"
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(path)


def prepare(
    folder: Path,
    network: str,
    n_instances: int,
    chunk: int | None = None,
    shared: Path | None = None,
) -> None:
    """Write table, run file and the baseline's case.

    Where there are fewer files than instances, a folder of links has each of them
    several times.
    """
    shared = shared or Path(os.environ.get("NNVIZ_SHARED", ROOT.parent / "shared"))
    case = CASES[network]
    root = shared / case["root"]
    folders = sorted(path for path in root.iterdir() if path.is_dir())
    listed = [sorted(sub.iterdir()) for sub in folders]
    if sum(map(len, listed)) < n_instances:
        root = folder / "links"
        n_copies = -(-n_instances // sum(map(len, listed)))
        listed = [linked(files, root, n_copies) for files in listed]
    each = -(-n_instances // len(listed))
    paths = [p.relative_to(root).as_posix() for sub in listed for p in sub[:each]]
    paths = paths[:n_instances]
    with (folder / "table.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "label"])
        writer.writerows((path, Path(path).parent.name) for path in paths)
    classes = ""
    if network != "resnet20":
        classes = f'[classes]\nmap = "{shared / "data" / "imagenet-classes.csv"}"'
    names = [] if classes else [sub.name for sub in folders]
    size = case["size"]
    weights = folder / f"{network}.safetensors"
    if case["weights"] is None:
        save_random_weights(network, weights)
    else:
        weights = shared / case["weights"]
    text = RUN_FILE.format(
        networks=ROOT / "benchmarks" / "networks.py",
        network=network,
        weights=weights,
        class_names=json.dumps(names),
        root=root,
        geometry="" if size is None else f"resize = [{size}, {size}]",
        classes=classes,
        chunk="" if chunk is None else f"instances_per_chunk = {chunk}",
        batch_size=case["batch_size"],
    )
    (folder / "run.toml").write_text(text, encoding="utf-8")
    # What the script computes, and nothing more.
    maxima = text + 'targets = "none"\nexamples_per_channel = 0\n'
    (folder / "maxima.toml").write_text(maxima, encoding="utf-8")
    baseline = {
        **case,
        "network": network,
        "root": str(root),
        "weights": str(weights),
        "paths": paths,
        "folder": str(folder),
    }
    (folder / "case.json").write_text(json.dumps(baseline), encoding="utf-8")


def linked(files: Sequence[Path], root: Path, n_copies: int) -> list[Path]:
    """Make links to the files of a class; return them, each file's first one first."""
    place = root / files[0].parent.name
    place.mkdir(parents=True)
    links = [place / f"{n}-{file.name}" for n in range(n_copies) for file in files]
    for link, file in zip(links, list(files) * n_copies, strict=True):
        link.symlink_to(file)
    return links


def save_random_weights(network: str, path: Path) -> None:
    """Write the weights with which the network is made."""
    import torch
    from safetensors.torch import save_file

    from benchmarks import networks

    torch.manual_seed(0)
    save_file(getattr(networks, network)().state_dict(), path)


def recording_against_forward(folder: Path, repeat: int) -> dict[str, Any]:
    """(a) in a fresh process with the workers' environment and one thread."""
    code = "from benchmarks.recording import main; main()"
    environment = {**os.environ, **worker_environment(1)}
    done = run_process(
        [sys.executable, "-c", code, str(folder), str(repeat)], environment
    )
    return dict(json.loads(done))


def dask_against_script(folder: Path, repeat: int) -> dict[str, Any]:
    """(b) interleaved; both timed from the loading of the network to the last byte."""
    seconds: dict[str, list[float]] = {"script": [], "maxima": [], "everything": []}
    n_bytes, n = 0, 0
    for number in range(repeat):
        command = [
            sys.executable,
            "-m",
            "benchmarks.baseline",
            str(folder / "case.json"),
        ]
        environment = {k: v for k, v in os.environ.items() if "MALLOC" not in k}
        seconds["script"].append(
            json.loads(run_process(command, environment))["seconds"]
        )
        for name, run_file in (("maxima", "maxima"), ("everything", "run")):
            store = new_store(folder, f"{name}-{number}", run_file)
            summary = extract_with_dask(store)
            seconds[name].append(summary["seconds"])
        n = summary["n_instances"]
        n_bytes = sum(f.stat().st_size for f in store.rglob("*") if f.is_file())
    script = statistics.median(seconds["script"])
    return {
        "seconds": seconds,
        "maxima_throughput_ratio": script / statistics.median(seconds["maxima"]),
        "everything_throughput_ratio": script
        / statistics.median(seconds["everything"]),
        "bytes_per_instance": n_bytes / n,
    }


def dask_against_pool(folder: Path, repeat: int) -> dict[str, Any]:
    """(c) the same chunks; starting processes and importing is no part of it."""
    ours, theirs = [], []
    os.environ.update(worker_environment(1))
    for number in range(repeat):
        theirs.append(extract_with_pool(new_store(folder, f"pool-{number}")))
        store = new_store(folder, f"worker-{number}")
        ours.append(extract_with_dask(store)["seconds"])
    return {
        "dask_seconds": ours,
        "pool_seconds": theirs,
        "throughput_ratio": statistics.median(theirs) / statistics.median(ours),
    }


def new_store(folder: Path, name: str, run_file: str = "run") -> Path:
    """Plan into a new store."""
    store = folder / f"{name}.zarr"
    command = [sys.executable, "-m", "nnviz", "plan", str(folder / f"{run_file}.toml")]
    run_process([*command, "--create", str(store), "--json"], dict(os.environ))
    return store


def extract_with_dask(store: Path) -> dict[str, Any]:
    """Extract on two workers that have imported what they need."""
    from nnviz.extraction.extraction import extract
    from nnviz.store.store import Store
    from nnviz_cluster import local

    with local.client(n_workers=2) as client:
        client.run(import_extraction)
        return extract(Store.open(store, writable=True), client=client).to_json()


def extract_with_pool(store: Path) -> float:
    """Extract in two plain processes that have imported what they need; seconds."""
    from nnviz.store.store import Store

    chunks = Store.open(store).chunks.missing()
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        list(pool.map(import_extraction, range(8)))
        started = time.perf_counter()
        jobs = [pool.submit(extract_one, index, str(store)) for index in chunks]
        for job in jobs:
            job.result()
        return time.perf_counter() - started


def import_extraction(_: int = 0) -> None:
    """Import what a worker needs; the network is loaded with the first chunk."""
    import nnviz.extraction.extraction  # noqa: F401  in the worker's process

    # So that a pool hands the next call to the other process.
    time.sleep(0.2)


def extract_one(index: int, store: str) -> Any:
    """Extract one chunk in a plain process; return its report."""
    from nnviz.extraction.worker_tasks import Opening, extract_chunk
    from nnviz.store.store import Store

    opening = Opening(store, Store.open(store).fingerprint, writable=True)
    return extract_chunk(index, opening)


def run_process(command: Sequence[str], environment: dict[str, str]) -> str:
    """Run a command from the project's root; return what it printed."""
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment
    )
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    return done.stdout


if __name__ == "__main__":
    main()
