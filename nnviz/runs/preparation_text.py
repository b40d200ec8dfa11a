"""What happens to an instance before the network, in words for the plan?"""

from __future__ import annotations

from nnviz.formatting import printable
from nnviz.runs.architecture import Architecture
from nnviz.runs.config import PreprocessingConfig
from nnviz.runs.network_inputs import NetworkInputs

__all__ = ["column_lines", "describe_preparation"]

MOST_COLUMNS = 60
"""So many columns of a table are listed."""


def describe_preparation(p: PreprocessingConfig, architecture: Architecture) -> str:
    """Return what happens to an instance before the network, in one line.

    Parameters
    ----------
    p
        The plan's preprocessing.
    architecture
        Says what the network takes.
    """
    if architecture.inputs is not None:
        return _describe_inputs(p, architecture.inputs)
    if p.kind == "array":
        shape = " x ".join(map(str, architecture.input_shape))
        parts = [
            f"arrays of {architecture.input_dtype}, {shape}",
            "as the data set returns them"
            if p.layout == "as-is"
            else f"from {p.layout}",
        ]
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


def column_lines(p: PreprocessingConfig) -> list[str]:
    """Return what becomes of each column of a table, one in a line; none of others.

    Parameters
    ----------
    p
        The plan's preprocessing.
    """
    has_several = len({column.input for column in p.columns}) > 1
    names = [
        printable(f"{c.input}: {c.name}" if has_several else c.name) for c in p.columns
    ]
    width = max(map(len, names), default=0)
    lines = [
        f"  {name:<{width}}  {printable(str(column))}"
        for name, column in zip(names, p.columns, strict=True)
    ]
    if len(lines) > MOST_COLUMNS:
        n_left = len(lines) - MOST_COLUMNS
        lines = [*lines[:MOST_COLUMNS], f"  … and {n_left:,} more columns"]
    return lines


def _describe_inputs(p: PreprocessingConfig, inputs: NetworkInputs) -> str:
    parts = [] if p.tokenizer is None else [f"tokenizer {printable(p.tokenizer)}"]
    if p.columns:
        names = {column.name for column in p.columns}
        parts.append(
            f"{len(names):,} column{'' if len(names) == 1 else 's'} of a table"
        )
    for name, part in zip(inputs.names, inputs.parts, strict=True):
        if part.role == "input":
            extents = ["tokens" if size < 0 else str(size) for size in part.shape]
            parts.append(f"{name} ({' x '.join([part.dtype, *extents])})")
    if inputs.n_tokens:
        parts.append(f"up to {inputs.n_tokens:,} tokens")
    if inputs.counted is not None:
        parts.append(
            "padding does not count, special tokens do"
            if p.special_tokens_count
            else "padding and special tokens do not count"
        )
    return ", ".join(parts)


def _numbers(values: tuple[float, ...]) -> str:
    return f"{values[0]:g}" if len(values) == 1 else str([float(v) for v in values])
