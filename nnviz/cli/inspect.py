"""``nnviz inspect`` and ``nnviz export``: what a store holds, printed or written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from nnviz.cli.options import json_option
from nnviz.cli.running import print_result
from nnviz.formatting import instances_text

if TYPE_CHECKING:
    from nnviz.export.tables import BundleFormat

__all__ = ["export", "inspect"]


@click.command()
@click.argument("store")
@click.option("--arrays", is_flag=True, help="List every array of the run.")
@click.option("--unreadable", is_flag=True, help="List instances that do not count.")
@click.option("--subsets", help="List the subsets of this collection, with sizes.")
@click.option("--provenance", is_flag=True, help="Say what STORE was made of.")
@json_option
def inspect(
    *,
    store: str,
    arrays: bool,
    unreadable: bool,
    subsets: str | None,
    provenance: bool,
    as_json: bool,
) -> None:
    """Print what STORE holds, and what is missing."""
    from nnviz.store.store import Store
    from nnviz.subsets.naming import named_subsets
    from nnviz.upkeep.inspection import describe_store

    if subsets is not None:
        collection = named_subsets(Store.open(store), subsets)
        sizes = zip(collection.names, collection.sizes().tolist(), strict=True)
        listed = dict(sizes)
        lines = [f"{name}: {instances_text(n)}" for name, n in listed.items()]
        print_result({"subsets": listed} if as_json else "\n".join(lines))
        return
    report = describe_store(
        Store.open(store), arrays=arrays, unreadable=unreadable, provenance=provenance
    )
    print_result(report.to_json() if as_json else str(report))


@click.command()
@click.argument("store")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--format",
    "format_",
    type=click.Choice(["csv", "json", "parquet"]),
    default="csv",
    show_default=True,
)
@json_option
def export(*, store: str, folder: Path, format_: BundleFormat, as_json: bool) -> None:
    """Write STORE's tables as files into FOLDER."""
    from nnviz.export.tables import write_bundle
    from nnviz.store.store import Store

    files = write_bundle(Store.open(store), folder, format=format_)
    names = [str(file) for file in files]
    print_result({"files": names} if as_json else "\n".join(names))
