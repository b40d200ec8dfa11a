"""What forked processes of the tests have behind them: imports, and numba's beginning.

The process that they are forked from runs this once. It must not start a thread.
"""

import gc
import importlib

import numpy as np

from tests.torchvision_operators import define_missing_operators

gc.disable()  # there is none, and to look for it takes a quarter of the time

for name in (
    "lark",
    "panel.io.rest",
    "scipy.stats",
    "sklearn.manifold",
    "nnviz.cli.extract",
    "nnviz.extraction.chunks",
    "nnviz.extraction.worker_tasks",
    "nnviz_cluster.local",
    "nnviz_dashboards.__main__",
):
    importlib.import_module(name)

define_missing_operators()

# The first function that numba reads costs a fifth of a second, whichever it is.
importlib.import_module("nnviz.network.top_channels").top_channels(
    np.ones((1, 2), np.float32), count=1
)

# Also, memory that is looked through is memory that is copied.
gc.freeze()
gc.enable()
