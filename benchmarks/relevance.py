"""What does relevance cost? A recorded batch with its gradients against a bare one.

Prints a table and writes ``benchmarks/results/relevance.json``::

    python -m benchmarks.relevance --repetitions 15

In each repetition, in a process with a worker's environment, a network is run on the
same batch, one after the other: bare, in inference mode, folded, channels last;
recorded, with maxima alone; recorded with the relevance of its shown layers, which is
one backward pass more; and forth and back to its input (of the encoder: to what its
words are) by PyTorch alone, with nothing recorded. What relevance adds is the
difference of the two recordings, repetition by repetition. Weights are random: they do
not change the time, which is the processor's, of one thread, so that others on the
machine count less.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.isolated import measure_cases
from benchmarks.networks import resnet20, resnet32, squeezenet1_0
from benchmarks.text import INPUTS, Encoder, sentences
from nnviz.network.arguments import bind_inputs
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

ENCODER = "encoder"
"""Six transformer blocks of the size of MiniLM's, over padded sentences."""


def say(name: str, row: dict[str, Any]) -> str:
    """Return a row in words."""
    return (
        f"{name:<12} bare {row['bare_ms']:7.1f} ms   maxima "
        f"{row['maxima_ratio']:.2f}   "
        f"with relevance {row['relevance_ratio']:.2f} of the bare forward pass, of "
        f"which relevance adds {row['added_ratio']:.2f}; PyTorch to the input and "
        f"nothing kept {row['autograd_ratio']:.2f}"
    )


def measure(name: str, repetitions: int) -> dict[str, Any]:
    """Return the milliseconds of a batch, and their ratios; all interleaved."""
    torch.manual_seed(0)
    if name == ENCODER:
        network = Encoder().eval()
        bind_inputs(network, INPUTS)
        values = sentences()
        example = torch.from_numpy(values[:2])
        preprocessing = PreprocessingConfig()
    else:
        make, side, n = CASES[name]
        network = make().eval()
        values = np.random.default_rng(0).integers(0, 256, (n, side, side, 3), np.uint8)
        example = torch.zeros(1, 3, side, side)
        preprocessing = PreprocessingConfig(kind="image")
    n = len(values)
    architecture = trace(network, example)
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
                forth_and_back(bare, runtimes["maxima"].input_of(values))
            else:
                runtimes[kind].run(values, labels=labels)
            times.append(time.process_time() - began)
    medians = {kind: statistics.median(times[1:]) for kind, times in seconds.items()}
    added = [
        (with_it - without) / bare_one
        for bare_one, without, with_it in list(
            zip(seconds["bare"], seconds["maxima"], seconds["relevance"], strict=True)
        )[1:]
    ]
    return {
        "instances": n,
        "shown_layers": len(architecture.shown),
        "bare_ms": medians["bare"] * 1e3,
        "maxima_ratio": medians["maxima"] / medians["bare"],
        "relevance_ratio": medians["relevance"] / medians["bare"],
        "added_ratio": statistics.median(added),
        "autograd_ratio": medians["autograd"] / medians["bare"],
        "gradient_bytes": runtimes["relevance"].graph_bytes(values) // n,
        "seconds": {kind: times[1:] for kind, times in seconds.items()},
    }


def forth_and_back(network: nn.Module, batch: Tensor) -> None:
    """Differentiate an output with respect to the input, or to what words are."""
    if batch.is_floating_point():
        batch.requires_grad_()
        torch.autograd.grad(network(batch)[:, 0].sum(), batch)
        return
    found: list[Tensor] = []
    hook = network.get_submodule("words").register_forward_hook(
        lambda module, arguments, output: found.append(output.requires_grad_())
    )
    output = network(batch)
    hook.remove()
    torch.autograd.grad(output[:, 0].sum(), found)


if __name__ == "__main__":
    measure_cases("relevance", __doc__, (*CASES, ENCODER), measure, say)
