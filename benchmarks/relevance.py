"""What does relevance cost? A recorded batch with its gradients against a bare one.

Prints a table and writes ``benchmarks/results/relevance.json``::

    python -m benchmarks.relevance --repetitions 15

In each repetition, in a process with a worker's environment, a network is run on the
same batch, one after the other: bare, in inference mode, folded, channels last;
recorded, with maxima alone; recorded with the relevance of its shown layers, which is
one backward pass more; and forth and back to its input by PyTorch alone, with nothing
recorded. Weights are random: they do not change the time, which is the processor's, of
one thread, so that others on the machine count less.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np
import torch

from benchmarks.isolated import measure_cases
from benchmarks.networks import resnet20, resnet32, squeezenet1_0
from nnviz.network.recording.folding import optimize
from nnviz.network.recording.gradients import Explained
from nnviz.network.recording.runtime import NetworkRuntime
from nnviz.network.tracing import trace
from nnviz.runs.config import ExtractionConfig, PreprocessingConfig

CASES = {
    "resnet20": (resnet20, 32, 128),
    "resnet32": (resnet32, 32, 128),
    "squeezenet": (squeezenet1_0, 224, 16),
}
"""Network, side of its pictures, and instances of a batch."""


def say(name: str, row: dict[str, Any]) -> str:
    """Return a row in words."""
    backward = row["relevance_ratio"] - row["maxima_ratio"]
    return (
        f"{name:<12} bare {row['bare_ms']:7.1f} ms   maxima "
        f"{row['maxima_ratio']:.2f}   "
        f"with relevance {row['relevance_ratio']:.2f} of the bare forward pass; the "
        f"backward pass alone {backward:.2f}; PyTorch to the input and nothing kept "
        f"{row['autograd_ratio']:.2f}"
    )


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
    bare.requires_grad_(requires_grad=False)
    kinds = ("bare", "maxima", "relevance", "autograd")
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(repetitions + 1):
        for kind, times in seconds.items():
            began = time.process_time()
            if kind == "bare":
                with torch.inference_mode():
                    bare(runtimes["maxima"].input_of(values))
            elif kind == "autograd":
                x = runtimes["maxima"].input_of(values).requires_grad_()
                torch.autograd.grad(bare(x)[:, 0].sum(), x)
            else:
                runtimes[kind].run(values, labels=labels)
            times.append(time.process_time() - began)
    medians = {kind: statistics.median(times[1:]) for kind, times in seconds.items()}
    return {
        "instances": n,
        "shown_layers": len(architecture.shown),
        "bare_ms": medians["bare"] * 1e3,
        "maxima_ratio": medians["maxima"] / medians["bare"],
        "relevance_ratio": medians["relevance"] / medians["bare"],
        "autograd_ratio": medians["autograd"] / medians["bare"],
        "gradient_bytes": runtimes["relevance"].graph_bytes(values) // n,
        "seconds": {kind: times[1:] for kind, times in seconds.items()},
    }


if __name__ == "__main__":
    measure_cases("relevance", __doc__, CASES, measure, say)
