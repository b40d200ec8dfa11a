"""``nnviz explain``: what did the network do with one instance? Asked of the network.

Like every command it imports what it needs when it runs.
"""

from __future__ import annotations

import contextlib

import click

from nnviz.cli.options import json_option, trust_option
from nnviz.cli.running import client_of, print_result

__all__ = ["explain"]


@click.command()
@click.argument("store")
@click.argument("instance")
@click.option(
    "--of",
    metavar="CLASS",
    help="What is explained; by default the class that the network predicts.",
)
@click.option(
    "--again", is_flag=True, help="Run the network even where the answer is stored."
)
@click.option(
    "--cluster",
    metavar="KIND|FILE|ADDRESS",
    default="local",
    show_default=True,
    help="Where the network runs: local is this process; else as in 'nnviz extract'.",
)
@trust_option
@json_option
def explain(
    *,
    store: str,
    instance: str,
    of: str | None,
    again: bool,
    cluster: str,
    trust: bool,
    as_json: bool,
) -> None:
    """Run STORE's network on one INSTANCE (its id or number), and keep what it did.

    Which channels matter for the output, where they fired, and what they rest on: the
    page shows it, and 'nnviz graph STORE --instance INSTANCE' the graph.
    """
    from nnviz.explanation.explanation import explain
    from nnviz.store.lock import writing
    from nnviz.store.store import Store

    opened = Store.open(store)
    with contextlib.ExitStack() as stack:
        client = None
        if cluster != "local":
            stack.enter_context(writing(opened.url, "explain"))
            client = stack.enter_context(client_of(cluster, 1))
        found = explain(
            opened, instance, of=of, again=again, client=client, trust=trust
        )
    print_result(found.to_json() if as_json else repr(found))
