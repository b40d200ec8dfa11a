"""How much less does it take to read a data set that is packed?

Packs the data of a run file, and reads all instances of both, prepared for the network,
in turn. Processor time counts all threads; files are in the system's cache, so that the
disk has no part in it.

    python -m benchmarks.packing RUN.toml
    python -m benchmarks.packing RUN.toml --instances 300 --json packing.json
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import tempfile
import time
from pathlib import Path

import nnviz
from benchmarks.environment import describe_machine
from nnviz.extraction.packing import pack_pieces
from nnviz.extraction.planned import planned_reader
from nnviz.inputs.datasets.opening import open_dataset
from nnviz.inputs.preparation.batches import BatchReader
from nnviz.interface.packed_runs import begin_packing
from nnviz.runs.config import RunConfig

REPEATS = 3


def measure(run_file: Path, n_instances: int | None) -> dict[str, float]:
    """Return milliseconds of an instance, of files and packed, and their ratio."""
    config = nnviz.load_config(run_file)
    if n_instances is not None:
        dataset = dataclasses.replace(config.dataset, limit=n_instances)
        config = dataclasses.replace(config, dataset=dataset)
    spent: dict[str, list[float]] = {"files": [], "packed": []}
    with tempfile.TemporaryDirectory(prefix="nnviz-packing-") as folder:
        opening = begin_packing(config, folder, trust=True)
        began = time.process_time()
        summary = pack_pieces(opening, client=None)
        packing_ms = 1e3 * (time.process_time() - began) / summary.n_instances
        runs = {"files": config, "packed": nnviz.load_config(Path(folder) / "run.toml")}
        readers = {name: _reader(run) for name, run in runs.items()}
        for _ in range(REPEATS):
            for name, (reader, n) in readers.items():
                began = time.process_time()
                for _batch in reader.iter_batches(0, n):
                    pass
                spent[name].append(1e3 * (time.process_time() - began) / n)
    files, packed = (statistics.median(spent[name]) for name in ("files", "packed"))
    return {
        "instances": summary.n_instances,
        "files_ms": round(files, 3),
        "packed_ms": round(packed, 3),
        "ratio": round(files / packed, 1),
        "packing_ms": round(packing_ms, 3),
        "bytes_an_instance": summary.n_bytes // summary.n_instances,
    }


def _reader(run: RunConfig) -> tuple[BatchReader, int]:
    plan, _ = nnviz.plan_run(run, trust=True, timed=False)
    dataset = open_dataset(plan.dataset)
    return planned_reader(plan, dataset), len(dataset)


def main() -> None:
    """Measure, print, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run_file", type=Path, metavar="RUN.toml")
    parser.add_argument("--instances", type=int)
    parser.add_argument("--json", type=Path, help="file for the result")
    options = parser.parse_args()
    found = measure(options.run_file, options.instances)
    print(
        f"{found['instances']:,} instances, milliseconds of a processor for each: "
        f"{found['files_ms']} as files, {found['packed_ms']} packed, "
        f"{found['ratio']} times less; packing took {found['packing_ms']}"
    )
    result = {
        "command": "python -m benchmarks.packing RUN.toml",
        **found,
        "machine": describe_machine(),
    }
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
