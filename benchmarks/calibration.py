"""How often is chance called a difference? Random halves of classes, compared.

    python -m benchmarks.calibration STORE --repetitions 40 --json out.json

Draws two disjoint random sets of one class, whose graphs differ by chance, compares
them, and counts what is called different. Then two classes at the same sizes, for how
much is found where there is something. A store with an index answers in seconds.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.environment import describe_machine
from nnviz.graphs.comparison import GraphComparison
from nnviz.graphs.making import SubsetGraphs
from nnviz.graphs.making_comparisons import compare_made
from nnviz.store.store import Store
from nnviz.subsets.subsets import Subset

__all__ = ["measure"]

SIZES = (500, 100, 20)
RATE = 0.05


def measure(url: str, *, repetitions: int, seed: int = 0) -> dict[str, Any]:
    """Return what is called different at each size.

    Parameters
    ----------
    url
        Store with labels, aggregated.
    repetitions
        Pairs of sets at each size.
    seed
        Of the draws.
    """
    store = Store.open(url)
    graphs, rng = SubsetGraphs(store), np.random.default_rng(seed)
    label, usable = store.column("label"), store.usable()
    classes = [
        np.flatnonzero(usable & (label == k)) for k in np.unique(label) if k >= 0
    ]
    rows = []
    for size in SIZES:
        enough = [rows_of for rows_of in classes if len(rows_of) >= 2 * size]
        if not enough:
            continue
        alike, apart = defaultdict(list), defaultdict(list)
        for number in range(repetitions):
            members = rng.permutation(enough[number % len(enough)])
            one, two = members[:size], members[size : 2 * size]
            _note(alike, _compared(graphs, one, two))
            if len(enough) > 1:
                other = rng.permutation(enough[(number + 1) % len(enough)])[:size]
                _note(apart, _compared(graphs, one, other))
        rows.append(
            {
                "size": size,
                "repetitions": repetitions,
                "alike": _means(alike),
                "two_classes": _means(apart),
            }
        )
    command = f"python -m benchmarks.calibration STORE --repetitions {repetitions}"
    return {"command": command, "rows": rows, "machine": describe_machine()}


def _compared(
    graphs: SubsetGraphs, one: NDArray[np.int64], two: NDArray[np.int64]
) -> GraphComparison:
    first, second = Subset("one", np.sort(one)), Subset("two", np.sort(two))
    return compare_made((graphs, first), (graphs, second), jackknife=20)


def _note(found: dict[str, list[float]], compared: GraphComparison) -> None:
    nodes, arcs = compared.node_parts, compared.arc_parts
    is_different = nodes.differs(RATE).any() or arcs.differs(RATE).any()
    found["anything_called_different"].append(bool(is_different))
    found["raw_p_below_rate_nodes"].append(float((nodes.p_value < RATE).mean()))
    found["raw_p_below_rate_arcs"].append(float((arcs.p_value < RATE).mean()))
    found["nodes_called_different"].append(float(nodes.differs(RATE).mean()))
    found["arcs_called_different"].append(float(arcs.differs(RATE).mean()))
    found["nodes_kept_in_one_only"].append(float((~nodes.is_shared).mean()))
    found["arcs_kept_in_one_only"].append(float((~arcs.is_shared).mean()))
    scores = compared.scores
    if scores is not None and (known := ~np.isnan(scores.p_value)).any():
        found["raw_p_below_rate_scores"].append(
            float((scores.p_value[known] < RATE).mean())
        )
        is_found = scores.adjusted_p_value[known] < RATE
        found["any_score_called_different"].append(bool(is_found.any()))
        found["scores_called_different"].append(float(is_found.mean()))


def _means(found: dict[str, list[float]]) -> dict[str, float]:
    return {name: float(np.mean(values)) for name, values in found.items()}


def main(arguments: list[str] | None = None) -> None:
    """Measure, print a table, and write JSON where asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store")
    parser.add_argument("--repetitions", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args(arguments)
    found = measure(chosen.store, repetitions=chosen.repetitions, seed=chosen.seed)
    for what, title in (("alike", "by chance"), ("two_classes", "two classes")):
        names = list(found["rows"][0][what]) if found["rows"] else []
        heads = [f"{row['size']}/{row['size']}" for row in found["rows"]]
        sys.stdout.write(f"{title:<34}{''.join(f'{h:>10}' for h in heads)}\n")
        for name in names:
            values = [row[what].get(name, float("nan")) for row in found["rows"]]
            shown = "".join(f"{value:>10.3f}" for value in values)
            sys.stdout.write(f"  {name.replace('_', ' '):<32}{shown}\n")
    if chosen.json:
        chosen.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
