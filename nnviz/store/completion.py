"""Which chunks of a run are complete? Marks, written last, with counts and checksums.

A chunk's mark says that every array of the chunk was written and read back. Presence of
files says nothing: a missing piece of an array reads as its fill value.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnviz.errors import (
    MissingDataError,
    ShapeError,
    StoreFormatError,
    did_you_mean,
)
from nnviz.runs.declarations import MARK_FIELDS
from nnviz.runs.plan import Plan
from nnviz.runs.wide_arrays import StoredArrays
from nnviz.store.documents import document_of
from nnviz.store.hierarchy import Hierarchy
from nnviz.store.mapped import Strips
from nnviz.store.pieces import as_rows, encode_piece

__all__ = ["BATCH_SIZES", "MARKS", "Completion"]

MARKS = "extraction_done"

PIECES_AT_ONCE = 8
"""Pieces that are read before they are copied to where they belong."""

BATCH_SIZES = "smaller_batches"
"""Group with a group for each chunk that was computed in smaller batches than planned:
its numbers are those of the plan to rounding, not bit for bit."""


class Completion:
    """The chunks of one run, and their completion marks.

    Parameters
    ----------
    hierarchy
        Where the run's arrays are.
    plan
        The plan of the run.
    arrays
        Paths of the arrays that tasks fill, in the order of their checksums.
    stored
        Where these are.
    """

    def __init__(
        self,
        hierarchy: Hierarchy,
        plan: Plan,
        arrays: Sequence[str],
        stored: StoredArrays,
    ) -> None:
        self._hierarchy = hierarchy
        self._plan = plan
        self._stored = stored
        self._field = {path: field for field, path in enumerate(arrays)}
        self.whole: NDArray[np.int64] | None = None
        """All marks as they were read, once all chunks are complete."""
        self._seen: dict[int, NDArray[np.int64]] = {}
        """The marks of complete chunks of which a reader has asked."""
        self.arrays = tuple(arrays)
        """Paths of the arrays that tasks fill, in the order of their checksums."""
        rows, n = plan.rows_per_chunk, plan.n_instances
        self.spans = [(start, min(n, start + rows)) for start in range(0, n, rows)]
        """First and past-last instance of every chunk."""

    def __len__(self) -> int:
        return len(self.spans)

    @functools.cached_property
    def _by_chunk(self) -> frozenset[str]:
        """Paths of the arrays that have one row for each chunk."""
        return frozenset(
            spec.path for spec in self._plan.arrays if spec.declaration.is_by_chunk
        )

    def _rows(self, index: int, path: str) -> tuple[int, int]:
        """Return the first and past-last row of a chunk's part of an array."""
        return (index, index + 1) if path in self._by_chunk else self.spans[index]

    def done(self) -> NDArray[np.bool_]:
        """Return which chunks are complete, shape (chunk,)."""
        marks = self.whole
        if marks is None:
            marks = self._read(range(len(self)))
        done: NDArray[np.bool_] = marks[:, 0] == 1
        self.whole = marks if done.all() else None
        return done

    def missing(self) -> list[int]:
        """Return the numbers of the chunks that are not complete."""
        return [int(index) for index in np.flatnonzero(~self.done())]

    def marks(self) -> dict[str, NDArray[np.int64]]:
        """Return the counts of the marks, each of shape (chunk,)."""
        values = self.mark_values()
        return {name: values[:, i] for i, name in enumerate(MARK_FIELDS)}

    def mark_values(self) -> NDArray[np.int64]:
        """Return all fields of all marks, shape (chunk, field); zeros without one."""
        return self._read(range(len(self)))

    def strips(self, path: str) -> Strips:
        """Return how strips of channels of an array of activations are read."""
        place, folder = self._stored.places[path], self._hierarchy.files.folder
        return Strips(folder and folder / place.spec.path, place)

    def has_mark(self, index: int) -> bool:
        """Whether a chunk has a mark, sound or not."""
        key = self._hierarchy.piece_keys(MARKS)[index]
        try:
            return self._hierarchy.files.exist([key])[0]
        except StoreFormatError:  # a pipe, say
            return True

    def remove(self, index: int) -> None:
        """Remove the mark of a chunk, so that it is extracted again."""
        self._hierarchy.files.delete(self._hierarchy.piece_keys(MARKS)[index])
        self._forget()

    def _forget(self) -> None:
        """Drop the marks that are remembered: chunks may have been made again."""
        self.whole = None
        self._seen.clear()

    def problems(self, index: int) -> list[tuple[str, str]]:
        """Return what is wrong with a chunk that has a mark: every byte is read.

        Returns
        -------
        list of tuple
            Path of an array, and how it is damaged. A damaged mark is a problem of
            ``extraction_done``. Empty for a chunk without a mark.
        """
        try:
            mark = self._hierarchy.read_piece(MARKS, index)
        except (ValueError, StoreFormatError) as error:
            return [(MARKS, str(error))]
        if mark is None or mark[0, 0] != 1:
            return []
        checksums = mark[0, len(MARK_FIELDS) :].tolist()
        found = []
        try:
            self._batch_size(index)
        except StoreFormatError as error:
            found.append((f"{BATCH_SIZES}/{index}", str(error)))
        stated = dict(zip(self.arrays, checksums, strict=True))
        for whole, paths in self._stored.members(self.arrays).items():
            found += self._problems_of(index, whole, {p: stated[p] for p in paths})
        return found

    def _problems_of(
        self, index: int, whole: str, stated: Mapping[str, int]
    ) -> list[tuple[str, str]]:
        """Return what is wrong with a chunk's part of a stored array.

        That array is named where what it holds is sound, and what is between it is not,
        or where nothing is sound.
        """
        try:
            parts = self._parts(index, whole, list(stated))
        except (ValueError, StoreFormatError) as error:
            if whole in stated:
                return [(whole, str(error))]
            found = [p for path in stated if (p := self._problem_in(index, path))]
            is_some = 0 < len(found) < len(stated)
            return found if is_some else [(whole, str(error))]
        if parts is None:
            return [(whole, "it is missing")]
        wrong = [p for p, values in parts.items() if _checksum(values) != stated[p]]
        named = wrong if len(wrong) < len(stated) else [whole]
        return [(path, "its values do not fit the completion mark") for path in named]

    def _problem_in(self, index: int, path: str) -> tuple[str, str] | None:
        """Return why an array cannot be read; its values are not compared."""
        try:
            self._pieces(path, range(index, index + 1))
        except (ValueError, StoreFormatError) as error:
            return path, str(error)
        return None

    def _is_spoilt(self, index: int) -> bool:
        try:
            self._hierarchy.read_piece(MARKS, index)
        except (ValueError, StoreFormatError):
            return True
        return False

    def _parts(
        self, index: int, whole: str, paths: Sequence[str]
    ) -> dict[str, NDArray[Any]] | None:
        """Return a chunk's parts of the arrays that a stored one holds."""
        if self._hierarchy.dtype(whole) == "string":
            start, stop = self._rows(index, whole)
            self._hierarchy.check_pieces(whole, start, stop)
            return {whole: self._hierarchy.read(whole, start, stop)}
        piece = self._hierarchy.read_piece(whole, index)
        if piece is None:
            return None
        rows = as_rows(piece)
        places = ((path, self._stored.places[path]) for path in paths)
        return {
            path: self._inside(path, index, rows[:, place.first : place.last])
            for path, place in places
        }

    def _inside(self, path: str, index: int, rows: NDArray[Any]) -> NDArray[Any]:
        """Return what of a chunk's rows lies in an array."""
        start, stop = self._rows(index, path)
        return self._stored.places[path].part_of(rows[: stop - start])

    def _read(self, indices: range) -> NDArray[np.int64]:
        """Return marks as they are in the files: Zarr needs 0.2 ms for each."""
        values = np.zeros((len(indices), self._hierarchy.shape(MARKS)[1]), np.int64)
        try:
            pieces = self._hierarchy.read_pieces(MARKS, indices)
        except ValueError as error:
            url = self._hierarchy.url
            spoilt = [i for i in indices if self._is_spoilt(i)]
            msg = (
                f"the completion mark of chunk {', '.join(map(str, spoilt[:5]))} of "
                f"{MARKS!r} in the store {url!r} is damaged: {error}; run 'nnviz "
                f"verify {url}', and then 'nnviz extract {url}'"
            )
            raise StoreFormatError(msg) from error
        for row, piece in enumerate(pieces):
            if piece is not None:
                values[row] = piece[0]
        return values

    def read(
        self, path: str, start: int, stop: int | None, *columns: slice
    ) -> NDArray[Any]:
        """Read rows of an array that tasks fill; every piece is compared with its mark.

        Parameters
        ----------
        path
            Path of the array.
        start, stop
            First and past-last row.
        columns
            Slices of the further axes.

        Raises
        ------
        MissingDataError
            If a chunk that the rows touch is not complete.
        StoreFormatError
            If a piece is missing, damaged, or another one than was written there, or
            there is no such array.
        """
        if path not in self._field:
            url = self._hierarchy.url
            known = did_you_mean(path, list(self._field))
            msg = f"there is no array {path!r} in the store {url!r}{known}"
            raise StoreFormatError(msg)
        is_by_chunk = path in self._by_chunk
        rows = 1 if is_by_chunk else self._plan.rows_per_chunk
        n_rows = len(self) if is_by_chunk else self._plan.n_instances
        start, stop, _ = slice(start, stop).indices(n_rows)
        stop = max(start, stop)
        first = start // rows
        last = -(-stop // rows) if stop > start else first
        marks = self._covered(path, first, last)
        inside = slice(start - first * rows, stop - first * rows)
        is_text = self._stored.places[path].spec.dtype == "string"
        read = self._texts if is_text else self._numbers
        return read(path, range(first, last), marks, inside, columns)

    def _covered(self, path: str, first: int, last: int) -> NDArray[np.int64]:
        """Return the marks of chunks, all of which are complete."""
        n_chunks = len(self)
        if last - first >= n_chunks or self.whole is not None:
            self.done()
        if self.whole is None:
            # A task that reads a few chunks of many does not read all the marks.
            marks = self._marks_of(range(first, last))
        else:
            marks = self.whole[first:last]
        covered = marks[:, 0] == 1
        if not covered.all():
            url = self._hierarchy.url
            msg = (
                f"{path!r} is missing for {int((~covered).sum()):,} of {n_chunks:,} "
                f"chunks; run 'nnviz extract {url}' to complete them"
            )
            raise MissingDataError(msg)
        return marks

    def _marks_of(self, chunks: range) -> NDArray[np.int64]:
        """Return marks of chunks, each read until the chunk is complete."""
        if chunks and self._seen.keys() >= set(chunks):
            return np.stack([self._seen[chunk] for chunk in chunks])
        marks = self._read(chunks)
        self._seen |= {c: m for c, m in zip(chunks, marks, strict=True) if m[0] == 1}
        return marks

    def _numbers(
        self,
        path: str,
        chunks: range,
        marks: NDArray[np.int64],
        inside: slice,
        columns: Sequence[slice],
    ) -> NDArray[Any]:
        """Read chunks of numbers, some at a time, and keep what was asked for."""
        rows = 1 if path in self._by_chunk else self._plan.rows_per_chunk
        place = self._stored.places[path]
        wanted = [
            range(n)[columns[axis]] if axis < len(columns) else range(n)
            for axis, n in enumerate(place.shape)
        ]
        shape = (inside.stop - inside.start, *map(len, wanted))
        values = np.empty(shape, place.spec.dtype)
        for number in range(0, len(chunks), PIECES_AT_ONCE):
            some = chunks[number : number + PIECES_AT_ONCE]
            for offset, piece in enumerate(self._pieces(path, some)):
                index = number + offset
                part = self._checked_part(path, chunks[index], piece, marks[index])
                # Where the chunk's rows lie, from the first that is asked for.
                at = index * rows - inside.start
                low, high = max(0, -at), min(len(part), shape[0] - at)
                values[at + low : at + high] = part[(slice(low, high), *columns)]
        return values

    def _pieces(self, path: str, chunks: range) -> list[NDArray[Any] | None]:
        """Return rows of an array's columns, of some chunks, as they are stored."""
        place = self._stored.places[path]
        columns = slice(place.first, place.last)

        def read(some: range) -> list[NDArray[Any] | None]:
            return self._hierarchy.read_columns(place.spec.path, some, columns)

        try:
            return read(chunks)
        except ValueError:
            for chunk in chunks:
                try:
                    read(range(chunk, chunk + 1))
                except ValueError as error:
                    raise self._damaged(path, chunk, str(error)) from error
            raise

    def _checked_part(
        self,
        path: str,
        chunk: int,
        piece: NDArray[Any] | None,
        mark: NDArray[np.int64],
    ) -> NDArray[Any]:
        """Return a chunk's rows, if they are those of its mark."""
        if piece is None:
            raise self._damaged(path, chunk, "the piece is missing")
        part = self._inside(path, chunk, piece)
        self._compare(path, chunk, part, mark)
        return part

    def _compare(
        self, path: str, chunk: int, values: NDArray[Any], mark: NDArray[np.int64]
    ) -> None:
        field = len(MARK_FIELDS) + self._field[path]
        found = _checksum(values)
        if found == mark[field]:
            return
        # The chunk may have been made again since its mark was read.
        self._forget()
        if found != self._covered(path, chunk, chunk + 1)[0, field]:
            reason = "its values do not fit the completion mark"
            raise self._damaged(path, chunk, reason)

    def _texts(
        self,
        path: str,
        chunks: range,
        marks: NDArray[np.int64],
        inside: slice,
        columns: Sequence[slice],
    ) -> NDArray[Any]:
        """Read chunks of texts, all at once, which Zarr decodes."""
        if not chunks:
            return self._hierarchy.read(path, 0, 0, *columns)
        start, stop = self.spans[chunks[0]][0], self.spans[chunks[-1]][1]
        self._hierarchy.check_pieces(path, start, stop)
        values = self._hierarchy.read(path, start, stop)
        for chunk, mark in zip(chunks, marks, strict=True):
            first, last = self.spans[chunk]
            self._compare(path, chunk, values[first - start : last - start], mark)
        return values[(inside, *columns)]

    def _damaged(self, path: str, chunk: int, reason: str) -> StoreFormatError:
        url = self._hierarchy.url
        return StoreFormatError(
            f"array {path!r} of the store {url!r} is damaged in chunk {chunk}: "
            f"{reason}; 'nnviz verify {url}' says what makes it again"
        )

    def write(
        self, index: int, arrays: Mapping[str, NDArray[Any]], counts: Mapping[str, int]
    ) -> int:
        """Write every array of one chunk, read it back, and then mark it complete.

        Parameters
        ----------
        index
            Number of the chunk.
        arrays
            The chunk's rows of every array that tasks fill, by path.
        counts
            The mark's counts by name: ``n_instances`` and so on; ``batch_size``
            where it is not the plan's.

        Returns
        -------
        int
            Bytes written.

        Raises
        ------
        ShapeError
            If an array is missing, unknown, or has another number of rows.
        StoreFormatError
            If what was read back differs from what was written.
        """
        if set(arrays) != set(self.arrays):
            msg = (
                f"chunk {index} has the arrays {sorted(arrays)}; the store expects "
                f"{sorted(self.arrays)}"
            )
            raise ShapeError(msg)
        values = {
            path: self._checked(index, path, np.asarray(arrays[path]))
            for path in self.arrays
        }
        self._hierarchy.write_pieces(index, self._stored.parts(values))
        self._note_batch_size(index, counts.get("batch_size"))
        checksums = [_checksum(v) for v in values.values()]
        mark = [1, *(counts[name] for name in MARK_FIELDS[1:]), *checksums]
        self._write_mark(index, np.array([mark], np.int64))
        return sum(v.nbytes for v in values.values())

    def batch_sizes(self) -> dict[int, int]:
        """Return the batch sizes of chunks that were not computed with the plan's."""
        chunks = sorted(map(int, self._hierarchy.children(BATCH_SIZES)))
        sizes = {chunk: self._batch_size(chunk) for chunk in chunks}
        return {chunk: size for chunk, size in sizes.items() if size is not None}

    def _batch_size(self, index: int) -> int | None:
        path = f"{BATCH_SIZES}/{index}"
        if not self._hierarchy.has(path):
            return None
        return int(self._hierarchy.attributes(path)["batch_size"])

    def _note_batch_size(self, index: int, batch_size: int | None) -> None:
        path = f"{BATCH_SIZES}/{index}"
        if batch_size is not None:
            self._hierarchy.create_group(path, {"batch_size": batch_size})
        elif self._hierarchy.files.look_at([document_of(path)])[0] is not None:
            self._hierarchy.delete(path)

    def _write_mark(self, index: int, mark: NDArray[np.int64]) -> None:
        self._forget()
        data = encode_piece(mark, chunk=mark.shape, shard=None, fill=0)
        self._hierarchy.files.put(
            self._hierarchy.piece_keys(MARKS)[index], data, is_durable=True
        )

    def _checked(self, index: int, path: str, values: NDArray[Any]) -> NDArray[Any]:
        start, stop = self._rows(index, path)
        place = self._stored.places[path]
        expected, dtype = (stop - start, *place.shape), place.spec.dtype
        if values.shape != expected:
            msg = (
                f"array {path!r} of chunk {index} has the shape {values.shape}, "
                f"not {expected}"
            )
            raise ShapeError(msg)
        if dtype != "string" and values.dtype != dtype:
            msg = f"array {path!r} of chunk {index} is {values.dtype}, not {dtype}"
            raise ShapeError(msg)
        return values


def _checksum(values: NDArray[Any]) -> int:
    """Return the CRC-32 of the values' bytes; of the UTF-8 texts for strings."""
    if values.dtype.kind in "TUO":
        return zlib.crc32("\0".join(map(str, values.ravel())).encode())
    return zlib.crc32(np.ascontiguousarray(values).view(np.uint8).data)
