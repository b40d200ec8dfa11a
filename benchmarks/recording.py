"""Recording the maxima of all layers against the bare forward pass, in one process.

Run by ``benchmarks.extraction`` in a process whose environment is a worker's.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nnviz.inputs.models.loading import load_model
from nnviz.inputs.preparation.batches import BatchReader, prepared_shape
from nnviz.inputs.preparation.preprocessing import Preprocessing
from nnviz.network.recording.folding import optimize
from nnviz.network.recording.runtime import NetworkRuntime
from nnviz.planning.planning import plan_run
from nnviz.runs.config import load_config

__all__ = ["main"]


def main() -> None:
    """Print the ratio of the throughputs as JSON."""
    folder, repeat = Path(sys.argv[1]), int(sys.argv[2])
    config = load_config(folder / "run.toml")
    plan, probe = plan_run(config)
    module = load_model(plan.model).module
    # The bare forward pass has no hooks, and is at its best otherwise.
    bare = optimize(module, architecture=plan.architecture)
    runtimes = {
        name: NetworkRuntime(
            module,
            plan.architecture,
            preprocessing=plan.preprocessing,
            extraction=dataclasses.replace(plan.extraction, targets=targets),
            layer_dtypes=plan.layer_dtypes,
        )
        for name, targets in (("maxima", "none"), ("maxima_and_influences", "top"))
    }
    reader = BatchReader(
        probe.dataset,
        Preprocessing(plan.preprocessing),
        batch_size=plan.extraction.batch_size,
        n_threads=plan.extraction.reader_threads,
        shape=prepared_shape(plan.architecture.input_shape, is_image=True),
        dtype="uint8",
    )
    # One chunk, as in a run: its first instances are all among the strongest so far.
    n = plan.rows_per_chunk
    print(json.dumps(compare(bare, runtimes, reader, n, repeat=max(5, repeat))))


def compare(
    network: nn.Module,
    runtimes: Mapping[str, NetworkRuntime],
    reader: BatchReader,
    n: int,
    *,
    repeat: int,
) -> dict[str, Any]:
    """Interleave bare and recorded passes over the same batches, same loader."""
    seconds: dict[str, list[float]] = {"bare": [], **{name: [] for name in runtimes}}
    some = next(iter(runtimes.values()))
    for _ in range(repeat + 1):
        for name, times in seconds.items():
            started = time.perf_counter()
            if name == "bare":
                for batch in reader.iter_batches(0, n):
                    with torch.inference_mode():
                        network(some.input_of(batch.values))
            else:
                with runtimes[name].recording(0) as recording:
                    for batch in reader.iter_batches(0, n):
                        recording.run(batch.values, valid=batch.valid)
            times.append(time.perf_counter() - started)
    # The first round warms up.
    medians = {name: statistics.median(times[1:]) for name, times in seconds.items()}
    return {
        "instances": n,
        "seconds": {name: times[1:] for name, times in seconds.items()},
        "maxima_throughput_ratio": medians["bare"] / medians["maxima"],
        "influences_throughput_ratio": medians["bare"]
        / medians["maxima_and_influences"],
        "instances_per_second": n / medians["maxima_and_influences"],
    }
