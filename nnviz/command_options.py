"""Which options do several commands have? Each is declared once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import click

__all__ = ["cluster_options", "json_option", "trust_option"]

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
            help="Worker processes; by default one for each core or GPU, or the "
            "file's number.",
        ),
        click.option(
            "--log",
            type=click.Path(dir_okay=False, path_type=Path),
            help="Append every event as a line of JSON to this file; '-' for stdout.",
        ),
        click.option("--quiet", is_flag=True, help="No progress bar."),
    )
    return functools.reduce(lambda inner, option: option(inner), options[::-1], command)
