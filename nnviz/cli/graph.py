"""``nnviz graph`` and ``nnviz compare``: attribution graphs, printed or in files.

Like every command they import what they need when they run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import click

from nnviz.cli.options import graph_options, json_option
from nnviz.cli.running import draw_chunks, tell_advice
from nnviz.errors import ConfigError

if TYPE_CHECKING:
    from nnviz.graphs.attribution_graph import AttributionGraph
    from nnviz.graphs.files import ComparisonFormat, GraphFormat
    from nnviz.graphs.options import GraphChoices
    from nnviz.store.store import Store

__all__ = ["compare", "graph"]


@click.command()
@click.argument("store")
@click.argument("subset", required=False)
@graph_options
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write; csv writes two, for nodes and for arcs.",
)
@json_option
@click.option(
    "--instance",
    metavar="ID",
    help="In place of a SUBSET: the own graph of one instance, which 'nnviz explain' "
    "has explained. Channels are kept by relevance; --share and --inner count.",
)
@click.option(
    "--of",
    metavar="CLASS",
    help="What was explained of it; by default the class that the network predicts.",
)
@click.option(
    "--jackknife",
    type=click.IntRange(min=0),
    default=0,
    metavar="BLOCKS",
    help="Estimate errors of the scores: leave out each of this many blocks in turn.",
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(["json", "graphml", "csv", "summit"]),
    default="json",
    show_default=True,
)
def graph(
    *,
    store: str,
    subset: str | None,
    subsets: str | None,
    instance: str | None,
    of: str | None,
    jackknife: int,
    format_: GraphFormat,
    out: Path | None,
    as_json: bool,
    **options: Unpack[GraphChoices],
) -> None:
    """Print or write the attribution graph of one SUBSET of STORE.

    STORE may also be a graph that SUMMIT published (ag-N.json), without a SUBSET.
    """
    from nnviz.derivation.example_tokens import token_lines
    from nnviz.graphs.files import graph_files
    from nnviz.graphs.making import SubsetGraphs
    from nnviz.graphs.summit_files import read_summit_file
    from nnviz.store.store import Store

    layout, tokens = None, []
    if instance is not None:
        if subset is not None or jackknife:
            msg = "an --instance has no SUBSET, and no errors by --jackknife"
            raise click.UsageError(msg)
        opened = Store.open(store)
        found = _of_instance(opened, instance, of, options)
        layout = None if out is None else SubsetGraphs(opened, subsets).layout(found)
    elif subset is None:
        if not store.endswith(".json"):
            Store.open(store)  # what is no store has no subset either
            msg = "name a SUBSET of the store, or a .json file that SUMMIT published"
            raise click.UsageError(msg)
        found = read_summit_file(store)
    else:
        opened = Store.open(store)
        draw_chunks(opened)
        graphs = SubsetGraphs(opened, subsets)
        found = graphs.graph(subset, jackknife=jackknife, **options)
        tell_advice(opened)
        tokens = token_lines(opened, found)
        layout = None if out is None else graphs.layout(found)
    files = {} if out is None else graph_files(found, out.stem, format_, layout=layout)
    paths = [] if out is None else _write(files, out)
    drawn = graph_files(found, "graph", "json", layout=layout)
    value = {
        "subset": found.subset,
        "preset": found.preset,
        "nodes": found.n_nodes,
        "arcs": found.n_arcs,
        "graph": json.loads(next(iter(drawn.values()))),
        "reach": dict(zip(found.layers, found.reach.tolist(), strict=False)),
        "remarks": found.remarks(),
        "problems": found.problems,
        "files": paths,
    }
    lines = [repr(found), *tokens, *paths]
    click.echo(json.dumps(value, ensure_ascii=False) if as_json else "\n".join(lines))


@click.command()
@click.argument("store")
@click.argument("first")
@click.argument("second", required=False)
@graph_options
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write; csv writes two, for nodes and for arcs.",
)
@json_option
@click.option(
    "--jackknife",
    type=click.IntRange(min=0),
    default=0,
    metavar="BLOCKS",
    help="Test nodes on what they are kept by, too: errors of their scores are "
    "estimated by leaving out each of this many blocks of instances, 20 for instance.",
)
@click.option("--other-subsets", help="Collection of the second; by default the same.")
@click.option(
    "--other-store",
    help="Store of another network over the same instances; then no SECOND is named.",
)
@click.option(
    "--published",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Graph of the same class that SUMMIT published (ag-N.json), in place of a "
    "SECOND: compared in the layers of the same names.",
)
@click.option(
    "--match/--no-match",
    default=True,
    help="Whether channels of two networks are matched by their activations, as those "
    "of two seeds must be; else channels of one number belong together.",
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(["json", "graphml", "csv"]),
    default="csv",
    show_default=True,
)
def compare(
    *,
    store: str,
    first: str,
    second: str | None,
    subsets: str | None,
    other_subsets: str | None,
    other_store: str | None,
    match: bool,
    published: Path | None,
    jackknife: int,
    format_: ComparisonFormat,
    out: Path | None,
    as_json: bool,
    **options: Unpack[GraphChoices],
) -> None:
    """Tell what differs between the graphs of two subsets, FIRST and SECOND, of STORE.

    Or between those of one subset in two networks, or of one that SUMMIT published.
    """
    from nnviz.graphs.files import comparison_files, known_number
    from nnviz.graphs.making_comparisons import compare_networks, compare_subsets
    from nnviz.graphs.published import compare_published
    from nnviz.graphs.summit_files import read_summit_file
    from nnviz.store.store import Store

    if [second, other_store, published].count(None) != 2:
        msg = (
            "name a SECOND subset, another network's store with --other-store, or a "
            "file with --published; one of them"
        )
        raise click.UsageError(msg)
    opened = Store.open(store)
    draw_chunks(opened)
    if published is not None:
        theirs = read_summit_file(published)
        found = compare_published(opened, first, theirs, subsets=subsets, **options)
    elif other_store is not None:
        other = Store.open(other_store)
        found = compare_networks(
            opened,
            other,
            first,
            subsets=subsets,
            match=match,
            jackknife=jackknife,
            **options,
        )
    else:
        found = compare_subsets(
            opened,
            first,
            str(second),
            subsets=subsets,
            other_subsets=other_subsets,
            jackknife=jackknife,
            **options,
        )
        tell_advice(opened)
    files = {} if out is None else comparison_files(found, out.stem, format_)
    paths = [] if out is None else _write(files, out)
    value = {
        "first": found.first.subset,
        "second": found.second.subset,
        "nodes": len(found.nodes),
        "shared_nodes": int(found.node_parts.is_shared.sum()),
        "arcs": len(found.arcs),
        "shared_arcs": int(found.arc_parts.is_shared.sum()),
        "different_nodes": int(found.node_parts.differs().sum()),
        "node_jaccard": found.similarity.node_jaccard if found.nodes else None,
        "arc_jaccard": found.similarity.arc_jaccard if found.arcs else None,
        "different_arcs": int(found.arc_parts.differs().sum()),
        "half_node_jaccards": [
            None if half is None else known_number(half.nodes) for half in found.halves
        ],
        "matched": found.matched,
        "remarks": found.remarks(),
        "files": paths,
    }
    lines = [repr(found), *paths]
    click.echo(json.dumps(value, ensure_ascii=False) if as_json else "\n".join(lines))


def _of_instance(
    store: Store, instance: str, of: str | None, options: GraphChoices
) -> AttributionGraph:
    from nnviz.explanation.explanation import explained_output, instance_number
    from nnviz.explanation.own_graph import own_graph
    from nnviz.explanation.stored import explanation_of

    number = instance_number(store, instance)
    explanation = explanation_of(store, number, explained_output(store, number, of))
    return own_graph(store, explanation, **options)


def _write(files: Mapping[str, bytes], out: Path) -> list[str]:
    """Write one file as it is called, several beside each other by their own names."""
    paths = []
    for name, content in files.items():
        path = out if len(files) == 1 else out.with_name(name)
        try:
            path.write_bytes(content)
        except OSError as error:
            msg = f"cannot write {str(path)!r}: {error.strerror}; name another --out"
            raise ConfigError(msg) from error
        paths.append(str(path))
    return paths
