"""What do the documents say of subsets? Tables of what ``benchmarks.subsets`` found."""

from __future__ import annotations

from typing import Any

__all__ = ["tables"]

COUNTED = "counts, 100 sets of 0.01 to 50 %: 95th percentile"

WARM = (
    ("counts of all layers, 100 random sets: 95th percentile", 200, (COUNTED,)),
    ("means, variances and maxima of 1 %", 300, ("with maxima, of 1 %",)),
    ("the same of 10 %", 300, ("with maxima, of 10 %",)),
    ("the same of 50 %", None, ("with maxima, of 50 %",)),
    (
        "a query of five terms with a text search: first / again",
        200,
        ("query of five terms: first", "query of five terms: again"),
    ),
    (
        "a query of one activation: first, from the disk / of the same strip / again",
        50,
        (
            "query of one activation: first",
            "query of one activation: another of its strip",
            "query of one activation: again",
        ),
    ),
    (
        "a query of one top channel: first / again",
        50,
        ("query of one top channel: first", "query of one top channel: again"),
    ),
    ("influence counts of 10 %", None, ("influence counts of 10 %",)),
    (
        "an attribution graph of 1 % / 10 %",
        1000,
        ("attribution graph of 1 %", "attribution graph of 10 %"),
    ),
    (
        "channels and columns of 10 % against all others",
        None,
        ("channels and columns of 10 % against all others",),
    ),
)
"""What is shown, the goal in milliseconds, and the names of the times."""

COLD = (
    ("opening the index, and counts of 1 %", 1, "counts of 1 %"),
    ("means of 1 %", None, "means of 1 %"),
    ("means of 10 %, about, from a sample", 1, "estimated means of 10 %"),
    ("means of 10 %, exact", None, "means of 10 %"),
    ("a query of five terms with a text search", None, "query of five terms"),
    ("a query of one activation", None, "query of one activation"),
    ("a query of one top channel", None, "query of one top channel"),
)
"""What is shown, the goal in seconds, and the name of the question."""

OTHERS = (
    (
        "means: the store's rows by zarr, averaged by NumPy",
        "with maxima, of 1 %",
        "zarr: means of 1 %",
    ),
    (
        "counts: from the chunks, without the index",
        "counts of 1 %",
        "chunks: counts of 1 %",
    ),
    (
        "counts: top channels in a Parquet file, by pyarrow",
        "counts of 1 %",
        "pyarrow over Parquet: counts of 1 %",
    ),
    (
        "counts: the same file, by DuckDB",
        "counts of 1 %",
        "duckdb over Parquet: counts of 1 %",
    ),
    (
        "counts: a CSR matrix of them in memory, by SciPy",
        "counts of 1 %",
        "scipy: counts of 1 %",
    ),
)
"""What is shown, the name of the time by the index, and by the other way."""


def tables(result: dict[str, Any]) -> str:
    """Return the tables of one run of the benchmark."""
    machine, before = result["machine"], result["load_before"][0]
    sets = [v["s"] for k, v in result["cold"].items() if k.startswith("counts, set")]
    note = (
        f"`{result['command']}` on {machine['cores']} cores of an "
        f"{machine['processor']}, {machine['date']}, at a load "
        f"of {before} before, and of {machine['load'][0]} after it. Making the index "
        f"took {1000 * result['making_core_s_per_instance']:.2f} ms of one core for "
        f"each instance, and the index has {result['index_bytes'] / 1e9:.1f} GB; "
        "memory beside the mapping grew by "
        f"{result['memory_bytes'] / 1e6:.0f} MB while all this was asked."
    )
    cold_sets = (
        f"Of {len(sets)} random sets of 0.01 to 50 %, each opened and counted in the "
        f"cold, the slowest took {max(sets):.2f} s."
    )
    parts = [note, _warm(result), _cold(result), cold_sets, _others(result)]
    return "\n\n".join(parts)


def _warm(result: dict[str, Any]) -> str:
    lines = ["| warm | goal | on the clock | of the processor |", "|---|---|---|---|"]
    for what, goal, names in WARM:
        clock, processor = (
            " / ".join(
                f"{1000 * result[kind][name]:,.0f}" if name in result[kind] else "–"
                for name in names
            )
            for kind in ("seconds", "processor_seconds")
        )
        aim = f"{goal:,} ms" if goal else ""
        lines.append(f"| {what} | {aim} | {clock} ms | {processor} ms |")
    return "\n".join(lines)


def _cold(result: dict[str, Any]) -> str:
    lines = [
        "| cold | goal | from the disk | of that, MB | after warming |",
        "|---|---|---|---|---|",
    ]
    for what, goal, name in COLD:
        cold, warmed = result["cold"][name], result["warmed"].get(name)
        after = f"{warmed['s']:.2f} s" if warmed else ""
        aim = f"{goal} s" if goal else ""
        lines.append(
            f"| {what} | {aim} | {cold['s']:.2f} s | {cold['mb_from_disk']:,.0f} | "
            f"{after} |"
        )
    took = [one["warming_s"] for one in result["warmed"].values()]
    return "\n".join([*lines, "", f"Warming itself took {min(took):.1f} s at least."])


def _others(result: dict[str, Any]) -> str:
    head = (
        "| the same by other ways, of 1 % | by the index | the other way | ratio | "
        "of the processor |"
    )
    lines = [head, "|---" * 5 + "|"]
    clock, processor = result["seconds"], result["processor_seconds"]
    for what, name, other in OTHERS:
        if other in clock:
            ratios = [times[other] / times[name] for times in (clock, processor)]
            lines.append(
                f"| {what} | {1000 * clock[name]:,.0f} ms | "
                f"{1000 * clock[other]:,.0f} ms | {_ratio(ratios[0])} | "
                f"{_ratio(ratios[1])} |"
            )
    return "\n".join(lines)


def _ratio(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"
