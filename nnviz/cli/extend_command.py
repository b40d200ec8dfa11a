"""``nnviz extend``: take the new instances of a data set into its store."""

from __future__ import annotations

import json
from pathlib import Path

import click

from nnviz.cli.options import json_option, trust_option

__all__ = ["extend"]


@click.command()
@click.argument("store")
@click.option(
    "--run",
    "run_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Run file whose [dataset] is the larger data set; by default the plan's.",
)
@trust_option
@json_option
def extend(*, store: str, run_file: Path | None, trust: bool, as_json: bool) -> None:
    """Take new instances of the data set into STORE.

    Rows keep their number, and what is extracted stays; 'nnviz extract' then runs the
    new chunks. After an interruption, repeat the command.
    """
    from nnviz.runs.config import load_config
    from nnviz.upkeep.extension import extend

    dataset = None if run_file is None else load_config(run_file).dataset
    summary = extend(store, dataset=dataset, trust=trust)
    click.echo(json.dumps(summary.to_json()) if as_json else str(summary))
