"""Which graph is best? What trained networks lose without the channels that it ranks.

For each way to rank channels a tenth of one layer's channels, of every class those that
it ranks first, is taken away or kept alone, in images that no ranking has seen. In
their place stand their means over all ranked images; or zero; or what they are in
another image, drawn at random, the same for all ways; and for pairs of classes the mean
of the other class. Told is what the class's own logit loses, less what those of the
others lose on average (of the other class, for pairs), for early, middle and late
layers, and for all layers at once.

Beside them: random channels, those most often on top, and the bound: channels ranked by
what the logit loses when each is taken away by itself, in other images. The order of
all channels is compared with that, too (rank correlation in a layer).

Errors are over classes, and over images; differences from the default are paired. What
is drawn is said in `benchmarks.causal_networks`. All of it takes about 15 minutes of
two cores, a quarter of that with ``--quick``.

Usage, with the real data in ``../shared`` or where ``NNVIZ_SHARED`` points::

    python -m benchmarks.causal [--only resnet20] [--quick]

Results are printed and kept in ``benchmarks/results/causal.json``.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr

import nnviz
from benchmarks.causal_ablation import FRACTION, Asked, Kind, Scores
from benchmarks.causal_networks import (
    QUICK,
    STUDIES,
    Sample,
    Study,
    chain_of,
    sample_of,
)
from benchmarks.causal_report import DEFAULT, DEPTHS, EXACT, PAIR, RANDOM
from benchmarks.environment import describe_machine
from nnviz.ablation.graph_channels import GraphChoice, graph_channels
from nnviz.aggregation.aggregates import aggregates_of
from nnviz.graphs.making import SubsetGraphs
from nnviz.graphs.options import GraphOptions
from nnviz.store.store import Store

RESULTS = Path(__file__).resolve().parent / "results"

RUNS: dict[str, dict[str, Any]] = {
    "before": {"signal": "max", "targets_minimum": 1},
    "maxima": {"signal": "max", "targets_minimum": 8},
    "narrow": {"signal": "peak", "targets_minimum": 1},
    "default": {"signal": "peak", "targets_minimum": 8, "relevance": "label"},
}
"""What an extraction keeps of influences, by name."""

GRAPHS: dict[str, tuple[str, GraphOptions]] = {
    "summit": ("before", GraphOptions(preset="summit")),
    "counts of maxima, top targets": ("before", GraphOptions(weight="count")),
    "counts of maxima, 8 targets": ("maxima", GraphOptions(weight="count")),
    "counts at the peak, 8 targets": ("default", GraphOptions(weight="count")),
    "sums at the peak, top targets": ("narrow", GraphOptions(weight="sum")),
    DEFAULT: ("default", GraphOptions(weight="sum")),
    "in strength": ("default", GraphOptions(scoring="in_strength")),
    "out strength": ("default", GraphOptions(scoring="out_strength")),
    "specificity": ("default", GraphOptions(scoring="specificity")),
    "gradient": ("default", GraphOptions(scoring="gradient")),
    "gradient norm": ("default", GraphOptions(scoring="gradient_norm")),
    "relevance against the mean": ("default", GraphOptions(scoring="relevance")),
}
"""By name: the run of `RUNS`, and how graphs are made."""

OTHERS = (
    "most often on top",
    "mean maximum",
    "mean maximum, less that of all",
    "relevance against zero",
    PAIR,
)
"""Rankings without a graph; all of the default run."""


def main() -> None:
    """Ask all networks, or one, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--only", choices=STUDIES)
    parser.add_argument("--quick", action="store_true", help="fewer images and layers")
    arguments = parser.parse_args()
    chosen, studies = arguments.only, QUICK if arguments.quick else STUDIES
    path = RESULTS / "causal.json"
    result: dict[str, Any] = {"studies": {}}
    if chosen and path.exists():
        result = json.loads(path.read_text(encoding="utf-8"))
    quick = " --quick" if arguments.quick else ""
    result["command"] = f"python -m benchmarks.causal{quick}"
    result["machine"] = describe_machine()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        asked = {
            pool.submit(run, study): name
            for name, study in studies.items()
            if chosen in (None, name)
        }
        for done in as_completed(asked):
            result["studies"][asked[done]] = found = done.result()
            print(asked[done], found["seconds"], flush=True)
            RESULTS.mkdir(exist_ok=True)
            path.write_text(json.dumps(result) + "\n", encoding="utf-8")
    print(path, sys.argv[1:])


def run(study: Study) -> dict[str, Any]:
    """Return what one network loses by all ways, as JSON values."""
    torch.set_num_threads(1)
    started = time.process_time()
    network, sample = sample_of(study)
    chain = chain_of(network.to(memory_format=torch.channels_last))
    with torch.no_grad():
        asked = Asked(chain, sample, study)
    with tempfile.TemporaryDirectory() as folder:
        scores = rankings(Path(folder), network, sample, asked)
    layers = np.array_split(np.arange(len(chain.layers)), len(DEPTHS))
    depths = {
        depth: part[:: study.every].tolist()
        for depth, part in zip(DEPTHS, layers, strict=True)
    }
    with torch.no_grad():
        single = [asked.one_by_one(i, depths, study.n_single) for i in asked.classes]
        found = [asked.losses(i, scores, single[i], depths) for i in asked.classes]
    drops = {key: [one[key] for one in found] for key in found[0]}
    return {
        "study": {x: getattr(study, x) for x in study.__slots__},
        "classes": list(sample.names),
        "layers": {d: [chain.layers[i] for i in part] for d, part in depths.items()},
        "rows": summaries(drops),
        "orders": orders(scores, single, chain.layers, depths),
        "seconds": round(time.process_time() - started),
    }


def rankings(folder: Path, network: Any, sample: Sample, asked: Asked) -> Scores:
    """Return how all ways but the bound rank channels, by runs of the ranked images."""
    scores: Scores = {}
    images = asked.ranked.flatten(0, 1).contiguous().numpy()
    labels = np.repeat(sample.classes, asked.ranked.shape[1])
    stores = {
        name: nnviz.run(
            network,
            (images, labels),
            folder / name,
            extraction=options,
            workers=0,
            progress=False,
            pictures=False,
        )
        for name, options in RUNS.items()
    }
    for way, (name, options) in GRAPHS.items():
        scores[way] = _graph_scores(stores[name], options, sample.classes)
    store = stores["default"]
    if tuple(scores[DEFAULT]) != asked.chain.layers:
        msg = f"graphs show {tuple(scores[DEFAULT])}, and not {asked.chain.layers}"
        raise RuntimeError(msg)
    aggregates = aggregates_of(store, "label")
    rows = [aggregates.row(int(x)) for x in sample.classes]
    everything = aggregates_of(store, "all")
    by_way = [scores.setdefault(way, {}) for way in OTHERS]
    for layer in asked.chain.layers:
        sums = aggregates.relevance_sums(layer)
        means = sums.position_mean[rows]
        to_zero = sums.mean(np.zeros(means.shape[1]))[rows]
        against = to_zero - means[asked.other] * sums.gradient[rows]
        mean = aggregates.mean(layer)[rows]
        values = (
            aggregates.counts(layer).toarray()[rows].astype(np.float64),
            mean,
            mean - everything.mean(layer),
            to_zero,
            against,
        )
        for of_way, one in zip(by_way, values, strict=True):
            of_way[layer] = one
        shape = (len(RANDOM), *mean.shape)
        drawn = np.random.default_rng(len(layer) + mean.shape[1]).random(shape)
        for way, one in zip(RANDOM, drawn, strict=True):
            scores.setdefault(way, {})[layer] = one
    return scores


def _graph_scores(
    store: Store, options: GraphOptions, classes: Iterable[int]
) -> dict[str, NDArray[np.float64]]:
    graphs, aggregates = SubsetGraphs(store, "label"), aggregates_of(store, "label")
    choice = GraphChoice(options, FRACTION)
    found = [
        graph_channels(store, graphs, aggregates, choice, aggregates.named(int(x)))
        for x in classes
    ]
    return {x: np.array([one.scores[x] for one in found]) for x in found[0].scores}


def summaries(
    drops: Mapping[tuple[str, str, str, str], list[NDArray[np.float64]]],
) -> list[dict[str, Any]]:
    """Return means, errors over classes and images, differences from the default."""
    rows = []
    merged = {
        key: np.array(values) for key, values in drops.items() if key[0] not in RANDOM
    }
    for _, *rest in [key for key in drops if key[0] == RANDOM[0]]:
        draws = [np.array(drops[(way, *rest)]) for way in RANDOM]  # type: ignore[index]
        merged["random", *rest] = np.mean(draws, axis=0)  # type: ignore[index]
    for (way, mode, kind, depth), values in merged.items():
        base = merged[DEFAULT, mode, kind, depth]
        of_class = values.mean(axis=2)
        paired = (values - base).mean(axis=2)[:, 1]
        n_classes, _, n = values.shape
        within = values[:, 1].var(axis=1, ddof=1).mean() / n
        rows.append(
            {
                "way": way,
                "mode": mode,
                "kind": kind,
                "depth": depth,
                "own": _rounded(of_class[:, 0].mean()),
                "own_less_others": _rounded(of_class[:, 1].mean()),
                "error_over_classes": _rounded(_error(of_class[:, 1])),
                "error_over_images": _rounded((within / n_classes) ** 0.5),
                "right": _rounded(of_class[:, 2].mean()),
                "against_default": _rounded(paired.mean()),
                "against_default_error": _rounded(_error(paired)),
            }
        )
    return rows


def orders(
    scores: Scores,
    single: list[dict[tuple[Kind, int], NDArray[np.float64]]],
    layers: tuple[str, ...],
    depths: Mapping[str, list[int]],
) -> list[dict[str, Any]]:
    """Return rank correlations with what each channel costs by itself.

    Of each layer and class, and their mean; for the bound, those of its two halves.
    """
    rows = []
    for kind in dict.fromkeys(kind for kind, _ in single[0]):
        for way in (*scores, EXACT):
            of_depth = {}
            for depth, part in depths.items():
                values = [
                    [
                        _correlation(
                            one[kind, x][0]
                            if way == EXACT
                            else scores[way][layers[x]][i],
                            one[kind, x][1] if way == EXACT else one[kind, x].mean(0),
                        )
                        for x in part
                    ]
                    for i, one in enumerate(single)
                ]
                of_class = np.mean(values, axis=1)
                of_depth[depth] = _rounded(of_class.mean())
                of_depth[f"{depth}_error"] = _rounded(_error(of_class))
            rows.append({"way": way, "kind": kind, **of_depth})
    return rows


def _correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Return the rank correlation; 0 where a ranking says nothing."""
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(spearmanr(first, second).statistic)


def _error(values: NDArray[np.float64]) -> float:
    return float(values.std(ddof=1) / len(values) ** 0.5)


def _rounded(value: float) -> float:
    return round(float(value), 4)


if __name__ == "__main__":
    main()
