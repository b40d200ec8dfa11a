"""What do workers import to extract? The fork server does it once for all of them."""

from __future__ import annotations

import contextlib
import gc
import importlib
import os

MODULES = (
    "nnviz_cluster.quiet",
    "distributed.nanny",
    "nnviz.extraction.chunks",
)

# It was set for these imports only; what a worker starts looks as it always does.
os.environ.pop("PYTHONSAFEPATH", None)

for name in MODULES:
    # What is wrong is said by the worker that needs it.
    with contextlib.suppress(Exception):
        importlib.import_module(name)

# Forks share the memory of what nobody touches, and the garbage collector touches all.
gc.collect()
gc.freeze()
