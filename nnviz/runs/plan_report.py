"""How is a plan told to a person? Plain lines of text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nnviz.runs.config import PreprocessingConfig

if TYPE_CHECKING:
    from nnviz.inputs.datasets.contents import Contents
    from nnviz.runs.architecture import Architecture
    from nnviz.runs.plan import Plan

__all__ = ["differences", "duration_text", "plan_lines", "printable", "size_text"]


def plan_lines(plan: Plan) -> list[str]:
    """Return the lines that ``nnviz plan`` prints."""
    e, m, architecture = plan.extraction, plan.measurements, plan.architecture
    n_channels = sum(layer.n_channels for layer in architecture.layers)
    joined = (
        f"; labels joined by {printable(plan.labels_joined_by)}"
        if plan.labels_joined_by
        else ""
    )
    lines = [
        f"network        {plan.model.source}  ({size_text(m.model_bytes)} of weights)",
        (
            f"data           {plan.dataset.kind}, {plan.n_instances:,} instances, "
            f"{plan.n_labelled:,} with a label"
        ),
        *_duplicate_lines(plan.contents),
        (
            f"classes        {len(plan.class_names):,}: {_listing(plan.class_names)}"
            f"{joined}"
        ),
        f"preprocessing  {_describe(plan.preprocessing, architecture)}",
        (
            f"forward pass   {e.precision}, {e.memory_format}, "
            f"batch normalisation {'folded' if e.fold_batch_norm else 'as it is'}, "
            f"batches of {e.batch_size}"
        ),
        (
            f"layers         {len(architecture.layers)} recorded, "
            f"{len(architecture.shown)} shown, {n_channels:,} channels"
        ),
    ]
    width = max(len(layer.name) for layer in architecture.layers)
    for layer in architecture.layers:
        positions = " x ".join(map(str, layer.positions)) or "-"
        lines.append(
            f"  {'*' if layer.shown else ' '} {layer.name:<{width}}  "
            f"{layer.n_channels:>6,} channels  {positions:>11}  {layer.kind:<13} "
            f"{plan.layer_dtypes[layer.name]}"
        )
    lines.append("  (* shown)")
    if architecture.edges:
        error = architecture.validation_error
        checked = "not validated" if error is None else f"validated, error {error:.1e}"
        lines.append(f"edges          {len(architecture.edges)}, {checked}")
    lines += [f"  no influence: {problem}" for problem in architecture.problems]
    lines += _influence_lines(plan)
    lines += [
        f"tasks          {plan.n_chunks:,} chunks of {e.instances_per_chunk:,}",
        (
            f"store          {len(plan.arrays)} arrays, {size_text(plan.n_bytes)}, "
            f"{plan.n_bytes / plan.n_instances:,.0f} bytes an instance"
        ),
        f"memory         about {size_text(plan.task_bytes)} for a worker",
    ]
    if m.seconds_per_instance is not None:
        read = m.read_seconds_per_instance or 0.0
        seconds = max(m.seconds_per_instance, read / e.reader_threads)
        lines.append(
            f"time           about {duration_text(seconds * plan.n_instances)} on one "
            f"worker of this machine: {1 / m.seconds_per_instance:,.0f} instances/s "
            f"forward, {1 / max(read, 1e-9):,.0f}/s read by one thread"
        )
    return lines


def _duplicate_lines(contents: Contents) -> list[str]:
    n = contents.n_duplicates
    if not n:
        return []
    lines = [f"duplicates     {n:,} instances have the contents of one before them:"]
    lines += ["  " + " = ".join(map(printable, group)) for group in contents.duplicates]
    return lines


def _influence_lines(plan: Plan) -> list[str]:
    kept = plan.influences
    if not kept:
        return []
    e = plan.extraction
    sizes = [a.n_bytes for a in plan.arrays if a.path.startswith("influences/")]
    n_bytes = sum(sizes)
    each = n_bytes / plan.n_instances
    what = f"{e.targets} targets of {len(kept)} layers, {e.ranks} ranks"
    size = f"{size_text(n_bytes)}, {each:,.0f} bytes an instance"
    lines = [f"influences     {what}: {size}"]
    if e.targets == "all":
        lines.append(
            f"  warning: all targets take {n_bytes / plan.n_bytes:.0%} of the store; "
            "targets = 'top' keeps those of an instance's own top channels"
        )
    return lines


def _describe(p: PreprocessingConfig, architecture: Architecture) -> str:
    if p.kind == "array":
        parts = [f"arrays, axes {p.layout}"]
    else:
        parts = [
            f"resize {p.resize}" if p.resize is not None else "no resize",
            f"crop {p.crop}" if p.crop is not None else "no crop",
            f"{p.interpolation}, {'' if p.antialias else 'not '}antialiased",
            p.channel_order.upper(),
            f"EXIF rotation {'on' if p.exif_rotation else 'off'}",
        ]
        if p.jpeg_reduction is not None:
            parts.append(f"JPEGs decoded at {p.jpeg_reduction:g} times that or more")
    if p.kind == "array" and architecture.input_dtype == "int64":
        return ", ".join([*parts, "whole numbers as they are"])
    numbers = f"(x * {p.factor:.6g} - {_numbers(p.mean)}) / {_numbers(p.std)}"
    return ", ".join([*parts, numbers])


def _numbers(values: tuple[float, ...]) -> str:
    return f"{values[0]:g}" if len(values) == 1 else str([float(v) for v in values])


def _listing(names: tuple[str, ...], n: int = 5) -> str:
    more = f", … {printable(names[-1])}" if len(names) > n else ""
    return ", ".join(map(printable, names[:n])) + more


def printable(text: str) -> str:
    r"""Return a name from the data with what would move a terminal's cursor escaped.

    Examples
    --------
    >>> print(printable("a\nb"))
    a\nb
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def size_text(n_bytes: float) -> str:
    """Return a number of bytes for people, in powers of 1000.

    Examples
    --------
    >>> size_text(1_500_000)
    '1.5 MB'
    """
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1000 or unit == "GB":
            return f"{n_bytes:,.0f} {unit}" if unit == "B" else f"{n_bytes:,.1f} {unit}"
        n_bytes /= 1000
    raise AssertionError


def duration_text(seconds: float) -> str:
    """Return a duration for people.

    Examples
    --------
    >>> duration_text(7200)
    '2.0 h'
    """
    if seconds < 1:
        return "a second"
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def differences(one: Any, other: Any, place: str = "") -> list[str]:
    """Return where two JSON values differ, as ``place: one, not other``.

    Examples
    --------
    >>> differences({"a": {"b": 1}}, {"a": {"b": 2}})
    ['a.b: 1, not 2']
    """
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        found: list[str] = []
        for name in dict.fromkeys([*one, *other]):
            inner = f"{place}.{name}" if place else str(name)
            found += differences(one.get(name), other.get(name), inner)
        return found
    if one == other:
        return []
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        return [
            line for i, (a, b) in pairs for line in differences(a, b, f"{place}[{i}]")
        ]
    return [f"{place}: {_short(one)}, not {_short(other)}"]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
