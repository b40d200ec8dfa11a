"""How long does a question take whose answer is on a disk? In a process of its own.

What is mapped by a living process stays in memory, whatever the system is told. So each
question is asked by a new process, which has imported and compiled everything with a
small store before. Then the system is asked to forget the files of the store, and what
the process really read from the disk is counted beside the time. Below, a disk of a
virtual machine may have it in a cache of its own.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from nnviz.aggregation.estimates import estimate
from nnviz.aggregation.index_channels import IndexedChannels
from nnviz.aggregation.index_warming import Warming
from nnviz.aggregation.subset_index import SubsetIndex, subset_index
from nnviz.store.store import Store
from nnviz.subsets.columns import InstanceColumns
from nnviz.subsets.evaluation import matching_instances

__all__ = ["ask_cold"]


def drop_from_cache(folder):
    """Ask the system to forget the files below a folder."""
    os.sync()
    for path in Path(folder).rglob("*"):
        if path.is_file():
            file = os.open(path, os.O_RDONLY)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(file)


def bytes_from_disk():
    """Return how many bytes this process has read from a disk."""
    lines = Path("/proc/self/io").read_text(encoding="utf-8").splitlines()
    return next(int(s.split()[1]) for s in lines if s.startswith("read_bytes"))


def counts(store, columns, members):
    """Open the index, and count."""
    subset_index(store).activation_counts(members)


def means(store, columns, members):
    """Open the index, and add."""
    subset_index(store).moments(members)


def estimated(store, columns, members):
    """Open the index, and estimate."""
    estimate(SubsetIndex(store), members)


def asked(store, columns, members, *, query):
    """Open what a query needs, and ask it."""
    matching_instances(query, columns, time_limit_s=600)


def everything_once(store, queries):
    """Ask a small store everything, for what is imported and compiled."""
    few, columns = np.arange(5), InstanceColumns(store, IndexedChannels(store))
    for function in (counts, means, estimated):
        function(store, columns, few)
    for query in queries:
        asked(store, columns, few, query=query)


def ask_cold(folder, small, questions, queries, *, is_warmed=False):
    """Return, by name, the seconds and bytes from the disk of questions.

    Parameters
    ----------
    folder, small
        Of the store, and of a small one of the same layers, both with an index.
    questions
        By name: a kind (counts, means, estimated, or a query) and instances.
    queries
        What queries may be among them.
    is_warmed
        Whether the index is read before, as the page does; that takes ``warming``.
    """
    found = {}
    spawning = multiprocessing.get_context("spawn")
    for name, (kind, members) in questions.items():
        with ProcessPoolExecutor(1, mp_context=spawning) as process:
            job = process.submit(
                _asked, str(folder), str(small), kind, members, queries, is_warmed
            )
            found[name] = job.result()
    return found


def _asked(folder, small, kind, members, queries, is_warmed):
    everything_once(Store.open(small), queries)
    kinds = {"counts": counts, "means": means, "estimated": estimated}
    ask = kinds.get(kind) or functools.partial(asked, query=kind)
    drop_from_cache(folder)
    n_bytes, start = bytes_from_disk(), time.perf_counter()
    store, warming_s = Store.open(folder), 0.0
    columns = InstanceColumns(store, IndexedChannels(store))
    if is_warmed:
        warming = Warming(subset_index(store), 1 << 30, columns.read_texts)
        warming.start()
        warming.wait()
        warming_s = time.perf_counter() - start
        n_bytes, start = bytes_from_disk(), time.perf_counter()
    ask(store, columns, members)
    return {
        "s": time.perf_counter() - start,
        "mb_from_disk": (bytes_from_disk() - n_bytes) / 1e6,
        "warming_s": warming_s,
    }
