"""What does a chunk of a store cost to write and to read, in format 2 and in format 3?

Usage: ``python -m benchmarks.chunks [STORE...]``; without stores, of one that is made.
The chunks of complete stores, which stay as they are, are written into new ones of both
formats, in turn, in one process; then layers, channels and influences are read from
them, cold (where the system heeds the wish to forget the files) and warm. Times are of
the processor, but cold ones and ``wall``; medians.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.environment import describe_machine
from nnviz.aggregation.index import make_index
from nnviz.aggregation.index_pieces import IndexPieces
from nnviz.store.store import Store, open_store
from nnviz.testing import PlantedRun, write_store

VERSIONS = (2, 3)

RESULT = Path(__file__).resolve().parent / "results" / "chunks.json"

MADE = PlantedRun(
    n_instances=6 * 512,
    instances_per_chunk=512,
    layers=tuple(
        (f"block{n}", 16 << n // 7, (32 >> n // 7, 32 >> n // 7)) for n in range(19)
    ),
    influence_ranks=5,
)


def main() -> None:
    """Measure the stores of the command line, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stores", nargs="*", type=Path)
    parser.add_argument("--json", type=Path, default=RESULT)
    parser.add_argument("--folder", type=Path, help="where the copies are made")
    arguments = parser.parse_args()
    measured: dict[str, Any] = {}
    scratch = Path(tempfile.mkdtemp(prefix="nnviz-chunks-", dir=arguments.folder))
    try:
        stores = {f"{p.parent.name}/{p.name}": p for p in arguments.stores}
        if not stores:
            made = scratch / "made.zarr"
            write_store(made, MADE)
            stores = {"of the size of ResNet-20": made}
        for name, path in stores.items():
            measured[name] = measure(path, Path(tempfile.mkdtemp(dir=scratch)))
    finally:
        shutil.rmtree(scratch)
    found = {
        "command": "python -m benchmarks.chunks",
        "machine": describe_machine(),
        "stores": measured,
    }
    text = json.dumps(found, indent=1)
    arguments.json.write_text(text + "\n", encoding="utf-8")
    print(text)


def measure(path: Path, scratch: Path) -> dict[str, Any]:
    """Return what a store's chunks cost in each format."""
    source = open_store(path)
    copies = {v: empty_copy(source, scratch / f"{v}.zarr", v) for v in VERSIONS}
    writing: dict[int, list[dict[str, float]]] = {v: [] for v in VERSIONS}
    for index in range(len(source.chunks)):
        arrays, counts = chunk_of(source, index)
        # Which comes first alternates: what follows finds the values in the cache.
        for version in VERSIONS if index % 2 else VERSIONS[::-1]:
            chunks = copies[version].chunks
            writing[version].append(
                timed(lambda c=chunks, i=index, a=arrays, n=counts: c.write(i, a, n))
            )
    files = {v: sizes(scratch / f"{v}.zarr") for v in VERSIONS}
    indexing = {v: timed(lambda v=v: make_index(copies[v])) for v in VERSIONS}
    reading = read(scratch)
    return {
        "chunks": len(source.chunks),
        "layers": len(source.layers),
        "rows": source.plan.rows_per_chunk,
        **{
            f"format_{version}": {
                "files_a_chunk": len(files[version]) / len(source.chunks),
                "bytes": sum(files[version]),
                "write_ms": middle([one["cpu"] for one in writing[version]]),
                "write_wall_ms": middle([one["wall"] for one in writing[version]]),
                "index_ms": round(indexing[version]["cpu"] * 1e3),
                **reading[version],
            }
            for version in VERSIONS
        },
        "is_same": is_same(source, copies),
    }


def read(scratch: Path, repeat: int = 7) -> dict[int, dict[str, float]]:
    """Return milliseconds for each way of reading, cold and warm."""
    some = open_store(scratch / f"{VERSIONS[0]}.zarr")
    widest = max(some.shown_layers, key=lambda layer: layer.n_channels).name
    first = some.shown_layers[0].name

    def influences(store: Store) -> None:
        for kept in store.plan.influences:
            for part in ("target", "source", "influence"):
                store.read(f"influences/{kept.target}/{part}")

    def layers(store: Store) -> None:
        for layer in store.layers:
            store.activations(layer.name)

    ways: dict[str, Callable[[Store], object]] = {
        "first_layer": lambda store: store.activations(first),
        "widest_layer": lambda store: store.activations(widest),
        "all_layers": layers,
        "channel": lambda store: IndexPieces(store).channel(widest, 5),
        "influences": influences,
        "column": lambda store: store.column("confidence"),
    }
    found: dict[int, dict[str, float]] = {v: {} for v in VERSIONS}
    for name, way in ways.items():
        for state in ("cold", "warm"):
            times: dict[int, list[dict[str, float]]] = {v: [] for v in VERSIONS}
            for turn in range(repeat):
                for version in VERSIONS if turn % 2 else VERSIONS[::-1]:
                    url = scratch / f"{version}.zarr"
                    if state == "cold":
                        forget(url)
                    store = open_store(url)
                    times[version].append(timed(lambda w=way, s=store: w(s)))
            for version, all_times in times.items():
                kind = "wall" if state == "cold" else "cpu"
                values = [one[kind] for one in all_times]
                found[version][f"{name}_{state}_ms"] = middle(values)
    return found


def empty_copy(source: Store, url: Path, version: int) -> Store:
    """Create a store of a format for the same plan."""
    plan = source.plan
    statics = [spec.path for spec in plan.arrays if spec.is_static]
    static = {path: source.read(path) for path in statics}
    return Store.create(url, plan, static=static, version=version)


def chunk_of(source: Store, index: int) -> tuple[dict[str, Any], dict[str, int]]:
    """Return the arrays and the counts of a chunk."""
    by_chunk = {s.path for s in source.plan.arrays if s.declaration.is_by_chunk}
    span = source.chunks.spans[index]
    arrays = {
        path: source.read(path, *((index, index + 1) if path in by_chunk else span))
        for path in source.chunks.arrays
    }
    marks = source.chunks.marks()
    counts = {name: int(marks[name][index]) for name in marks if name != "done"}
    return arrays, counts


def is_same(source: Store, copies: dict[int, Store]) -> bool:
    """Whether both copies have the very bits of the source, of every array."""
    return all(
        source.read(path).tobytes() == copy.read(path).tobytes()
        for path in source.chunks.arrays
        if path != "instances/status"
        for copy in copies.values()
    )


def sizes(url: Path) -> list[int]:
    """Return the bytes of every piece of a store."""
    files = (p for p in url.rglob("*") if p.is_file() and p.name != "zarr.json")
    static = ("id", "label")
    return [p.stat().st_size for p in files if p.parts[-3] not in static]


def forget(url: Path) -> None:
    """Ask the system to forget what files hold."""
    for path in url.rglob("*"):
        if path.is_file():
            file = os.open(path, os.O_RDONLY)
            os.fsync(file)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(file)


def timed(task: Callable[[], object]) -> dict[str, float]:
    """Return seconds of the processor and of the clock."""
    cpu, wall = time.process_time(), time.perf_counter()
    task()
    return {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}


def middle(seconds: list[float]) -> float:
    """Return the median in milliseconds."""
    return round(statistics.median(seconds) * 1e3, 2)


if __name__ == "__main__":
    main()
