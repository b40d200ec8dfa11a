"""``nnviz extract`` and ``nnviz extend``: run the network over what a store lacks."""

from __future__ import annotations

import time
from pathlib import Path

import click

from nnviz.cli.ending import OUT_OF_TIME
from nnviz.cli.options import cluster_options, json_option, trust_option
from nnviz.cli.running import print_result, seconds_of, stage_of
from nnviz.errors import TaskError

__all__ = ["extend", "extract"]


@click.command()
@click.argument("store")
@cluster_options
@click.option(
    "--max-unreadable",
    type=click.FloatRange(0, 1),
    help="Stop when more than this fraction of the instances cannot be used.",
)
@click.option(
    "--time-limit",
    metavar="DURATION",
    help="Start no chunk that would not end in this time (5400, 90m, 01:30:00); exit "
    "code 75 says that chunks are left.",
)
@click.option(
    "--deadline",
    metavar="DURATION",
    help="Give a chunk to another worker as well after this; by default 10 times what "
    "chunks usually take, at least a minute.",
)
@click.option(
    "--wait-for-workers",
    metavar="DURATION",
    help="End when the cluster has had no workers for so long; by default 5m, but "
    "for ever where workers wait in the queue of a batch system.",
)
@trust_option
@json_option
@click.pass_context
def extract(
    context: click.Context,
    /,
    *,
    store: str,
    cluster: str | None,
    workers: int | None,
    log: Path | None,
    quiet: bool,
    max_unreadable: float | None,
    time_limit: str | None,
    deadline: str | None,
    wait_for_workers: str | None,
    trust: bool,
    as_json: bool,
) -> None:
    """Run the network over STORE's missing chunks; repeatable."""
    begun = time.monotonic()
    stop_in = None if time_limit is None else seconds_of(time_limit)
    overdue = None if deadline is None else seconds_of(deadline)
    patience = None if wait_for_workers is None else seconds_of(wait_for_workers)
    from nnviz.store.store import Store

    opened = Store.open(store, writable=True)
    with stage_of(
        opened,
        "extract",
        cluster=cluster,
        workers=workers,
        threads=opened.plan.extraction.threads_per_worker,
        log=log,
        quiet=quiet,
        ahead="nnviz_cluster.extraction_ahead",
    ) as (client, listeners):
        from nnviz.engine.tasks import RunLimits
        from nnviz.extraction.extraction import extract

        summary = extract(
            opened,
            client=client,
            listeners=listeners,
            trust=trust,
            max_unreadable_fraction=max_unreadable,
            limits=RunLimits(
                deadline=overdue,
                wait_for_workers=patience,
                stop_at=None if stop_in is None else begun + stop_in,
            ),
        )
    print_result(summary.to_json() if as_json else str(summary))
    if summary.failed:
        msg = (
            f"{len(summary.failed)} of {summary.n_chunks} chunks failed; "
            f"repeat 'nnviz extract {store}' to try them again"
        )
        raise TaskError(msg)
    if summary.n_left:
        click.echo(f"repeat 'nnviz extract {store}' to go on", err=True)
        context.exit(OUT_OF_TIME)


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
    print_result(summary.to_json() if as_json else str(summary))
