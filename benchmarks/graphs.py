"""How long do a thousand attribution graphs of InceptionV1's size take?

Prints a table and writes ``benchmarks/results/graphs.json``::

    python -m benchmarks.graphs --graphs 1000 --compared 5

Every graph is made by a seeded generator: the nine layers of InceptionV1 (5,484
channels), about 200,000 arcs between neighbouring layers, sources drawn by a skewed
popularity as SUMMIT's graphs show it (one channel in 8 of 10 classes), counts up to
1,300 whose sum over a target's arcs is about five for each instance. Making them is not
timed.

For every graph it times, one after the other, in one process and one thread, by the
clock and by the processor (which others may use at the same time):

- directed: walks from the class's output, the cut, its repair, and all numbers of the
  kept graph with base rates;
- summit: undirected PageRank to an error below 1e-10, the cut with raised shares, the
  filter of arcs, and the same numbers;
- pagerank: the two scores alone.

On some of the same graphs, in between: ``networkx.pagerank`` as SUMMIT calls it, and
the same to convergence, with which the scores must agree to 1e-8.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import time
from collections import defaultdict
from pathlib import Path

import networkx as nx
import numpy as np
import scipy
from scipy import sparse

from benchmarks.environment import describe_machine
from nnviz.graphs.full_graph import FullGraph
from nnviz.graphs.presets import directed_graph, summit_graph
from nnviz.graphs.scores import (
    count_personalization,
    downward_pagerank,
    undirected_pagerank,
)

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
N_ARCS = 200_000
N_INSTANCES = 1300


def make_graph(seed):
    """Return one full graph; equal seeds give equal graphs."""
    rng = np.random.default_rng(seed)
    names, sizes = tuple(LAYERS), tuple(LAYERS.values())
    counts = tuple(
        np.floor(
            N_INSTANCES
            * _popularity(size, shift=0)
            / _popularity(size, shift=0).max()
            * rng.random(size)
        ).astype(np.int64)
        for size in sizes
    )
    arcs = {}
    pairs = list(zip(range(8), range(1, 9), strict=True))
    n_targets = sum(sizes[1:])
    for s, t in pairs:
        weights = np.cumsum(_popularity(sizes[s], shift=seed % 7))
        degree = rng.lognormal(np.log(N_ARCS * 1.02 / n_targets), 0.4, sizes[t])
        degree = np.clip(degree.astype(int), 5, sizes[s])
        targets = np.repeat(np.arange(sizes[t]), degree)
        drawn = np.searchsorted(weights, rng.random(len(targets)) * weights[-1])
        pair = np.unique(targets * sizes[s] + np.minimum(drawn, sizes[s] - 1))
        values = np.ceil(N_INSTANCES * rng.random(len(pair)) ** 6).astype(np.int64)
        entries = values, np.divmod(pair, sizes[s])
        arcs[names[t], names[s]] = sparse.csr_array(entries, (sizes[t], sizes[s]))
    return FullGraph(names, counts, arcs, N_INSTANCES)


def _popularity(size, shift):
    """Return how often channels are sources, in an order that is the same for all."""
    order = np.random.default_rng((size, shift // 5)).permutation(size)
    return 1 / np.sqrt(1.0 + order)


def to_networkx(graph, *, directed):
    """Return the arcs as networkx has them, and the personalisation."""
    network = nx.DiGraph() if directed else nx.Graph()
    offsets = graph.offsets
    if directed:
        network.add_nodes_from(range(graph.n_nodes))
    for (target, source), matrix in graph.arcs.items():
        rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
        network.add_weighted_edges_from(
            zip(
                (rows + offsets[target]).tolist(),
                (matrix.indices + offsets[source]).tolist(),
                matrix.data.tolist(),
                strict=True,
            )
        )
    start = count_personalization(graph)
    return network, {node: start[node] for node in network}


def timed(times, name, function, *args, **options):
    """Call, and keep the seconds."""
    started = time.perf_counter(), time.process_time()
    value = function(*args, **options)
    times[name].append(time.perf_counter() - started[0])
    times[f"{name}, processor"].append(time.process_time() - started[1])
    return value


def compare(graph, times):
    """Time networkx on one graph; return the largest difference of the scores."""
    largest = 0.0
    for name, directed, score in (
        ("directed", True, downward_pagerank),
        ("summit", False, undirected_pagerank),
    ):
        network, start = timed(
            times, f"networkx graph {name}", to_networkx, graph, directed=directed
        )
        options = {"personalization": start, "alpha": 0.85, "weight": "weight"}
        timed(times, f"networkx pagerank {name}", nx.pagerank, network, **options)
        exact = nx.pagerank(network, tol=1e-16, max_iter=1000, **options)
        mine = score(graph, count_personalization(graph))
        wanted = np.zeros(graph.n_nodes)
        wanted[list(exact)] = list(exact.values())
        largest = max(largest, float(np.abs(mine - wanted).max()))
    return largest


def run(n_graphs, n_compared):
    """Time all, and return the seconds of every step and some facts."""
    times, difference, facts = defaultdict(list), 0.0, defaultdict(list)
    everything = make_graph(10**6)
    everything = FullGraph(
        everything.layers, everything.counts, everything.arcs, 1000 * N_INSTANCES
    )
    for seed in range(n_graphs):
        graph = make_graph(seed)
        start = np.zeros(LAYERS["mixed5b"])
        start[seed % len(start)] = 1.0
        options = {"subset": str(seed), "everything": everything}
        directed = timed(
            times, "directed", directed_graph, graph, ("mixed5b", start), **options
        )
        summit = timed(times, "summit", summit_graph, graph, **options)
        counts = count_personalization(graph)
        timed(times, "pagerank directed", downward_pagerank, graph, counts)
        timed(times, "pagerank summit", undirected_pagerank, graph, counts)
        facts["arcs"].append(sum(matrix.nnz for matrix in graph.arcs.values()))
        facts["nodes kept by directed"].append(directed.n_nodes)
        facts["nodes kept by summit"].append(summit.n_nodes)
        facts["arcs kept by summit"].append(summit.n_arcs)
        if seed < n_compared:
            difference = max(difference, compare(graph, times))
    return times, facts, difference


def main():
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--graphs", type=int, default=1000)
    parser.add_argument("--compared", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS / "graphs.json")
    options = parser.parse_args()
    times, facts, difference = run(options.graphs, options.compared)
    rows = {
        name: {
            "graphs": len(values),
            "median_s": statistics.median(values),
            "minimum_s": min(values),
            "maximum_s": max(values),
            "total_s": sum(values),
            "per_1000_s": 1000 * statistics.mean(values),
        }
        for name, values in times.items()
    }
    print(f"{'':38}{'median ms':>10}{'max ms':>9}{'s for 1,000':>13}")
    for name, row in rows.items():
        print(
            f"{name:38}{1e3 * row['median_s']:10.2f}{1e3 * row['maximum_s']:9.2f}"
            f"{row['per_1000_s']:13.1f}"
        )
    print(f"largest difference from networkx: {difference:.1e}")
    assert difference < 1e-8
    value = {
        "command": " ".join(["python -m benchmarks.graphs", *sys.argv[1:]]),
        "machine": describe_machine(),
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "versions": {"scipy": scipy.__version__, "networkx": nx.__version__},
        "medians": {name: statistics.median(values) for name, values in facts.items()},
        "difference_from_networkx": difference,
        "times": rows,
    }
    options.out.parent.mkdir(exist_ok=True)
    options.out.write_text(json.dumps(value, indent=1) + "\n")


if __name__ == "__main__":
    main()
