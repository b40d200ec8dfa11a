"""``nnviz verify``: is everything in a store as it was written?"""

from __future__ import annotations

import contextlib
from pathlib import Path

import click

from nnviz.cli.options import cluster_options, json_option, trust_option
from nnviz.cli.running import client_of, listeners_of, print_result

__all__ = ["verify"]


@click.command()
@click.argument("store")
@click.option(
    "--dry-run", is_flag=True, help="Report only; also for a store that is read-only."
)
@click.option(
    "--contents/--no-contents",
    default=True,
    help="Compare what is inside of the data set's files, as far as it was hashed.",
)
@click.option(
    "--recompute",
    metavar="FRACTION",
    help="Compute a random sample again, for instance 0.1%, and compare.",
)
@click.option("--seed", default=0, show_default=True, help="Of that sample.")
@cluster_options
@trust_option
@json_option
@click.pass_context
def verify(
    context: click.Context,
    /,
    *,
    store: str,
    dry_run: bool,
    contents: bool,
    recompute: str | None,
    seed: int,
    cluster: str | None,
    workers: int | None,
    log: Path | None,
    quiet: bool,
    trust: bool,
    as_json: bool,
) -> None:
    """Read and hash everything in STORE; repair what can be.

    A damaged chunk loses its completion mark, so that 'nnviz extract' makes exactly
    this one again. The exit code is 1 where something is damaged that was not restored.
    Threads of this process do it unless a cluster or workers are named.
    """
    from nnviz.store.store import Store
    from nnviz.upkeep.recomputation import parse_fraction
    from nnviz.upkeep.recomputation import recompute as compute_again
    from nnviz.upkeep.verification import verify

    fraction = None if recompute is None else parse_fraction(recompute)
    with contextlib.ExitStack() as stack:
        listeners = stack.enter_context(listeners_of(log, quiet=quiet))
        is_spread = workers is not None or cluster is not None
        client = stack.enter_context(client_of(cluster, workers)) if is_spread else None
        report = verify(
            store,
            client=client,
            repair=not dry_run,
            trust=trust,
            contents=contents,
            listeners=listeners,
        )
        value, lines, is_sound = report.to_json(), [str(report)], report.is_sound
        if fraction is not None and is_sound:
            again = compute_again(
                Store.open(store), fraction, client=client, seed=seed, trust=trust
            )
            value["recomputed"] = again.to_json()
            lines.append(str(again))
            is_sound = not again.wrong
    print_result(value if as_json else "\n".join(lines))
    if not is_sound:
        context.exit(1)
