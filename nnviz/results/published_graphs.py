"""Which graphs are in a folder of SUMMIT's files, and what tells two of them apart?"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from nnviz.graphs.attribution_graph import AttributionGraph
from nnviz.graphs.comparison import GraphComparison, compare_graphs
from nnviz.graphs.summit_files import read_summit_file, summit_files

__all__ = ["PublishedFile", "PublishedGraphs"]

CACHED_FILES = 256


@dataclass(frozen=True, slots=True)
class PublishedFile:
    """One of the files."""

    name: str
    """What its class is called; the file itself does not say it."""
    path: Path


class PublishedGraphs:
    """SUMMIT's files of a folder, each read when it is looked at.

    Parameters
    ----------
    path
        The folder, or one file.
    names
        Name of each class by its number, which is all that a file says of it; None:
        classes are called by their numbers.

    Raises
    ------
    ConfigError
        If there is none.
    """

    def __init__(
        self, path: str | os.PathLike[str], names: Mapping[int, str] | None = None
    ) -> None:
        self.path = os.fspath(path)
        self.has_names = names is not None
        """Whether names of classes were given."""
        self.files: tuple[PublishedFile, ...] = _named(summit_files(path), names or {})
        """In order of their numbers, then by name."""
        self._read = lru_cache(CACHED_FILES)(read_summit_file)

    def graph(self, number: int) -> AttributionGraph:
        """Return the graph of one of the files.

        Raises
        ------
        ConfigError
            If it cannot be read.
        StoreFormatError
            If it does not follow SUMMIT's schema.
        """
        return self._read(self.files[number].path)

    def comparison(self, first: int, second: int) -> GraphComparison:
        """Return what two of the graphs have in common.

        Raises
        ------
        ConfigError, StoreFormatError
            As :meth:`graph`.
        ShapeError
            If they have other layers.
        """
        note = (
            "the files do not say of how many instances they are, so that nothing is "
            "tested; sizes are counts, by the largest of each graph"
        )
        return compare_graphs(self.graph(first), self.graph(second), notes=[note])


def _named(
    files: Mapping[str | int, Path], names: Mapping[int, str]
) -> tuple[PublishedFile, ...]:
    called = {
        key: names.get(key, f"class {key}") if isinstance(key, int) else key
        for key in files
    }
    n_called = Counter(called.values())  # ImageNet has two classes "crane"
    return tuple(
        PublishedFile(f"{name} ({key})" if n_called[name] > 1 else name, files[key])
        for key, name in called.items()
    )
