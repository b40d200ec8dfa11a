"""How are SUMMIT's own graph files read and written? The schema of ``ag-N.json``.

An object with a key for each layer, the output's first. Each layer is a list of nodes:
``channel``, ``layer``, ``count``, ``pagerank``, ``prev_channels`` (kept arcs) and
``attr_channels`` (the three strongest sources, kept or not, channels as text).

In the published files ``attr_channels`` of some nodes number the channels of a
bottleneck, though the page takes them for channels of the layer below; in files written
here they always are of the layer below.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nnviz.errors import ConfigError, StoreFormatError
from nnviz.graphs.attribution_graph import N_STRONGEST, UNKNOWN, AttributionGraph
from nnviz.store.mistaken_places import is_inside_store
from nnviz.text_files import parse_json, read_text

__all__ = [
    "SUFFIX",
    "from_summit_json",
    "holds_summit_files",
    "read_summit_file",
    "summit_files",
    "to_summit_json",
]

SUFFIX = ".json"

_NUMBERED = re.compile(r"ag-(\d{1,9})")
"""What SUMMIT calls the file of a class of this number, but for the suffix."""


def summit_files(path: str | os.PathLike[str]) -> dict[str | int, Path]:
    """Return SUMMIT's files in a folder, or the one that is named.

    Parameters
    ----------
    path
        A folder, or a file.

    Returns
    -------
    dict
        Each file by the number of its class, from ``ag-N.json``, in order; others
        follow, by their names without suffix. None of them is read.

    Raises
    ------
    ConfigError
        If there is no such file or folder, or it holds none.
    """
    folder = Path(path)
    try:
        found = sorted(folder.glob(f"*{SUFFIX}")) if folder.is_dir() else [folder]
        found = [file for file in found if file.is_file() and file.suffix == SUFFIX]
    except OSError:
        found = []
    if not found:
        msg = (
            f"there is no graph of SUMMIT at {os.fspath(path)!r}; name one of its "
            "files, or a folder of them, ag-0.json for class 0 and so on"
        )
        raise ConfigError(msg)
    named: dict[str | int, Path] = {}
    for file in found:
        numbered = _NUMBERED.fullmatch(file.stem)
        named[int(numbered[1]) if numbered else file.stem] = file
    numbers = sorted(key for key in named if isinstance(key, int))
    texts = [key for key in named if isinstance(key, str)]
    ordered: list[str | int] = [*numbers, *texts]
    return {key: named[key] for key in ordered}


def holds_summit_files(path: str | os.PathLike[str]) -> bool:
    """Whether a place is such a file, or a folder of them and no store."""
    folder = Path(path)
    try:
        if folder.is_file():
            is_of_store = is_inside_store(str(folder.absolute()))
            return folder.suffix == SUFFIX and not is_of_store
        is_store = (folder / "zarr.json").exists()
        return not is_store and any(folder.glob(f"ag-*{SUFFIX}"))
    except (OSError, ValueError):  # no path of this machine
        return False


def read_summit_file(path: str | os.PathLike[str]) -> AttributionGraph:
    """Read one of SUMMIT's files; the graph is called as the file is.

    Raises
    ------
    ConfigError
        If it cannot be read.
    StoreFormatError
        If it does not follow the schema.
    """
    try:
        text = read_text(path)
    except (OSError, ValueError) as error:
        msg = (
            f"cannot read {os.fspath(path)!r}: {error}; name a graph that SUMMIT "
            "published"
        )
        raise ConfigError(msg) from error
    try:
        return from_summit_json(text, subset=Path(path).stem)
    except StoreFormatError as error:
        msg = f"cannot read {os.fspath(path)!r}: {error}"
        raise StoreFormatError(msg) from error


def from_summit_json(
    text: str, *, subset: str = "", n_instances: int = UNKNOWN
) -> AttributionGraph:
    """Read one of SUMMIT's files.

    Parameters
    ----------
    text
        The file's content.
    subset
        Name of the class, which the file does not have.
    n_instances
        Instances of the class, which the file does not have; -1: not known.

    Raises
    ------
    StoreFormatError
        If it does not follow the schema.
    """
    try:
        value: Mapping[str, Sequence[Mapping[str, Any]]] = parse_json(text)
        return _graph(value, subset, n_instances)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        msg = (
            "this is not a graph file of SUMMIT: "
            f"{type(error).__name__}: {error}; it has "
            "a list of nodes for each layer, with 'channel', 'count', 'pagerank', "
            "'prev_channels' and 'attr_channels'"
        )
        raise StoreFormatError(msg) from error


def to_summit_json(graph: AttributionGraph) -> str:
    """Return a graph as SUMMIT's page reads it.

    Arcs that skip a layer have no place in the schema and are left out; nodes and arcs
    stand in the graph's order.
    """
    arcs: dict[int, list[dict[str, int]]] = {}
    for source, target, count in zip(
        graph.source.tolist(),
        graph.target.tolist(),
        graph.arc_count.tolist(),
        strict=True,
    ):
        if graph.layer[source] == graph.layer[target] - 1:
            arc = {"prev_channel": int(graph.channel[source]), "inf": count}
            arcs.setdefault(target, []).append(arc)
    value: dict[str, list[dict[str, Any]]] = {}
    for index, name in reversed(list(enumerate(graph.layers))):
        value[name] = [
            {
                "channel": int(graph.channel[node]),
                "count": int(graph.count[node]),
                "layer": name,
                "pagerank": float(graph.score[node]),
                "prev_channels": arcs.get(node, []),
                "attr_channels": _attributed(graph, node, index - 1),
            }
            for node in np.flatnonzero(graph.layer == index).tolist()
        ]
    return json.dumps(value, allow_nan=False)


def _graph(
    value: Mapping[str, Sequence[Mapping[str, Any]]], subset: str, n_instances: int
) -> AttributionGraph:
    layers = tuple(value)[::-1]
    nodes = [(index, node) for index, name in enumerate(layers) for node in value[name]]
    place = {(index, node["channel"]): i for i, (index, node) in enumerate(nodes)}
    arcs = [
        (place[index - 1, arc["prev_channel"]], target, arc["inf"])
        for target, (index, node) in enumerate(nodes)
        for arc in node["prev_channels"]
    ]
    source, target, arc_count = np.array(arcs, dtype=np.int64).reshape(-1, 3).T
    channels = np.full((len(nodes), N_STRONGEST), UNKNOWN, dtype=np.int32)
    counts = np.zeros((len(nodes), N_STRONGEST), dtype=np.int64)
    below = np.full((len(nodes), N_STRONGEST), UNKNOWN, dtype=np.int32)
    for row, (index, node) in enumerate(nodes):
        for rank, item in enumerate(node["attr_channels"]):
            channels[row, rank] = int(item["prev_channel"])
            counts[row, rank], below[row, rank] = item["inf"], index - 1
    return AttributionGraph(
        subset=subset,
        preset="published",
        n_instances=n_instances,
        n_total=UNKNOWN,
        layers=layers,
        layer=np.array([index for index, _ in nodes], dtype=np.int32),
        channel=np.array([node["channel"] for _, node in nodes], dtype=np.int32),
        count=np.array([node["count"] for _, node in nodes], dtype=np.int64),
        base_count=np.full(len(nodes), UNKNOWN, dtype=np.int64),
        score=np.array([node["pagerank"] for _, node in nodes], dtype=np.float64),
        source=source.astype(np.int32),
        target=target.astype(np.int32),
        arc_count=arc_count,
        arc_base_count=np.full(len(arcs), UNKNOWN, dtype=np.int64),
        strongest_layer=below,
        strongest_channel=channels,
        strongest_count=counts,
    )


def _attributed(
    graph: AttributionGraph, node: int, below: int
) -> list[dict[str, int | str]]:
    return [
        {
            "prev_channel": str(graph.strongest_channel[node, rank]),
            "inf": int(graph.strongest_count[node, rank]),
        }
        for rank in range(N_STRONGEST)
        if below >= 0 and graph.strongest_layer[node, rank] == below
    ]
