"""Five ways in, each from nothing to a class's graph in under ten lines.

A module and a data set in memory, in a notebook, is ``interface/test_notebook.py``; a
scheduler whose workers stand in another folder is ``interface/test_stages.py``.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import nnviz


def test_timm_network_on_a_folder(tmp_path):
    pytest.importorskip("timm")
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for index in range(3):
            pixels = rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / f"pictures/{name}/{index}.png")
    torch.manual_seed(0)
    network = {"source": "timm:resnet10t", "arguments": {"num_classes": 2}}

    plan, _ = nnviz.plan_run(network, tmp_path / "pictures", classes=["cat", "dog"])
    assert "warning: the weights are random" in str(plan)

    from timm import create_model

    store = nnviz.run(
        create_model("resnet10t", num_classes=2),
        tmp_path / "pictures",
        tmp_path / "run.zarr",
        classes=["cat", "dog"],
        progress=False,
    )
    graph = nnviz.attribution_graph(store, "dog")

    assert graph.n_instances == 3
    assert graph.n_nodes > 0


class Rows(nn.Module):
    """Two hidden channels: the sum and the difference of two columns."""

    def __init__(self, n_outputs):
        super().__init__()
        self.hidden = nn.Linear(2, 2, bias=False)
        self.out = nn.Linear(2, n_outputs, bias=False)
        with torch.no_grad():
            self.hidden.weight.copy_(torch.tensor([[1.0, 1.0], [1.0, -1.0]]))
            self.out.weight.fill_(1.0)

    def forward(self, x):
        return self.out(torch.relu(self.hidden(x)))


def test_several_labels(tmp_path):
    inputs = torch.tensor([[1.0, 0.2], [0.1, 1.0], [2.0, 1.0], [0.5, 0.4]])
    labels = torch.tensor([[1, 0, 1], [0, 1, 0], [1, 1, 0], [0, 0, 0]])

    store = nnviz.run(
        Rows(3),
        (inputs, labels),
        tmp_path / "run.zarr",
        classes=["red", "round", "small"],
        progress=False,
    )
    subsets = nnviz.named_subsets(store, "label")

    assert store.column("labels").tolist() == [
        '["red", "small"]',
        '["round"]',
        '["red", "round"]',
        "[]",
    ]
    assert subsets.names == ("red", "round", "small")
    assert subsets.subset("round").instances.tolist() == [1, 2]
    assert nnviz.attribution_graph(store, "red").n_instances == 2
    assert nnviz.attribution_graph(store, 1).subset == "round"


def test_regression(tmp_path):
    inputs = torch.rand(40, 2, generator=torch.Generator().manual_seed(0))
    prices = inputs.sum(1) + 0.25

    store = nnviz.run(
        Rows(1),
        {"x": inputs, "y": prices},
        tmp_path / "run.zarr",
        subsets="target",
        progress=False,
    )
    subsets = nnviz.named_subsets(store, "target")
    graph = nnviz.attribution_graph(store, 3, subsets="target")

    np.testing.assert_allclose(store.column("target"), prices.numpy(), rtol=1e-6)
    assert (store.column("prediction") == -1).all()
    assert [len(subset) for subset in subsets] == [10, 10, 10, 10]
    top = np.argsort(prices.numpy())[-10:]
    assert sorted(subsets.subset(subsets.names[3]).instances) == sorted(top)
    assert graph.n_instances == 10


def test_labels_of_one_logit__are_classes_of_their_own(tmp_path):
    inputs = torch.rand(12, 2, generator=torch.Generator().manual_seed(0))

    store = nnviz.run(
        Rows(1), (inputs, torch.arange(12) % 2), tmp_path / "run.zarr", progress=False
    )

    assert store.class_names == ("0", "1")
    assert nnviz.attribution_graph(store, "1").n_instances == 6
