"""What is lost where layers that are not shown are composed away, and are no nodes?

    python -m benchmarks.composition STORE --json out.json

Nodes: of every class, the graph with inner layers composed away and the one with them
as nodes are compared in the layers that are shown: how many nodes they share, and how
their scores of all channels rank. Arcs: a composed arc counts as much as the narrowest
hop of its best way; of each node's sources in the graph, it is compared with the share
of the evidence that arrives there over all ways. Network: both rankings are taken from
it, a tenth of each shown layer, one layer at a time. STORE is copied for that.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from benchmarks.environment import describe_machine
from nnviz.ablation.ablation import ablate
from nnviz.ablation.graph_channels import GraphChoice
from nnviz.graphs.attribution_graph import AttributionGraph
from nnviz.graphs.from_totals import FullGraphs, output_layer
from nnviz.graphs.full_graph import FullGraph
from nnviz.graphs.making import SubsetGraphs
from nnviz.graphs.options import GraphOptions, Weight
from nnviz.statistics import half_width, mean_of, standard_error
from nnviz.store.store import Store
from nnviz.subsets.naming import named_subsets

__all__ = ["measure", "ways"]

LEAST_SOURCES = 3
"""Of a node, for its arcs to have an order."""


def measure(url: str, *, n_instances: int) -> dict[str, Any]:
    """Return what both ways give, for walks by counts and by sums.

    Parameters
    ----------
    url
        Store with labels, aggregated, of which some layers are not shown.
    n_instances
        Of each class, for what the network loses; 0: it is not run.
    """
    store = Store.open(url)
    graphs, full = SubsetGraphs(store), FullGraphs(store)
    rows = []
    weights: tuple[Weight, ...] = ("count", "sum")
    for weight in weights:
        found = [_of_class(graphs, full, name, weight) for name in graphs.names]
        row = {key: float(np.nanmean([one[key] for one in found])) for key in found[0]}
        row |= _effects(url, weight, n_instances) if n_instances else {}
        rows.append({"weight": weight, **row})
    return {
        "command": f"python -m benchmarks.composition STORE --instances {n_instances}",
        "classes": len(graphs.names),
        "rows": rows,
    }


def ways(whole: FullGraph, shown: tuple[str, ...], target: str) -> dict[str, Any]:
    """Return which share of each channel's evidence comes from where, over all ways.

    Parameters
    ----------
    whole
        With all layers; its arcs are what walks follow, in proportion.
    shown
        Layers at which a walk ends.
    target
        Layer where it starts.

    Returns
    -------
    dict
        By shown layer, shape (channels of `target`, channels of the layer).
    """
    mass: dict[str, NDArray[np.float64]] = {}
    at = whole.layers.index(target)
    mass[target] = np.eye(len(whole.counts[at]))
    for layer in whole.layers[at::-1]:
        if layer not in mass or (layer in shown and layer != target):
            continue
        here = mass.pop(layer)
        into = {s: whole.arcs[layer, s].toarray() for s in whole.sources_of(layer)}
        into = {s: np.maximum(values, 0.0) for s, values in into.items()}
        total = sum((x.sum(axis=1) for x in into.values()), np.zeros(here.shape[1]))
        for source, values in into.items():
            step = values / np.where(total > 0, total, np.inf)[:, None]
            mass[source] = mass.get(source, 0.0) + here @ step
    return mass


def _of_class(
    graphs: SubsetGraphs, full: FullGraphs, name: str, weight: Weight
) -> dict[str, float]:
    made = {
        inner: graphs.graph(name, weight=weight, inner=inner)
        for inner in ("composed", "nodes")
    }
    every = {
        inner: graphs.graph(name, weight=weight, inner=inner, share=1.0)
        for inner in ("composed", "nodes")
    }
    shown, output = made["composed"].layers, output_layer(graphs.store)
    kept = [
        {node for node in graph if node[0] in shown and node[0] != output}
        for graph in made.values()
    ]
    ranks = [_correlation(*(_scores(g, x) for g in every.values())) for x in shown]
    totals = full.totals(name)
    whole = full.sums(totals) if weight == "sum" else full.full(totals)
    return {
        "shared_nodes": len(kept[0] & kept[1]) / len(kept[0] | kept[1]),
        "rank_correlation": float(np.nanmean(ranks)),
        **_arcs(made["composed"], whole),
    }


def _scores(graph: AttributionGraph, layer: str) -> dict[int, float]:
    rows = graph.nodes_of(layer)
    pairs = zip(graph.channel[rows].tolist(), graph.score[rows].tolist(), strict=True)
    return dict(pairs)


def _correlation(first: dict[int, float], second: dict[int, float]) -> float:
    channels = sorted({*first, *second})
    one, two = ([scores.get(c, 0.0) for c in channels] for scores in (first, second))
    if len(channels) < LEAST_SOURCES or len(set(one)) == 1 or len(set(two)) == 1:
        return np.nan
    return float(spearmanr(one, two).statistic)


def _arcs(graph: AttributionGraph, whole: FullGraph) -> dict[str, float]:
    """Compare composed arcs with all ways, over the sources of each node."""
    keys, found = graph.keys(), []
    of_layer = {x: ways(whole, graph.layers, x) for x in graph.layers}
    for node, (layer, channel) in enumerate(keys):
        arcs = np.flatnonzero(graph.target == node)
        if len(arcs) < LEAST_SOURCES:
            continue
        counts = graph.arc_count[arcs]
        from_ = [keys[source] for source in graph.source[arcs].tolist()]
        share = np.array([of_layer[layer][x][channel, c] for x, c in from_])
        if len(set(counts.tolist())) > 1 and len(set(share.tolist())) > 1:
            is_first = counts[np.argmax(share)] == counts.max()
            found.append((float(spearmanr(counts, share).statistic), float(is_first)))
    rank, first = np.array(found).reshape(-1, 2).mean(axis=0)
    return {"arc_rank_correlation": rank, "strongest_arc_agrees": first}


def _effects(url: str, weight: Weight, n_instances: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        copy = str(Path(folder) / "run.zarr")
        shutil.copytree(url, copy)
        store = Store.open(copy, writable=True)
        labels = named_subsets(store, "label")
        checks = [
            ablate(
                store,
                labels,
                graph=GraphChoice(GraphOptions(weight=weight, inner=inner), 0.1),
                n_instances=n_instances,
                draws=1,
            )
            for inner in ("composed", "nodes")
        ]
    shown = [x for x in checks[0].n_channels if x in checks[1].n_channels]
    drops = [
        np.mean([check.drops("graph", layer=x)[:, 0] for x in shown], axis=0)
        for check in checks
    ]
    paired = drops[0] - drops[1]
    sizes = checks[0].n_instances
    return {
        "composed_drop": float(mean_of(mean_of(drops[0]))),
        "nodes_drop": float(mean_of(mean_of(drops[1]))),
        "difference": float(mean_of(mean_of(paired))),
        "difference_interval": half_width(
            mean_of(paired), standard_error(paired), sizes
        ),
    }


def main(arguments: list[str] | None = None) -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store")
    parser.add_argument("--instances", type=int, default=20)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    found = measure(options.store, n_instances=options.instances)
    text = json.dumps({**found, "machine": describe_machine()}, indent=1) + "\n"
    sys.stdout.write(text)
    if options.json is not None:
        options.json.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
