"""Which words do a graph's channels look for? Tokens of their strongest examples."""

from __future__ import annotations

from nnviz.derivation.examples import read_examples
from nnviz.errors import MissingDataError, UnknownNameError
from nnviz.formatting import printable
from nnviz.graphs.attribution_graph import AttributionGraph
from nnviz.store.store import Store

__all__ = ["token_lines"]

CHANNELS_SHOWN = 3
"""Of each layer, those of the highest scores."""
TOKENS_SHOWN = 3


def token_lines(store: Store, graph: AttributionGraph) -> list[str]:
    """Return a line for each layer whose examples have tokens.

    Parameters
    ----------
    store
        Of the graph.
    graph
        Of any subset.

    Returns
    -------
    list of str
        None where instances are no texts, or nothing was derived.
    """
    if store.plan.preprocessing.kind != "text":
        return []
    lines = []
    for layer in graph.layers:
        try:
            examples = read_examples(store, layer)
        except (MissingDataError, UnknownNameError):
            continue
        nodes = graph.nodes_of(layer)
        best = nodes[(-graph.score[nodes]).argsort(kind="stable")][:CHANNELS_SHOWN]
        parts = []
        for channel in graph.channel[best].tolist():
            found = examples.tokens(channel)[:TOKENS_SHOWN]
            tokens = ", ".join(f"{printable(token)} ({n})" for token, n in found)
            if tokens:
                parts.append(f"{channel}: {tokens}")
        if parts:
            lines.append(f"  {layer}  {'; '.join(parts)}")
    if lines:
        lines.insert(0, "tokens of the strongest examples, and of how many")
    return lines
