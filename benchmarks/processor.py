"""What do single things cost of the processor, whatever else the machine is doing?

Five questions, answered in seconds of the processor, which a loaded
machine lengthens less than the clock's:

- ``start``: commands until they have begun: a run file that is wrong, what a driver of
  workers imports, the page's server until its address;
- ``forks``: an extraction of 1,797 digits whose two workers are forks of one process,
  against workers that import their libraries themselves;
- ``channels``: the top-channel rule, for a row of a layer, by its number of channels;
- ``absent``: ``derive`` with 1,000 classes of which 10 have instances, against the same
  instances with 10 classes;
- ``deep``: the page's graph of a class, and of two, for ResNet-56 on CIFAR-10 images,
  with weights drawn at random: 29 layers, influences of all.

Usage; only the last one needs the real data in ``../shared`` or where ``NNVIZ_SHARED``
points, and is left out without::

    python -m benchmarks.processor [--only start channels]

Results are printed and kept in ``benchmarks/results/processor.json``.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil

import nnviz
from benchmarks.environment import describe_machine

__all__ = ["QUESTIONS", "rows"]

ROOT = Path(__file__).resolve().parents[1]
RESULT = Path(__file__).resolve().parent / "results" / "processor.json"

CHANNELS = (512, 832, 1024, 2048)
SHARE = 0.03

N_CLASSES, N_PRESENT = 1_000, 10

N_DEEP = 100
"""Instances of the deep network's run."""
GRAPHS = 10
"""Times that a class is chosen, and compared with another one."""


def main() -> None:
    """Answer the questions, print and keep the answers."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--only", nargs="+", choices=QUESTIONS, default=list(QUESTIONS))
    parser.add_argument("--json", type=Path, default=RESULT)
    options = parser.parse_args()
    result: dict[str, Any] = {
        "command": "python -m benchmarks.processor",
        "machine": describe_machine(),
    }
    for name in options.only:
        with tempfile.TemporaryDirectory() as folder:
            answer = QUESTIONS[name](Path(folder))
        if answer is None:
            print(f"{name}: left out, there is no data for it")
            continue
        result[name] = answer
        for what, measured, goal in rows({name: answer}):
            print(f"{what}: {measured} (goal {goal})", flush=True)
    options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def start(folder: Path) -> dict[str, float]:
    """Return what commands cost until they have begun, in seconds of the processor."""
    wrong = folder / "wrong.toml"
    text = '[model]\nsource = "timm:resnet18"\nweights = "missing.pt"\n'
    wrong.write_text(text + '[dataset]\nkind = "folder"\npath = "missing"\n')
    store = folder / "run.zarr"
    _write_finished(store)
    nnviz = [sys.executable, "-m", "nnviz"]
    driver = "import nnviz.extraction.extraction, nnviz_cluster.local"
    return {
        "wrong_run_file_s": _least(lambda: _run([*nnviz, "plan", str(wrong)], code=1)),
        "driver_s": _least(lambda: _run([sys.executable, "-c", driver])),
        "serve_s": _least(lambda: _serve([*nnviz, "serve", str(store), "--port", "0"])),
    }


def _write_finished(url: Path) -> None:
    from nnviz.testing import write_complete_store

    write_complete_store(url)


def _least(measure: Callable[[], float], repeat: int = 3) -> float:
    return min(measure() for _ in range(repeat))


def _run(command: list[str], *, code: int = 0) -> float:
    """Return the seconds of a process, and of those that it has waited for."""
    before = os.times()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode != code:
        raise RuntimeError(done.stderr)
    after = os.times()
    used = after.children_user + after.children_system
    return used - before.children_user - before.children_system


def _serve(command: list[str]) -> float:
    """Return the seconds until a server says its address."""
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    said = []
    try:
        for line in process.stdout:
            said.append(line)
            if "http://" in line:
                times = psutil.Process(process.pid).cpu_times()
                return times.user + times.system
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate()
    raise RuntimeError("".join(said))


OWN_FORK_SERVER = """
import sys
from multiprocessing import forkserver
from nnviz.cli.main import main
forkserver.ensure_running()
main(sys.argv[1:])
"""
"""A program that has a fork server already: workers import for themselves there."""


def forks(folder: Path) -> dict[str, float]:
    """Return seconds of an extraction by two workers, by how these get their libraries.

    Medians; ``wall`` are the clock's, all others the processor's.
    """
    run_file = nnviz.write_demo(folder / "digits", epochs=1)
    programs = {
        "forked": [sys.executable, "-m", "nnviz"],
        "importing": [sys.executable, "-c", OWN_FORK_SERVER],
    }
    times: dict[str, list[float]] = {}
    for number in range(4):  # the first one compiles
        for name, program in programs.items():
            store = str(folder / f"{name} {number}.zarr")
            _run([*program, "plan", str(run_file), "--create", store])
            command = [*program, "extract", store, "--workers", "2", "--quiet"]
            began = time.perf_counter()
            times.setdefault(f"{name}_s", []).append(_run(command))
            wall = time.perf_counter() - began
            times.setdefault(f"{name}_wall_s", []).append(wall)
    found = {name: statistics.median(seconds[1:]) for name, seconds in times.items()}
    return {**found, "ratio": found["forked_s"] / found["importing_s"]}


def channels(folder: Path) -> dict[str, dict[str, float]]:
    """Return microseconds of the rule for a row, by channels and kind of activations.

    Activations of a real layer are about as skewed as a gamma distribution whose shape
    is 1; of shape 4 they are more alike, and more channels are taken.
    """
    del folder
    from nnviz.network.top_channels import top_channels

    rng = np.random.default_rng(0)
    found: dict[str, dict[str, float]] = {}
    for n in CHANNELS:
        row = {}
        for shape in (1, 4):
            values = rng.gamma(shape, size=(400, n)).astype(np.float16)
            top = functools.partial(top_channels, values, share=SHARE)
            taken = top().nnz / len(values)  # compiles, too
            used = _least(functools.partial(_used, top), 50)
            row[f"gamma {shape}"] = 1e6 * used / len(values)
            row[f"taken, gamma {shape}"] = taken
        found[str(n)] = row
    return found


def _used(work: Callable[[], object]) -> float:
    """Return the seconds of the processor that this process needs for something."""
    began = time.process_time()
    work()
    return time.process_time() - began


def absent(folder: Path) -> dict[str, float]:
    """Return what ``derive`` costs with classes that have no instance, and without."""
    from nnviz.aggregation.aggregation import aggregate
    from nnviz.derivation.derivation import derive
    from nnviz.subsets.naming import named_subsets
    from nnviz.testing import PlantedDataset, PlantedRun, write_store

    few = PlantedRun(
        n_classes=N_PRESENT,
        n_instances=300,
        layers=tuple((f"block{n}", 128, (8, 8)) for n in range(4)),
        influence_ranks=5,
    )
    stores = {}
    for name, n_classes in (("all present", N_PRESENT), ("1,000 classes", N_CLASSES)):
        run = few if n_classes == N_PRESENT else _with_absent(few, n_classes)
        store = write_store(folder / f"{n_classes}.zarr", run)
        aggregate(store, [named_subsets(store, "label")])
        stores[name] = store, PlantedDataset(run)
    times: dict[str, list[float]] = {name: [] for name in stores}
    for _ in range(3):  # the first one compiles
        for name, (store, dataset) in stores.items():
            work = functools.partial(derive, store, dataset=dataset)
            times[name].append(_used(work))
    least = {name: min(seconds[1:]) for name, seconds in times.items()}
    return {
        "all_present_s": least["all present"],
        "absent_s": least["1,000 classes"],
        "ratio": least["1,000 classes"] / least["all present"],
    }


def _with_absent(run: Any, n_classes: int) -> Any:
    """Return the same run with names of classes that no instance has."""

    @dataclasses.dataclass(frozen=True)
    class Sparse(type(run)):  # type: ignore[misc]
        @property
        def labels(self) -> Any:
            return run.labels

        @property
        def predictions(self) -> Any:
            return run.predictions

    fields = {f.name: getattr(run, f.name) for f in dataclasses.fields(run)}
    return Sparse(**{**fields, "n_classes": n_classes})


def deep(folder: Path) -> dict[str, Any] | None:
    """Return milliseconds of graphs on the page, of the run of a deep network."""
    shared = Path(os.environ.get("NNVIZ_SHARED", ROOT.parent / "shared"))
    images = shared / "data" / "cifar10-test"
    if not images.exists():
        return None
    sys.path[:0] = [str(ROOT / "dashboards")]
    from benchmarks.dashboard import measure_graphs
    from nnviz.results.run_results import RunResults
    from nnviz.store.store import Store
    from nnviz_dashboards.shared.selection import Selection

    url = folder / "resnet56.zarr"
    _extract_deep(images, folder, url)
    results = RunResults(Store.open(url))
    layers = {layer.name: layer.n_channels for layer in results.layers}
    present = results.class_table().present.tolist()
    names = list(layers)
    selection = Selection(
        layers, present, layer=names[-1], subset=present[0], view="channels"
    )
    times: dict[str, list[float]] = {}
    seen: set[str] = set()

    def clock(name: str, action: Callable[[], object]) -> None:
        # The first time of each imports and compiles what it needs.
        known = name if name in seen or "cold" in name else f"{name}, first time"
        seen.add(name)
        times.setdefault(known, []).append(1e3 * _used(action))

    labels = dict(zip(names, names, strict=True))
    measure_graphs(results, selection, labels, clock, GRAPHS)
    return {
        "layers": len(layers),
        "reactions": {
            name: {
                "median_ms": statistics.median(values),
                "p95_ms": float(np.quantile(values, 0.95)),
                "n": len(values),
            }
            for name, values in times.items()
        },
    }


def _extract_deep(images: Path, folder: Path, url: Path) -> None:
    """Write the run of ResNet-56, with its aggregates and artifacts."""
    import torch
    from PIL import Image

    import nnviz
    from benchmarks.networks import resnet56

    del folder
    torch.manual_seed(0)
    network = resnet56().eval()
    classes = sorted(path for path in images.iterdir() if path.is_dir())
    each = N_DEEP // len(classes)
    paths = [path for sub in classes for path in sorted(sub.iterdir())[:each]]
    pixels = np.stack([np.asarray(Image.open(path).convert("RGB")) for path in paths])
    labels = np.repeat(np.arange(len(classes)), each)
    with torch.no_grad():  # so that its normalisation sees what it is given
        _settle(network, torch.from_numpy(pixels[::8].copy()))
    nnviz.run(
        network,
        (pixels, labels),
        url,
        classes=[path.name for path in classes],
        preprocessing={"mean": [0.5] * 3, "std": [0.25] * 3},
        workers=0,
    )


def _settle(network: Any, pixels: Any) -> None:
    """Let batch normalisation measure its statistics, as training would."""
    network.train()
    for _ in range(20):
        network((pixels.permute(0, 3, 1, 2) / 255 - 0.5) / 0.25)
    network.eval()


QUESTIONS: dict[str, Callable[[Path], dict[str, Any] | None]] = {
    "start": start,
    "forks": forks,
    "channels": channels,
    "absent": absent,
    "deep": deep,
}


def rows(result: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return what was asked, measured and wanted, for a document.

    Parameters
    ----------
    result
        As ``processor.json`` has it; questions may be missing.
    """
    found = []
    for name, what, goal in (
        ("wrong_run_file_s", "`nnviz plan` of a run file whose data is not there", 0.3),
        ("driver_s", "what a driver of workers imports", 1.5),
        ("serve_s", "`nnviz serve` until it says its address", 2.0),
    ):
        if seconds := result.get("start", {}).get(name):
            found.append((f"{what}: processor", f"{seconds:.2f} s", f"< {goal} s"))
    if times := result.get("forks"):
        what = "`nnviz extract` of 1,797 digits, two forked workers, of two that import"
        wall = times["forked_wall_s"] / times["importing_wall_s"]
        found.append((what, f"{times['ratio']:.2f} ({wall:.2f} of the time)", "< 1"))
    for n, row in result.get("channels", {}).items():
        what = f"top-channel rule, a row of {int(n):,} channels: processor"
        found.append((what, f"{row['gamma 1']:.2f} µs", "≤ 2 µs"))
    if times := result.get("absent"):
        what = f"`derive`, {N_CLASSES:,} classes of which {N_PRESENT} have instances"
        measured = f"{times['ratio']:.2f} ({times['absent_s']:.1f} s)"
        found.append((f"{what}, of that with {N_PRESENT}", measured, "≤ 1.2"))
    goals = {
        "open the graph, cold": 150,
        "graph: choose a class": 60,
        "graph: compare": 80,
        "graph: compare, first time": 150,
    }
    times = result.get("deep", {}).get("reactions", {})
    for name, goal in goals.items():
        if name in times:
            what = f"ResNet-56: {name} (95 % of the times, processor of the server)"
            found.append((what, f"{times[name]['p95_ms']:.0f} ms", f"< {goal} ms"))
    return found


if __name__ == "__main__":
    main()
