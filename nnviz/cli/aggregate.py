"""``nnviz aggregate``: sums over classes and other subsets."""

from __future__ import annotations

from pathlib import Path

import click

from nnviz.cli.options import cluster_options, json_option
from nnviz.cli.running import print_result, stage_of

__all__ = ["aggregate"]


@click.command()
@click.argument("store")
@click.option(
    "--subsets",
    help="Comma-separated: label, prediction, outcome (by default all of them for "
    "which there are instances), columns of the instance table (a subset for each "
    "value, month or quarter of the numbers), saved, files (CSV, JSON), or queries.",
)
@click.option(
    "--empty-subsets",
    is_flag=True,
    help="Write rows for subsets without instances too: zeros, as large as the others.",
)
@click.option(
    "--no-index",
    is_flag=True,
    help="Make no index; 'nnviz index' makes it later.",
)
@cluster_options
@json_option
def aggregate(
    *,
    store: str,
    subsets: str | None,
    empty_subsets: bool,
    no_index: bool,
    cluster: str | None,
    workers: int | None,
    log: Path | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Sum what was extracted over classes and other subsets, and index it."""
    from nnviz.aggregation.aggregates import aggregates_of
    from nnviz.aggregation.aggregation import aggregate, default_subsets
    from nnviz.aggregation.index import make_index
    from nnviz.store.store import Store
    from nnviz.subsets.naming import named_subsets, split_names

    opened = Store.open(store, writable=True)
    names = default_subsets(opened) if subsets is None else split_names(subsets)
    collections = [named_subsets(opened, name) for name in names]
    with stage_of(
        opened, "aggregate", cluster=cluster, workers=workers, log=log, quiet=quiet
    ) as (client, all_):
        aggregate(
            opened,
            collections,
            client=client,
            empty_subsets=empty_subsets,
            listeners=all_,
        )
        if not no_index:
            make_index(opened, client=client, listeners=all_)
    written = {c.name: len(aggregates_of(opened, c.name)) for c in collections}
    lines = [f"{name}: {n:,} subsets" for name, n in written.items()]
    print_result({"subsets": written} if as_json else "\n".join(lines))
