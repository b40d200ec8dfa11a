"""How is an estimate told to a reader, until the exact numbers are there?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from nnviz.aggregation.estimates import Estimates

__all__ = ["estimate_lines"]

LEAST_ERROR = 1e-12


def estimate_lines(
    one: Mapping[str, Estimates], other: Mapping[str, Estimates], *, n: int = 5
) -> list[str]:
    """Return the channels whose means differ most for their errors, as lines.

    Parameters
    ----------
    one, other
        Of two sets of instances, by layer.
    n
        Number of channels.
    """
    rows = []
    for layer, a in one.items():
        b = other[layer]
        error = np.maximum(np.hypot(a.mean_error, b.mean_error), LEAST_ERROR)
        sureness = np.nan_to_num(np.abs(a.mean - b.mean) / error)
        order = np.argsort(-sureness, kind="stable")[:n]
        rows += [(float(sureness[i]), layer, int(i)) for i in order]
    rows = sorted(rows, key=lambda row: -row[0])[:n]
    of = next(iter(one.values()))
    sampled = f"{of.n_sampled:,} of {of.n_instances:,} instances"
    lines = [f"about          from {sampled}, 95 % intervals; exact numbers follow"]
    width = max((len(layer) for _, layer, _ in rows), default=0)
    for _, layer, i in rows:
        here, there = (
            f"{each.mean[i]:.3g} ± {each.mean_error[i]:.2g}"
            for each in (one[layer], other[layer])
        )
        lines.append(f"  {layer:<{width}} {i:>5}  mean {here}, {there} there")
    return lines
