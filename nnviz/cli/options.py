"""Which options do several commands have? Each is declared once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from nnviz.graphs import options as declared

__all__ = ["cluster_options", "graph_options", "json_option", "trust_option"]

Command = Callable[..., None]


def json_option(command: Command) -> Command:
    """Add ``--json``."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Print the result as one JSON object."
    )(command)


def trust_option(command: Command) -> Command:
    """Add ``--trust``."""
    return click.option(
        "--trust",
        is_flag=True,
        help="Read files that run code when read (.pt2, pickled modules, remote code).",
    )(command)


def cluster_options(command: Command) -> Command:
    """Add where a stage runs, and what it tells: four options."""
    options = (
        click.option(
            "--cluster",
            "--scheduler",
            "cluster",
            metavar="KIND|FILE|ADDRESS",
            help="Where to run: local (the default), cuda, slurm, kubernetes, ssh, a "
            "file of 'nnviz cluster-config', or a scheduler (tcp://host:8786).",
        ),
        click.option(
            "--workers",
            type=click.IntRange(min=1),
            help="Worker processes; by default one for each core or GPU, no more than "
            "chunks, or the file's number.",
        ),
        click.option(
            "--log",
            type=click.Path(dir_okay=False, path_type=Path),
            help="Append every event as a line of JSON to this file; '-' for stdout.",
        ),
        click.option("--quiet", is_flag=True, help="No progress bar."),
    )
    return functools.reduce(lambda inner, option: option(inner), options[::-1], command)


def graph_options(command: Command) -> Command:
    """Add how a graph is made: a collection, and the options of ``GraphOptions``."""
    options: list[Callable[[Command], Command]] = [
        click.option(
            "--subsets",
            help="Collection: label, prediction, outcome, or a column or file that was "
            "aggregated. By default label, or without labels the next that there is.",
        )
    ]
    for option in declared.graph_options():
        kind: click.ParamType[Any] = click.FloatRange(0, 1, min_open=True)
        text = option.help
        if option.values is not None:
            kind = click.Choice(list(option.values))
            means = "; ".join(f"{name}: {v.help}" for name, v in option.values.items())
            text = f"{text} {means}."
        made = click.option(
            f"--{option.name}",
            type=kind,
            default=option.default,
            show_default=option.default is not None,
            help=text,
        )
        options.append(made)
    return functools.reduce(lambda inner, option: option(inner), options[::-1], command)
