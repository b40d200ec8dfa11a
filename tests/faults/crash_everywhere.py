"""Extract a chunk in a process that dies at its n-th write, for every n; a script.

Prints how many writes a chunk has. Processes are forked from one that has imported,
opened and computed everything once, and has written nothing.

    python -m tests.faults.crash_everywhere STORE
"""

from __future__ import annotations

import os
import signal
import sys

import numpy as np

from nnviz.extraction.planned_worker import worker_of
from nnviz.extraction.worker_tasks import Opening, extract_chunk
from nnviz.store.store import Store


def compute_once(opening: Opening) -> None:
    """Let this process hold what its children need, and would each make again.

    No thread of ours is started; those of Zarr are started anew in a child.
    """
    with worker_of(opening) as worker, worker.runtime.recording(0) as recording:
        values = np.zeros((8, 1, 8, 8), dtype=np.float32)
        recording.run(values, valid=np.ones(8, dtype=bool))


def in_child(opening: Opening, chunk: int, dies_at: int) -> bool:
    """Extract a chunk; whether the process came to the end."""
    child = os.fork()
    if child == 0:
        replace, calls = os.replace, 0

        def replace_or_die(*arguments, **options):
            nonlocal calls
            calls += 1
            if calls == dies_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return replace(*arguments, **options)

        os.replace = replace_or_die
        code = 1
        try:
            extract_chunk(chunk, opening)
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return False
    if os.WEXITSTATUS(status):
        sys.exit(f"chunk {chunk} failed at write {dies_at}")
    return True


if __name__ == "__main__":
    url = sys.argv[1]
    run = Opening(url, Store.open(url).fingerprint, writable=True)
    compute_once(run)
    n_writes = 0
    # Chunk after chunk, so that a write that follows a crash meets what it has left.
    while not in_child(run, n_writes % 12, n_writes + 1):
        n_writes += 1
    for index in range(12):
        in_child(run, index, 0)
    sys.stdout.write(str(n_writes))
