"""With which lines of nnviz does one get the graph that is shown?"""

from __future__ import annotations

from nnviz.graphs.options import SUMMIT_SHARE, graph_options
from nnviz.results.graph_results import GraphRequest
from nnviz.results.graphs_beside import AS_PUBLISHED, BY_NUMBER, Beside

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
    keywords: dict[str, object] = {}
    if request.collection != "label":
        keywords["subsets"] = request.collection
    for option in graph_options():
        value, default = getattr(request.options, option.name), option.default
        if option.name == "share":
            value, default = request.options.kept_share, SUMMIT_SHARE
        if value != default:
            keywords[option.name] = value
    if request.jackknife:
        keywords["jackknife"] = request.jackknife
    if request.beside is not None:
        keywords = {**_beside(request.beside), **keywords}
    subsets = [request.subset, *([request.versus] if request.versus else [])]
    written = [repr(subset) for subset in subsets]
    if request.queries:
        first = request.queries[0]
        others = f"~store.subset({first!r})"  # all that are not in A
        written = [repr(query) if query else others for query in request.queries]
    arguments = ", ".join(
        [
            "store",
            *written,
            *(f"{name}={value!r}" for name, value in keywords.items()),
        ]
    )
    function, result = (
        ("compare", "comparison") if request.is_pair else ("attribution_graph", "graph")
    )
    return "\n".join(
        [
            "import nnviz",
            f"store = nnviz.open_store({store_url!r})",
            f"{result} = nnviz.{function}({arguments})",
        ]
    )


def _beside(beside: Beside) -> dict[str, object]:
    """Return what names another network, or a published graph."""
    if beside.key == AS_PUBLISHED:
        return {"published": beside.location}
    by_number = {"match": False} if beside.key == BY_NUMBER else {}
    return {"other_store": beside.location, **by_number}
