"""What can stand beside the graphs of a run? Another network's, and published ones.

Channels of the other network are matched once, by what the same instances excite, and
its influences are read once; then a comparison takes as long as one of two classes, and
the graphs of random halves as a measure of what chance would give. Files that SUMMIT
published are read when their class is looked at.
"""

from __future__ import annotations

import dataclasses
import threading
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

from nnviz.aggregation.aggregates import Aggregates
from nnviz.errors import ConfigError, MissingDataError, UnknownNameError
from nnviz.graphs.comparison import GraphComparison
from nnviz.graphs.making import HALVED_INSTANCES, SubsetGraphs
from nnviz.graphs.making_comparisons import compare_in_networks
from nnviz.graphs.network_matching import (
    Matches,
    check_layers_agree,
    matched_channels,
)
from nnviz.graphs.options import GraphOptions, keywords
from nnviz.graphs.published import compare_with_published
from nnviz.graphs.summit_files import read_summit_file, summit_files
from nnviz.store.store import Store
from nnviz.subsets.subsets import Subset

__all__ = ["AS_PUBLISHED", "BY_NUMBER", "MATCHED", "Beside", "GraphsBeside"]

MATCHED, BY_NUMBER = "network:matched", "network:by-number"
AS_PUBLISHED = "summit:published"
"""What stands for a subset that is compared: the same one in the other network, its
channels matched or taken by their numbers, or as SUMMIT published it."""

MATCHED_INSTANCES = 20_000
"""Read at most to match channels: a correlation is then off by less than a hundredth,
and a visitor does not wait until a million are read."""

CACHED_FILES = 64


@dataclass(frozen=True, slots=True)
class Beside:
    """What a subset's graph is compared with that is not of its run."""

    key: str
    """One of the constants above."""
    name: str
    """What it is called, as in "horse NAME"."""
    label: str
    """What it is called where it is chosen."""
    location: str
    """Of the other store, or of the file."""


class GraphsBeside:
    """Another network's graphs, and published ones, of the subsets of a run.

    Parameters
    ----------
    store
        The run.
    other
        Of another network over the same instances; None: there is none.
    published
        A file that SUMMIT published, or a folder of them; None: there are none.

    Raises
    ------
    ShapeError
        If the other network has other layers.
    ConfigError
        If there is no published file, or none is of a class of the run.
    """

    def __init__(
        self,
        store: Store,
        *,
        other: Store | None = None,
        published: str | Path | None = None,
    ) -> None:
        if other is not None:
            check_layers_agree(store, other)
        self._store = store
        self._other = other
        self._files = {} if published is None else summit_files(published)
        self._check_files(published)
        self._lock = threading.Lock()
        self._matches = lru_cache(1)(self._match)
        self._graphs = lru_cache(4)(self._open_graphs)
        self._read = lru_cache(CACHED_FILES)(read_summit_file)

    def choices(self, aggregates: Aggregates, subset: str) -> tuple[Beside, ...]:
        """Return what a subset of a collection can be compared with.

        Parameters
        ----------
        aggregates
            The collection.
        subset
            Name of one of its subsets.
        """
        found = [*self._networks()]
        file = self._file(aggregates, subset)
        if file is not None:
            label = f"SUMMIT's {file.name}"
            found.append(Beside(AS_PUBLISHED, "as published", label, str(file)))
        return tuple(found)

    def choices_of_set(self) -> tuple[Beside, ...]:
        """Return what any set of instances can be compared with."""
        return self._networks()

    def _networks(self) -> tuple[Beside, ...]:
        if self._other is None:
            return ()
        name = _short_name(self._other.url, self._store.url)
        return tuple(
            Beside(key, f"in {name}", f"in {name}, {how}", self._other.url)
            for key, how in ((MATCHED, "matched"), (BY_NUMBER, "by number"))
        )

    def offers(self, key: str) -> bool:
        """Whether some subset can be compared with this."""
        if key == AS_PUBLISHED:
            return bool(self._files)
        return key in (MATCHED, BY_NUMBER) and self._other is not None

    def comparison(
        self,
        graphs: SubsetGraphs,
        aggregates: Aggregates,
        subset: str | Subset,
        beside: Beside,
        *,
        options: GraphOptions,
        query: str = "",
        jackknife: int = 0,
    ) -> GraphComparison:
        """Return what differs between a subset's graph and the one beside it.

        Parameters
        ----------
        graphs, aggregates
            Of the collection in the run.
        subset
            Name of one of its subsets, or any set of instances.
        beside
            One of :meth:`choices`, or of :meth:`choices_of_set`.
        options
            How the graphs are made.
        query
            What a set was found by, which is asked of the other network's store.
        jackknife
            In how many blocks of instances errors of the scores are estimated, of two
            networks; 0 for none.

        Raises
        ------
        NnvizError
            If one cannot be read or made, or they do not fit together.
        """
        with self._lock:
            if beside.key == AS_PUBLISHED and isinstance(subset, str):
                published = self._read(beside.location)
                found = compare_with_published(
                    graphs, subset, published, **keywords(options)
                )
            else:
                matches = self._matches() if beside.key == MATCHED else None
                other = self._graphs(graphs.collection, beside.key)
                # A small set is counted in halves anyway.
                is_small = (
                    isinstance(subset, str)
                    and aggregates.size(subset) <= HALVED_INSTANCES
                )
                found = compare_in_networks(
                    graphs,
                    other,
                    subset,
                    matches=matches,
                    query=query,
                    jackknife=jackknife,
                    halves=is_small,
                    **keywords(options),
                )
        name = subset if isinstance(subset, str) else subset.name
        second = dataclasses.replace(found.second, subset=f"{name} {beside.name}")
        return dataclasses.replace(found, second=second)

    def _match(self) -> Matches:
        assert self._other is not None
        return matched_channels(self._store, self._other, most=MATCHED_INSTANCES)

    def _open_graphs(self, collection: str, key: str) -> SubsetGraphs:
        other = self._other
        assert other is not None
        channels = self._matches().channels if key == MATCHED else None
        try:
            return SubsetGraphs(other, collection, channels=channels)
        except (MissingDataError, UnknownNameError) as error:
            msg = f"the other network's store, {other.url!r}: {error}"
            raise type(error)(msg) from error

    def _file(self, aggregates: Aggregates, subset: str) -> Path | None:
        if aggregates.kind in ("label", "prediction"):
            number = aggregates.all_names.index(subset)
            if number in self._files:
                return self._files[number]
        return self._files.get(subset)

    def _check_files(self, published: str | Path | None) -> None:
        names = self._store.class_names
        known = {*range(len(names)), *names}
        if self._files and not known & self._files.keys():
            some = ", ".join(file.name for file in [*self._files.values()][:3])
            msg = (
                f"none of the files at {str(published)!r} is of a class of this run: "
                f"{some}; call them ag-N.json by the class's number, from 0 to "
                f"{max(0, len(names) - 1)}, or by its name"
            )
            raise ConfigError(msg)


def _short_name(url: str, beside: str) -> str:
    """Return the last part of an address that is not also in the other's place."""
    one, two = (PurePosixPath(text.rstrip("/")) for text in (url, beside))
    name = one.stem
    return f"{one.parent.name}/{name}" if name == two.stem else name
