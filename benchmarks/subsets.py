"""How long do questions about any subset take? By the index, and as one would else.

Prints a table and writes ``benchmarks/results/subsets.json``::

    python -m benchmarks.subsets --instances 200000 --folder FOLDER

The store is generated: the nine layers of InceptionV1 (5,484 channels), activations of
a gamma distribution (at the share of 3 % some 16 top channels an instance), the five
strongest sources of each top channel. Rows are drawn from a pool of different ones, so
that making them takes no time; they are written, and indexed, by nnviz itself. That
takes about 35 kB an instance.

Every question is timed on the same instances in the same process. What it is compared
with:

- zarr: the rows of the store's own arrays by ``oindex``, a NumPy mean of each layer;
- scipy: top channels as a CSR matrix in memory, times a mask;
- pyarrow: top channels in a Parquet file, one row each, filtered and grouped;
- duckdb: the same file, if DuckDB is installed;
- chunks: nnviz without an index.

"Cold" asks the system to drop the index from its cache first; what lies below it, a
disk of a virtual machine, may have it still.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import os
import shutil
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import zarr
from scipy import sparse

from benchmarks.environment import describe_machine
from nnviz.aggregation.aggregation import aggregate
from nnviz.aggregation.estimates import estimate
from nnviz.aggregation.index import INDEX, make_index
from nnviz.aggregation.index_channels import IndexedChannels
from nnviz.aggregation.subset_index import SubsetIndex, subset_index
from nnviz.aggregation.totals import count_blocks
from nnviz.interface.questions import attribution_graph
from nnviz.interface.run_store import open_store
from nnviz.network.top_channels import top_channels
from nnviz.runs.architecture import Architecture, Edge, Layer
from nnviz.runs.config import (
    ClassesConfig,
    DatasetConfig,
    ExtractionConfig,
    ModelConfig,
    PreprocessingConfig,
)
from nnviz.runs.plan import Plan
from nnviz.store.store import Store
from nnviz.subsets.columns import InstanceColumns
from nnviz.subsets.evaluation import matching_instances
from nnviz.subsets.subsets import Subset

RESULTS = Path(__file__).parent / "results"
LAYERS = {
    "mixed3a": 256,
    "mixed3b": 480,
    "mixed4a": 508,
    "mixed4b": 512,
    "mixed4c": 512,
    "mixed4d": 528,
    "mixed4e": 832,
    "mixed5a": 832,
    "mixed5b": 1024,
}
SHARE = 0.03
RANKS = 5
N_CLASSES = 1000
POOL = 4096
CITIES = ("Bologna", "Ghent", "Kraków", "Lund", "Porto", "Riga", "Turku", "Vilnius")
QUERY = (
    "label != prediction and confidence between 0.2 and 0.9 and "
    "city in (Ghent, Riga, Turku) and year > 2003 and note contains 'rain'"
)


def make_store(folder, n):
    """Write a complete extraction of so many instances, seeded."""
    rng = np.random.default_rng(0)
    layers = tuple(Layer(name, name, "sum", c, (1, 1)) for name, c in LAYERS.items())
    edges = tuple(
        Edge(a.name, b.name, "linear", b.node, (0, b.n_channels))
        for a, b in itertools.pairwise(layers)
    )
    labels = rng.integers(0, N_CLASSES, n).astype(np.int32)
    weather = np.array([f"note {i}, {'rain' if i % 3 else 'sun'}" for i in range(500)])
    columns = {
        "city": np.array(CITIES, dtype=object)[rng.integers(0, len(CITIES), n)],
        "note": weather.astype(object)[rng.integers(0, len(weather), n)],
        "year": rng.integers(1990, 2020, n).astype(np.int64),
    }
    plan = Plan(
        model=ModelConfig(source="generated"),
        dataset=DatasetConfig(kind="arrays", path="generated.npz"),
        preprocessing=PreprocessingConfig(kind="array", layout="HWC"),
        classes=ClassesConfig(),
        extraction=ExtractionConfig(
            share=SHARE, targets="top", ranks=RANKS, examples_per_channel=0
        ),
        architecture=Architecture(
            layers, edges, input_shape=(3, 224, 224), output_shape=(N_CLASSES,)
        ),
        class_names=tuple(f"class {i}" for i in range(N_CLASSES)),
        n_instances=n,
        n_labelled=n,
        layer_dtypes=dict.fromkeys(LAYERS, "float16"),
        metadata_dtypes={"city": "string", "note": "string", "year": "int64"},
        fingerprints={"model": "0" * 64, "dataset": "0" * 64},
    )
    ids = np.array([f"{i:08d}" for i in range(n)], dtype=object)
    static = {"instances/id": ids, "instances/label": labels}
    static |= {f"instances/{name}": values for name, values in columns.items()}
    store = Store.create(folder, plan, static=static)
    pool = make_pool(plan, rng)
    prediction = np.where(rng.random(n) < 0.7, labels, (labels + 1) % N_CLASSES)
    confidence = rng.random(n).astype(np.float32)
    for index, (start, stop) in enumerate(store.chunks.spans):
        rows = rng.integers(0, POOL, stop - start)
        arrays = {path: values[rows] for path, values in pool.items()}
        arrays["instances/prediction"] = prediction[start:stop].astype(np.int32)
        for name in ("confidence", "probability"):
            arrays[f"instances/{name}"] = confidence[start:stop]
        arrays["instances/status"] = np.full(stop - start, "", dtype=object)
        counts = {"n_instances": stop - start, "n_unreadable": 0, "n_saturated": 0}
        store.chunks.write(index, arrays, counts)
    return store


def make_pool(plan, rng):
    """Return the facts of the pool's instances, by path."""
    found = {}
    for name, c in LAYERS.items():
        strength = rng.gamma(1.5, 1.0, c)
        values = rng.gamma(0.8, 1.0, (POOL, c)) * strength
        found[f"activations/{name}"] = values.astype(np.float16)
    for kept in plan.influences:
        top = top_channels(found[f"activations/{kept.target}"], share=SHARE)
        target = np.full((POOL, kept.n_kept), -1, dtype=np.int16)
        source = np.full((*target.shape, kept.n_ranks), -1, dtype=np.int16)
        strength = np.zeros(source.shape, dtype=np.float32)
        # Few sources are strong for many targets, as in trained networks.
        weights = 1 / (1 + np.arange(kept.n_sources))
        draws = rng.choice(
            kept.n_sources, (POOL, kept.n_kept, kept.n_ranks), p=weights / weights.sum()
        )
        for row in range(POOL):
            ids = top.indices[top.indptr[row] : top.indptr[row + 1]]
            target[row, : len(ids)] = ids
            source[row, : len(ids)] = draws[row, : len(ids)]
            strength[row, : len(ids)] = rng.random((len(ids), kept.n_ranks))
        found[f"influences/{kept.target}/target"] = target
        found[f"influences/{kept.target}/source"] = source
        found[f"influences/{kept.target}/influence"] = strength
    return found


def timed(function, *, repeat=3):
    """Return the shortest time in seconds, and what came out."""
    seconds, value = [], None
    for _ in range(repeat):
        start = time.perf_counter()
        value = function()
        seconds.append(time.perf_counter() - start)
    return min(seconds), value


def drop_from_cache(folder):
    """Ask the system to forget the files below a folder."""
    os.sync()
    for path in folder.rglob("*"):
        if path.is_file():
            file = os.open(path, os.O_RDONLY)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(file)


def private_bytes():
    """Return the memory of this process that is not mapped from files."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(s.split()[1]) * 1024 for s in lines if s.startswith("RssAnon"))


def drawn(n, share, seed):
    """Return so many of the instances, ascending."""
    size = max(1, int(n * share))
    return np.sort(np.random.default_rng(seed).choice(n, size, replace=False))


def other_ways(store, folder, members):
    """Return seconds of the same answers by other tools, and check them."""
    n, index = store.n_instances, subset_index(store)
    found = {}
    root = zarr.open_group(store.url, mode="r")

    def by_zarr():
        return {
            name: root[f"activations/{name}"]
            .oindex[members]
            .astype(np.float64)
            .mean(axis=0)
            for name in LAYERS
        }

    found["zarr: means of 1 %"], means = timed(by_zarr, repeat=1)
    for name, moments in index.moments(members).items():
        np.testing.assert_allclose(moments.mean, means[name], rtol=1e-5)
    channels = IndexedChannels(store)
    top = sparse.csr_array(sparse.hstack([channels.top(x) for x in LAYERS], "csr"))
    counts = np.concatenate([*index.activation_counts(members).values()])
    mask = np.zeros(n, dtype=np.int32)
    mask[members] = 1
    wide = top.astype(np.int32)
    found["scipy: counts of 1 %"], by_scipy = timed(lambda: wide.T @ mask)
    assert (by_scipy == counts).all()
    found |= by_tables(top, members, counts, folder)
    return found


def by_tables(top, members, counts, folder):
    """Return seconds of counts from a Parquet file."""
    found = {}
    if importlib.util.find_spec("pyarrow") is None:
        return found
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    instance = np.repeat(np.arange(top.shape[0], dtype=np.int32), np.diff(top.indptr))
    table = pa.table({"instance": instance, "channel": top.indices.astype(np.int16)})
    path = folder / "top_channels.parquet"
    pq.write_table(table, path)
    wanted = pa.array(members.astype(np.int32))

    def by_pyarrow():
        read = pq.read_table(path)
        kept = read.filter(pc.is_in(read["instance"], wanted))
        return kept.group_by("channel").aggregate([([], "count_all")])

    found["pyarrow over Parquet: counts of 1 %"], grouped = timed(by_pyarrow)
    assert sum(grouped["count_all"].to_pylist()) == counts.sum()
    if importlib.util.find_spec("duckdb") is not None:
        import duckdb

        connection = duckdb.connect()
        connection.register("chosen", pa.table({"instance": wanted}))
        query = (
            f"select channel, count(*) from '{path}' semi join chosen using (instance) "
            "group by channel"
        )
        found["duckdb over Parquet: counts of 1 %"], rows = timed(
            lambda: connection.execute(query).fetchall()
        )
        assert sum(count for _, count in rows) == counts.sum()
    path.unlink()
    return found


def cold_answers(store, members):
    """Return seconds of a tenth of the instances: an estimate, and all there is."""
    found = {}
    folder = Path(store.url) / INDEX
    for name, function in (
        ("estimated means", estimate),
        ("means", lambda index, some: index.moments(some)),
    ):
        drop_from_cache(folder)
        index = SubsetIndex(store)
        index.activation_counts(members)
        found[f"cold: {name} of 10 %"], _ = timed(
            lambda f=function, i=index: f(i, members), repeat=1
        )
    return found


def measure(folder, n):
    """Return all numbers of a generated store."""
    start = time.perf_counter()
    store = make_store(folder / "run.zarr", n)
    print(f"written in {time.perf_counter() - start:.0f} s", flush=True)
    some = drawn(n, 0.01, 1)
    times = {}
    # Compiled, and chunks in the cache, before anything counts.
    few = some[:10]
    answers(SubsetIndex(store), few)
    without = SubsetIndex(store)
    times["chunks: estimate of 1 %"], _ = timed(
        lambda: estimate(without, some), repeat=1
    )
    times["chunks: counts of 1 %"], counts = timed(
        lambda: without.activation_counts(some), repeat=1
    )
    aggregate(store, [])
    wall, processor = time.perf_counter(), time.process_time()
    make_index(store)
    making = time.perf_counter() - wall, time.process_time() - processor
    print(f"indexed in {making[0]:.0f} s", flush=True)
    files = [p for p in (folder / "run.zarr" / INDEX).rglob("*") if p.is_file()]
    drop_from_cache(folder / "run.zarr" / INDEX)
    store = Store.open(store.url)
    before = private_bytes()
    times["cold: opening and counts of 1 %"], found = timed(
        lambda: subset_index(store).activation_counts(some), repeat=1
    )
    assert all((found[layer] == counts[layer]).all() for layer in counts)
    index = subset_index(store)
    times["cold: means of 1 %"], _ = timed(lambda: index.moments(some), repeat=1)
    times |= cold_answers(store, drawn(n, 0.1, 5))
    times["first touch: means of all"], _ = timed(
        lambda: index.moments(np.arange(n)), repeat=1
    )
    shares = 10 ** np.random.default_rng(2).uniform(-4, np.log10(0.5), 100)
    sets = [drawn(n, share, seed) for seed, share in enumerate(shares)]
    each = [timed(lambda s=s: index.activation_counts(s), repeat=1)[0] for s in sets]
    times["counts, 100 sets of 0.01 to 50 %: median"] = statistics.median(each)
    times["counts, 100 sets of 0.01 to 50 %: 95th percentile"] = float(
        np.percentile(each, 95)
    )
    for share in (0.001, 0.01, 0.1, 0.5, 0.9):
        members = drawn(n, share, 3)
        text = f"{share:.1%}".replace(".0%", " %").replace("%", " %").replace("  ", " ")
        times[f"counts of {text}"], _ = timed(
            lambda m=members: index.activation_counts(m)
        )
        times[f"means and variances of {text}"], _ = timed(
            lambda m=members: index.moments(m, maxima=False)
        )
        times[f"with maxima, of {text}"], _ = timed(lambda m=members: index.moments(m))
        if share <= 0.1:
            subset = Subset("drawn", members)
            times[f"influence counts of {text}"], _ = timed(
                lambda s=subset: count_blocks(store, s).blocks["influence_counts"]
            )
            times[f"influence sums of {text}"], _ = timed(
                lambda s=subset: count_blocks(store, s).blocks["influence_sums"]
            )
    asked = open_store(store.url)
    for share in (0.01, 0.1):
        subset = Subset("drawn", drawn(n, share, 4))
        times[f"attribution graph of {share:.0%}"], _ = timed(
            lambda s=subset: attribution_graph(asked, s, subsets="all")
        )
        times[f"channels and columns of {share:.0%} against all others"], _ = timed(
            lambda s=subset: asked.look(s).lines()
        )
    columns = InstanceColumns(store, IndexedChannels(store))
    times["query of five terms: first"], chosen = timed(
        lambda: matching_instances(QUERY, columns, time_limit_s=600), repeat=1
    )
    times["query of five terms"], chosen = timed(
        lambda: matching_instances(QUERY, columns)
    )
    for kind, query in (
        ("activation", "activation(mixed4d, 313) > 2.5"),
        ("top channel", "top(mixed4d, 313)"),
    ):
        for which in ("first", "again"):
            times[f"query of one {kind}: {which}"], _ = timed(
                lambda q=query: matching_instances(q, columns, time_limit_s=600),
                repeat=1,
            )
    memory = private_bytes() - before
    times |= other_ways(store, folder, some)
    return {
        "instances": n,
        "channels": sum(LAYERS.values()),
        "pieces": len(index.pieces.state.keys),
        "index_bytes": sum(path.stat().st_size for path in files),
        "making_s_per_instance": making[0] / n,
        "making_core_s_per_instance": making[1] / n,
        "memory_bytes": memory,
        "found_by_query": len(chosen),
        "seconds": times,
    }


def answers(index, members):
    """Ask everything once, for what is compiled."""
    index.activation_counts(members)
    index.moments(members)
    index.influence_counts([members])
    index.influence_sums([members])


def main():
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instances", type=int, default=200_000)
    parser.add_argument("--folder", type=Path, required=True, help="must not exist")
    parser.add_argument("--keep", action="store_true", help="leave the store there")
    chosen = parser.parse_args()
    chosen.folder.mkdir(parents=True)
    try:
        found = measure(chosen.folder, chosen.instances)
    finally:
        if not chosen.keep:
            shutil.rmtree(chosen.folder)
    command = f"python -m benchmarks.subsets --instances {chosen.instances}"
    found = {"command": command, "machine": describe_machine(), **found}
    for name, seconds in found["seconds"].items():
        print(f"{1000 * seconds:>12,.1f} ms  {name}")
    print({k: v for k, v in found.items() if k not in ("seconds", "machine")})
    path = RESULTS / "subsets.json"
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
