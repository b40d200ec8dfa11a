"""How long do questions about any subset take? By the index, and as one would else.

Prints a table, and writes ``benchmarks/results/subsets.json``, or without ``--full``
``subsets-quick.json``::

    python -m benchmarks.subsets            two minutes
    python -m benchmarks.subsets --full     1,281,167 instances, an hour, 40 GB

``--folder FOLDER --keep`` leaves the store there; the same again asks that store, and
takes the times of making it from the run that made it. It is generated
(:mod:`benchmarks.subsets_store`), about 29 kB an instance with its index. Every
question is timed on the same instances in the same process; what is cold, in one of
its own (:mod:`benchmarks.subsets_cold`). Beside the time on the clock stands that of
the processor, all threads together: other work on the machine makes the first one
longer, and hardly the second one. What it is compared with:

- zarr: the rows of the store's own arrays by ``oindex``, a NumPy mean of each layer;
- scipy: top channels as a CSR matrix in memory, times a mask;
- pyarrow: top channels in a Parquet file, one row each, filtered and grouped;
- duckdb: the same file, if DuckDB is installed;
- chunks: nnviz without an index.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import zarr
from scipy import sparse

from benchmarks.environment import describe_machine
from benchmarks.subsets_cold import ask_cold
from benchmarks.subsets_store import LAYERS, make_store
from nnviz.aggregation.aggregation import aggregate
from nnviz.aggregation.estimates import estimate
from nnviz.aggregation.index import INDEX, make_index
from nnviz.aggregation.index_channels import IndexedChannels
from nnviz.aggregation.subset_index import SubsetIndex, subset_index
from nnviz.aggregation.totals import count_blocks
from nnviz.interface.questions import attribution_graph
from nnviz.interface.run_store import open_store
from nnviz.store.store import Store
from nnviz.subsets.columns import InstanceColumns
from nnviz.subsets.evaluation import matching_instances
from nnviz.subsets.subsets import Subset

RESULTS = Path(__file__).parent / "results"
CHANNEL = "activation(mixed4d, 313) > 2.5"
TOP = "top(mixed4d, 313)"
SHARES = {0.001: "0.1 %", 0.01: "1 %", 0.1: "10 %", 0.5: "50 %", 0.9: "90 %"}
FULL = 1_281_167
QUICK = 40_000
QUERY = (
    "label != prediction and confidence between 0.2 and 0.9 and "
    "city in (Ghent, Riga, Turku) and year > 2003 and note contains 'rain'"
)


class Times:
    """Seconds of questions by name, on the clock and of the processor."""

    def __init__(self):
        self.wall, self.processor, self.found = {}, {}, {}

    def take(self, name, function, *, repeat=3):
        """Keep the shortest times of a question; return what came out."""
        both, value = [], None
        for _ in range(repeat):
            wall, processor = time.perf_counter(), time.process_time()
            value = function()
            both.append((time.perf_counter() - wall, time.process_time() - processor))
        self.wall[name] = min(wall for wall, _ in both)
        self.processor[name] = min(processor for _, processor in both)
        return value


def private_bytes():
    """Return the memory of this process that is not mapped from files."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(s.split()[1]) * 1024 for s in lines if s.startswith("RssAnon"))


def drawn(n, share, seed):
    """Return so many of the instances, ascending."""
    size = max(1, int(n * share))
    return np.sort(np.random.default_rng(seed).choice(n, size, replace=False))


def other_ways(store, folder, members, times):
    """Time the same answers by other tools, and check them."""
    n, index = store.n_instances, subset_index(store)
    root = zarr.open_group(store.url, mode="r")

    def by_zarr():
        found = {}
        for name in LAYERS:
            place = store.stored.places[f"activations/{name}"]
            columns = slice(place.first, place.last)
            rows = root[place.spec.path].oindex[members, columns]
            found[name] = rows.astype(np.float64).mean(axis=0)
        return found

    means = times.take("zarr: means of 1 %", by_zarr, repeat=1)
    for name, moments in index.moments(members).items():
        np.testing.assert_allclose(moments.mean, means[name], rtol=1e-5)
    channels = IndexedChannels(store)
    top = sparse.csr_array(sparse.hstack([channels.top(x) for x in LAYERS], "csr"))
    counts = np.concatenate([*index.activation_counts(members).values()])
    mask = np.zeros(n, dtype=np.int32)
    mask[members] = 1
    wide = top.astype(np.int32)
    by_scipy = times.take("scipy: counts of 1 %", lambda: wide.T @ mask)
    assert (by_scipy == counts).all()
    by_tables(top, members, counts, folder, times)


def by_tables(top, members, counts, folder, times):
    """Time counts from a Parquet file."""
    if importlib.util.find_spec("pyarrow") is None:
        return
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

    grouped = times.take("pyarrow over Parquet: counts of 1 %", by_pyarrow)
    assert sum(grouped["count_all"].to_pylist()) == counts.sum()
    if importlib.util.find_spec("duckdb") is not None:
        import duckdb

        connection = duckdb.connect()
        connection.register("chosen", pa.table({"instance": wanted}))
        query = (
            f"select channel, count(*) from '{path}' semi join chosen using (instance) "
            "group by channel"
        )
        rows = times.take(
            "duckdb over Parquet: counts of 1 %",
            lambda: connection.execute(query).fetchall(),
        )
        assert sum(count for _, count in rows) == counts.sum()
    path.unlink()


def cold_answers(folder, n):
    """Return what questions take whose answers are on the disk."""
    n_sets, small = 10 if n == FULL else 2, folder / "small.zarr"
    make_index(make_store(small, 2048))
    shares = 10 ** np.random.default_rng(4).uniform(-4, np.log10(0.5), n_sets)
    questions = {
        f"counts, set {i + 1} of {n_sets}": ("counts", drawn(n, share, i))
        for i, share in enumerate(shares)
    }
    one, ten = drawn(n, 0.01, 1), drawn(n, 0.1, 5)
    questions |= {
        "counts of 1 %": ("counts", one),
        "means of 1 %": ("means", one),
        "estimated means of 10 %": ("estimated", ten),
        "query of five terms": (QUERY, one),
        "query of one activation": (CHANNEL, one),
        "query of one top channel": (TOP, one),
    }
    queries, store = (QUERY, CHANNEL, TOP), folder / "run.zarr"
    warmed = {name: one for name, one in questions.items() if "set" not in name}
    questions["means of 10 %"] = ("means", ten)
    found = {
        "cold": ask_cold(store, small, questions, queries),
        "warmed": ask_cold(store, small, warmed, queries, is_warmed=True),
    }
    shutil.rmtree(small)
    return found


def without_index(store, some, times):
    """Time answers from the chunks; return the counts."""
    # Compiled, and chunks in the cache, before anything counts.
    answers(SubsetIndex(store), some[:10])
    without = SubsetIndex(store)
    times.take("chunks: estimate of 1 %", lambda: estimate(without, some), repeat=1)
    return times.take(
        "chunks: counts of 1 %", lambda: without.activation_counts(some), repeat=1
    )


def many_sets(index, n, times):
    """Time counts of sets of many sizes."""
    shares = 10 ** np.random.default_rng(2).uniform(-4, np.log10(0.5), 100)
    each = Times()
    for seed, share in enumerate(shares):
        members = drawn(n, share, seed)
        each.take(seed, lambda m=members: index.activation_counts(m), repeat=1)
    for kept, found in ((times.wall, each.wall), (times.processor, each.processor)):
        values = [*found.values()]
        kept["counts, 100 sets of 0.01 to 50 %: median"] = statistics.median(values)
        kept["counts, 100 sets of 0.01 to 50 %: 95th percentile"] = float(
            np.percentile(values, 95)
        )


def of_shares(store, index, times):
    """Time counts, sums and influences of sets of some sizes."""
    for share, text in SHARES.items():
        members = drawn(store.n_instances, share, 3)
        times.take(f"counts of {text}", lambda m=members: index.activation_counts(m))
        times.take(
            f"means and variances of {text}",
            lambda m=members: index.moments(m, maxima=False),
        )
        times.take(f"with maxima, of {text}", lambda m=members: index.moments(m))
        if share <= 0.1:
            subset = Subset("drawn", members)
            for what in ("influence_counts", "influence_sums"):
                times.take(
                    f"{what.replace('_', ' ')} of {text}",
                    lambda s=subset, w=what: count_blocks(store, s).blocks[w],
                )


def of_questions(store, times):
    """Time whole answers, and queries; return what a query has found."""
    asked = open_store(store.url)
    for share, text in ((0.01, "1 %"), (0.1, "10 %")):
        subset = Subset("drawn", drawn(store.n_instances, share, 4))
        times.take(
            f"attribution graph of {text}",
            lambda s=subset: attribution_graph(asked, s, subsets="all"),
        )
        times.take(
            f"channels and columns of {text} against all others",
            lambda s=subset: asked.look(s).lines(),
        )
    columns = InstanceColumns(store, IndexedChannels(store))
    for name, query in (
        ("query of five terms", QUERY),
        ("query of one activation", CHANNEL),
        ("query of one top channel", TOP),
    ):
        for which in (": first", ": again"):
            found = times.take(
                name + which,
                lambda q=query: matching_instances(q, columns, time_limit_s=600),
                repeat=1,
            )
            times.found[name] = len(found)
    other = CHANNEL.replace("313", "314")
    times.take(
        "query of one activation: another of its strip",
        lambda: matching_instances(other, columns, time_limit_s=600),
        repeat=1,
    )


def made_store(folder, n, some):
    """Return the store with its index, and what was measured while it had none."""
    place, kept = folder / "run.zarr", folder / "making.json"
    if kept.exists():
        return Store.open(place), json.loads(kept.read_text(encoding="utf-8"))
    start = time.perf_counter()
    store = make_store(place, n)
    print(f"written in {time.perf_counter() - start:.0f} s", flush=True)
    without, times = Times(), Times()
    counts = without_index(store, some, without)
    aggregate(store, [])
    times.take("index", lambda: make_index(store), repeat=1)
    print(f"indexed in {times.wall['index']:.0f} s", flush=True)
    found = SubsetIndex(Store.open(place)).activation_counts(some)
    assert all((found[layer] == counts[layer]).all() for layer in counts)
    making = {
        "making_s_per_instance": times.wall["index"] / n,
        "making_core_s_per_instance": times.processor["index"] / n,
        "seconds": without.wall,
        "processor_seconds": without.processor,
    }
    kept.write_text(json.dumps(making), encoding="utf-8")
    return store, making


def measure(folder, n, *, is_cold=True):
    """Return all numbers of a generated store; those in the cold take minutes."""
    started, times = os.getloadavg(), Times()
    start = time.perf_counter()
    some = drawn(n, 0.01, 1)
    store, making = made_store(folder, n, some)
    times.wall |= making.pop("seconds")
    times.processor |= making.pop("processor_seconds")
    files = [p for p in (folder / "run.zarr" / INDEX).rglob("*") if p.is_file()]
    cold = cold_answers(folder, n) if is_cold else {}
    print(f"asked in the cold: {time.perf_counter() - start:.0f} s", flush=True)
    store = Store.open(store.url)
    before = private_bytes()
    index = subset_index(store)
    times.take(
        "first touch: means of all", lambda: index.moments(np.arange(n)), repeat=1
    )
    many_sets(index, n, times)
    of_shares(store, index, times)
    of_questions(store, times)
    memory = private_bytes() - before
    other_ways(store, folder, some, times)
    return {
        "load_before": [round(value, 1) for value in started],
        "instances": n,
        "channels": sum(LAYERS.values()),
        "pieces": len(index.pieces.state.keys),
        "index_bytes": sum(path.stat().st_size for path in files),
        **making,
        "memory_bytes": memory,
        "found": times.found,
        "seconds": times.wall,
        "processor_seconds": times.processor,
        **cold,
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
    parser.add_argument("--full", action="store_true", help=f"{FULL:,} instances")
    parser.add_argument("--instances", type=int, default=QUICK)
    parser.add_argument("--folder", type=Path, help="of the store; else a new one")
    parser.add_argument("--keep", action="store_true", help="leave the store there")
    chosen = parser.parse_args()
    n = FULL if chosen.full else chosen.instances
    folder = chosen.folder or Path(tempfile.mkdtemp(prefix="nnviz-subsets-")) / "made"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        found = measure(folder, n)
    finally:
        if not chosen.keep:
            shutil.rmtree(folder if chosen.folder else folder.parent)
    size = "--full" if chosen.full else f"--instances {n}"
    command = f"python -m benchmarks.subsets {size}"
    found = {"command": command, "machine": describe_machine(), **found}
    for name, seconds in found["seconds"].items():
        processor = found["processor_seconds"][name]
        print(f"{1000 * seconds:>12,.1f} ms {1000 * processor:>12,.1f} ms  {name}")
    for kind in ("cold", "warmed"):
        for name, one in found[kind].items():
            text = f"{one['mb_from_disk']:>9,.0f} MB  {kind}: {name}"
            print(f"{1000 * one['s']:>12,.1f} ms {text}")
    name = "subsets.json" if n == FULL else "subsets-quick.json"
    text = json.dumps(found, indent=1) + "\n"
    (RESULTS / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
