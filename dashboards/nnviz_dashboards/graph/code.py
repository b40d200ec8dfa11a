"""With which lines of nnviz does one get the graph that is shown?"""

from __future__ import annotations

from nnviz.results.graph_results import GraphRequest
from nnviz_dashboards.shared.selection import INNER, PRESETS, SCORINGS, SHARES, WEIGHTS

__all__ = ["graph_code"]


def graph_code(store_url: str, request: GraphRequest) -> str:
    """Return three lines of Python.

    Parameters
    ----------
    store_url
        URL of the store.
    request
        What is shown.
    """
    options = request.options
    keywords: dict[str, object] = {}
    if request.collection != "label":
        keywords["subsets"] = request.collection
    if options.preset != PRESETS[0]:
        keywords["preset"] = options.preset
    if options.share != float(SHARES[1]):
        keywords["share"] = options.share
    if options.inner != INNER[0]:
        keywords["inner"] = options.inner
    if options.weight != WEIGHTS[0]:
        keywords["weight"] = options.weight
    if options.scoring != SCORINGS[0]:
        keywords["scoring"] = options.scoring
    subsets = [request.subset, *([request.versus] if request.versus else [])]
    arguments = ", ".join(
        [
            "store",
            *map(repr, subsets),
            *(f"{name}={value!r}" for name, value in keywords.items()),
        ]
    )
    function, home, result = (
        ("compare_subsets", "comparisons", "comparison")
        if request.versus
        else ("attribution_graph", "graphs", "graph")
    )
    return "\n".join(
        [
            f"import nnviz; from nnviz.{home} import {function}",
            f"store = nnviz.open_store({store_url!r})",
            f"{result} = {function}({arguments})",
        ]
    )
