"""How does any subset become an answer at once? The index: facts, in another order.

The index is derived from the facts and never needed for a correct answer. A piece of it
is a group of its own, complete last, with checksums of its files and a key of all that
it depends on: the completion marks of its chunks, the layers and the rule of top
channels. Where a chunk was extracted again, or the store is longer, only the pieces
that this concerns are made again.
"""

from __future__ import annotations

import contextlib
import time
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nnviz.aggregation.index_layout import IndexLayout, Lists, array_spec
from nnviz.engine.progress import Listener, StageDone, StageStarted, TaskDone, emit
from nnviz.errors import MissingDataError, StoreFormatError
from nnviz.store.groups import PACKED
from nnviz.store.lock import exclusive
from nnviz.store.store import Store
from nnviz.subsets.packed_columns import pack_columns

if TYPE_CHECKING:
    from distributed import Client

__all__ = [
    "INDEX",
    "IndexState",
    "index_state",
    "make_index",
    "piece_path",
    "write_piece",
]

INDEX = "index"
"""Name of the group with all pieces."""

STAGE = "index"


def piece_path(number: int) -> str:
    """Return the path of a piece.

    Examples
    --------
    >>> piece_path(3)
    'index/00003'
    """
    return f"{INDEX}/{number:05d}"


@dataclass(frozen=True, slots=True)
class IndexState:
    """Which pieces of a store's index can be used."""

    layout: IndexLayout
    keys: tuple[str, ...]
    """What every piece depends on now."""
    is_current: NDArray[np.bool_]
    """Which pieces are complete and of these keys, shape (piece,)."""
    is_all_usable: NDArray[np.bool_]
    """Which of these have usable instances only, shape (piece,)."""
    url: str
    """Of the store."""

    @property
    def is_complete(self) -> bool:
        """Whether there is a piece for every instance."""
        return bool(self.is_current.all())

    @property
    def advice(self) -> str:
        """What would make answers fast; empty where they are."""
        if self.is_complete:
            return ""
        n, lacking = len(self.is_current), int((~self.is_current).sum())
        what = "no index" if lacking == n else f"no index of {lacking:,} of {n:,} parts"
        return (
            f"the store has {what}, so that all facts about these instances are read; "
            f"'nnviz index {self.url}' makes it, and the next answers fast"
        )


def index_state(store: Store) -> IndexState:
    """Return which pieces of the index can be used; chunks need not be complete."""
    layout = IndexLayout.of(store)
    keys = layout.keys(store)
    is_there = bool(store.groups.names(INDEX))
    is_current = np.zeros(len(keys), dtype=np.bool_)
    is_all_usable = np.zeros(len(keys), dtype=np.bool_)
    if is_there:
        store.groups.announce([piece_path(number) for number in range(len(keys))])
    for number, key in enumerate(keys):
        written = _attributes(store, number) if is_there else {}
        is_current[number] = written.get("key") == key
        is_all_usable[number] = is_current[number] and written.get("n_unusable") == 0
    return IndexState(layout, tuple(keys), is_current, is_all_usable, store.url)


def _attributes(store: Store, number: int) -> dict[str, Any]:
    """Return what was written of a piece; nothing of one that is not whole."""
    with contextlib.suppress(MissingDataError, StoreFormatError):
        return store.groups.attributes(piece_path(number))
    return {}


@exclusive(STAGE)
def make_index(
    store: Store, *, client: Client | None = None, listeners: Iterable[Listener] = ()
) -> IndexState:
    """Make what is lacking of the index.

    Parameters
    ----------
    store
        With a complete extraction. It is opened again for writing.
    client
        Of a running cluster, whose workers can open the store's URL; None writes in
        this process, the same bytes.
    listeners
        Told about the start, each piece, and the end.

    Returns
    -------
    IndexState
        Of the whole index.

    Raises
    ------
    MissingDataError
        If extraction is not complete.
    StoreFormatError
        If stored data are damaged.
    StoreInUseError
        If another driver writes to the store.
    TaskError
        If a task failed for another reason.
    """
    started, listeners = time.monotonic(), tuple(listeners)
    store = Store.open(store.url, writable=True)
    store.usable()  # complete, or an error that says what is not
    state = index_state(store)
    lacking = [int(number) for number in np.flatnonzero(~state.is_current)]
    n = len(state.keys)
    if not lacking:
        _remove_others(store, n)
        pack_columns(store)
        return state
    emit(listeners, StageStarted(STAGE, n, n - len(lacking)))
    n_instances = 0
    for number, n_bytes in _written(store, lacking, client, listeners):
        start, stop = state.layout.span(number)
        n_instances += stop - start
        done = TaskDone(STAGE, f"piece {number}", stop - start, n_bytes=n_bytes)
        emit(listeners, done)
    _remove_others(store, n)
    pack_columns(store)
    seconds = time.monotonic() - started
    emit(listeners, StageDone(STAGE, n, 0, n_instances, seconds))
    return index_state(store)


def _written(
    store: Store,
    lacking: list[int],
    client: Client | None,
    listeners: tuple[Listener, ...],
) -> Iterator[tuple[int, int]]:
    """Write pieces, and yield their numbers and bytes."""
    if client is None:
        for number in lacking:
            yield number, write_piece(number, store.url)
        return
    # An index is also asked where there is no Dask to be loaded.
    from nnviz.engine.tasks import run_tasks  # noqa: PLC0415

    for outcome in run_tasks(
        client,
        write_piece,
        lacking,
        arguments=(store.url,),
        stage=STAGE,
        listeners=listeners,
    ):
        if outcome.error is not None:
            raise outcome.error
        yield outcome.item, outcome.value


def _remove_others(store: Store, n_pieces: int) -> None:
    """Remove pieces that an index of another layout has left."""
    expected = {PACKED, *(piece_path(number) for number in range(n_pieces))}
    for name in store.groups.names(INDEX):
        path = f"{INDEX}/{name}"
        if path not in expected:
            store.groups.remove_member(path)


def write_piece(number: int, url: str) -> int:
    """Write one piece of the index; it may be repeated.

    Parameters
    ----------
    number
        Of the piece.
    url
        Of the store.

    Returns
    -------
    int
        Bytes of its arrays.
    """
    store = Store.open(url, writable=True)
    layout = IndexLayout.of(store)
    path, (start, stop) = piece_path(number), layout.span(number)
    store.groups.start(path)
    n_bytes = 0

    def write(name: str, pattern: str, values: NDArray[Any]) -> None:
        nonlocal n_bytes
        spec = array_spec(f"{path}/{name}", pattern, values)
        store.groups.write_plain(spec, values)
        n_bytes += values.nbytes

    rows = {d: np.empty((stop - start, n), d) for d, n in layout.widths.items()}
    top, influences, strips = [], [], []
    for span in layout.chunks_of(number):
        inside = slice(span[0] - start, span[1] - start)
        activations = layout.rows_of(store, span)
        strips += layout.strip_checksums(store, activations)
        for dtype, values in activations.items():
            rows[dtype][inside] = values
        top.append(layout.top_of(store, span))
        if layout.pairs:
            influences.append(layout.influences_of(store, span))
    for dtype, values in rows.items():
        write(f"activations_{dtype}", "activations_<dtype>", values)
        checksums = np.array([zlib.crc32(row.data) for row in values], dtype=np.uint32)
        write(f"row_crc32_{dtype}", "row_crc32_<dtype>", checksums)
    write("strip_crc32c", "strip_crc32c", np.array(strips, dtype=np.uint32))
    joined = {"top_channels": _joined(top)}
    if influences:
        joined["pairs"] = _joined(influences)
    for name, lists in joined.items():
        write(name, "<held>", lists.values)
        write(f"{name}_offsets", "<held>_offsets", lists.offsets)
        if lists.weights is not None:
            write("influences", "<held>", lists.weights)
    status = store.read("instances/status", start, stop)
    known = {
        "key": layout.keys(store)[number],
        "span": [start, stop],
        "n_unusable": int((status != "").sum()),
    }
    store.groups.finish(path, known)
    return n_bytes


def _joined(parts: list[Lists]) -> Lists:
    """Return lists one after the other."""
    ends = np.cumsum([0, *(part.offsets[-1] for part in parts)])
    offsets = [part.offsets[1:] + end for part, end in zip(parts, ends, strict=False)]
    weights = [part.weights for part in parts if part.weights is not None]
    return Lists(
        np.concatenate([part.values for part in parts]),
        np.concatenate([np.zeros(1, np.int64), *offsets]),
        np.concatenate(weights) if weights else None,
    )
