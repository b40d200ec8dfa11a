"""How is what networks lose without the channels of graphs told in tables?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["DEFAULT", "DEPTHS", "EXACT", "PAIR", "RANDOM", "tables"]

DEPTHS = ("early", "middle", "late")
DEFAULT = "sums at the peak, 8 targets"
EXACT = "each channel by itself (bound)"
PAIR = "relevance against the other class"
RANDOM = ("random 1", "random 2", "random 3")

Row = dict[str, Any]
NOTHING = "–"


def tables(result: dict[str, Any], machine: Callable[[Row], str]) -> str:
    """Return the tables of all networks.

    Parameters
    ----------
    result
        What :mod:`benchmarks.causal` has written.
    machine
        Says where it was measured.
    """
    parts = [_of_network(study) for study in result["studies"].values()]
    note = f"`{result['command']}`, {machine(result['machine'])}"
    return "\n\n".join([*parts, note])


def _of_network(study: Row) -> str:
    asked = study["study"]
    n_images = asked["n_classes"] * asked["n_tested"]
    layers = "; ".join(f"{x}: {', '.join(study['layers'][x])}" for x in DEPTHS)
    head = (
        f"**{asked['network']}**, {asked['data']}: {asked['n_classes']} classes, "
        f"graphs of {asked['n_ranked']} images each, channels taken in {n_images} "
        f"others. {layers}."
    )
    rows = {(x["way"], x["mode"], x["kind"], x["depth"]): x for x in study["rows"]}
    orders = {(x["way"], x["kind"]): x for x in study["orders"]}
    ways = list(dict.fromkeys(x["way"] for x in study["rows"]))
    return "\n\n".join(
        [head, _by_means(ways, rows, orders), _otherwise(ways, rows, orders)]
    )


def _by_means(
    ways: list[str],
    rows: dict[tuple[str, ...], Row],
    orders: dict[tuple[str, str], Row],
) -> str:
    lines = [
        (
            "| replaced by the mean | early | middle | late | all layers at once "
            "| kept alone, early | middle | late | order, early | middle | late |"
        ),
        "|---" * 11 + "|",
    ]
    for way in ways:
        taken = [rows.get((way, "taken", "mean", x)) for x in (*DEPTHS, "all layers")]
        alone = [rows.get((way, "alone", "mean", x)) for x in DEPTHS]
        cells = [_difference(x) for x in taken]
        cells += [_difference(x) for x in alone] if way != "everything" else [""] * 3
        cells += _order(way, "mean", orders, errors=True)
        lines.append(f"| {_said(way)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _otherwise(
    ways: list[str],
    rows: dict[tuple[str, ...], Row],
    orders: dict[tuple[str, str], Row],
) -> str:
    kinds = [x for x in ("zero", "resample", "other") if (DEFAULT, x) in orders]
    named = {"zero": "zero", "resample": "another image", "other": "the other class"}
    heads = [
        f"{named[kind]}: {what}"
        for kind in kinds
        for what in ("taken", "kept alone", "order")
    ]
    lines = [
        f"| early, middle, late; replaced by | {' | '.join(heads)} |",
        "|---" * (len(heads) + 1) + "|",
    ]
    for way in ways:
        cells = []
        for kind in kinds:
            for mode in ("taken", "alone"):
                found = [rows.get((way, mode, kind, x)) for x in DEPTHS]
                if mode == "alone" and way == "everything":
                    cells.append("")
                else:
                    cells.append(", ".join(_short(x) for x in found))
            order = _order(way, kind, orders, errors=False)
            cells.append(", ".join(x for x in order if x))
        lines.append(f"| {_said(way)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _difference(row: Row | None) -> str:
    """Say what is lost, by the default way; and how much more by another one."""
    if row is None:
        return NOTHING
    if row["way"] == DEFAULT:
        return f"**{row['own_less_others']:.2f}** ± {row['error_over_classes']:.2f}"
    return f"{row['against_default']:+.2f} ± {row['against_default_error']:.2f}"


def _short(row: Row | None) -> str:
    if row is None:
        return NOTHING
    if row["way"] == DEFAULT:
        return f"**{row['own_less_others']:.1f}**"
    return f"{row['against_default']:+.1f}"


def _order(
    way: str, kind: str, orders: dict[tuple[str, str], Row], *, errors: bool
) -> list[str]:
    row = orders.get((RANDOM[0] if way == "random" else way, kind))
    if row is None:
        return [""] * len(DEPTHS)
    return [
        f"{row[x]:.2f}" + (f" ± {row[f'{x}_error']:.2f}" if errors else "")
        for x in DEPTHS
    ]


def _said(way: str) -> str:
    return f"{way}: the default" if way == DEFAULT else way
