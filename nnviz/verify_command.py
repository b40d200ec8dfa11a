"""``nnviz verify``: is everything in a store as it was written?"""

from __future__ import annotations

import contextlib
import json

import click

from nnviz.running import client_of, listeners_of

__all__ = ["verify"]


@click.command()
@click.argument("store")
@click.option(
    "--dry-run", is_flag=True, help="Report only; also for a store that is read-only."
)
@click.option(
    "--cluster",
    "--scheduler",
    "cluster",
    metavar="KIND|FILE|ADDRESS",
    help="Where to run, as for 'nnviz extract'; by default threads of this process.",
)
@click.option("--workers", type=click.IntRange(min=1), help="Worker processes.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
@click.option(
    "--trust",
    is_flag=True,
    help="Import a data set that is code, to restore damaged ids and labels from it.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def verify(
    context: click.Context,
    /,
    *,
    store: str,
    dry_run: bool,
    cluster: str | None,
    workers: int | None,
    quiet: bool,
    trust: bool,
    as_json: bool,
) -> None:
    """Read and hash everything in STORE; repair what can be.

    A damaged chunk loses its completion mark, so that 'nnviz extract' makes exactly
    this one again. The exit code is 1 where something is damaged that was not restored.
    """
    from nnviz.verification import verify

    with contextlib.ExitStack() as stack:
        listeners = stack.enter_context(listeners_of(None, quiet=quiet))
        is_spread = workers is not None or cluster is not None
        client = stack.enter_context(client_of(cluster, workers)) if is_spread else None
        report = verify(
            store, client=client, repair=not dry_run, trust=trust, listeners=listeners
        )
    click.echo(
        json.dumps(report.to_json(), ensure_ascii=False) if as_json else str(report)
    )
    if not report.is_sound:
        context.exit(1)
