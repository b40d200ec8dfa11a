"""``nnviz graph``: the attribution graph of a subset, on the terminal or in a file.

Like every command it imports what it needs when it runs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from nnviz.artifacts.graph_files import GraphFormat
    from nnviz.graphs import InnerLayers, Preset

__all__ = ["graph"]


@click.command()
@click.argument("store")
@click.argument("subset")
@click.option("--subsets", default="label", show_default=True, help="Its collection.")
@click.option(
    "--preset",
    type=click.Choice(["directed", "summit"]),
    default="directed",
    show_default=True,
    help="From the output down, or as SUMMIT publishes it.",
)
@click.option(
    "--share",
    type=click.FloatRange(0, 1, min_open=True),
    help="Keep this share of each layer's scores; 0.075 by default.",
)
@click.option(
    "--inner",
    type=click.Choice(["composed", "nodes"]),
    default="composed",
    show_default=True,
    help="What becomes of layers that are not shown.",
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(["json", "graphml", "csv", "summit"]),
    default="json",
    show_default=True,
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write; csv writes two, for nodes and for arcs.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print the result as one JSON object."
)
def graph(
    *,
    store: str,
    subset: str,
    subsets: str,
    preset: Preset,
    share: float | None,
    inner: InnerLayers,
    format_: GraphFormat,
    out: Path | None,
    as_json: bool,
) -> None:
    """Print or write the attribution graph of one SUBSET of STORE."""
    from nnviz.artifacts.graph_files import graph_files
    from nnviz.graphs import attribution_graph
    from nnviz.store.store import Store

    found = attribution_graph(
        Store.open(store),
        subset,
        subsets=subsets,
        preset=preset,
        share=share,
        inner=inner,
    )
    paths = [] if out is None else _write(graph_files(found, out.stem, format_), out)
    value = {
        "subset": found.subset,
        "preset": found.preset,
        "nodes": found.n_nodes,
        "arcs": found.n_arcs,
        "problems": found.problems,
        "files": paths,
    }
    text = "\n".join([repr(found), *found.problems, *paths])
    click.echo(json.dumps(value, ensure_ascii=False) if as_json else text)


def _write(files: Mapping[str, bytes], out: Path) -> list[str]:
    """Write one file as it is called, several beside each other by their own names."""
    paths = []
    for name, content in files.items():
        path = out if len(files) == 1 else out.with_name(name)
        path.write_bytes(content)
        paths.append(str(path))
    return paths
