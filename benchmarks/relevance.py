"""What does relevance cost? A recorded batch with its gradients against a bare one.

Prints a table and writes ``benchmarks/results/relevance.json``::

    python -m benchmarks.relevance --repetitions 15

In each repetition, in a process with a worker's environment, a network is run on the
same batch, one after the other: bare, in inference mode, folded, channels last;
recorded, with maxima alone; and recorded with the relevance of its shown layers, which
is one backward pass more. Weights are random: they do not change the time.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.environment import describe_machine
from benchmarks.extraction import run_process
from benchmarks.networks import resnet20, resnet32, squeezenet1_0
from nnviz.network.recording.folding import optimize
from nnviz.network.recording.gradients import Explained
from nnviz.network.recording.runtime import NetworkRuntime
from nnviz.network.tracing import trace
from nnviz.runs.config import ExtractionConfig, PreprocessingConfig
from nnviz_cluster.local import worker_environment

RESULTS = Path(__file__).resolve().parent / "results"

CASES = {
    "resnet20": (resnet20, 32, 128),
    "resnet32": (resnet32, 32, 128),
    "squeezenet": (squeezenet1_0, 224, 16),
}
"""Network, side of its pictures, and instances of a batch."""


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--only", choices=CASES)
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.here:
        print(json.dumps(measure(arguments.only, arguments.repetitions)))
        return
    environment = {**os.environ, **worker_environment(1)}
    rows = {}
    for name in CASES:
        if arguments.only in (None, name):
            options = ["--here", "--only", name]
            options += ["--repetitions", str(arguments.repetitions)]
            command = [sys.executable, "-m", "benchmarks.relevance", *options]
            rows[name] = row = json.loads(run_process(command, environment))
            print(
                f"{name:<12} bare {row['bare_ms']:7.1f} ms   "
                f"maxima {row['maxima_ratio']:.2f}   with relevance "
                f"{row['relevance_ratio']:.2f} of the bare forward pass; the backward "
                f"pass alone {row['relevance_ratio'] - row['maxima_ratio']:.2f}"
            )
    result = {
        "command": " ".join(["python -m benchmarks.relevance", *sys.argv[1:]]),
        "machine": describe_machine(),
        "rows": rows,
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / "relevance.json"
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def measure(name: str, repetitions: int) -> dict[str, Any]:
    """Return the milliseconds of a batch, and their ratios; all interleaved."""
    make, side, n = CASES[name]
    torch.manual_seed(0)
    network = make().eval()
    values = np.random.default_rng(0).integers(0, 256, (n, side, side, 3), np.uint8)
    example = torch.zeros(1, 3, side, side)
    architecture = trace(network, example)
    preprocessing = PreprocessingConfig(kind="image")
    extraction = ExtractionConfig(targets="none", device="cpu")
    runtimes = {
        "maxima": NetworkRuntime(
            network, architecture, preprocessing=preprocessing, extraction=extraction
        ),
        "relevance": NetworkRuntime(
            network,
            architecture,
            preprocessing=preprocessing,
            extraction=extraction,
            explained=Explained("label"),
        ),
    }
    bare = optimize(network, architecture=architecture)
    labels = np.zeros(n, np.int64)
    seconds: dict[str, list[float]] = {"bare": [], "maxima": [], "relevance": []}
    for _ in range(repetitions + 1):
        for kind, times in seconds.items():
            began = time.perf_counter()
            if kind == "bare":
                with torch.inference_mode():
                    bare(runtimes["maxima"].input_of(values))
            else:
                runtimes[kind].run(values, labels=labels)
            times.append(time.perf_counter() - began)
    medians = {kind: statistics.median(times[1:]) for kind, times in seconds.items()}
    return {
        "instances": n,
        "shown_layers": len(architecture.shown),
        "bare_ms": medians["bare"] * 1e3,
        "maxima_ratio": medians["maxima"] / medians["bare"],
        "relevance_ratio": medians["relevance"] / medians["bare"],
        "gradient_bytes": runtimes["relevance"].graph_bytes(values) // n,
        "seconds": {kind: times[1:] for kind, times in seconds.items()},
    }


if __name__ == "__main__":
    main()
