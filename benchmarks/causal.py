"""Which graphs matter most to a network? The causal check of all presets and scorings.

ResNet-20 on the CIFAR-10 test images, and SqueezeNet on photographs, one a class. For
each way to make graphs, three checks on the same instances:

- at equal size, a tenth of each layer's channels by the way's scores, in each layer
  alone and in all layers at once, beside random sets, the most active and the least
  scored channels;
- at a smaller equal size in all layers at once, since a tenth of everything destroys a
  small network whichever channels it is;
- at the size that the graph itself has, with the share of the logit that is left when
  all other channels are ablated.

Usage, with the real data in ``../shared`` or where ``NNVIZ_SHARED`` points::

    python -m benchmarks.causal [--only cifar10] [--keep FOLDER]

Results are printed and kept in ``benchmarks/results/causal.json``.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from distributed import Client

import nnviz
from benchmarks.environment import describe_machine
from benchmarks.real_runs import CASES, run_file_text
from nnviz.ablation.ablation import ablate
from nnviz.ablation.causal_check import CausalCheck
from nnviz.ablation.graph_channels import GraphChoice
from nnviz.graphs.options import GraphOptions
from nnviz.runs.config import load_config
from nnviz.statistics import half_width, mean_of
from nnviz.store.store import Store, open_store
from nnviz_cluster import local

RESULTS = Path(__file__).resolve().parent / "results"

SIZES = {"equal": 0.1, "small": 0.04, "own": None}
"""Fraction of each layer that is ablated; None: what the graph has."""


@dataclass(frozen=True)
class Study:
    """What is checked of one network."""

    case: str
    n_subsets: int
    """So many classes that have instances, drawn at random."""
    n_instances: int
    draws: int


STUDIES = (
    Study("cifar10", n_subsets=10, n_instances=100, draws=10),
    Study("photographs", n_subsets=20, n_instances=1, draws=5),
)

WAYS: dict[str, tuple[str, GraphOptions]] = {
    "directed, evidence by counts": ("max", GraphOptions(weight="count")),
    "directed, evidence by counts at the peak": ("peak", GraphOptions(weight="count")),
    "directed, evidence by sums at the peak": ("peak", GraphOptions(weight="sum")),
    "directed, sums at the peak of 8 targets": ("wide", GraphOptions(weight="sum")),
    "directed, relevance": ("wide", GraphOptions(scoring="relevance")),
    "directed, in strength": ("max", GraphOptions(scoring="in_strength")),
    "directed, out strength": ("max", GraphOptions(scoring="out_strength")),
    "directed, specificity": ("max", GraphOptions(scoring="specificity")),
    "summit": ("max", GraphOptions(preset="summit")),
}
"""By name: the run of `RUNS`, and how graphs are made."""

RUNS = {
    "max": 'signal = "max"\ntargets_minimum = 1\n',
    "peak": 'signal = "peak"\ntargets_minimum = 1\n',
    "wide": 'signal = "peak"\nrelevance = "label"\n',
}
"""What the extraction keeps of influences, by name."""


def main() -> None:
    """Run all checks and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--only", choices=[study.case for study in STUDIES])
    parser.add_argument("--keep", type=Path, help="leave the stores in this folder")
    arguments = parser.parse_args()
    path = RESULTS / "causal.json"
    result: dict[str, Any] = {"studies": {}}
    if arguments.only and path.exists():
        result = json.loads(path.read_text(encoding="utf-8"))
    result["command"] = "python -m benchmarks.causal"
    result["machine"] = describe_machine()
    with tempfile.TemporaryDirectory() as scratch, local.client(n_workers=2) as client:
        for study in STUDIES:
            if arguments.only in (None, study.case):
                folder = (arguments.keep or Path(scratch)) / study.case
                result["studies"][study.case] = run(folder, study, client)
    RESULTS.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(path, sys.argv[1:])


def run(folder: Path, study: Study, client: Client) -> dict[str, Any]:
    """Check all ways to make graphs of one network."""
    folder.mkdir(parents=True, exist_ok=True)
    stores = {name: make_store(folder, study, name, client) for name in RUNS}
    rows: dict[str, Any] = {}
    first: dict[str, CausalCheck] = {}
    for way, (name, options) in WAYS.items():
        started = time.perf_counter()
        checks = {}
        for size, fraction in SIZES.items():
            checks[size] = check(
                stores[name],
                study,
                GraphChoice(options, fraction),
                client,
                # Sets of one size and seed are the same for all ways.
                draws=0 if size in first and fraction else study.draws,
                by_layer=size == "equal",
            )
            if fraction:
                first.setdefault(size, checks[size])
                checks[size] = with_draws_of(first[size], checks[size])
        rows[way] = {size: one.to_json() for size, one in checks.items()}
        rows[way]["against_first"] = difference(checks["equal"], first["equal"])
        rows[way]["seconds"] = round(time.perf_counter() - started, 1)
        print(study.case, way)
        print(*checks.values(), sep="\n", flush=True)
    network = CASES[study.case].network
    return {"network": network, "study": vars(study), "ways": rows}


def make_store(folder: Path, study: Study, name: str, client: Client) -> Store:
    """Run the stages, or take what an earlier measurement left."""
    url, case = folder / f"{name}.zarr", CASES[study.case]
    run_file = folder / f"{name}.toml"
    text = run_file_text(case) + RUNS[name]
    run_file.write_text(text, encoding="utf-8")
    plan, probe = nnviz.plan_run(load_config(run_file))
    store = nnviz.prepare_store(plan, str(url), probe=probe)
    nnviz.extract(store, client=client)
    if not store.groups.is_complete("aggregates/label"):
        collection = nnviz.named_subsets(store, "label")
        nnviz.aggregate(store, [collection], client=client)
    return open_store(url)


def check(
    store: Store,
    study: Study,
    choice: GraphChoice,
    client: Client,
    *,
    draws: int,
    by_layer: bool,
) -> CausalCheck:
    """Return the check of one choice of channels, on the study's sample."""
    collection = nnviz.named_subsets(store, "label")
    known = [
        name for name, n in zip(collection.names, collection.sizes(), strict=True) if n
    ]
    size = min(study.n_subsets, len(known))
    chosen = np.random.default_rng(0).choice(len(known), size, replace=False)
    return ablate(
        store,
        collection,
        names=[known[i] for i in sorted(chosen)],
        graph=choice,
        n_instances=study.n_instances,
        draws=draws,
        by_layer=by_layer,
        client=client,
    )


def with_draws_of(first: CausalCheck, this: CausalCheck) -> CausalCheck:
    """Return a check with the random sets of another one on the same instances."""
    if any(one.draw for one in this.treatments):
        return this
    if not np.array_equal(first.instance, this.instance):
        msg = "the samples differ"
        raise RuntimeError(msg)
    drawn = [i for i, one in enumerate(first.treatments) if one.draw]
    return replace(
        this,
        treatments=(*this.treatments, *(first.treatments[i] for i in drawn)),
        **{
            name: np.concatenate(
                [getattr(this, name), getattr(first, name)[:, drawn]], axis=1
            )
            for name in ("logit", "probability", "prediction")
        },
    )


def difference(this: CausalCheck, other: CausalCheck) -> dict[str, float]:
    """Return how much more of the logit one way takes than the other, in each layer.

    Paired over the subsets, as a part of what can be lost; half the 95 % interval.
    """
    layers = tuple(this.n_channels)
    effects = [one.effect("graph", layers=layers) for one in (this, other)]
    most = float(mean_of(mean_of(other.drops("all")[:, 0])))
    gain = (effects[0].drop - effects[1].drop) / most
    width = half_width(gain, np.full(len(gain), np.nan), this.n_instances)
    return {"share": float(mean_of(gain)), "interval": width}


if __name__ == "__main__":
    main()
