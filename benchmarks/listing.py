"""How long does a million files take: to list, to plan, to create a store of, to open?

A tree of class folders is made on the disk (empty files, so that it costs no space, but
for the first, which are pictures), and each step is timed in a process of its own: a
process that has listed before would find objects and memory ready. What the operating
system holds of the tree is warm, because it has just been made; a network file system
is slower by what it takes to answer.

Usage::

    python -m benchmarks.listing [--files 1000000] [--classes 1000]

Results are printed and kept in ``benchmarks/results/listing.json``.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.environment import describe_machine
from benchmarks.extraction import ROOT, run_process

RESULTS = Path(__file__).resolve().parent / "results"
PICTURES = 256
"""So many of the first files are pictures, for the batch that planning runs."""

RUN_FILE = """\
[model]
source = "{networks}:tiny"
class_names = {names}
arguments = {{ n_classes = {n_classes} }}

[dataset]
kind = "{kind}"
path = "{path}"
{root}

[preprocessing]
channel_order = "grey"

[extraction]
instances_per_chunk = 4096
"""


def main() -> None:
    """Make the files, time every step, remove the files."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--classes", type=int, default=1_000)
    parser.add_argument("--folder", type=Path, help="where to make the files")
    arguments = parser.parse_args()
    result: dict[str, Any] = {
        "command": " ".join(["python -m benchmarks.listing", *sys.argv[1:]]),
        "machine": describe_machine(),
        "files": arguments.files,
        "classes": arguments.classes,
    }
    scratch = Path(tempfile.mkdtemp(dir=arguments.folder))
    try:
        make_files(scratch, arguments.files, arguments.classes)
        for kind in ("folder", "table"):
            result[kind] = json.loads(
                run_process(
                    [
                        sys.executable,
                        "-c",
                        "from benchmarks.listing import measure; measure()",
                        str(scratch),
                        kind,
                    ],
                    dict(os.environ),
                )
            )
            print(kind, json.dumps(result[kind]))
    finally:
        shutil.rmtree(scratch)
    result["machine_after"] = describe_machine()["load"]
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / "listing.json"
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(path)


def make_files(scratch: Path, n_files: int, n_classes: int) -> None:
    """Make the tree, a table of it, and the run files."""
    stream = io.BytesIO()
    Image.new("L", (8, 8), 128).save(stream, "PNG")
    picture = stream.getvalue()
    names = [f"n{index:08d}" for index in range(n_classes)]
    table = scratch / "table.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label"])
        made = 0
        for index, name in enumerate(names):
            folder = scratch / "files" / name
            folder.mkdir(parents=True)
            n = n_files * (index + 1) // n_classes - n_files * index // n_classes
            for number in range(n):
                path = f"{folder}/{name}_{number:07d}.png"
                descriptor = os.open(path, os.O_CREAT | os.O_WRONLY)
                if made < PICTURES:
                    os.write(descriptor, picture)
                os.close(descriptor)
                writer.writerow([f"{name}/{name}_{number:07d}.png", name])
                made += 1
    for kind, path in (("folder", scratch / "files"), ("table", table)):
        text = RUN_FILE.format(
            networks=ROOT / "benchmarks" / "networks.py",
            names=json.dumps(names),
            n_classes=n_classes,
            kind=kind,
            path=path,
            root=f'root = "{scratch / "files"}"' if kind == "table" else "",
        )
        (scratch / f"{kind}.toml").write_text(text, encoding="utf-8")


def measure(*, is_only_listed: bool = False) -> None:
    """Time the steps for one kind of data set, or the first two; print them as JSON."""
    import nnviz
    from nnviz.inputs.datasets.contents_check import contents_of
    from nnviz.inputs.datasets.opening import open_dataset
    from nnviz.runs.config import load_config

    if not is_only_listed:
        import torch  # noqa: F401  imports are no part of planning

    scratch, kind = Path(sys.argv[1]), sys.argv[2]
    config = load_config(scratch / f"{kind}.toml")
    seconds: dict[str, float] = {}

    def timed(name: str, action: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        value = action()
        seconds[name] = round(time.perf_counter() - started, 3)
        return value

    dataset = timed("list", lambda: open_dataset(config.dataset))
    timed("fingerprint", lambda: dataset.fingerprint)
    if is_only_listed:
        print(json.dumps({"seconds": seconds}))
        return
    timed("contents, sampled", lambda: contents_of(dataset, "sampled"))
    timed("contents, full", lambda: contents_of(dataset, "full"))
    plan, probe = timed("plan, sampled", lambda: nnviz.plan_run(config))
    url = str(scratch / f"{kind}.zarr")
    timed("create the store", lambda: nnviz.prepare_store(plan, url, probe=probe))
    store = timed("open the store", lambda: nnviz.open_store(url))
    timed("read which chunks are done", store.chunks.done)
    timed("read all identifiers", lambda: store.column("id"))
    timed("read all labels", lambda: store.column("label"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    unit = 1 if sys.platform == "darwin" else 1024
    print(json.dumps({"seconds": seconds, "peak_bytes": peak * unit}))


if __name__ == "__main__":
    main()
