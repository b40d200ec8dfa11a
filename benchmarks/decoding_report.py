"""The tables of ``benchmarks/results/decoding.json``."""

from __future__ import annotations

from typing import Any

__all__ = ["speed_rows", "table"]


def speed_rows(result: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return rows of the table of ``docs/performance.md``: what, measured, goal."""
    of = result["files"]["as they are"]["core_ms"]
    cores, rate = result["cores_for_a_gpu"], result["assumed_forward_per_s"]
    return [
        (
            "a photograph to 224 x 224, pixels as Pillow's: throughput against Pillow",
            f"{of['Pillow'] / of['nnviz']:.2f}×",
            "",
        ),
        (
            f"the same: cores for {rate:,.0f} images/s (a GPU, assumed); with Pillow",
            f"{cores['nnviz']:.1f}; {cores['Pillow']:.1f}",
            "",
        ),
    ]


def table(result: dict[str, Any]) -> str:
    """Return the tables of ``docs/scaling.md``."""
    machine = result["machine"]
    names = list(result["files"])
    of = [result["files"][name] for name in names]
    ways = list(of[0]["core_ms"])
    heads = [
        f"{name}, {files['bytes_of_a_file'] / 1000:.0f} kB"
        for name, files in zip(names, of, strict=True)
    ]
    lines = [
        f"| milliseconds of a core for a photograph | {' | '.join(heads)} |",
        "|---" * (len(names) + 1) + "|",
    ]
    lines += [
        f"| {way} | " + " | ".join(f"{x['core_ms'][way]:.2f}" for x in of) + " |"
        for way in ways
    ]
    heads = [
        "what `jpeg_reduction` changes",
        "photographs with other pixels",
        "a pixel (of 255), mean, largest",
        "a channel's maximum, median, 95 %",
        "same prediction",
    ]
    changes = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    changes += [
        f"| {reduction}, {name} | {100 * c['images_with_other_pixels']:.1f} % "
        f"| {c['mean_levels']:.2g}, {c['largest_levels']:.0f} "
        f"| {100 * c['maxima_median']:.1f} %, {100 * c['maxima_p95']:.1f} % "
        f"| {100 * c['same_prediction']:.1f} % |"
        for name, files in zip(names, of, strict=True)
        for reduction, c in files["changes"].items()
    ]
    note = (
        f"SqueezeNet's forward pass takes {result['forward_ms']:.0f} ms of a core, of "
        f"which decoding is {100 * result['share_of_forward']:.0f} %; a GPU of "
        f"{result['assumed_forward_per_s']:,.0f} images/s (assumed) would be kept busy "
        f"by {result['cores_for_a_gpu']['nnviz']:.1f} cores, "
        f"{result['cores_for_a_gpu']['Pillow']:.1f} with Pillow. nnviz's reader alone: "
        f"{result['reader_per_s']['1']:,.0f} images/s with one thread, "
        f"{result['reader_per_s']['2']:,.0f} with two. "
        f"`{result['command']}`, {machine['processor']}, {machine['cores']} cores, "
        f"load before {machine['load'][0]}, {machine['date']}, {result['pictures']} "
        "pictures."
    )
    return "\n\n".join(["\n".join(lines), "\n".join(changes), note])
