"""What did a causal check say of a graph, if one was made and stored?

``nnviz ablate`` takes a graph's channels from the network, and as many others; this
finds its result for a graph that is looked at, and otherwise says what makes it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nnviz.ablation.causal_check import CausalCheck
from nnviz.ablation.graph_channels import GraphChoice
from nnviz.ablation.results import ABLATION, causal_check_of
from nnviz.ablation.treatments import SetName
from nnviz.errors import NnvizError
from nnviz.graphs.options import SUMMIT_SHARE, GraphOptions, graph_options
from nnviz.store.store import Store

__all__ = ["CausalEffect", "ablate_words", "causal_effect"]


@dataclass(frozen=True, slots=True)
class CausalEffect:
    """What the network does without the channels of a graph, in a sample."""

    n_instances: int
    """Of the sample."""
    n_channels: int
    """That were ablated."""
    n_right: int
    """Predicted as they are labelled, with all channels."""
    n_right_without: int
    """The same without the graph's."""
    n_right_random: float
    """The same without as many others, mean over the draws; NaN without draws."""
    drop: float
    """Of the mean logit of the class."""
    error: float
    """Standard error of the drop, over instances."""
    random_drop: float
    """Mean over the draws; NaN without draws."""
    random_spread: float
    """Standard deviation between draws; NaN without."""


def causal_effect(
    store: Store, collection: str, names: tuple[str, ...], options: GraphOptions
) -> CausalEffect | None:
    """Return what a stored check says of a subset's graph.

    Parameters
    ----------
    store
        Opened.
    collection
        Name of the collection that the subset is in; checks of queries have one of
        their own.
    names
        What the subset may be called.
    options
        How the graph is made.

    Returns
    -------
    CausalEffect or None
        None if no check was stored, or what was is damaged.
    """
    groups = store.groups
    collections = [x for x in groups.names(ABLATION) if x.startswith("query-")]
    for of in (collection, *collections):
        path = f"{ABLATION}/{of}"
        for graph in groups.names(path):
            if graph not in _graph_names(options):
                continue
            if not groups.is_complete(f"{path}/{graph}"):
                continue
            checked = groups.attributes(f"{path}/{graph}").get("names", ())
            found = [name for name in names if name in checked]
            if not found:
                continue
            try:
                return _effect(causal_check_of(store, of, graph), found[0])
            except NnvizError:
                return None
    return None


def ablate_words(
    url: str, subsets: Sequence[str], options: GraphOptions, collection: str = ""
) -> tuple[str, ...]:
    """Return the words of the command that checks a graph, or two that are compared.

    Parameters
    ----------
    url
        URL of the store.
    subsets
        Names of the subsets, or their queries.
    options
        How the graph is made.
    collection
        Name of the collection, where that is not the classes' and no query's.
    """
    words = ["--subsets", collection] if collection else []
    for option in graph_options():
        value = getattr(options, option.name)
        if option.name == "share":
            value = None if options.kept_share == SUMMIT_SHARE else value
        if value not in (None, option.default):
            text = f"{value:g}" if isinstance(value, float) else str(value)
            words += [f"--{option.name}", text]
    if any(name.startswith("-") for name in subsets):  # a label of -1 is no option
        return ("nnviz", "ablate", *words, "--", url, *subsets)
    return ("nnviz", "ablate", url, *subsets, *words)


def _graph_names(options: GraphOptions) -> set[str]:
    """Return the names that the check of such a graph may have."""
    ways = [options]
    if options.kept_share == SUMMIT_SHARE:
        ways += [dataclasses.replace(options, share=x) for x in (None, SUMMIT_SHARE)]
    return {GraphChoice(way).name for way in ways}


def _effect(check: CausalCheck, name: str) -> CausalEffect:
    row = check.names.index(name)
    n = int(check.n_instances[row])

    def n_right(what: SetName) -> float:
        return float(check.effect(what).accuracy[row]) * n

    graph = check.effect("graph")
    has_draws = check.has("random")
    random = check.effect("random") if has_draws else None
    return CausalEffect(
        n,
        int(check.n_kept[row].sum()),
        round(n_right("none")),
        round(n_right("graph")),
        n_right("random") if has_draws else math.nan,
        float(graph.drop[row]),
        float(np.nan_to_num(graph.error[row])),
        math.nan if random is None else float(random.drop[row]),
        math.nan if random is None else float(random.spread[row]),
    )
