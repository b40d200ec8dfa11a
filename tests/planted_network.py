"""A network of which it is known what a class rests on, and a run of it.

Class c of four sees input plane c through channel ``FIRST[c]`` of the first layer and
channel ``SECOND[c]`` of the second, and through nothing else of any weight. All other
channels are active, too, and inhibit all classes alike.
"""

from __future__ import annotations

import json

import numpy as np
import torch
from torch import nn

N_CLASSES, SIDE = 4, 6
CLASS_NAMES = ("north", "east", "south", "west")
FIRST, SECOND = (3, 11, 20, 30), (5, 17, 29, 40)
N_CHANNELS = {"first": 36, "second": 44}


class Planted(nn.Module):
    """Two convolutions, one shortcut around nothing, one linear map."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(N_CLASSES, N_CHANNELS["first"], 1)
        self.second = nn.Conv2d(N_CHANNELS["first"], N_CHANNELS["second"], 3, padding=1)
        self.head = nn.Linear(N_CHANNELS["second"], N_CLASSES)

    def forward(self, x):
        x = torch.relu(self.first(x))
        x = torch.relu(self.second(x))
        return self.head(x.mean((2, 3)))


def build():
    """Return the network with its weights set by hand."""
    network = Planted().eval()
    rng = np.random.default_rng(0)
    first = rng.uniform(0, 0.1, (N_CHANNELS["first"], N_CLASSES))
    second = rng.uniform(0, 0.02, (N_CHANNELS["second"], N_CHANNELS["first"]))
    head = np.tile(rng.uniform(-0.1, 0, N_CHANNELS["second"]), (N_CLASSES, 1))
    second[:, list(FIRST)] = 0
    for c in range(N_CLASSES):
        first[FIRST[c]] = 0
        first[FIRST[c], c] = 1
        second[SECOND[c]] = 0
        second[SECOND[c], FIRST[c]] = 1
        head[:, SECOND[c]] = 0
        head[c, SECOND[c]] = 8
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.first.weight[:, :, 0, 0] = torch.from_numpy(first)
        network.second.weight[:, :, 1, 1] = torch.from_numpy(second)
        network.head.weight[:] = torch.from_numpy(head)
    return network


def plain_network():
    """Return a network that puts out maps, no classes."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(N_CLASSES, 8, 1), nn.ReLU(), nn.Conv2d(8, 2, 1))


def instances(n):
    """Return inputs, float32 (n, 4, 6, 6), and labels (n,): one plane is bright."""
    rng = np.random.default_rng(1)
    labels = np.arange(n) % N_CLASSES
    data = rng.uniform(0, 0.2, (n, N_CLASSES, SIDE, SIDE))
    data[np.arange(n), labels] += rng.uniform(0.6, 1.0, (n, 1, 1))
    return data.astype(np.float32), labels


def write_run(folder, *, n=90, source="build", lost=()):
    """Write the data and the run file, and return its path."""
    data, labels = instances(n)
    data[list(lost)] = np.nan
    has_classes = source == "build"
    arrays = {"data": data, "label": labels} if has_classes else {"data": data}
    np.savez(folder / "data.npz", **arrays)
    names = json.dumps(CLASS_NAMES) if has_classes else "[]"
    text = f"""
[model]
source = "{__file__}:{source}"
class_names = {names}

[dataset]
kind = "arrays"
path = "data.npz"

[preprocessing]
kind = "array"

[extraction]
instances_per_chunk = 32
batch_size = 16
max_unreadable_fraction = 0.5
"""
    (folder / "run.toml").write_text(text, encoding="utf-8")
    return folder / "run.toml"
