"""The whole pipeline on trained networks and real pictures, by the command line.

Plan, extract, aggregate and derive on two worker processes; the accuracy is compared
with what was measured for these files and weights elsewhere.

Usage, with the real data in ``../shared`` or where ``NNVIZ_SHARED`` points::

    python -m benchmarks.real_runs [--only cifar10] [--keep FOLDER]

Results are printed and kept in ``benchmarks/results/real-runs.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.environment import describe_machine
from benchmarks.extraction import ROOT, run_process
from nnviz.store.store import open_store

RESULTS = Path(__file__).resolve().parent / "results"


@dataclass(frozen=True)
class Case:
    """One run, and the accuracy that it should have."""

    network: str
    weights: str
    data: str
    options: str
    expected: float
    """Top-1 accuracy, as a fraction."""
    tolerance: float
    """What the choice of instances may change."""
    note: str


PREPROCESSING = """
[preprocessing]
mean = [0.485, 0.456, 0.406]
std = [0.229, 0.224, 0.225]
"""

CASES = {
    "cifar10": Case(
        "resnet20",
        "resnet20-cifar10",
        "cifar10-test",
        PREPROCESSING + "[extraction]\nbatch_size = 128\n",
        0.810,
        0.001,
        "the same 10,000 files",
    ),
    "tiny-imagenet": Case(
        "squeezenet1_0",
        "squeezenet1_0-imagenet",
        "tiny-imagenet-val",
        PREPROCESSING + "resize = [128, 128]\n[extraction]\nbatch_size = 50\n"
        "instances_per_chunk = 500\n",
        0.184,
        0.02,
        "measured on ten files of each class; here all fifty",
    ),
    "photographs": Case(
        "squeezenet1_0",
        "squeezenet1_0-imagenet",
        "imagenet-sample",
        PREPROCESSING + "resize = 256\ncrop = 224\n[extraction]\nbatch_size = 32\n"
        "instances_per_chunk = 64\n",
        0.619,
        0.05,
        "measured on 1,000 photographs; here every third of them",
    ),
}


def main() -> None:
    """Run the cases and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--only", choices=CASES)
    parser.add_argument("--keep", type=Path, help="leave the stores in this folder")
    arguments = parser.parse_args()
    result: dict[str, Any] = {
        "command": " ".join(["python -m benchmarks.real_runs", *sys.argv[1:]]),
        "machine": describe_machine(),
        "runs": {},
    }
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.keep or Path(scratch)
        for name, case in CASES.items():
            if arguments.only in (None, name):
                result["runs"][name] = run(folder / name, case)
                print(name, json.dumps(result["runs"][name]))
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / "real-runs.json"
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(path)


def run_file_text(case: Case) -> str:
    """Return the run file of a case."""
    shared = Path(os.environ.get("NNVIZ_SHARED", ROOT.parent / "shared"))
    classes = ""
    if case.network == "squeezenet1_0":
        classes = f'[classes]\nmap = "{shared / "data" / "imagenet-classes.csv"}"\n'
    text = (
        f'[model]\nsource = "{ROOT / "benchmarks" / "networks.py"}:{case.network}"\n'
        f'weights = "{shared / "models" / case.weights}.safetensors"\n'
        f'[dataset]\nkind = "folder"\npath = "{shared / "data" / case.data}"\n'
    )
    return text + classes + case.options


def run(folder: Path, case: Case) -> dict[str, Any]:
    """Run all stages; return seconds, rate, size and accuracy."""
    folder.mkdir(parents=True, exist_ok=True)
    run_file, store = folder / "run.toml", folder / "run.zarr"
    run_file.write_text(run_file_text(case), encoding="utf-8")
    seconds, extraction = {}, {}
    options = ["--workers", "2", "--quiet", "--json"]
    for stage, arguments in {
        "plan": [str(run_file), "--create", str(store), "--json"],
        "extract": [str(store), *options],
        "aggregate": [str(store), *options],
        "derive": [str(store), *options],
    }.items():
        started = time.perf_counter()
        command = [sys.executable, "-m", "nnviz", stage, *arguments]
        printed = run_process(command, dict(os.environ))
        seconds[stage] = round(time.perf_counter() - started, 2)
        if stage == "extract":
            extraction = json.loads(printed)
    table = open_store(store).instances()
    usable = table[table.status == ""]
    accuracy = float((usable.label == usable.prediction).mean())
    if abs(accuracy - case.expected) > case.tolerance:
        msg = f"accuracy {accuracy:.4f}, expected {case.expected} ({case.note})"
        raise RuntimeError(msg)
    return {
        "instances": len(table),
        "unusable": len(table) - len(usable),
        "accuracy": accuracy,
        "expected_accuracy": case.expected,
        "note": case.note,
        "seconds": seconds,
        "instances_per_second": extraction["n_instances"] / extraction["seconds"],
        "store_bytes": sum(f.stat().st_size for f in store.rglob("*") if f.is_file()),
    }


if __name__ == "__main__":
    main()
