"""What does a GPU do here? Six minutes, one command, every path that needs a device.

- **forward**: the bare network in float32, bfloat16 and float16, channels last and not,
  and compiled by torch;
- **recorded**: with the maxima of all layers, with the exact influences of top targets
  as well, and with relevance, each against the bare pass of the same precision;
- **decoding**: files to pixels on so many cores, and on the device where torchvision
  has its decoder, against the forward pass: which of them waits for the other?
- **run**: ``nnviz extract`` as a user has it, on ``--cluster cuda`` where dask-cuda is
  installed, else on one worker process;
- **bytes**: two runs on the device against each other, and against the processor's.

Usage, on a machine with a GPU; another device says that the command works::

    python -m benchmarks.gpu [--network resnet18] [--parts forward recorded]
    python -m benchmarks.gpu --device cpu --batch 8 --seconds 1 --instances 64

A part that fails is said with its error, and the others are measured all the same; the
command then ends with 1. Results are kept in ``benchmarks/results/gpu.json``.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import importlib.util
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.environment import describe_machine
from benchmarks.extraction import CASES, new_store, prepare, run_process
from benchmarks.pictures import make_like_shared, shared_folder
from nnviz.inputs.datasets.opening import Dataset
from nnviz.inputs.models.loading import load_model
from nnviz.inputs.preparation.batches import BatchReader, prepared_shape
from nnviz.inputs.preparation.preprocessing import Preprocessing
from nnviz.network.recording.folding import optimize
from nnviz.network.recording.gradients import Explained
from nnviz.network.recording.runtime import NetworkRuntime
from nnviz.planning.planning import plan_run
from nnviz.runs.config import load_config
from nnviz.runs.plan import Plan
from nnviz.store.store import Store

__all__ = ["Study", "compared", "measure"]

RESULTS = Path(__file__).resolve().parent / "results"
PRECISIONS = ("float32", "bfloat16", "float16")


@dataclasses.dataclass(frozen=True)
class Study:
    """What all parts share."""

    folder: Path
    """With the run file and the table of ``benchmarks.extraction``."""
    device: str
    batch: int
    seconds: float
    """For each rate."""
    network: nn.Module
    plan: Plan
    dataset: Dataset

    @functools.cached_property
    def values(self) -> NDArray[Any]:
        """One prepared batch, shape (instance, ...)."""
        return next(iter(self.reader(2).iter_batches(0, self.batch))).values

    def reader(self, n_threads: int) -> BatchReader:
        """Return what reads and prepares with so many threads."""
        shape = self.plan.architecture.input_shape
        return BatchReader(
            self.dataset,
            Preprocessing(self.plan.preprocessing),
            batch_size=self.batch,
            n_threads=n_threads,
            shape=prepared_shape(shape, is_image=True),
            dtype="uint8",
        )

    def runtime(
        self, *, precision: str = "float32", targets: str = "none", relevance: str = ""
    ) -> NetworkRuntime:
        """Return the network on the device, as a worker has it."""
        extraction = dataclasses.replace(
            self.plan.extraction,
            device=self.device,
            precision=precision,
            targets=targets,
            examples_per_channel=0,
        )
        return NetworkRuntime(
            self.network,
            self.plan.architecture,
            preprocessing=self.plan.preprocessing,
            extraction=extraction,
            layer_dtypes=self.plan.layer_dtypes,
            explained=Explained(relevance) if relevance else None,
        )


def main() -> int:
    """Measure, print, and write the results; 1 if a part has failed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--network", choices=CASES, default="resnet18")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--instances", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=5.0, help="for each rate")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error(f"torch {torch.__version__} sees no GPU; --device cpu tries all")
    with tempfile.TemporaryDirectory() as name:
        parts = measure(
            Path(name),
            network=arguments.network,
            device=arguments.device,
            batch=arguments.batch,
            n_instances=arguments.instances,
            seconds=arguments.seconds,
            parts=arguments.parts,
        )
    result = {
        "command": " ".join(["python -m benchmarks.gpu", *sys.argv[1:]]),
        "machine": describe_machine(),
        "device": described(arguments.device),
        "network": arguments.network,
        "batch": arguments.batch,
        "parts": parts,
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / ("gpu.json" if arguments.device == "cuda" else "gpu-on-cpu.json")
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(path)
    return int(any("failed" in part for part in parts.values()))


def described(device: str) -> dict[str, Any]:
    """Return what the device is."""
    if device == "cpu":
        return {"name": "cpu", "threads": torch.get_num_threads()}
    properties = torch.cuda.get_device_properties(0)
    return {
        "name": properties.name,
        "bytes": properties.total_memory,
        "count": torch.cuda.device_count(),
        "cuda": torch.version.cuda,
        "cores_beside_it": len(os.sched_getaffinity(0)),
    }


def measure(
    folder: Path,
    *,
    network: str,
    device: str,
    batch: int,
    n_instances: int,
    seconds: float,
    parts: list[str],
) -> dict[str, dict[str, Any]]:
    """Return what the parts have found, by their names."""
    shared = shared_folder() or make_like_shared(
        folder / "shared", min(n_instances, 64)
    )
    prepare(folder, network, n_instances, shared=shared)
    for path in (folder / "run.toml", folder / "maxima.toml"):
        text = path.read_text(encoding="utf-8")
        lines = f'[extraction]\ndevice = "{device}"\n'
        path.write_text(text.replace("[extraction]\n", lines), encoding="utf-8")
    config = load_config(folder / "run.toml")
    plan, probe = plan_run(config)
    module = load_model(plan.model).module
    study = Study(folder, device, batch, seconds, module, plan, probe.dataset)
    found = {}
    for name in parts:
        try:
            found[name] = PARTS[name](study)
        except Exception:  # noqa: BLE001  paths that no device has seen may break
            found[name] = {"failed": traceback.format_exc()}
        print(json.dumps({name: found[name]}, indent=1), flush=True)
    return found


def rate(study: Study, run: Callable[[], object]) -> float:
    """Return instances a second of something that runs one batch, warm."""
    for _ in range(2):
        run()
    wait(study)
    times = []
    end = time.perf_counter() + study.seconds
    while not times or time.perf_counter() < end:
        started = time.perf_counter()
        run()
        wait(study)
        times.append(time.perf_counter() - started)
    return study.batch / statistics.median(times)


def wait(study: Study) -> None:
    """Wait until the device has done all that it was given."""
    if study.device == "cuda":
        torch.cuda.synchronize()


def most_bytes(study: Study) -> int | None:
    """Return the most memory of the device since this was asked before."""
    if study.device != "cuda":
        return None
    most = torch.cuda.max_memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    return int(most)


def forward(study: Study) -> dict[str, Any]:
    """Return instances a second of the bare network, in its forms."""
    found: dict[str, Any] = {}
    for precision in PRECISIONS:
        for layout in ("channels_last", "contiguous"):
            network, batch = bare(study, precision, layout)

            def run(network: nn.Module = network, batch: Tensor = batch) -> None:
                with torch.inference_mode():
                    network(batch)

            found[f"{precision}, {layout}"] = rate(study, run)
    network, batch = bare(study, "float32", "channels_last")
    compiled = torch.compile(network)

    def run_compiled() -> None:
        with torch.inference_mode():
            compiled(batch)

    found["float32, channels_last, compiled"] = rate(study, run_compiled)
    return {"instances_per_s": found, "most_bytes": most_bytes(study)}


def bare(study: Study, precision: str, layout: str) -> tuple[nn.Module, Tensor]:
    """Return the folded network and a batch, on the device."""
    runtime = study.runtime(precision=precision)
    batch = runtime.input_of(study.values)
    network = optimize(
        study.network, memory_format=layout, architecture=study.plan.architecture
    )
    formats = {
        "channels_last": torch.channels_last,
        "contiguous": torch.contiguous_format,
    }
    batch = batch.contiguous(memory_format=formats[layout])
    return network.to(device=study.device, dtype=batch.dtype), batch


def recorded(study: Study) -> dict[str, Any]:
    """Return what recording leaves of the bare pass's rate, from pixels on the host."""
    found: dict[str, Any] = {}
    values = study.values
    labels = np.zeros(len(values), np.int64)
    for precision in PRECISIONS:
        runtime = study.runtime(precision=precision)
        network, _ = bare(study, precision, "channels_last")

        def run_bare(
            network: nn.Module = network, runtime: NetworkRuntime = runtime
        ) -> None:
            with torch.inference_mode():
                network(runtime.input_of(values)).cpu()

        ways = {
            "maxima": runtime,
            "maxima and influences": study.runtime(precision=precision, targets="top"),
            "maxima and relevance": study.runtime(
                precision=precision, relevance="label"
            ),
        }
        bare_rate = rate(study, run_bare)
        most_bytes(study)
        row: dict[str, Any] = {"bare_per_s": bare_rate, "ratio": {}, "most_bytes": {}}
        for name, way in ways.items():

            def run(way: NetworkRuntime = way) -> None:
                way.run(values, labels=labels)

            row["ratio"][name] = rate(study, run) / bare_rate
            row["most_bytes"][name] = most_bytes(study)
        found[precision] = row
    return found


def decoding(study: Study) -> dict[str, Any]:
    """Return images a second of the reader, by its threads, and of the device."""
    n = min(len(study.dataset), max(study.batch, int(500 * study.seconds)))
    found: dict[str, Any] = {"reader_per_s": {}, "files": n}
    most = len(os.sched_getaffinity(0))
    for threads in sorted({1, max(1, most // 2), most}):
        reader = study.reader(threads)
        started = time.perf_counter()
        for _ in reader.iter_batches(0, n):
            pass
        found["reader_per_s"][str(threads)] = n / (time.perf_counter() - started)
    found["device_per_s"] = decoded_on_device(study)
    return found


def decoded_on_device(study: Study) -> float | str:
    """Return JPEG files a second by torchvision's decoder, or why there is none."""
    if study.device != "cuda" or importlib.util.find_spec("torchvision") is None:
        return "needs CUDA and torchvision"
    from torchvision.io import decode_jpeg

    root = json.loads((study.folder / "case.json").read_text(encoding="utf-8"))
    paths = [Path(root["root"]) / name for name in root["paths"][: study.batch]]
    files = [
        torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8)
        for path in paths
        if path.suffix.lower() in (".jpg", ".jpeg")
    ]
    return rate(study, lambda: decode_jpeg(files, device="cuda"))


def whole_run(study: Study) -> dict[str, Any]:
    """Return the seconds of ``nnviz extract``, of the maxima and of everything."""
    has_dask_cuda = importlib.util.find_spec("dask_cuda") is not None
    is_cuda = study.device == "cuda" and has_dask_cuda
    where = ["--cluster", "cuda"] if is_cuda else ["--workers", "1"]
    found: dict[str, Any] = {"where": " ".join(where)}
    for run_file in ("maxima", "run"):
        store = new_store(study.folder, f"whole-{run_file}", run_file)
        command = [sys.executable, "-m", "nnviz", "extract", str(store), *where]
        started = time.perf_counter()
        summary = json.loads(run_process([*command, "--json"], dict(os.environ)))
        found[run_file] = {"whole_s": time.perf_counter() - started, **summary}
        shutil.rmtree(store)
    return found


def same_bytes(study: Study) -> dict[str, Any]:
    """Return how two runs on the device differ, and a run on the processor."""
    stores = []
    for name, device in (("one", study.device), ("two", study.device), ("cpu", "cpu")):
        path = study.folder / "run.toml"
        text = path.read_text(encoding="utf-8")
        own = study.folder / f"bytes-{name}.toml"
        as_before = f'device = "{study.device}"'
        own.write_text(text.replace(as_before, f'device = "{device}"'), "utf-8")
        store = new_store(study.folder, f"bytes-{name}", own.stem)
        command = [sys.executable, "-m", "nnviz", "extract", str(store)]
        run_process([*command, "--workers", "1"], dict(os.environ))
        stores.append(Store.open(store))
    one, two, cpu = stores
    return {
        "again": compared(one, two),
        "against the processor": compared(one, cpu),
    }


def compared(one: Store, other: Store) -> dict[str, Any]:
    """Return how far the activations and predictions of two stores agree.

    Parameters
    ----------
    one, other
        Of the same plan but for the device.

    Returns
    -------
    dict
        ``equal``, the share of activations that are the same to the bit;
        ``largest_difference``, of the largest activation of its layer; and
        ``same_predictions``, the share of instances.
    """
    equal, n, largest = 0, 0, 0.0
    for a, b in paired_activations(one, other):
        equal += int((a == b).sum())
        n += a.size
        scale = float(np.abs(a).max(initial=0)) or 1.0
        largest = max(largest, float(np.abs(a - b).max(initial=0)) / scale)
    predictions = [store.column("prediction") for store in (one, other)]
    return {
        "equal": equal / n,
        "largest_difference": largest,
        "same_predictions": float((predictions[0] == predictions[1]).mean()),
    }


def paired_activations(
    one: Store, other: Store
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Yield each layer's activations in both, of the instances that both could use."""
    usable = one.usable() & other.usable()
    for layer in one.plan.architecture.shown:
        pair = [store.activations(layer.name)[usable] for store in (one, other)]
        yield pair[0].astype(np.float32), pair[1].astype(np.float32)


PARTS: dict[str, Callable[[Study], dict[str, Any]]] = {
    "forward": forward,
    "recorded": recorded,
    "decoding": decoding,
    "run": whole_run,
    "bytes": same_bytes,
}
"""What is measured, by the name for ``--parts``."""


if __name__ == "__main__":
    sys.exit(main())
