"""``nnviz pack``: prepare a data set once, for all runs of it."""

from __future__ import annotations

from pathlib import Path

import click

from nnviz.cli.options import cluster_options, json_option, trust_option
from nnviz.cli.running import client_of, listeners_of, print_result
from nnviz.errors import TaskError

__all__ = ["pack"]


@click.command()
@click.argument("run_file", type=click.Path(dir_okay=False, path_type=Path))
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@cluster_options
@trust_option
@json_option
def pack(
    *,
    run_file: Path,
    folder: Path,
    cluster: str | None,
    workers: int | None,
    log: Path | None,
    quiet: bool,
    trust: bool,
    as_json: bool,
) -> None:
    """Prepare the instances of a run once, into few large files; repeatable.

    FOLDER/run.toml is the run of the packed data set: it gives the same activations,
    and nothing has to be decoded.
    """
    from nnviz.planning.early_checks import check_early
    from nnviz.runs.config import load_config

    config = load_config(run_file)
    check_early(config)
    from nnviz.extraction.packing import pack_pieces
    from nnviz.interface.packed_runs import begin_packing

    opening = begin_packing(config, folder, trust=trust)
    with (
        listeners_of(log, quiet=quiet) as listeners,
        client_of(cluster, workers) as client,
    ):
        summary = pack_pieces(opening, client=client, listeners=listeners)
    text = f"{summary}\nnext: nnviz plan {folder / 'run.toml'} --create STORE"
    print_result(summary.to_json() if as_json else text)
    if summary.failed:
        msg = (
            f"{len(summary.failed)} of {summary.n_pieces} pieces failed; repeat "
            f"'nnviz pack {run_file} {folder}' to try them again"
        )
        raise TaskError(msg)
