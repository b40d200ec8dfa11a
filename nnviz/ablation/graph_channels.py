"""Which channels has a subset's graph, and how does it score the others?

An attribution graph holds what it keeps. To take away other channels than those, the
scores of all are needed: a graph that keeps everything has them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnviz.ablation.treatments import Channels, highest
from nnviz.aggregation.aggregates import Aggregates
from nnviz.errors import ConfigError
from nnviz.graphs.from_totals import output_layer
from nnviz.graphs.making import SubsetGraphs
from nnviz.graphs.options import GraphOptions, keywords
from nnviz.store.store import Store

__all__ = ["GraphChannels", "GraphChoice", "graph_channels"]


@dataclass(frozen=True, slots=True)
class GraphChoice:
    """Which channels of a subset are taken for its graph's.

    Raises
    ------
    ConfigError
        If `fraction` is out of range, or a share is given beside it.
    """

    options: GraphOptions = field(default_factory=GraphOptions)
    fraction: float | None = None
    """None: the graph's nodes. Else the channels with the highest scores, this fraction
    of each layer, at least one: so graphs can be compared at one size."""

    def __post_init__(self) -> None:
        if self.fraction is not None and not 0 < self.fraction <= 1:
            msg = f"fraction is {self.fraction}; it is above 0 and at most 1"
            raise ConfigError(msg)
        if self.fraction is not None and self.options.share is not None:
            msg = (
                f"share is {self.options.share} and fraction {self.fraction}; give one "
                "of them: both say how many channels are taken"
            )
            raise ConfigError(msg)

    @property
    def name(self) -> str:
        """Name in the store."""
        options = self.options
        parts: list[str] = [options.preset]
        parts += [] if options.weight == "auto" else [options.weight]
        parts += [options.scoring]
        parts += [] if options.share is None else [f"share{options.share:g}"]
        parts += [] if options.inner == "composed" else [options.inner]
        parts += [] if self.fraction is None else [f"fraction{self.fraction:g}"]
        return "-".join(parts)

    def to_json(self) -> dict[str, Any]:
        """Return what was chosen as JSON values."""
        value = asdict(self.options) | {"fraction": self.fraction}
        return {name: item for name, item in value.items() if item is not None}


@dataclass(frozen=True, slots=True)
class GraphChannels:
    """Channels of one subset's graph, in all layers but the network's outputs."""

    kept: Channels
    """The graph's, by layer."""
    scores: Mapping[str, NDArray[np.float64]]
    """Of every channel, by layer, shape (C,); 0 for those that no graph would keep."""
    counts: Mapping[str, NDArray[np.int64]]
    """In how many of the subset's instances each is a top channel, shape (C,)."""
    problems: tuple[str, ...]
    """What is not as one would expect; one sentence each."""


def graph_channels(
    store: Store,
    graphs: SubsetGraphs,
    aggregates: Aggregates,
    choice: GraphChoice,
    subset: str,
) -> GraphChannels:
    """Return the channels of one subset's graph, and the scores of all.

    Parameters
    ----------
    store
        Store of the run.
    graphs, aggregates
        Graphs and aggregates of the subset's collection.
    choice
        Which graph.
    subset
        Name of the subset.

    Raises
    ------
    ConfigError
        If the graph has no layer below the network's outputs.
    UnknownNameError
        If there is no such subset.
    """
    whole = graphs.graph(subset, **keywords(replace(choice.options, share=1.0)))
    output = output_layer(store)
    names = [x for x in whole.layers if x != output]
    if not names:
        msg = (
            f"the graph of {subset!r} has no layer below the network's outputs, so "
            "that there is nothing to ablate; show more layers with extraction.shown, "
            "or take inner layers as nodes"
        )
        raise ConfigError(msg)
    scores, sizes = {}, {}
    for name in names:
        sizes[name] = store.layer(name).n_channels
        scores[name] = np.zeros(sizes[name])
        nodes = whole.nodes_of(name)
        scores[name][whole.channel[nodes]] = whole.score[nodes]
    graph = graphs.graph(subset, **keywords(choice.options))
    row = aggregates.row(subset)
    kept = {
        name: np.sort(graph.channel[graph.nodes_of(name)]).astype(np.int64)
        if choice.fraction is None
        else highest(scores[name], max(1, round(choice.fraction * n)))
        for name, n in sizes.items()
    }
    return GraphChannels(
        kept=kept,
        scores=scores,
        counts={x: aggregates.counts(x)[[row]].toarray()[0] for x in names},
        problems=(*graph.problems, *_sentences(subset, kept, sizes)),
    )


def _sentences(subset: str, kept: Channels, sizes: Mapping[str, int]) -> list[str]:
    empty = [name for name, channels in kept.items() if not len(channels)]
    full = [name for name, channels in kept.items() if len(channels) == sizes[name]]
    sentences = []
    if empty:
        sentences.append(
            f"the graph of {subset!r} has no channel in {', '.join(empty)}: nothing is "
            "ablated there"
        )
    if full:
        sentences.append(
            f"the graph of {subset!r} has all channels of {', '.join(full)}: sets of "
            "as many are the same there"
        )
    return sentences
