"""``nnviz``: one command for each stage, in pipeline order.

A command parses, calls a stage, and prints. Stages are imported inside the commands, so
that ``nnviz --help`` answers at once.
"""

from __future__ import annotations

import click

from nnviz import __version__
from nnviz.cli.ablate import ablate, ablate_difference
from nnviz.cli.aggregate import aggregate
from nnviz.cli.cluster import cluster_certificates, cluster_config
from nnviz.cli.column import column
from nnviz.cli.derive import derive
from nnviz.cli.ending import OrderedCommands
from nnviz.cli.explain import explain
from nnviz.cli.extract import extend, extract
from nnviz.cli.graph import compare, graph
from nnviz.cli.index import index
from nnviz.cli.inspect import export, inspect
from nnviz.cli.motifs import motifs
from nnviz.cli.pack import pack
from nnviz.cli.plan import plan
from nnviz.cli.rescore import rescore
from nnviz.cli.serve import demo, serve
from nnviz.cli.subset import subset, suggest
from nnviz.cli.verify import verify
from nnviz.garbage import look_at_old_objects_seldom

__all__ = ["main"]


@click.group(
    cls=OrderedCommands, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(__version__, prog_name="nnviz")
def main() -> None:
    """Ask what a network has learned, over all of its data.

    nnviz runs a network once over a data set, stores what every channel did for every
    instance, and answers questions about any set of instances from there.
    """
    look_at_old_objects_seldom()


for command in (
    plan,
    pack,
    extract,
    extend,
    aggregate,
    index,
    derive,
    export,
    graph,
    compare,
    motifs,
    rescore,
    subset,
    column,
    suggest,
    ablate,
    ablate_difference,
    explain,
    verify,
    inspect,
    serve,
    demo,
    cluster_config,
    cluster_certificates,
):
    main.add_command(command)

if __name__ == "__main__":
    main()
