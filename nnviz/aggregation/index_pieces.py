"""Where do the facts about some instances come from? The index, or else the chunks.

On a file system a piece's arrays are mapped: the pages of what is read are in memory,
and all processes of the machine share them. Elsewhere pieces are loaded, and a bounded
number of bytes is kept. Whatever is read for the first time is compared with its
checksum: rows of activations one by one, or in blocks ahead, lists as a whole. A piece
that does not fit is named, and left out: the chunks, which are checked too, answer.

May be shared by threads.
"""

from __future__ import annotations

import collections
import functools
import os
import threading
import zlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nnviz.aggregation.index import IndexState, index_state, piece_path
from nnviz.aggregation.index_layout import Lists, Rows
from nnviz.aggregation.joined_checksums import joined_crc32
from nnviz.errors import StoreFormatError
from nnviz.store.files import announce
from nnviz.store.mapped import map_values
from nnviz.store.store import Store

__all__ = ["LOADED_BYTES", "Facts", "IndexPieces", "Kind"]

Kind = Literal["activations", "top_channels", "pairs"]

WARMED: tuple[Kind, ...] = ("top_channels", "activations", "pairs")
"""What is read before it is asked for, in this order."""

READERS = 16
"""Threads that read rows for the first time: a disk answers several at once."""

ROWS_PER_READER = 64

STRIP_READERS = 4
"""Threads that read strips, which are larger than rows."""

BLOCK_BYTES = 1 << 22
"""Of rows that are checked together before they are asked for."""

ANNOUNCED_BYTES = 1 << 28
"""Of rows that are announced before they are read."""

LOADED_BYTES = 1 << 30
"""Of pieces that cannot be mapped."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Facts about neighbouring instances, of which some were asked for."""

    rows: NDArray[np.int64]
    """Places of those that were asked for, ascending."""
    span: tuple[int, int]
    """First and past-last instance that the facts are about."""
    activations: Rows = field(default_factory=dict)
    lists: Lists | None = None
    """Top channels, or pairs."""


class IndexPieces:
    """The pieces of a store's index.

    Parameters
    ----------
    store
        With a complete extraction.
    loaded_bytes
        Of pieces that are kept where they cannot be mapped.
    """

    def __init__(self, store: Store, *, loaded_bytes: int = LOADED_BYTES) -> None:
        self._store = store
        self.state: IndexState = index_state(store)
        """Which pieces there were when this was opened."""
        self.problems: list[str] = []
        """What was found to be damaged; the chunks answer in its place."""
        self._usable = self.state.is_current.copy()
        self._kept: collections.OrderedDict[tuple[int, str], NDArray[Any]] = (
            collections.OrderedDict()
        )
        self._limit = loaded_bytes
        self._loaded = 0
        self._checked: dict[tuple[int, str], NDArray[np.bool_]] = {}
        self._files: dict[tuple[int, str], Path | None] = {}
        self._lock = threading.RLock()

    def facts(self, instances: NDArray[np.int64], kind: Kind) -> Iterator[Facts]:
        """Yield the facts about some instances, in their order.

        Parameters
        ----------
        instances
            Ascending.
        kind
            What is asked: activations, or a list.
        """
        layout = self.state.layout
        starts = [chunk[0] for chunk in layout.chunks[:: layout.chunks_per_piece]]
        bounds = np.searchsorted(instances, [*starts, self._store.n_instances])
        asked = {
            int(piece): instances[bounds[piece] : bounds[piece + 1]]
            for piece in np.flatnonzero(np.diff(bounds))
        }
        self._announce(asked, kind)
        for piece, some in asked.items():
            found = self._of_piece(piece, some, kind)
            if found is not None:
                yield found
                continue
            for span in layout.chunks_of(piece):
                low, high = np.searchsorted(some, span)
                if low < high:
                    yield self._of_chunk(span, some[low:high], kind)

    def _announce(self, asked: Mapping[int, NDArray[np.int64]], kind: Kind) -> None:
        """Tell the system what will be read for the first time, of all pieces.

        They are looked at one after the other, and a disk answers several at once. Of
        many rows a piece has enough to do by itself.
        """
        layout = self.state.layout
        fresh = [piece for piece in asked if self._usable[piece]]
        if kind != "activations":
            names = [f"{kind}_offsets", kind]
            names += ["influences"] if kind == "pairs" else []
            for piece in fresh:
                if (piece, kind) not in self._checked:
                    for name in names:
                        path = self._file(piece, name, 1)
                        if path is not None:
                            announce(path)
            return
        for dtype, width in layout.widths.items():
            n = width * np.dtype(dtype).itemsize
            if n * sum(len(some) for some in asked.values()) > ANNOUNCED_BYTES:
                continue
            for piece in fresh:
                rows = asked[piece] - layout.span(piece)[0]
                checked = self._checked.get((piece, dtype))
                if checked is not None:
                    rows = rows[~checked[rows]]
                path = self._file(piece, f"activations_{dtype}", 2)
                if path is not None and len(rows):
                    announce(path, ((row * n, n) for row in rows.tolist()))

    def channel(self, layer: str, channel: int) -> NDArray[Any]:
        """Return one channel of every instance, shape (N,), in the dtype of the layer.

        Rows would all be read for it. The strips of the store's chunks are a fiftieth
        of that, and the index knows what each of them should be.

        Parameters
        ----------
        layer
            Name of a shown layer.
        channel
            Its number.
        """
        layout = self.state.layout
        strips = self._store.chunks.strips(f"activations/{layer}")
        number, within = divmod(channel, strips.width)
        part = next(p for p in layout.activations if p.layer == layer)
        place = next(p for p in layout.strips if p.layer == layer).first + number
        found = np.empty(self._store.n_instances, part.dtype)

        def read(piece: int) -> bool:
            stated = self._strip_checksums(piece) if strips.folder else None
            if stated is None:
                return False
            first, spans = piece * layout.chunks_per_piece, layout.chunks_of(piece)
            chunks = range(first, first + len(spans))
            crcs = stated[:, place].tolist()
            try:
                parts = strips.read(number, chunks, checksums=crcs)
                for span, values in zip(spans, parts, strict=True):
                    found[slice(*span)] = values[: span[1] - span[0], within]
            except StoreFormatError:
                return False  # it is the store that is damaged: rows answer
            return True

        def read_all(pieces: NDArray[np.intp]) -> list[bool]:
            return [read(piece) for piece in pieces.tolist()]

        # More threads than that wait for each other where nothing is cold.
        parts = np.array_split(np.arange(layout.n_pieces), STRIP_READERS)
        is_read = [each for part in _readers().map(read_all, parts) for each in part]
        for piece in np.flatnonzero(~np.array(is_read, dtype=np.bool_)):
            span = layout.span(int(piece))
            facts = self._of_piece(int(piece), np.arange(*span), "activations")
            if facts is None:
                one = slice(channel, channel + 1)
                values = self._store.activations(layer, *span, channels=one)[:, 0]
            else:
                values = facts.activations[part.dtype][:, part.first + channel]
            found[slice(*span)] = values
        return found

    def _strip_checksums(self, piece: int) -> NDArray[np.uint32] | None:
        """Return the CRC-32C of the strips of a piece, shape (chunk, strip)."""
        shape = len(self.state.layout.chunks_of(piece)), self.state.layout.n_strips
        try:
            name, n = "strip_crc32c", shape[0] * shape[1]
            if self._usable[piece]:
                values = self._whole(piece, name, np.dtype(np.uint32), n)
                return values.reshape(shape)
        except (StoreFormatError, OSError, ValueError) as error:
            self._leave_out(piece, error)
        return None

    def warm(self, limit: int) -> int:
        """Read what answers take, before it is asked for.

        Lists are checked as by a question, and so are rows that can be mapped: in
        blocks, which takes fewer calls than to read and check each by itself.

        Parameters
        ----------
        limit
            Bytes to read; of what cannot be mapped no more than is kept.

        Returns
        -------
        int
            Bytes that were read, or asked of the system.
        """
        n_bytes = 0
        if self._store.groups.plain_file(piece_path(0), 1) is None:
            limit = min(limit, self._limit)
        for kind in WARMED:
            for piece in range(len(self.state.keys)):
                if n_bytes >= limit:
                    return n_bytes
                n_bytes += self._warm_piece(piece, kind, limit - n_bytes)
        return n_bytes

    def _warm_piece(self, piece: int, kind: Kind, limit: int) -> int:
        layout = self.state.layout
        nobody = np.zeros(0, dtype=np.int64)
        if kind != "activations":
            if kind == "pairs" and not layout.pairs:
                return 0
            facts = self._of_piece(piece, nobody, kind)
            return 0 if facts is None or facts.lists is None else _size(facts.lists)
        n_bytes = 0
        for dtype in layout.widths:
            path = self._file(piece, f"activations_{dtype}", 2)
            if path is not None and path.is_file() and n_bytes < limit:
                size = min(path.stat().st_size, limit - n_bytes)
                announce(path, [(0, size)])
                self._check_blocks(piece, dtype, path, size)
                n_bytes += size
        return n_bytes

    def _check_blocks(self, piece: int, dtype: str, path: Path, size: int) -> None:
        """Read the first bytes of a piece's rows, and note which rows are sound.

        Who asks for a row of a block that is not finds which one it is.
        """
        span, layout = self.state.layout.span(piece), self.state.layout
        n_bytes = layout.widths[dtype] * np.dtype(dtype).itemsize
        n_rows = span[1] - span[0]
        try:
            name = f"row_crc32_{dtype}"
            stated = self._whole(piece, name, np.dtype(np.uint32), n_rows)
        except (StoreFormatError, OSError, ValueError) as error:
            self._leave_out(piece, error)
            return
        checked = self._checked_rows(piece, dtype, n_rows)
        step = max(1, BLOCK_BYTES // n_bytes)
        with path.open("rb", buffering=0) as file:
            for first in range(0, min(n_rows, size // n_bytes), step):
                some = stated[first : first + step]
                block = os.pread(file.fileno(), len(some) * n_bytes, first * n_bytes)
                if zlib.crc32(block) == joined_crc32(some, n_bytes):
                    checked[first : first + step] = True

    def _checked_rows(self, piece: int, dtype: str, n_rows: int) -> NDArray[np.bool_]:
        """Return which rows of a piece have been compared with their checksums."""
        with self._lock:
            return self._checked.setdefault((piece, dtype), np.zeros(n_rows, np.bool_))

    def _of_chunk(
        self, span: tuple[int, int], instances: NDArray[np.int64], kind: Kind
    ) -> Facts:
        rows, layout = instances - span[0], self.state.layout
        if kind == "activations":
            found = layout.rows_of(self._store, span)
            return Facts(rows, span, {d: _fixed(v) for d, v in found.items()})
        read = layout.top_of if kind == "top_channels" else layout.influences_of
        lists = read(self._store, span)
        weights = lists.weights
        fixed = Lists(
            _fixed(lists.values),
            _fixed(lists.offsets),
            None if weights is None else _fixed(weights),
        )
        return Facts(rows, span, lists=fixed)

    def _of_piece(
        self, piece: int, instances: NDArray[np.int64], kind: Kind
    ) -> Facts | None:
        """Return what a piece knows; None where there is none that is sound."""
        if not self._usable[piece]:
            return None
        span = self.state.layout.span(piece)
        rows = instances - span[0]
        try:
            if kind == "activations":
                return Facts(rows, span, self._rows(piece, rows))
            return Facts(rows, span, lists=self._lists(piece, kind))
        except (StoreFormatError, OSError, ValueError) as error:
            self._leave_out(piece, error)
            return None

    def _leave_out(self, piece: int, error: Exception) -> None:
        """Name a damaged piece, and do without it from now on."""
        with self._lock:
            if self._usable[piece]:
                self._usable[piece] = False
                self.problems.append(
                    f"{piece_path(piece)!r} of the store {self._store.url!r} is "
                    f"damaged ({error}) and is not used; 'nnviz verify "
                    f"{self._store.url}' takes it away, and then 'nnviz index "
                    f"{self._store.url}' makes it again"
                )

    def _lists(self, piece: int, kind: Kind) -> Lists:
        n = np.diff(self.state.layout.span(piece))[0] + 1
        offsets = self._whole(piece, f"{kind}_offsets", np.dtype(np.int64), n)
        n_values, layout = int(offsets[-1]), self.state.layout
        n_ids = layout.n_channels if kind == "top_channels" else layout.n_pairs
        values = self._whole(piece, kind, layout.id_dtype(n_ids), n_values)
        if (piece, kind) not in self._checked:
            # Compiled code trusts them: wrong ones would write into foreign memory.
            if (
                offsets[0] != 0
                or (np.diff(offsets) < 0).any()
                or (n_values and int(values.max()) >= n_ids)
            ):
                msg = f"{kind!r} leaves what there is"
                raise StoreFormatError(msg)
            self._checked[piece, kind] = np.ones(1, np.bool_)
        if kind == "top_channels":
            return Lists(values, offsets)
        strength = self._whole(piece, "influences", np.dtype(np.float32), n_values)
        return Lists(values, offsets, strength)

    def _rows(self, piece: int, rows: NDArray[np.int64]) -> Rows:
        span = self.state.layout.span(piece)
        found = {}
        for dtype, width in self.state.layout.widths.items():
            name = f"activations_{dtype}"
            shape = (span[1] - span[0], width)
            path = self._file(piece, name, 2)
            if path is None:
                found[dtype] = self._loaded_array(piece, name, shape)
                continue
            values = self._mapped(piece, name, np.dtype(dtype), shape, path)
            self._check_rows(piece, dtype, path, values, rows)
            found[dtype] = values
        return found

    def _check_rows(
        self,
        piece: int,
        dtype: str,
        path: Path,
        values: NDArray[Any],
        rows: NDArray[np.int64],
    ) -> None:
        """Compare rows that are read for the first time with their checksums.

        They are read by several threads: one after the other, as a mapping would, takes
        a disk many times as long.

        Raises
        ------
        StoreFormatError
            If one does not fit.
        """
        checked = self._checked_rows(piece, dtype, len(values))
        fresh = rows[~checked[rows]]
        if not len(fresh):
            return
        name = f"row_crc32_{dtype}"
        stated = self._whole(piece, name, np.dtype(np.uint32), len(values))
        n_bytes = values.shape[1] * values.itemsize
        file = os.open(path, os.O_RDONLY)
        try:

            def is_sound(some: NDArray[np.int64]) -> bool:
                return all(
                    zlib.crc32(os.pread(file, n_bytes, row * n_bytes)) == stated[row]
                    for row in some.tolist()
                )

            parts = _parts(fresh)
            if len(parts) == 1:
                sound = is_sound(fresh)
            else:
                sound = all(_readers().map(is_sound, parts))
        finally:
            os.close(file)
        if not sound:
            msg = "a row of activations does not fit its checksum"
            raise StoreFormatError(msg)
        checked[fresh] = True

    def _whole(
        self, piece: int, name: str, dtype: np.dtype[Any], n: int
    ) -> NDArray[Any]:
        """Return an array of one axis, every byte checked at the first time."""
        if self._file(piece, name, 1) is None:
            return self._loaded_array(piece, name, (n,))
        key = (piece, name)
        if key in self._kept:
            return self._kept[key]
        values = self._store.groups.read_plain(piece_path(piece), name, dtype, n)
        with self._lock:
            return self._kept.setdefault(key, values)

    def _mapped(
        self,
        piece: int,
        name: str,
        dtype: np.dtype[Any],
        shape: tuple[int, ...],
        path: Path,
    ) -> NDArray[Any]:
        key = (piece, name)
        with self._lock:
            if key not in self._kept:
                self._kept[key] = map_values(path, dtype, shape)
            return self._kept[key]

    def _file(self, piece: int, name: str, n_axes: int) -> Path | None:
        """Return the file of an array; None where it cannot be mapped."""
        key = (piece, name)
        if key not in self._files:
            path = f"{piece_path(piece)}/{name}"
            self._files[key] = self._store.groups.plain_file(path, n_axes)
        return self._files[key]

    def _loaded_array(
        self, piece: int, name: str, shape: tuple[int, ...]
    ) -> NDArray[Any]:
        """Return an array that cannot be mapped; it is checked as it is read."""
        key = (piece, name)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        values = self._store.groups.read(f"{piece_path(piece)}/{name}")
        if values.shape != shape:
            msg = f"{name!r} has the shape {values.shape}, not {shape}"
            raise StoreFormatError(msg)
        values = _fixed(values)
        with self._lock:
            if key not in self._kept:
                self._kept[key] = values
                self._loaded += values.nbytes
            while self._loaded > self._limit and len(self._kept) > 1:
                self._loaded -= self._kept.popitem(last=False)[1].nbytes
        return values


def _size(lists: Lists) -> int:
    weights = 0 if lists.weights is None else lists.weights.nbytes
    return int(lists.values.nbytes + lists.offsets.nbytes + weights)


def _fixed(values: NDArray[Any]) -> NDArray[Any]:
    """Return an array that cannot be written: code is compiled as for mapped ones."""
    values.flags.writeable = False
    return values


def _parts(rows: NDArray[np.int64]) -> Sequence[NDArray[np.int64]]:
    n = min(READERS, len(rows) // ROWS_PER_READER)
    return np.array_split(rows, n) if n > 1 else [rows]


@functools.cache
def _readers() -> ThreadPoolExecutor:
    """Return the threads that read, for all who ask."""
    return ThreadPoolExecutor(READERS, "nnviz-index")
