"""``nnviz ablate``: does a graph matter to the network? And what tells two apart?

Like every command it imports what it needs when it runs.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import click

from nnviz.cli.options import (
    cluster_options,
    graph_options,
    json_option,
    trust_option,
)
from nnviz.cli.running import client_of, listeners_of, print_result, stage_of

if TYPE_CHECKING:
    from nnviz.graphs.options import GraphChoices

__all__ = ["ablate", "ablate_difference"]


def sample_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add what is drawn: instances, channels, and by which seed."""
    options = (
        click.option(
            "--instances",
            type=click.IntRange(min=1),
            default=100,
            show_default=True,
            help="Sample of each subset or class.",
        ),
        click.option(
            "--draws",
            type=click.IntRange(min=0),
            default=10,
            show_default=True,
            help="Random sets of as many channels.",
        ),
        click.option(
            "--seed", default=0, show_default=True, help="Of samples and draws."
        ),
    )
    return functools.reduce(lambda inner, option: option(inner), options[::-1], command)


@click.command()
@click.argument("store")
@click.argument("names", metavar="[SUBSET]...", nargs=-1)
@graph_options
@click.option(
    "--fraction",
    type=click.FloatRange(0, 1, min_open=True),
    help="Not the graph's channels: this fraction of each layer, by the same scores.",
)
@sample_options
@click.option(
    "--by-layer/--no-by-layer",
    default=True,
    help="Whether each layer is ablated alone, too.",
)
@cluster_options
@trust_option
@json_option
def ablate(
    *,
    store: str,
    names: tuple[str, ...],
    subsets: str | None,
    fraction: float | None,
    instances: int,
    draws: int,
    by_layer: bool,
    seed: int,
    cluster: str | None,
    workers: int | None,
    log: Path | None,
    quiet: bool,
    trust: bool,
    as_json: bool,
    **options: Unpack[GraphChoices],
) -> None:
    """Take the channels of STORE's graphs from the network, and others; compare.

    All subsets of a collection, or those that are named; a query names one, too. The
    result is printed, and stored in place of an earlier one for the same graph.
    """
    from nnviz.ablation.ablation import ablate
    from nnviz.ablation.asked_subsets import asked_subsets
    from nnviz.ablation.graph_channels import GraphChoice
    from nnviz.graphs.options import GraphOptions
    from nnviz.store.store import Store

    choice = GraphChoice(GraphOptions(**options), fraction)
    opened = Store.open(store, writable=True)
    threads = opened.plan.extraction.threads_per_worker
    with stage_of(
        opened,
        "ablate",
        cluster=cluster,
        workers=workers,
        threads=threads,
        log=log,
        quiet=quiet,
        ahead="nnviz_cluster.extraction_ahead",
    ) as (client, all_):
        collection, chosen = asked_subsets(
            opened, names, subsets, client=client, listeners=all_
        )
        check = ablate(
            opened,
            collection,
            names=chosen,
            graph=choice,
            n_instances=instances,
            draws=draws,
            by_layer=by_layer,
            seed=seed,
            client=client,
            trust=trust,
            listeners=all_,
        )
    value = check.to_json() | {"name": choice.name}
    print_result(value if as_json else repr(check))


@click.command()
@click.argument("store")
@click.argument("first")
@click.argument("second")
@graph_options
@sample_options
@cluster_options
@trust_option
@json_option
def ablate_difference(
    *,
    store: str,
    first: str,
    second: str,
    subsets: str | None,
    instances: int,
    draws: int,
    seed: int,
    cluster: str | None,
    workers: int | None,
    log: Path | None,
    quiet: bool,
    trust: bool,
    as_json: bool,
    **options: Unpack[GraphChoices],
) -> None:
    """Take from STORE's network what only one of two classes' graphs has.

    Counted is what instances of the FIRST and the SECOND class are then taken for,
    without these channels and without as many others. Nothing is stored.
    """
    from nnviz.ablation.difference import ablate_difference
    from nnviz.graphs.options import GraphOptions
    from nnviz.store.store import Store

    opened = Store.open(store)
    threads = opened.plan.extraction.threads_per_worker
    # Nothing is written, so that others may write meanwhile.
    with (
        listeners_of(log, quiet=quiet) as all_,
        client_of(cluster, workers, threads, most=opened.plan.n_chunks) as client,
    ):
        check = ablate_difference(
            opened,
            first,
            second,
            subsets=subsets,
            options=GraphOptions(**options),
            n_instances=instances,
            draws=draws,
            seed=seed,
            client=client,
            trust=trust,
            listeners=all_,
        )
    print_result(check.to_json() if as_json else repr(check))
