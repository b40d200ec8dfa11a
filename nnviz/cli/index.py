"""``nnviz index``: what makes answers about any subset fast."""

from __future__ import annotations

from pathlib import Path

import click

from nnviz.cli.options import cluster_options, json_option
from nnviz.cli.running import print_result, stage_of

__all__ = ["index"]


@click.command()
@click.argument("store")
@cluster_options
@json_option
def index(
    *,
    store: str,
    cluster: str | None,
    workers: int | None,
    log: Path | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Make what answers questions about any subset at once; repeatable."""
    from nnviz.aggregation.index import make_index
    from nnviz.store.store import Store

    opened = Store.open(store, writable=True)
    with stage_of(
        opened, "index", cluster=cluster, workers=workers, log=log, quiet=quiet
    ) as (client, all_):
        state = make_index(opened, client=client, listeners=all_)
    n = len(state.keys)
    text = f"index of {n:,} piece{'' if n == 1 else 's'}"
    print_result({"pieces": n} if as_json else text)
