"""What does the index cost beside the extraction? Its time for an instance, as a share.

Prints a line and writes ``benchmarks/results/indexing.json``::

    python -m benchmarks.indexing --photographs FOLDER

InceptionV1 (torchvision's ``googlenet``, with random weights: they take as long) runs
over photographs at 224 pixels in this process, one worker that is a thread of it, as
``nnviz.run(..., workers=0)`` does. Then the index is made in this process,
several times, each time from nothing. Processor time is compared, which other work on
the machine changes least: of all threads, reading and decoding included. The folder has
a subfolder for each class, as the sample of ImageNet in ``../shared/data``.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import warnings
from pathlib import Path

import nnviz
from benchmarks.environment import describe_machine
from nnviz.aggregation.index import INDEX
from nnviz.runs.config import ExtractionConfig, PreprocessingConfig
from tests.torchvision_operators import define_missing_operators

N_OUTPUTS = 1000
RESULTS = Path(__file__).parent / "results"


def timed(function):
    """Return seconds on the clock, and of the processor, and what came out."""
    wall, processor = time.perf_counter(), time.process_time()
    value = function()
    return time.perf_counter() - wall, time.process_time() - processor, value


def network():
    """Return InceptionV1 with random weights."""
    define_missing_operators()
    from torchvision.models import googlenet

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of how the weights are drawn
        return googlenet(weights=None, aux_logits=False, init_weights=False).eval()


def measure(photographs, folder, repeat):
    """Return all numbers, for as many photographs as the folder has."""
    model = network()
    names = sorted(path.name for path in photographs.iterdir() if path.is_dir())
    plan, probe = nnviz.plan_run(
        model,
        str(photographs),
        classes=[*names, *(f"class {i}" for i in range(len(names), N_OUTPUTS))],
        preprocessing=PreprocessingConfig(kind="image", resize=256, crop=224),
        extraction=ExtractionConfig(instances_per_chunk=128, batch_size=32),
    )
    store = nnviz.prepare_store(plan, str(folder / "run.zarr"), probe=probe)
    quiet = {"progress": False}
    extraction = timed(lambda: nnviz.extract(store, model=model, workers=0, **quiet))
    made = []
    for _ in range(repeat + 1):  # the first one compiles, or loads what is compiled
        made.append(timed(lambda: nnviz.index(store, **quiet))[:2])
        writable = nnviz.Store.open(store.url, writable=True)
        for name in writable.groups.names(INDEX):
            writable.groups.remove_member(f"{INDEX}/{name}")
    n = store.n_instances
    wall, processor = (min(one[i] for one in made[1:]) for i in (0, 1))
    return {
        "instances": n,
        "shown_layers": len(store.shown_layers),
        "shown_channels": sum(layer.n_channels for layer in store.shown_layers),
        "extraction_s_per_instance": extraction[0] / n,
        "extraction_core_s_per_instance": extraction[1] / n,
        "index_s_per_instance": wall / n,
        "index_core_s_per_instance": processor / n,
        "share_of_processor_time": processor / extraction[1],
        "share_of_time": wall / extraction[0],
    }


def main():
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photographs", type=Path, required=True)
    parser.add_argument("--repeat", type=int, default=3)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        found = measure(chosen.photographs, Path(name), chosen.repeat)
    command = f"python -m benchmarks.indexing --photographs {chosen.photographs.name}"
    found = {"command": command, "machine": describe_machine(), **found}
    print(
        f"{found['instances']:,} photographs, {found['shown_channels']:,} channels: "
        f"extraction {1000 * found['extraction_core_s_per_instance']:.1f} ms of one "
        f"core each, index {1000 * found['index_core_s_per_instance']:.3f} ms, "
        f"{found['share_of_processor_time']:.2%} ({found['share_of_time']:.2%} on the "
        "clock)"
    )
    path = RESULTS / "indexing.json"
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
