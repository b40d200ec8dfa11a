"""One output for two classes: what the run says is what the sigmoid says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import nnviz
from nnviz.network.two_outputs import TwoOutputs, find_two_outputs, with_two_outputs
from nnviz.runs.config import PreprocessingConfig

ARRAYS = PreprocessingConfig(kind="array", dtype="float32")


class OneLogit(nn.Module):
    """A small network with one output, whose axis it may drop."""

    def __init__(self, ending: str = "", *, sigmoid: bool = False) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.hidden = nn.Linear(6, 12)
        self.head = nn.Linear(12, 1)
        for tensor in self.parameters():
            tensor.data = torch.randn(tensor.shape, generator=generator)
        self.ending, self.sigmoid = ending, sigmoid

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.head(torch.relu(self.hidden(x)))
        if self.sigmoid:
            z = torch.sigmoid(z)
        if self.ending == "squeeze":
            return z.squeeze()
        if self.ending == "flat":
            return z.view(-1)
        return z[:, 0] if self.ending == "first" else z


def _inputs(n: int = 65) -> NDArray[np.float32]:
    return np.random.default_rng(1).normal(size=(n, 6)).astype(np.float32)


def _probability(network: nn.Module, x: NDArray[np.float32]) -> NDArray[np.float64]:
    """Of the second class, by the weights of the network alone."""
    hidden, head = network.hidden, network.head
    w, b = (t.detach().double().numpy() for t in (hidden.weight, hidden.bias))
    v, c = (t.detach().double().numpy() for t in (head.weight, head.bias))
    logit = np.maximum(x.astype(np.float64) @ w.T + b, 0) @ v[0] + c
    return 1 / (1 + np.exp(-logit))


@pytest.mark.parametrize("ending", ["", "squeeze", "flat"])
@pytest.mark.parametrize("sigmoid", [False, True])
def test_one_output__says_what_the_sigmoid_says(
    tmp_path: Path, ending: str, sigmoid: bool
) -> None:
    network, x = OneLogit(ending, sigmoid=sigmoid).eval(), _inputs()
    p = _probability(network, x)
    labels = np.arange(len(x)) % 2
    store = nnviz.run(
        network,
        (x, labels),
        tmp_path / "one",
        classes=["no", "yes"],
        workers=0,
        progress=False,
    )
    table = store.instances()
    of_label = np.where(labels == 1, p, 1 - p)
    assert table["prediction"].tolist() == (p > 0.5).astype(int).tolist()
    np.testing.assert_allclose(table["confidence"], np.maximum(p, 1 - p), rtol=1e-4)
    np.testing.assert_allclose(table["probability"], of_label, rtol=1e-3)
    np.testing.assert_allclose(table["margin"], np.abs(2 * p - 1), atol=1e-5)
    np.testing.assert_allclose(table["loss"], -np.log(of_label), rtol=1e-3, atol=1e-6)
    entropy = -(p * np.log(p) + (1 - p) * np.log(1 - p))
    np.testing.assert_allclose(table["entropy"], entropy, atol=1e-4)
    assert table["rank"].tolist() == (1 + ((p > 0.5) != labels)).tolist()
    wrong = store.subset("label = yes and prediction = no").instances
    assert wrong.tolist() == np.flatnonzero((labels == 1) & (p < 0.5)).tolist()
    assert "one output for two classes" in str(store.plan)


def test_one_output__each_class_rests_on_what_speaks_for_it(tmp_path: Path) -> None:
    network, x = OneLogit().eval(), _inputs()
    labels = (_probability(network, x) > 0.5).astype(int)
    store = nnviz.run(
        network,
        (x, labels),
        tmp_path / "one",
        classes=["no", "yes"],
        workers=0,
        progress=False,
    )
    weights = network.head.weight.detach().numpy()[0]
    for name, sign in (("no", -1), ("yes", 1)):
        graph = store.graph(name)
        at_head = graph.layer == graph.layers.index("head")
        assert graph.channel[at_head].tolist() == [int(name == "yes")]
        kept = graph.channel[graph.layer == graph.layers.index("hidden")]
        assert len(kept)
        assert all(sign * weights[kept] > 0)


def test_one_output__is_verified_ablated_and_extended(tmp_path: Path) -> None:
    network, x = OneLogit().eval(), _inputs(80)
    labels = np.arange(80) % 2
    store = nnviz.run(
        network,
        (x[:60], labels[:60]),
        tmp_path / "one",
        classes=["no", "yes"],
        workers=0,
        progress=False,
    )
    given = {"model": network, "workers": 0, "progress": False}
    before = (x[:60], labels[:60])
    again = nnviz.recompute(store, 1.0, model=network, dataset=before)
    assert again.n_instances == 60
    assert not again.wrong
    check = nnviz.ablate(store, dataset=before, draws=2, **given)
    assert "no         30" in str(check)
    nnviz.extend(store, dataset=(x, labels))
    nnviz.extract(store, dataset=(x, labels), **given)
    table = nnviz.open_store(tmp_path / "one").instances()
    assert len(table) == 80
    p = _probability(network, x)
    assert table["prediction"].tolist() == (p > 0.5).astype(int).tolist()


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ([0.0, 1.0], ["0", "1"]),
        ([False, True], ["false", "true"]),
        (["dog", "cat"], ["cat", "dog"]),
        ([[0.0], [1.0]], ["0", "1"]),
    ],
)
def test_labels__of_two_classes(
    tmp_path: Path, labels: list[Any], names: list[str]
) -> None:
    x = _inputs(20)
    store = nnviz.run(
        OneLogit().eval(),
        (x, np.array(labels * 10)),
        tmp_path / "s",
        workers=0,
        progress=False,
    )
    assert list(store.class_names) == names
    assert (store.instances()["prediction"] >= 0).all()


@pytest.mark.parametrize("labels", [[1, 2], [0, 2], [0.5, 1.0], [3, 3], [-1, 1]])
def test_labels__of_a_regression(tmp_path: Path, labels: list[float]) -> None:
    x = _inputs(20)
    data = (x, np.array(labels * 10))
    store = nnviz.run(
        OneLogit().eval(), data, tmp_path / "s", workers=0, progress=False
    )
    assert (store.instances()["prediction"] == -1).all()
    assert store.plan.two_outputs_of is None
    says_minus_one = any("write them as 0 and 1" in note for note in store.plan.notes)
    assert says_minus_one == (-1 in labels)


def test_one_output__that_no_linear_layer_gives_is_said(tmp_path: Path) -> None:
    x = _inputs(20)
    data = (x, np.arange(20) % 2)
    store = nnviz.run(
        OneLogit("first").eval(), data, tmp_path / "s", workers=0, progress=False
    )
    assert any("no predictions" in note for note in store.plan.notes)
    assert (store.instances()["prediction"] == -1).all()


def test_two_outputs__of_a_convolution() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 1, 2), nn.AvgPool2d(5), nn.Flatten()
    ).eval()
    values = np.random.default_rng(0).normal(size=(5, 3, 8, 8)).astype(np.float32)
    found = find_two_outputs(network, values, ARRAYS)
    assert found == TwoOutputs("2", are_probabilities=False)
    with torch.no_grad():
        batch = torch.from_numpy(values)
        one = network(batch).numpy()[:, 0]
        two = with_two_outputs(network, found)(batch).numpy()
    np.testing.assert_allclose(two, np.stack([-one / 2, one / 2], 1), rtol=1e-5)


def test_two_outputs__of_a_linear_map_alone() -> None:
    network = nn.Linear(6, 1).eval()
    found = find_two_outputs(network, _inputs(4), ARRAYS)
    assert found == TwoOutputs("", are_probabilities=False)
    assert network.out_features == 1


def test_softmax__at_the_end_is_taken_for_probabilities(tmp_path: Path) -> None:
    torch.manual_seed(0)
    logits = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
    network = nn.Sequential(*logits, nn.Softmax(dim=1)).eval()
    x = _inputs(40)
    labels = np.arange(40) % 3
    with torch.no_grad():
        p = torch.softmax(logits(torch.from_numpy(x)).double(), 1).numpy()
    store = nnviz.run(network, (x, labels), tmp_path / "s", workers=0, progress=False)
    table = store.instances()
    assert store.plan.gives_probabilities
    assert table["prediction"].tolist() == p.argmax(1).tolist()
    np.testing.assert_allclose(table["confidence"], p.max(1), rtol=1e-5)
    loss = -np.log(p[np.arange(40), labels])
    np.testing.assert_allclose(table["loss"], loss, rtol=1e-4, atol=1e-6)


def test_one_output__is_found_though_the_first_rows_miss_values(tmp_path: Path) -> None:
    network, x = OneLogit().eval(), _inputs()
    x[[0, 3], 2] = np.nan
    store = nnviz.run(
        network,
        (x, np.arange(len(x)) % 2),
        tmp_path / "one",
        extraction={"max_unreadable_fraction": 0.1},
        workers=0,
        progress=False,
    )

    expected = (_probability(network, x) > 0.5).astype(int)
    expected[[0, 3]] = -1
    assert store.instances()["prediction"].tolist() == expected.tolist()


def test_three_names_and_one_output__are_subsets_as_the_plan_says() -> None:
    labels = ["yes", "no", "maybe"] * 5

    plan, _ = nnviz.plan_run(OneLogit(), (_inputs(15), labels), timed=False)

    assert "3 names, and the network has one output" in str(plan)
