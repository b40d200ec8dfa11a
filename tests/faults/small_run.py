"""A run of a real network that takes seconds: three chunks of rows of numbers."""

from __future__ import annotations

import distributed
import numpy as np
import torch
from safetensors.torch import save_file

import nnviz
from nnviz.runs.config import load_config

NETWORK = """
import torch
from torch import nn


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(6, 8)
        self.second = nn.Linear(8, 3)
        self.act = nn.ReLU()

    def forward(self, x):
        return self.second(self.act(self.first(x)))


def network():
    return Small()
"""
RUN = """
[model]
source = "network.py:network"
weights = "weights.safetensors"
class_names = ["a", "b", "c"]

[dataset]
kind = "arrays"
path = "rows.npz"

[preprocessing]
kind = "array"
scale = 1.0

[extraction]
instances_per_chunk = 16
batch_size = 8
max_unreadable_fraction = 0.5
"""


def write_inputs(folder, n=40):
    """Write network, rows and run file into a folder, and return it."""
    values = np.random.default_rng(0).normal(size=(n, 6)).astype(np.float32)
    values[7] = np.nan
    columns = {"site": np.array(["x", "y"] * (n // 2)), "age": np.arange(n * 1.0)}
    np.savez(folder / "rows.npz", data=values, label=np.arange(n) % 3, **columns)
    (folder / "network.py").write_text(NETWORK)
    (folder / "run.toml").write_text(RUN)
    write_weights(folder, seed=0)
    return folder


def write_weights(folder, seed):
    """Write, or replace, the network's weights."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {"first.weight": (8, 6), "second.weight": (3, 8)}
    shapes |= {"first.bias": (8,), "second.bias": (3,)}
    weights = {k: torch.randn(*v, generator=generator) for k, v in shapes.items()}
    save_file(weights, folder / "weights.safetensors")


def create(folder, url=None):
    """Create the planned store, beside the run file or at `url`."""
    plan, probe = nnviz.plan_run(load_config(folder / "run.toml"))
    return nnviz.prepare_store(plan, str(url or folder / "run.zarr"), probe=probe)


def one_worker():
    """Return a client of one worker, a thread of this process."""
    return distributed.Client(
        processes=False,
        n_workers=1,
        threads_per_worker=1,
        dashboard_address="127.0.0.1:0",
        set_as_default=False,
    )


def extracted(folder, url=None):
    """Create the planned store, run the network over all rows, and open the store."""
    opened = create(folder, url)
    with one_worker() as client:
        nnviz.extract(opened, client=client)
    return nnviz.open_store(opened.url)


def later_stages(store):
    """Aggregate and derive, but pictures, of which rows have none."""
    subsets = [nnviz.named_subsets(store, name) for name in ("label", "outcome")]
    nnviz.aggregate(store, subsets)
    nnviz.derive(store, pictures=False)
