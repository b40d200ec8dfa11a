"""Are the data those that the plan was made from, also inside of the files?

A listing tells names and sizes. Another picture of the same name and size is found by
its contents: those of a sample of instances are kept with every plan, those of all of
them where the run file asks for it. What cannot be read is recorded by the extraction,
and has no part in it.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from nnviz.errors import PlanMismatchError, UnreadableInstanceError
from nnviz.inputs.datasets.items import Raw, bytes_of
from nnviz.inputs.datasets.opening import Dataset
from nnviz.runs.config import DatasetConfig
from nnviz.runs.contents import Contents, Mode

__all__ = [
    "changed_rows",
    "check_sample",
    "contents_of",
    "grown_contents",
    "hash_of",
    "hashes_of",
    "mode_of",
]

SAMPLE = 256
"""Instances whose contents every plan keeps. If one in a hundred has changed, this many
notice it with a probability of 92 %; to read them takes a second on a slow server."""


N_THREADS = 16
"""A file server answers many questions at once."""


ROWS_PER_JOB = 16
"""A thread takes this many at a time: handing over costs as much as a small file."""


SHOWN = 3


def mode_of(config: DatasetConfig) -> Mode:
    """Return what is read of a data set's contents.

    Items of a ``torch`` data set are made by the user's code, one at a time, and may be
    others each time, so that they are read only where the run file says so.
    """
    if config.fingerprint_contents is not None:
        return config.fingerprint_contents
    return "none" if config.kind == "torch" else "sampled"


def contents_of(
    dataset: Dataset, mode: Mode
) -> tuple[Contents, NDArray[np.uint64] | None]:
    """Read a sample of a data set, or all of it.

    Parameters
    ----------
    dataset
        In the order of the store's rows.
    mode
        Whether to read nothing, a sample, or everything.

    Returns
    -------
    tuple of Contents and ndarray or None
        For the plan; and with ``full`` the hash of every row, shape (instance,).
    """
    return grown_contents(Contents(mode), None, dataset, 0)


def grown_contents(
    before: Contents,
    hashes: NDArray[np.uint64] | None,
    dataset: Dataset,
    n_before: int,
) -> tuple[Contents, NDArray[np.uint64] | None]:
    """Return the contents of a data set that has more rows; reads only the new ones.

    Parameters
    ----------
    before
        Contents of the first `n_before` rows.
    hashes
        Hashes of these rows, shape (instance,), with ``full``; else None.
    dataset
        The larger one, in the order of the store's rows.
    n_before
        Number of rows that were known.

    Returns
    -------
    tuple of Contents and ndarray or None
        As for :func:`contents_of`.
    """
    n, mode = len(dataset), before.mode
    if mode == "none":
        return before, None
    rows = _sample_rows(n_before, n)
    if mode == "full":
        found = hashes_of(dataset, range(n_before, n))
        known = found if hashes is None else np.concatenate([hashes, found])
        new = found[rows - n_before]
    else:
        known, new = None, hashes_of(dataset, rows.tolist())
    pairs = zip(rows.tolist(), new.tolist(), strict=True)
    sample = {**before.sample, **{str(row): f"{h:016x}" for row, h in pairs if h}}
    groups = [] if known is None else _groups_of_equal(known)
    all_ids: Sequence[str] = dataset.ids if groups else ()
    hashed = " ".join(sample.values()).encode() if known is None else known.tobytes()
    contents = Contents(
        mode=mode,
        fingerprint=hashlib.sha256(hashed).hexdigest(),
        n_read=len(sample) if known is None else int((known != 0).sum()),
        sample=sample,
        n_duplicates=sum(len(group) - 1 for group in groups),
        duplicates=tuple(
            tuple(all_ids[row] for row in group[:SHOWN]) for group in groups[:SHOWN]
        ),
    )
    return contents, known


def hashes_of(dataset: Dataset, rows: Sequence[int]) -> NDArray[np.uint64]:
    """Return 64 bits of BLAKE2b of the contents of some rows.

    Parameters
    ----------
    dataset
        In the order of the store's rows.
    rows
        Which to read.

    Returns
    -------
    ndarray
        uint64, one for each; 0 for what cannot be read.
    """

    def hash_of_row(row: int) -> int:
        try:
            data = dataset.read(row)
        except UnreadableInstanceError:
            return 0
        return hash_of(data)

    def hashes_of_some(start: int) -> list[int]:
        return [hash_of_row(row) for row in rows[start : start + ROWS_PER_JOB]]

    with ThreadPoolExecutor(N_THREADS, thread_name_prefix="nnviz-hash") as pool:
        jobs = pool.map(hashes_of_some, range(0, len(rows), ROWS_PER_JOB))
        found = itertools.chain.from_iterable(jobs)
        return np.fromiter(found, dtype=np.uint64, count=len(rows))


def changed_rows(
    dataset: Dataset, rows: Sequence[int], hashes: NDArray[np.uint64]
) -> list[int]:
    """Return which rows have other contents than they had.

    Parameters
    ----------
    dataset
        In the order of the store's rows.
    rows
        Which to read.
    hashes
        What they were, shape (row,); 0 for what could not be read.
    """
    found = hashes_of(dataset, rows)
    is_other = (found != hashes) & (found != 0) & (hashes != 0)
    return [rows[int(index)] for index in np.flatnonzero(is_other)]


def check_sample(contents: Contents, dataset: Dataset) -> None:
    """Refuse a data set whose sampled instances have other contents.

    Parameters
    ----------
    contents
        Contents of the plan.
    dataset
        In the order of the store's rows.

    Raises
    ------
    PlanMismatchError
        With the first few ids.
    """
    if not contents.sample:
        return
    rows = [int(row) for row in contents.sample]
    hashes = np.array([int(h, 16) for h in contents.sample.values()], np.uint64)
    changed = changed_rows(dataset, rows, hashes)
    if changed:
        ids = dataset.ids
        shown = ", ".join(repr(ids[row]) for row in changed[:SHOWN])
        msg = (
            f"the contents of {len(changed):,} of {len(rows):,} sampled instances have "
            f"changed since the plan was made ({shown}), under the same names and "
            "sizes; bring them back, or plan again into a new store"
        )
        raise PlanMismatchError(msg)


def hash_of(data: Raw) -> int:
    """Return 64 bits of BLAKE2b of the contents of an instance, which are never 0."""
    digest = hashlib.blake2b(bytes_of(data), digest_size=8)
    return int.from_bytes(digest.digest(), "little") or 1


def _sample_rows(start: int, stop: int) -> NDArray[np.int64]:
    """Return rows at equal distances, the same each time: the first, and no more."""
    n = min(SAMPLE, stop - start)
    return start + np.arange(n, dtype=np.int64) * (stop - start) // max(1, n)


def _groups_of_equal(hashes: NDArray[np.uint64]) -> list[list[int]]:
    """Return the rows of each set of equal contents, by their first row."""
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    parts = np.split(order, starts[1:])
    groups = [part.tolist() for part in parts if len(part) > 1 and hashes[part[0]]]
    return sorted(groups)
