"""Compiled loops: in processes that start together, and where nothing can be kept."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SEALED = """
import numpy as np
from numba.core import config
import nnviz.network.top_channels
from nnviz.aggregation.index_kernels import add_counts

counts = np.zeros(4, np.int64)
add_counts(np.array([1, 3, 1]), np.array([0, 2, 3]), np.array([0, 1]), counts)
print(counts.tolist())
print(config.CACHE_DIR)
"""


@pytest.mark.slow
def test_compiled__no_folder_can_be_written__has_one_that_goes_with_the_process():
    # Of numba's ways to find a folder, one that finds none outside of notebooks, as
    # root can write everywhere.
    sealed = {
        **os.environ,
        "NUMBA_CACHE_LOCATOR_CLASSES": "UserProvidedCacheLocator",
    }
    sealed.pop("NUMBA_CACHE_DIR", None)

    done = subprocess.run(
        [sys.executable, "-c", SEALED],
        env=sealed,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    counts, folder = done.stdout.splitlines()
    assert counts == "[0, 2, 0, 1]"
    assert "nnviz-compiled-" in folder
    assert not Path(folder).exists()


LOOP = """
import sys

from nnviz.compiling import compiled


@compiled
def twice(number):
    return 2 * number


@compiled
def four_times(number):
    return twice(twice(number))


print("ready", flush=True)
sys.stdin.readline()
assert four_times(3) == 12
print(*(sum(f.stats.cache_misses.values()) for f in (twice, four_times)))
"""


def test_compiled__processes_that_start_together__compile_every_loop_once(tmp_path):
    script = tmp_path / "loop.py"
    script.write_text(LOOP, encoding="utf-8")
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "kept")}
    processes = [
        subprocess.Popen(
            [sys.executable, script],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n"

    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    printed = [process.communicate()[0].split() for process in processes]

    assert [process.returncode for process in processes] == [0, 0, 0]
    misses = [sum(int(n) for n in of_loop) for of_loop in zip(*printed, strict=True)]
    assert misses == [1, 1]
