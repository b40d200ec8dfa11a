"""Write generated tables: how fast, how it scales, and whether graphs matter.

Usage: ``python -m benchmarks.report``. Every number comes from a file in
``benchmarks/results``, with its command and the machine on which it was measured.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import (
    causal_report,
    decoding_report,
    peers,
    processor,
    scaling_report,
    subsets_report,
)

__all__ = ["documents", "sentences", "with_figures", "with_sections"]

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).resolve().parent / "results"


def main() -> None:
    """Renew the sections of all documents."""
    for path, sections in documents().items():
        text = path.read_text(encoding="utf-8")
        path.write_text(with_sections(text, sections), encoding="utf-8")
    for path, figures in sentences().items():
        text = path.read_text(encoding="utf-8")
        path.write_text(with_figures(text, figures), encoding="utf-8")


def documents() -> dict[Path, dict[str, str]]:
    """Return the text of every generated section, by document and name."""
    return {
        ROOT / "docs" / "performance.md": {
            "speed": speed_section(),
            "peers": section_of("peers", peers.table),
            "scaling": section_of("scaling", scaling_report.summary),
        },
        ROOT / "docs" / "causal-check.md": {
            "causal": section_of("causal", lambda x: causal_report.tables(x, _machine))
        },
        ROOT / "docs" / "graphs.md": {
            "calibration": section_of("calibration", calibration_table),
            "composition": section_of("composition", composition_table),
        },
        ROOT / "docs" / "subsets.md": {
            "subsets": section_of("subsets", subsets_report.tables)
        },
        ROOT / "docs" / "scaling.md": {
            "scaling": section_of("scaling", scaling_report.details),
            "decoding": section_of("decoding", decoding_report.table),
        },
    }


def sentences() -> dict[Path, list[str]]:
    """Return the parts of sentences that have figures, by document."""
    ratios = sorted(
        _result(path.stem)["recording_against_forward"]["maxima_throughput_ratio"]
        for path in RESULTS.glob("extraction-*.json")
    )
    seconds = _result("subsets")["seconds"]
    counts, means, graph = (
        f"{1000 * seconds[f'{name} of 10 %']:.0f} ms"
        for name in ("counts", "means and variances", "attribution graph")
    )
    share = f"{100 * _result('indexing')['share_of_processor_time']:.1f} %"
    return {
        ROOT / "README.md": [
            f"at {ratios[0]:.2f} to {ratios[-1]:.2f} of the speed",
            f"within its {_result('dashboard')['goal_ms']} ms",
            f"counts in {counts}, means in {means}, a graph in {graph}",
        ],
        ROOT / "docs" / "subsets.md": [f"photographs {share} of"],
    }


def with_figures(text: str, figures: list[str]) -> str:
    """Return a document with other numbers where it has the same words.

    Raises
    ------
    ValueError
        If the words are not there, or more than once.
    """
    for figure in figures:
        # Lines may break between any two words.
        words = r"\s+".join(map(re.escape, figure.split()))
        mark = re.compile(re.sub(r"\d+(\\\.\d+)?", r"\\d+(?:\\.\\d+)?", words))
        found = mark.findall(text)
        if len(found) != 1:
            msg = f"the document says {len(found)} times: {figure}"
            raise ValueError(msg)
        numbers = iter(re.findall(r"\d+(?:\.\d+)?", figure))
        changed = re.sub(r"\d+(?:\.\d+)?", lambda _, n=numbers: next(n), found[0])
        text = text.replace(found[0], changed)
    return text


def section_of(name: str, table_of: Callable[[dict[str, Any]], str]) -> str:
    """Return a table of a benchmark's results."""
    path = RESULTS / f"{name}.json"
    if not path.exists():
        return "Not measured yet."
    return table_of(_result(name))


def _result(name: str) -> dict[str, Any]:
    """Return what a benchmark has kept."""
    path = RESULTS / f"{name}.json"
    return dict(json.loads(path.read_text(encoding="utf-8")))


def with_sections(text: str, sections: dict[str, str]) -> str:
    """Return a document with the sections between their marks replaced."""
    for name, section in sections.items():
        mark = re.compile(rf"(<!-- {name}: [^>]* -->\n).*?(<!-- end -->)", re.DOTALL)
        if not mark.search(text):
            msg = f"the document has no section {name!r}"
            raise ValueError(msg)
        text = mark.sub(lambda m, body=section: f"{m[1]}{body}\n{m[2]}", text)
    return text


def speed_section() -> str:
    """Return the table of measured ratios, and where they were measured."""
    lines = ["| what | measured | goal | command |", "|---|---|---|---|"]
    machines: dict[str, str] = {}
    rows: list[tuple[str, Callable[[Any], list[tuple[str, str, str]]]]] = [
        ("extraction-*.json", _extraction_rows),
        ("influence.json", _influence_rows),
        ("text.json", _text_rows),
        ("dashboard.json", _dashboard_rows),
        ("graphs.json", _graph_rows),
        ("listing.json", _listing_rows),
        ("memory.json", _memory_rows),
        ("chunks.json", _chunk_rows),
        ("processor.json", processor.rows),
        ("decoding.json", decoding_report.speed_rows),
    ]
    for pattern, rows_of in rows:
        for path in sorted(RESULTS.glob(pattern)):
            result = json.loads(path.read_text(encoding="utf-8"))
            machines[_machine(result["machine"])] = path.name
            for what, measured, goal in rows_of(result):
                command = result.get("command", "")
                lines.append(f"| {what} | {measured} | {goal} | `{command}` |")
    return "\n".join([*lines, "", *(f"Measured on {text}." for text in machines)])


def calibration_table(result: dict[str, Any]) -> str:
    """Return the table of what is called different, by chance and between classes."""
    rows = result["rows"]
    sizes = [f"{row['size']} / {row['size']}" for row in rows]
    lines = [f"| instances | {' | '.join(sizes)} |", "|---" * (len(rows) + 1) + "|"]
    for part, title in (("alike", "one class, by chance"), ("two_classes", "two")):
        lines.append(f"| **{title}** |" + " |" * len(rows))
        for name in rows[0][part]:
            values = [f"{row[part].get(name, float('nan')):.3f}" for row in rows]
            lines.append(f"| {name.replace('_', ' ')} | {' | '.join(values)} |")
    note = f"`{result['command']}`, {_machine(result['machine'])}"
    return "\n".join([*lines, "", note])


def composition_table(result: dict[str, Any]) -> str:
    """Return the table of what composing layers away loses."""
    lines = [
        (
            "| walks by | shared channels | order of all channels | order of a node's "
            "sources | strongest source agrees | logit lost, composed | as nodes | "
            "difference |"
        ),
        "|---" * 8 + "|",
    ]
    for row in result["rows"]:
        cells = [
            "sums, the default" if row["weight"] == "sum" else "counts",
            f"{row['shared_nodes']:.0%}",
            f"{row['rank_correlation']:.2f}",
            f"{row['arc_rank_correlation']:.2f}",
            f"{row['strongest_arc_agrees']:.0%}",
            f"{row['composed_drop']:.2f}",
            f"{row['nodes_drop']:.2f}",
            f"{row['difference']:.2f} ± {row['difference_interval']:.2f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    note = f"`{result['command']}`, {_machine(result['machine'])}"
    return "\n".join([*lines, "", note])


def _text_rows(result: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return a row for each network over tokens, and one of padding."""
    what = "maxima of what counts (of all positions), throughput against the forward"
    measured = dict(result["rows"])
    padding = measured.pop("padding")
    of = f"{padding['instances']:,} {padding['what']}"
    row = (
        f"{of}: padding among what is computed (with one length for all)",
        f"{padding['by_length']:.1%} ({padding['one_length']:.1%})",
        "< 10 %",
    )
    return [
        row,
        *_masking_rows(measured, what),
    ]


def _masking_rows(measured: dict[str, Any], what: str) -> list[tuple[str, str, str]]:
    return [
        (
            f"{name} over padded sentences: {what} pass",
            f"{1 / row['counted_ratio']:.2f} ({1 / row['all_ratio']:.2f})",
            "≥ 0.9",
        )
        for name, row in measured.items()
    ]


INFLUENCES_GOALS = {"resnet20": "≥ 0.7", "squeezenet1_0": "≥ 0.85"}
"""For a run with influences of at least eight targets a layer."""


def _extraction_rows(result: dict[str, Any]) -> list[tuple[str, str, str]]:
    name, rows = result["network"], []
    if found := result.get("recording_against_forward"):
        rows.append(
            (
                f"{name}: maxima of all layers, throughput against the forward pass",
                f"{found['maxima_throughput_ratio']:.3f}",
                "≥ 0.98",
            )
        )
        rows.append(
            (
                f"{name}: the same, with exact influences of top targets",
                f"{found['influences_throughput_ratio']:.3f}",
                INFLUENCES_GOALS.get(name, ""),
            )
        )
    if found := result.get("dask_against_script"):
        rows.append(
            (
                f"{name}: maxima through Dask against a researcher's script",
                f"{found['maxima_throughput_ratio']:.2f}×",
                "≥ 1.5×",
            )
        )
        rows.append(
            (
                f"{name}: the same, with influences and examples, which it lacks",
                f"{found['everything_throughput_ratio']:.2f}×",
                "",
            )
        )
        rows.append(
            (f"{name}: bytes in the store", f"{found['bytes_per_instance']:,.0f}", "")
        )
    if found := result.get("dask_against_pool"):
        rows.append(
            (
                f"{name}: two Dask workers against a pool of two processes",
                f"{found['throughput_ratio']:.3f}",
                "≥ 0.97",
            )
        )
    return rows


def _influence_rows(result: dict[str, Any]) -> list[tuple[str, str, str]]:
    rows = []
    for row in result["rows"]:
        if row["threads"] != 1:
            continue
        times, name = row["milliseconds per instance"], row["network"]
        forward = times["forward"]
        rows += [
            (
                f"{name}: exact influence, all targets, of the convolutions' time",
                f"{times['all'] / forward:.2f}",
                "≤ 0.5",
            ),
            (
                f"{name}: exact influence, top targets, of the convolutions' time",
                f"{times['top'] / forward:.3f}",
                "≤ 0.1",
            ),
            (
                f"{name}: direct formulation, of ours for all targets; in tiles",
                (
                    f"{times['untiled'] / times['all']:.0f}×; "
                    f"{times['direct'] / times['all']:.0f}×"
                ),
                "≥ 50×",
            ),
        ]
    return rows


DASHBOARD_REACTIONS = (
    "choose a class",
    "choose a layer",
    "graph: choose a class",
    "graph: compare",
)


def _dashboard_rows(result: dict[str, Any]) -> list[tuple[str, str, str]]:
    n = result["run"]["classes"]
    return [
        (
            f"dashboard, {n:,} classes: {name} (95 % of the times, at the server)",
            f"{times['p95_ms']:.0f} ms",
            f"< {result['goal_ms']} ms",
        )
        for name, times in result["reactions"].items()
        if name in DASHBOARD_REACTIONS
    ]


def _graph_rows(result: dict[str, Any]) -> list[tuple[str, str, str]]:
    goals = {"directed": 5, "summit": 60}
    return [
        (
            f"1,000 attribution graphs of InceptionV1's size, `{preset}`",
            f"{1000 * result['times'][preset]['median_s']:.1f} s",
            f"< {goal} s",
        )
        for preset, goal in goals.items()
        if preset in result["times"]
    ]


def _listing_rows(result: dict[str, Any]) -> list[tuple[str, str, str]]:
    n, rows = result["files"], []
    for kind in ("folder", "table"):
        seconds = result[kind]["seconds"]
        rows += [
            (
                f"{n:,} files, `{kind}`: list, and fingerprint",
                f"{seconds['list'] + seconds['fingerprint']:.1f} s",
                "",
            ),
            (
                f"{n:,} files, `{kind}`: create the store; open it",
                (
                    f"{seconds['create the store']:.1f} s; "
                    f"{seconds['open the store']:.3f} s"
                ),
                "",
            ),
        ]
    return rows


def _chunk_rows(result: Any) -> list[tuple[str, str, str]]:
    rows = []
    for name, measured in result["stores"].items():
        old, new = measured["format_2"], measured["format_3"]
        what = f"a chunk of {measured['rows']:,} instances, {measured['layers']} layers"
        rows += [
            (
                f"{what}, {name}: files (format 2)",
                f"{new['files_a_chunk']:.0f} ({old['files_a_chunk']:.0f})",
                "≤ 12",
            ),
            (
                "the same: processor to write it (format 2)",
                f"{new['write_ms']:.1f} ms ({old['write_ms']:.1f} ms)",
                "≤ 3 ms",
            ),
        ]
    return rows


def _memory_rows(result: dict[str, Any]) -> list[tuple[str, str, str]]:
    found, n = result["summary"], result["instances"]
    rows = [
        (
            f"{n:,} instances, {result['tasks']:,} tasks: most in the scheduler",
            str(found["most_tasks_in_the_scheduler"]),
            "",
        )
    ]
    rows += [
        (
            f"the same: {name}, memory at half and at the end",
            f"{of['megabytes_at_half']:.0f} MB; {of['megabytes_at_end']:.0f} MB",
            "flat",
        )
        for name, of in found["memory"].items()
    ]
    return rows


def _machine(machine: dict[str, Any]) -> str:
    return (
        f"{machine['processor']}, {machine['cores']} cores, {machine['date']}, commit "
        f"{machine['commit']}"
    )


if __name__ == "__main__":
    main()
