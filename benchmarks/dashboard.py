"""How fast does the dashboard react? Server side, each view model on a large run.

Writes a planted run of 1,000 classes (unless a store is given), opens it as the server
does, and measures each choice that a visitor can make: all view models, and the values
that are sent. The browser's part is not measured here.

    python benchmarks/dashboard.py
    python benchmarks/dashboard.py --store run.zarr
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "dashboards")]

from scipy import sparse  # noqa: E402

from benchmarks.environment import describe_machine  # noqa: E402
from nnviz.aggregation.aggregation import aggregate  # noqa: E402
from nnviz.derivation.derivation import derive  # noqa: E402
from nnviz.results.run_results import RunResults  # noqa: E402
from nnviz.store.store import Store  # noqa: E402
from nnviz.subsets.subsets import class_subsets  # noqa: E402
from nnviz.testing import PlantedDataset, PlantedRun, write_store  # noqa: E402
from nnviz_dashboards.channels.model import ChannelsModel  # noqa: E402
from nnviz_dashboards.channels.view import ChannelsView  # noqa: E402
from nnviz_dashboards.classes.model import SubsetsModel  # noqa: E402
from nnviz_dashboards.classes.view import EmbeddingView, SubsetListView  # noqa: E402
from nnviz_dashboards.graph.model import GraphModel  # noqa: E402
from nnviz_dashboards.graph.view import GraphView  # noqa: E402
from nnviz_dashboards.page.run_facts import run_facts  # noqa: E402
from nnviz_dashboards.shared.selection import Selection  # noqa: E402
from nnviz_dashboards.subsets.model import SubsetPairModel  # noqa: E402

GOAL_MS = 150
LAYERS = tuple(
    (f"mixed{name}", channels, (side, side))
    for name, channels, side in [
        ("3a", 256, 28), ("3b", 480, 28), ("4a", 508, 14), ("4b", 512, 14),
        ("4c", 512, 14), ("4d", 528, 14), ("4e", 832, 14), ("5a", 832, 7),
        ("5b", 1024, 7),
    ]
)  # fmt: skip
"""Layers of InceptionV1 with their numbers of channels."""


N_TARGETS = 40
N_SOURCES = 5


def write_run(url: str) -> None:
    run = PlantedRun(
        n_classes=1000,
        n_instances=10_000,
        layers=LAYERS,
        examples_per_channel=10,
        instances_per_chunk=1000,
    )
    store = write_store(url, run)
    aggregate(store, [class_subsets(store.column("label"), store.class_names)])
    derive(store, dataset=PlantedDataset(run))
    write_influences(store)


def write_influences(store: Store) -> None:
    """Write influence counts of the size that ImageNet's classes have in InceptionV1.

    A class has a count for some 200 arcs between two layers, between its own channels
    for the most part: arrays of a real run, which planted runs lack.
    """
    rng = np.random.default_rng(0)
    layers = [*LAYERS, ("output", 1000, ())]
    for (_, n_sources, _), (target, n_targets, _) in itertools.pairwise(layers):
        columns = []
        for subset in range(1000):
            targets = rng.integers(0, n_targets, N_TARGETS)
            if target == "output":
                targets[:] = subset
            sources = rng.integers(0, n_sources, (N_TARGETS, N_SOURCES))
            columns.append(np.unique(targets[:, None] * n_sources + sources))
        indptr = np.concatenate([[0], np.cumsum([len(c) for c in columns])])
        counts = rng.integers(1, 10, indptr[-1])
        by_class = sparse.csr_array(
            (counts, np.concatenate(columns), indptr),
            shape=(1000, n_targets * n_sources),
        )
        everything = sparse.csr_array(
            sparse.csr_array(np.ones((1, 1000), np.int64)) @ by_class
        )
        for name, matrix in (("label", by_class), ("all", everything)):
            for what in ("influence_counts", "influence_sums"):
                store.groups.write_member(f"aggregates/{name}/{what}/{target}", matrix)


def measure(store_url: str, repeats: int) -> dict[str, list[float]]:
    began = time.perf_counter()
    results = RunResults(Store.open(store_url))
    run_facts(results)
    layers = {layer.name: layer.n_channels for layer in results.layers}
    present = results.class_table().present.tolist()
    names = list(layers)
    # The graph is measured by itself, below.
    selection = Selection(
        layers, present, layer=names[-1], subset=present[0], view="channels"
    )
    subsets = SubsetsModel(results, selection)
    # What a click on a class costs is not what counting A against B costs.
    pairs = SubsetPairModel(results, selection, run_later=lambda work, done: None)
    channels = ChannelsModel(results, pairs)
    labels = dict(zip(names, names, strict=True))
    EmbeddingView(subsets, labels, compare=pairs.compare_classes)
    SubsetListView(subsets)
    ChannelsView(channels, pictures="pictures", layers=labels)
    times = {"open the page, cold": [1e3 * (time.perf_counter() - began)]}

    def clock(name: str, action) -> None:
        start = time.perf_counter()
        action()
        times.setdefault(name, []).append(1e3 * (time.perf_counter() - start))

    for name in reversed(names[:-1]):
        clock("choose a layer, cold", lambda name=name: selection.choose(layer=name))
    rng = np.random.default_rng(0)
    for repeat in range(repeats):
        layer = names[repeat % len(names)]
        clock("choose a layer", lambda layer=layer: selection.choose(layer=layer))
        subset = int(rng.choice(present))
        clock("choose a class", lambda subset=subset: subsets.choose(subset))
        channel = channels.rows[0].channel
        clock("choose a channel", lambda channel=channel: channels.choose(channel))
        clock("search", lambda repeat=repeat: subsets.search(f"{repeat % 10}"))
        clock("search nothing", lambda: subsets.search(""))
        for key in ("accuracy", "name", "errors", "similarity"):
            clock("sort", lambda key=key: subsets.sort(key))
        for key in ("lift", "count"):
            clock("rank", lambda key=key: channels.rank(key))
        row = channels.rows[0]
        clock("send a picture", lambda row=row: picture(results, selection, row))
    if results.graphs.has_influences(results.kind):
        measure_graphs(results, selection, labels, clock, repeats)
    return times


def measure_graphs(results, selection, labels, clock, repeats: int) -> None:
    """Measure what a visitor does with the graph; no graph is asked for twice."""
    model = GraphModel(results, results.graphs, selection)
    GraphView(model, pictures="pictures", layers=labels)
    clock("open the graph, cold", lambda: selection.choose(view="graph"))
    present = results.class_table().present
    classes = np.random.default_rng(1).permutation(present)[: 3 * repeats].tolist()
    names = results.aggregates().names
    for k in range(0, len(classes) - 2, 3):
        one, two, three = classes[k : k + 3]
        clock("graph: choose a class", lambda one=one: selection.choose(subset=one))
        clock("graph: compare", lambda two=two: model.compare_with(names[two]))
        model.compare_with("")
        node = model.drawing.nodes[0]
        clock("graph: pin", lambda node=node: model.pin(node.layer, node.channel))
        model.unpin()
        clock("graph: choose again", lambda: selection.choose(scoring="in_strength"))
        selection.choose(scoring="evidence")
        selection.choose(subset=three)


def picture(results: RunResults, selection: Selection, row) -> None:
    for example in row.examples[:1]:
        results.picture(selection.layer, row.channel, example.rank)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", help="a finished store; none writes a planted one")
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument(
        "--out", type=Path, default=ROOT / "benchmarks" / "results" / "dashboard.json"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = options.store or str(Path(folder) / "run.zarr")
        if options.store is None:
            write_run(url)
        store = Store.open(url)
        times = measure(url, options.repeats)
    rows = {
        name: {
            "median_ms": round(statistics.median(values), 2),
            "p95_ms": round(float(np.quantile(values, 0.95)), 2),
            "max_ms": round(max(values), 2),
            "n": len(values),
        }
        for name, values in times.items()
    }
    width = max(map(len, rows))
    print(f"{'reaction':<{width}}  median    95 %     max  (ms)")
    for name, row in rows.items():
        cells = "  ".join(f"{row[k]:6.1f}" for k in ("median_ms", "p95_ms", "max_ms"))
        print(f"{name:<{width}}  {cells}")
    slow = [
        name for name, row in rows.items()
        if row["p95_ms"] > GOAL_MS and "cold" not in name
    ]  # fmt: skip
    print(f"goal {GOAL_MS} ms: {'missed by ' + ', '.join(slow) if slow else 'met'}")
    result = {
        "command": "python benchmarks/dashboard.py",
        "machine": describe_machine(),
        "run": {
            "classes": len(store.class_names),
            "instances": store.n_instances,
            "layers": len(store.shown_layers),
            "channels": sum(layer.n_channels for layer in store.shown_layers),
        },
        "goal_ms": GOAL_MS,
        "reactions": rows,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
