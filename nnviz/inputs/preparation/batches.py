"""How are batches read ahead of the network?

Threads read, decode and prepare the next batches while the network works on this one;
neither waits for the other as long as they keep up. A batch always has its full number
of rows, so that the network computes every instance in a batch of the same size and the
stored bits do not depend on what is missing: unreadable instances and rows past the end
are zeros, and are said.
"""

from __future__ import annotations

import collections
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

__all__ = ["Batch", "BatchReader", "prepared_shape"]

INSTANCES_PER_JOB = 16
"""Instances a thread takes at a time: handing over costs as much as a small JPEG."""
BATCHES_AHEAD = 2
ORIGINALS_AHEAD = 16
"""Instances in their own size that wait: a photograph of 12 megapixels has 36 MB."""
NOTHING: Mapping[int, str] = MappingProxyType({})

_Jobs = list[Future[tuple[float, float]]]


@dataclass(frozen=True, slots=True)
class Batch:
    """Prepared instances ``start`` to ``start + n_instances``, padded to full size."""

    start: int
    values: NDArray[np.generic]
    """Shape (batch, ...): uint8 (N, H, W, C) for images."""
    n_instances: int
    """Rows that are instances; the rows after them are padding."""
    reasons: dict[int, str]
    """Why a row cannot be read, by its number in the batch."""
    seconds: dict[str, float] = field(default_factory=dict)
    """What all threads together spent on it: ``read`` until files were in memory, and
    ``decode`` of a processor's time, preparation included."""

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
    ) -> None:
        self._dataset = dataset
        self._preprocessing = preprocessing
        self._batch_size = batch_size
        self._shape = shape
        self._dtype = np.dtype(dtype)
        self._pool = ThreadPoolExecutor(n_threads, thread_name_prefix="nnviz-read")

    def iter_batches(
        self, start: int, stop: int, *, excluded: Mapping[int, str] = NOTHING
    ) -> Iterator[Batch]:
        """Yield the batches of instances ``start:stop``, in order.

        Parameters
        ----------
        start, stop
            First and past-last instance.
        excluded
            Instances to leave out, as rows of zeros, with the reason.
        """
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

    def _submit(
        self, start: int, stop: int, excluded: Mapping[int, str]
    ) -> tuple[Batch, _Jobs]:
        values = np.zeros((self._batch_size, *self._shape), self._dtype)
        batch = Batch(start, values, stop - start, {})
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
            index = batch.start + row
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


def _finished(batch: Batch, jobs: _Jobs) -> Batch:
    spent = [job.result() for job in jobs]
    batch.seconds["read"] = sum(read_s for read_s, _ in spent)
    batch.seconds["decode"] = sum(decode_s for _, decode_s in spent)
    return batch
