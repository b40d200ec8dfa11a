"""``nnviz motifs``: parts that the graphs of many subsets share.

Like every command it imports what it needs when it runs.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import click

from nnviz.cli.options import graph_options, json_option
from nnviz.errors import ConfigError

if TYPE_CHECKING:
    from nnviz.graphs.options import GraphChoices

__all__ = ["motifs"]


@click.command()
@click.argument("store")
@graph_options
@click.option(
    "--at-least",
    type=click.IntRange(min=2),
    default=3,
    show_default=True,
    metavar="GRAPHS",
    help="Graphs that share a part.",
)
@click.option(
    "--most",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="Parts, at most.",
)
@click.option(
    "--shuffles",
    type=click.IntRange(min=0),
    default=19,
    show_default=True,
    help="Shuffled tables of the same graphs in which is looked for what chance would "
    "find; less surprising parts are left out. 0: none are.",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="CSV file to write, a row for each arc of each part.",
)
@json_option
def motifs(
    *,
    store: str,
    subsets: str | None,
    at_least: int,
    most: int,
    shuffles: int,
    out: Path | None,
    as_json: bool,
    **options: Unpack[GraphChoices],
) -> None:
    """List the parts that the graphs of many subsets of STORE share.

    The most surprising one first, then what is most surprising when that is known, and
    so on.
    """
    from nnviz.graphs.making_motifs import subset_motifs
    from nnviz.store.store import Store

    found = subset_motifs(
        Store.open(store),
        subsets,
        at_least=at_least,
        most=most,
        shuffles=shuffles,
        **options,
    )
    if out is not None:
        try:
            out.write_text(found.to_csv(), encoding="utf-8")
        except OSError as error:
            msg = f"cannot write {str(out)!r}: {error.strerror}; name another --out"
            raise ConfigError(msg) from error
    value = found.to_json() | {"files": [] if out is None else [str(out)]}
    lines = [repr(found), *value["files"]]
    click.echo(json.dumps(value, ensure_ascii=False) if as_json else "\n".join(lines))
