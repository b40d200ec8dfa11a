"""How many instances are one task, where the run file does not say?

Large chunks make few files, and let what a task costs by itself vanish beside its
instances. Small runs would have fewer of them than there are cores. The number depends
on the size of the data set and on nothing of the machine: it is part of a run's
identity, and the same run file makes the same store everywhere.
"""

from __future__ import annotations

__all__ = ["chunk_rows"]

LARGEST = 1024
"""Of a run of any size: ten files each, 10,000 for a million instances."""

SMALLEST = 64
"""Below, more and more positions of maxima are looked for, as each chunk keeps its own
strongest instances."""

CHUNKS = 16
"""At least so many where chunks are smaller than the largest, at most twice as many:
two workers that finish at different times lose less than a tenth."""


def chunk_rows(
    n_instances: int, *, batch_size: int = 1, is_sorted: bool = False
) -> int:
    """Return how many instances are one task.

    Parameters
    ----------
    n_instances
        Of the data set.
    batch_size
        A task is at least one batch: smaller ones would not be what was asked for.
    is_sorted
        Whether a chunk's instances are put in the order of their lengths before they
        are padded: the more there are, the less padding.
    """
    rows = LARGEST
    if not is_sorted and n_instances < CHUNKS * LARGEST:
        power = 1 << (max(1, n_instances // CHUNKS).bit_length() - 1)
        rows = min(LARGEST, max(power, SMALLEST, batch_size))
    return max(1, min(rows, n_instances))
