"""``nnviz column``: what a function of one's own says of every instance, kept."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nnviz.cli.options import cluster_options, json_option, trust_option
from nnviz.cli.running import listeners_of, print_result, stage_of

if TYPE_CHECKING:
    from nnviz.store.added_columns import AddedColumn, ColumnSource
    from nnviz.store.store import Store
    from nnviz.upkeep.user_functions import UserFunction

__all__ = ["column"]


@click.command()
@click.argument("store")
@click.argument("name", required=False)
@click.argument("function", required=False)
@click.option(
    "--over",
    type=click.Choice(["rows", "instances"]),
    default="rows",
    show_default=True,
    help="What the function gets: rows of the table, or the instances themselves.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    help="Let the function get lists of so many, and answer as many values.",
)
@click.option(
    "--replace", is_flag=True, help="Make a column anew that other code has made."
)
@click.option("--remove", metavar="NAME", help="Remove a column that was added.")
@click.option("--list", "listing", is_flag=True, help="List the added columns.")
@cluster_options
@trust_option
@json_option
def column(
    *,
    store: str,
    name: str | None,
    function: str | None,
    over: ColumnSource,
    batch_size: int | None,
    replace: bool,
    remove: str | None,
    listing: bool,
    cluster: str | None,
    workers: int | None,
    log: Path | None,
    quiet: bool,
    trust: bool,
    as_json: bool,
) -> None:
    """Ask FUNCTION once about every instance of STORE, and keep its answers as NAME.

    FUNCTION is file.py:function or package.module:function. It gets a row as a
    dictionary, or with --over instances a picture or an array, and answers a number, a
    truth value, a text or a date, or None. The column is in queries like every other.
    Repeated, it asks about what is new.
    """
    from nnviz.errors import ConfigError
    from nnviz.importing import import_callable
    from nnviz.store.store import Store

    opened = Store.open(store, writable=True)
    if remove is not None:
        from nnviz.upkeep.user_columns import remove_column

        remove_column(opened, remove)
    if listing or (remove is not None and name is None):
        _print_columns(list(opened.added.listed().values()), as_json=as_json)
        return
    if name is None or function is None:
        msg = "give a NAME and a FUNCTION, --list or --remove NAME"
        raise click.UsageError(msg)
    made = _added(
        opened,
        name,
        import_callable(function, error_type=ConfigError),
        over=over,
        places={"cluster": cluster, "workers": workers, "log": log, "quiet": quiet},
        options={"batch_size": batch_size, "replace": replace, "trust": trust},
    )
    _print_columns([made], as_json=as_json)


def _added(
    store: Store,
    name: str,
    function: UserFunction,
    *,
    over: ColumnSource,
    places: dict[str, Any],
    options: dict[str, Any],
) -> AddedColumn:
    from nnviz.engine.callers_objects import delivered
    from nnviz.upkeep.user_columns import add_column, instances_to_ask, key_of

    key, replace = key_of(function, over), options["replace"]
    asked = instances_to_ask(store, name, function, over=over, replace=replace)
    with contextlib.ExitStack() as stack:
        client = None
        if over == "rows" or not len(asked):
            all_ = stack.enter_context(
                listeners_of(places["log"], quiet=places["quiet"])
            )
        else:
            client, all_ = stack.enter_context(stage_of(store, "column", **places))
            stack.enter_context(delivered({key: function}, client))
        return add_column(
            store, name, function, over=over, client=client, listeners=all_, **options
        )


def _print_columns(columns: list[AddedColumn], *, as_json: bool) -> None:
    if as_json:
        print_result({"columns": [one.to_json() for one in columns]})
        return
    none = "no column was added; nnviz column STORE NAME FUNCTION adds one"
    print_result("\n".join(map(str, columns)) or none)
