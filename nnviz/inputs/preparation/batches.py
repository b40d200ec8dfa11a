"""How are batches read ahead of the network?

Threads read, decode and prepare the next batches while the network works on this one;
neither waits for the other as long as they keep up. A batch always has its full number
of rows, so that the network computes every instance in a batch of the same size and the
stored bits do not depend on what is missing: unreadable instances and rows past the end
are zeros, and are said.

Where instances have tokens, and padding changes nothing, those of a chunk come in the
order of their lengths, the longest first, each batch padded to its longest instance and
of no more rows than are about as long.
"""

from __future__ import annotations

import collections
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from nnviz.errors import UnreadableInstanceError
from nnviz.inputs.datasets.files import N_TRIES, may_pass, patiently
from nnviz.inputs.datasets.items import Raw
from nnviz.inputs.datasets.opening import Dataset
from nnviz.inputs.preparation.preprocessing import Original, Preprocessing
from nnviz.runs.network_inputs import NetworkInputs

__all__ = ["Batch", "BatchReader", "prepared_shape"]

INSTANCES_PER_JOB = 16
"""Instances a thread takes at a time: handing over costs as much as a small JPEG."""
BATCHES_AHEAD = 2
ORIGINALS_AHEAD = 16
"""Instances in their own size that wait: a photograph of 12 megapixels has 36 MB."""
ALIKE = 0.8
"""The shortest instance of a batch has at least this share of the longest's tokens,"""
FEWEST_ROWS = 8
"""or else the batch has at most so many rows."""
NOTHING: Mapping[int, str] = MappingProxyType({})

_Jobs = list[Future[tuple[float, float]]]


@dataclass(frozen=True, slots=True)
class Batch:
    """Prepared instances, padded to the full number of rows."""

    instances: NDArray[np.int64]
    """Number of the instance of each row that is one."""
    values: NDArray[np.generic]
    """Shape (batch, ...): uint8 (N, H, W, C) for images."""
    reasons: dict[int, str]
    """Why a row cannot be read, by its number in the batch."""
    seconds: dict[str, float] = field(default_factory=dict)
    """What all threads together spent on it: ``read`` until files were in memory, and
    ``decode`` of a processor's time, preparation included."""

    @property
    def n_instances(self) -> int:
        """Rows that are instances; the rows after them are padding."""
        return len(self.instances)

    @property
    def valid(self) -> NDArray[np.bool_]:
        """Which rows hold an instance that could be read, shape (batch,)."""
        valid = np.arange(len(self.values)) < self.n_instances
        valid[list(self.reasons)] = False
        return valid


def prepared_shape(input_shape: Sequence[int], *, is_image: bool) -> tuple[int, ...]:
    """Return the shape of a prepared instance for a network's input shape.

    Parameters
    ----------
    input_shape
        Shape of one instance, as the network receives it: (C, H, W) for images.
    is_image
        Whether instances are prepared as images, with channels last.
    """
    if is_image:
        n_channels, *positions = input_shape
        return (*positions, n_channels)
    return tuple(input_shape)


class BatchReader:
    """Reads ranges of a data set in batches, ahead of the consumer.

    Parameters
    ----------
    dataset
        What to read; its ``read`` is called by several threads.
    preprocessing
        How to prepare an instance.
    batch_size
        Rows of every batch.
    n_threads
        Threads that read and prepare.
    shape, dtype
        Shape and dtype of a prepared instance; another shape makes the instance
        unreadable.
    inputs
        What packed instances hold, if batches are padded to their own longest one.
    """

    def __init__(
        self,
        dataset: Dataset,
        preprocessing: Preprocessing,
        *,
        batch_size: int,
        n_threads: int,
        shape: tuple[int, ...],
        dtype: DTypeLike,
        inputs: NetworkInputs | None = None,
    ) -> None:
        self._inputs = inputs
        self._dataset = dataset
        self._preprocessing = preprocessing
        self._batch_size = batch_size
        self._shape = shape
        self._dtype = np.dtype(dtype)
        self._pool = ThreadPoolExecutor(n_threads, thread_name_prefix="nnviz-read")

    def iter_batches(
        self, start: int, stop: int, *, excluded: Mapping[int, str] = NOTHING
    ) -> Iterator[Batch]:
        """Yield the batches of instances ``start:stop``, in order, or by their lengths.

        Parameters
        ----------
        start, stop
            First and past-last instance.
        excluded
            Instances to leave out, as rows of zeros, with the reason.
        """
        if self._inputs is not None:
            yield from self._by_length(start, stop, excluded, self._inputs)
            return
        starts = range(start, stop, self._batch_size)
        ahead: collections.deque[tuple[Batch, _Jobs]] = collections.deque()
        try:
            for first in starts:
                ahead.append(
                    self._submit(first, min(stop, first + self._batch_size), excluded)
                )
                if len(ahead) > BATCHES_AHEAD:
                    yield _finished(*ahead.popleft())
            while ahead:
                yield _finished(*ahead.popleft())
        finally:
            for _, jobs in ahead:
                for job in jobs:
                    job.cancel()

    def read(self, instances: Sequence[int]) -> NDArray[np.generic]:
        """Return some instances, prepared, in the order in which they are named.

        Parameters
        ----------
        instances
            Their numbers in the data set, at least one.

        Returns
        -------
        ndarray
            Shape (instance, ...), of the dtype of a prepared instance.

        Raises
        ------
        UnreadableInstanceError
            If one of them cannot be read.
        """
        raw = self._pool.map(self._read, instances)
        return np.stack([self._prepared(one) for one in raw])

    def iter_originals(self, instances: Sequence[int]) -> Iterator[Original]:
        """Yield some instances before their preparation, in this order, read ahead.

        Parameters
        ----------
        instances
            Their numbers in the data set.

        Raises
        ------
        UnreadableInstanceError
            If one of them cannot be read; when it is its turn.
        """

        def original(index: int) -> Original:
            return self._preprocessing.original(self._read(index))

        ahead: collections.deque[Future[Any]] = collections.deque()
        try:
            for index in instances:
                ahead.append(self._pool.submit(original, index))
                if len(ahead) > ORIGINALS_AHEAD:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for job in ahead:
                job.cancel()

    def _by_length(
        self, start: int, stop: int, excluded: Mapping[int, str], inputs: NetworkInputs
    ) -> Iterator[Batch]:
        """Yield the longest instances first; what cannot be read has no tokens."""
        whole = _finished(*self._submit(start, stop, excluded, stop - start))
        lengths = inputs.own_tokens(whole.values)
        lengths[~whole.valid] = 0
        order = np.argsort(-lengths, kind="stable")
        for first, last in _alike(lengths[order], self._batch_size):
            rows = order[first:last]
            n_tokens = _rounded(int(lengths[rows[0]]), inputs.n_tokens)
            values = inputs.repacked(whole.values[rows], n_tokens)
            places = {int(row): place for place, row in enumerate(rows)}
            reasons = {
                places[row]: why for row, why in whole.reasons.items() if row in places
            }
            seconds = whole.seconds if first == 0 else {}
            yield Batch(whole.instances[rows], values, reasons, seconds)

    def _submit(
        self,
        start: int,
        stop: int,
        excluded: Mapping[int, str],
        n_rows: int | None = None,
    ) -> tuple[Batch, _Jobs]:
        values = np.zeros((n_rows or self._batch_size, *self._shape), self._dtype)
        batch = Batch(np.arange(start, stop), values, {})
        jobs = [
            self._pool.submit(self._fill, batch, row, excluded)
            for row in range(0, stop - start, INSTANCES_PER_JOB)
        ]
        return batch, jobs

    def _fill(
        self, batch: Batch, first: int, excluded: Mapping[int, str]
    ) -> tuple[float, float]:
        """Fill in a few rows; return the seconds of reading and of decoding."""
        read_s = decode_s = 0.0
        for row in range(first, min(first + INSTANCES_PER_JOB, batch.n_instances)):
            index = int(batch.instances[row])
            if index in excluded:
                batch.reasons[row] = excluded[index]
                continue
            began = time.perf_counter()
            try:
                raw = self._read(index)
                read_s += time.perf_counter() - began
                busy = time.thread_time()
                batch.values[row] = self._prepared(raw)
                decode_s += time.thread_time() - busy
            except UnreadableInstanceError as error:
                batch.reasons[row] = str(error)
        return read_s, decode_s

    def prepare(self, index: int) -> NDArray[np.generic]:
        """Return one instance, read and prepared, in this thread.

        Raises
        ------
        UnreadableInstanceError
            With the reason.
        """
        return self._prepared(self._read(index))

    def _read(self, index: int) -> Raw:
        try:
            return patiently(self._dataset.read, index)
        except (OSError, UnreadableInstanceError) as error:
            if isinstance(error.__cause__, MemoryError):
                # The process's trouble, not the instance's.
                raise MemoryError(str(error)) from None  # noqa: TRY004
            if not may_pass(error):
                raise
            msg = f"{error}, at each of {N_TRIES} tries"
            raise UnreadableInstanceError(msg) from error

    def _prepared(self, raw: Raw) -> NDArray[np.generic]:
        value = self._preprocessing.prepare(raw)
        if value.shape != self._shape:
            msg = (
                f"its prepared shape is {value.shape}, the network was planned for "
                f"{self._shape}; state preprocessing.resize and preprocessing.crop"
            )
            raise UnreadableInstanceError(msg)
        return value


def _alike(lengths: NDArray[np.int64], most: int) -> Iterator[tuple[int, int]]:
    """Yield spans of instances that are about as long; the longest come first."""
    first = 0
    while first < len(lengths):
        few = first + min(most, FEWEST_ROWS)
        near = (lengths >= ALIKE * lengths[first]) | (lengths == 0)
        last = max(few, int(np.append(near, False)[first:].argmin()) + first)
        last = min(last, first + most, len(lengths))
        yield first, last
        first = last


def _rounded(longest: int, most: int) -> int:
    """Round a number of tokens up by a sixteenth at most: fewer different shapes."""
    step = 1 + longest // 16
    return max(1, min(most, math.ceil(longest / step) * step))


def _finished(batch: Batch, jobs: _Jobs) -> Batch:
    spent = [job.result() for job in jobs]
    batch.seconds["read"] = sum(read_s for read_s, _ in spent)
    batch.seconds["decode"] = sum(decode_s for _, decode_s in spent)
    return batch
