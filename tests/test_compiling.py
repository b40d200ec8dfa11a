"""Compiled loops, where no folder for their machine code can be written."""

import os
import subprocess
import sys
from pathlib import Path

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
