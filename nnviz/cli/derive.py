"""``nnviz derive``: similarity, embeddings, places, graphs and examples."""

from __future__ import annotations

from pathlib import Path

import click

from nnviz.cli.options import cluster_options, json_option, trust_option
from nnviz.cli.running import print_result, stage_of

__all__ = ["derive"]


@click.command()
@click.argument("store")
@click.option("--pictures/--no-pictures", default=True, help="Cut example pictures.")
@cluster_options
@trust_option
@json_option
def derive(
    *,
    store: str,
    pictures: bool,
    cluster: str | None,
    workers: int | None,
    log: Path | None,
    quiet: bool,
    trust: bool,
    as_json: bool,
) -> None:
    """Derive similarity, embeddings, places of instances and examples."""
    from nnviz.derivation.derivation import derive
    from nnviz.store.store import Store

    opened = Store.open(store, writable=True)
    with stage_of(
        opened, "derive", cluster=cluster, workers=workers, log=log, quiet=quiet
    ) as (client, all_):
        summary = derive(
            opened, client=client, pictures=pictures, trust=trust, listeners=all_
        )
    print_result(summary.to_json() if as_json else str(summary))
