"""The tables and plots of ``benchmarks/results/scaling.json``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.lines import Line, draw

__all__ = ["WAYS", "details", "plot", "summary"]

WAYS = ("as it is", "+ best chunks", "+ few large files")
"""What moves the limit: the best size of chunks, and ready pixels in few files instead
of a file for each picture."""

SHOWN_GPUS = (8, 64, 512)
PARTS = ("read", "decode", "wait", "forward", "influence", "write")


def plot(result: dict[str, Any], folder: Path) -> None:
    """Draw the sleeping load beside its prediction, and the simulated clusters."""
    lines = []
    for kind in ("strong", "weak"):
        runs = [r for r in result["synthetic"]["runs"] if r["kind"] == kind]
        errors = [r["error"] for r in result["predicted"] if r["kind"] == kind]
        x = [r["workers"] for r in runs]
        y = [100 * r["efficiency"] for r in runs]
        lines.append(Line(kind, x, y))
        # An efficiency is inverse to the time that is predicted.
        simulated = [a / (1 + error) for a, error in zip(y, errors, strict=True)]
        lines.append(Line(f"{kind}, simulated", x, simulated, dashed=True))
    (folder / "scaling.svg").write_text(
        draw(
            lines,
            title=f"A load that sleeps, on {result['cores']} cores",
            x="worker processes",
            y="efficiency against a plain loop, %",
            log_x=True,
        ),
        encoding="utf-8",
    )
    lines = [
        Line(
            way,
            [r["gpus"] for r in result["simulated"] if r["way"] == way],
            [100 * r["efficiency"] for r in result["simulated"] if r["way"] == way],
            dashed=True,
        )
        for way in WAYS
    ]
    (folder / "scaling-simulated.svg").write_text(
        draw(
            lines,
            title="ImageNet on GPUs, simulated",
            x="GPUs",
            y="efficiency, %",
            log_x=True,
        ),
        encoding="utf-8",
    )


def summary(result: dict[str, Any]) -> str:
    """Return the tables of ``docs/performance.md``: measured, and simulated."""
    cores = result["cores"]
    lines = [
        (
            f"| measured on {cores} cores | workers | instances/s | efficiency, strong "
            "| weak | plain loops |"
        ),
        "|---|---|---|---|---|---|",
    ]
    most = max(row["workers"] for row in result["real"])
    lines += [
        f"| {row['network']}, {row['recorded']} | {row['workers']} "
        f"| {row['strong_per_s']:,.0f} | {_percent(row['strong_efficiency'])} "
        f"| {_percent(row['weak_efficiency'])} | {_percent(row['loops_efficiency'])} |"
        for row in result["real"]
        if row["workers"] == most
    ]
    lines += _sleeping_rows(result, (4, 16))
    lines += ["", *_simulated_rows(result, WAYS)]
    return "\n".join([*lines, "", _note(result)])


def details(result: dict[str, Any]) -> str:
    """Return the tables of ``docs/scaling.md``."""
    return "\n\n".join(
        [
            "\n".join(_real_rows(result["real"])),
            "\n".join(_part_rows(result["real"])),
            "\n".join(_prediction_rows(result)),
            "\n".join(_cost_rows(result)),
            "\n".join(_simulated_rows(result, WAYS)),
            "\n".join(_limit_rows(result)),
            _note(result),
        ]
    )


def _real_rows(rows: Sequence[dict[str, Any]]) -> list[str]:
    return [
        (
            "| network, what is recorded | workers | a plain loop, instances/s "
            "| as many loops | strong | weak | efficiency, strong | weak "
            "| Dask against loops |"
        ),
        "|---" * 9 + "|",
        *(
            f"| {row['network']}, {row['recorded']} | {row['workers']} "
            f"| {row['loop_per_s']:,.0f} | {row['loops_per_s']:,.0f} "
            f"| {row['strong_per_s']:,.0f} | {row['weak_per_s']:,.0f} "
            f"| {_percent(row['strong_efficiency'])} "
            f"| {_percent(row['weak_efficiency'])} "
            f"| {row['weak_against_loops']:.2f} |"
            for row in rows
        ),
    ]


def _part_rows(rows: Sequence[dict[str, Any]]) -> list[str]:
    return [
        "| milliseconds of a chunk | instances | workers | "
        + " | ".join(PARTS)
        + " | decode, of forward |",
        "|---" * (len(PARTS) + 4) + "|",
        *(
            f"| {row['network']}, {row['recorded']} | {row['instances_per_chunk']} "
            f"| {row['workers']} | "
            + " | ".join(f"{1000 * of[part]:,.0f}" for part in PARTS)
            + f" | {_percent(of['decode'] / of['forward'])} |"
            for row in rows
            for of in [row["seconds_of_a_chunk"]]
        ),
    ]


def _sleeping_rows(result: dict[str, Any], workers: Sequence[int]) -> list[str]:
    of = result["synthetic"]
    each = of["instances_per_chunk"]
    found = {(r["kind"], r["workers"]): r for r in of["runs"]}
    return [
        f"| a load that sleeps | {n} "
        f"| {strong['chunks'] * each / strong['seconds']:,.0f} "
        f"| {_percent(strong['efficiency'])} "
        f"| {_percent(found['weak', n]['efficiency'])} | |"
        for n in workers
        if (strong := found.get(("strong", n)))
    ]


def _prediction_rows(result: dict[str, Any]) -> list[str]:
    lines = [
        "| a load that sleeps | workers | efficiency | measured | simulated | error |",
        "|---|---|---|---|---|---|",
    ]
    runs = result["synthetic"]["runs"]
    for run, row in zip(runs, result["predicted"], strict=True):
        lines.append(
            f"| {row['kind']} | {row['workers']} | {_percent(run['efficiency'])} "
            f"| {row['measured_s']:.2f} s | {row['simulated_s']:.2f} s "
            f"| {100 * row['error']:+.0f} % |"
        )
    return lines


def _cost_rows(result: dict[str, Any]) -> list[str]:
    lines = ["| measured cost | |", "|---|---|"]
    lines += [
        f"| a task, with {row['workers']} workers: scheduler; client "
        f"| {1000 * row['scheduler_s']:.2f} ms; {1000 * row['client_s']:.2f} ms |"
        for row in result["scheduling"]
    ]
    lines += [
        f"| a chunk of {of['instances']} instances, {network} with influences: "
        "files written; questions to the file system; bytes of each instance; seconds "
        f"| {of['files_written']}; {of['store_questions']}; "
        f"{of['array_bytes_of_an_instance']:,.0f}; {of['write_s']:.3f} s |"
        for network, of in result["chunk"].items()
    ]
    starts, loop = result["synthetic"]["starts"], result["synthetic"]["loop"]
    decoding = result["decoding"]
    return [
        *lines,
        (
            "| a worker's start: process; imports; store and a network without size "
            f"| {starts[0]['register_s']:.1f} s; {starts[0]['import_s']:.1f} s; "
            f"{loop['load_s']:.2f} s |"
        ),
        (
            f"| listing {result['listing']['files']:,} files, for each "
            f"| {1e6 * result['listing']['seconds_of_a_file']:.1f} µs |"
        ),
        (
            f"| decoding a photograph of {decoding['bytes_of_a_file'] / 1000:.0f} kB, "
            "shorter side to 256 pixels, the inner 224 "
            f"| {1000 * decoding['core_s']:.2f} ms of a core |"
        ),
    ]


def _simulated_rows(result: dict[str, Any], ways: Sequence[str]) -> list[str]:
    lines = [
        (
            "| ImageNet, simulated | GPUs | images in a chunk | images/s | efficiency "
            "| 1.28 million take | limit | next |"
        ),
        "|---" * 8 + "|",
    ]
    for way in ways:
        for row in result["simulated"]:
            if row["way"] == way and row["gpus"] in SHOWN_GPUS:
                first, second = list(row["limits"].items())[:2]
                lines.append(
                    f"| {way} | {row['gpus']} | {row['instances_per_chunk']:,} "
                    f"| {row['instances_per_s']:,.0f} | {_percent(row['efficiency'])} "
                    f"| {row['seconds']:,.0f} s | {first[0]} ({first[1]:,.0f} s) "
                    f"| {second[0]} ({second[1]:,.0f} s) |"
                )
    return lines


def _limit_rows(result: dict[str, Any]) -> list[str]:
    return [
        "| has as much to do as the GPUs | from this many GPUs on |",
        "|---|---|",
        *(
            f"| {name} | {number:,.0f} |"
            for name, number in result["gpus_at_which_it_is_the_limit"].items()
        ),
        (
            "| decoding | any, with fewer than "
            f"{result['cores_for_a_gpu']:.1f} cores for each |"
        ),
    ]


def _note(result: dict[str, Any]) -> str:
    a, machine = result["assumptions"], result["machine"]
    return (
        f"Assumed: {a['forward_per_s']:,.0f} images/s through a GPU, "
        f"{a['cores_per_gpu']:g} cores beside it, a file system that reads "
        f"{a['read_gigabytes_per_s']:g} GB/s, writes {a['write_gigabytes_per_s']:g} "
        f"GB/s, and answers {a['names_per_s']:,.0f} questions about names a second, "
        f"chunks of {a['chunk']:,} images. Measured by `{result['command']}`, "
        f"{machine['processor']}, {machine['cores']} cores, load before "
        f"{machine['load'][0]}, {machine['date']}, {result['pictures']} pictures."
    )


def _percent(value: float) -> str:
    return f"{100 * value:.0f} %" if value >= 0.095 else f"{100 * value:.2g} %"
