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

pytestmark = pytest.mark.slow

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


def _extracted(
    network: nn.Module | dict[str, str], data: Any, folder: Path, **options: Any
) -> nnviz.Store:
    """Return a run of which all instances are extracted, and nothing aggregated."""
    plan, probe = nnviz.plan_run(network, data, timed=False, trust=True, **options)
    nnviz.prepare_store(plan, str(folder), probe=probe)
    in_memory: dict[str, Any] = {"model": network, "dataset": data}
    given = {n: one for n, one in in_memory.items() if not isinstance(one, dict)}
    nnviz.extract(folder, workers=0, progress=False, trust=True, **given)
    return nnviz.open_store(folder)


def _aggregated(
    network: nn.Module | dict[str, str], data: Any, folder: Path, **options: Any
) -> nnviz.Store:
    """Return a run of which nothing is derived: graphs are made when asked for."""
    nnviz.aggregate(_extracted(network, data, folder, **options), progress=False)
    return nnviz.open_store(folder)


@pytest.mark.parametrize("ending", ["", "squeeze", "flat", "first"])
@pytest.mark.parametrize("sigmoid", [False, True])
def test_one_output__says_what_the_sigmoid_says(
    tmp_path: Path, ending: str, sigmoid: bool
) -> None:
    network, x = OneLogit(ending, sigmoid=sigmoid).eval(), _inputs()
    p = _probability(network, x)
    labels = np.arange(len(x)) % 2
    store = _extracted(
        network,
        (x, labels),
        tmp_path / "one",
        classes=["no", "yes"],
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


def _exported(network: nn.Module, folder: Path, x: NDArray[np.float32]) -> str:
    program = torch.export.export(
        network, (torch.from_numpy(x),), dynamic_shapes=({0: torch.export.Dim.AUTO},)
    )
    torch.export.save(program, folder / "net.pt2")
    return str(folder / "net.pt2")


@pytest.mark.parametrize("ending", ["", "squeeze", "flat", "first"])
@pytest.mark.parametrize("sigmoid", [False, True])
@pytest.mark.filterwarnings("ignore::Warning:torch", "ignore::FutureWarning")
def test_one_output__of_an_exported_program_has_predictions_and_graphs(
    tmp_path: Path, ending: str, sigmoid: bool
) -> None:
    network, x = OneLogit(ending, sigmoid=sigmoid).eval(), _inputs()
    p = _probability(network, x)
    labels = np.arange(len(x)) % 2
    np.savez(tmp_path / "data.npz", data=x, label=labels)
    store = _aggregated(
        {"source": _exported(network, tmp_path, x)},
        {"kind": "arrays", "path": str(tmp_path / "data.npz")},
        tmp_path / "one",
        classes=["no", "yes"],
    )
    table = store.instances()
    assert table["prediction"].tolist() == (p > 0.5).astype(int).tolist()
    np.testing.assert_allclose(table["confidence"], np.maximum(p, 1 - p), rtol=1e-4)
    weights = network.head.weight.detach().numpy()[0]
    for name, sign in (("no", -1), ("yes", 1)):
        graph = store.graph(f"prediction = {name}")
        kept = graph.channel[graph.layer == 0]
        assert len(kept)
        assert all(sign * weights[kept] > 0)


def test_one_output__each_class_rests_on_what_speaks_for_it(tmp_path: Path) -> None:
    network, x = OneLogit().eval(), _inputs()
    labels = (_probability(network, x) > 0.5).astype(int)
    store = _aggregated(
        network,
        (x, labels),
        tmp_path / "one",
        classes=["no", "yes"],
    )
    weights = network.head.weight.detach().numpy()[0]
    for name, sign in (("no", -1), ("yes", 1)):
        graph = store.graph(name)
        at_head = graph.layer == graph.layers.index("head")
        assert graph.channel[at_head].tolist() == [int(name == "yes")]
        kept = graph.channel[graph.layer == graph.layers.index("hidden")]
        assert len(kept)
        assert all(sign * weights[kept] > 0)


@pytest.mark.parametrize("ending", ["", "first"])
def test_one_output__influences_and_relevances_are_those_of_each_class(
    tmp_path: Path, ending: str
) -> None:
    network, x = OneLogit(ending).eval(), _inputs()
    labels = np.arange(len(x)) % 2
    store = _extracted(
        network,
        (x, labels),
        tmp_path / "one",
        classes=["no", "yes"],
        extraction={"relevance": "label", "ranks": 12, "targets": "all"},
    )
    # By hand: the logit is the sum of hidden values times weights, and the bias.
    w, b, v, c = (t.detach().double().numpy() for t in network.parameters())
    hidden = np.maximum(x.astype(np.float64) @ w.T + b, 0)
    terms = hidden * v[0] / 2
    sign = np.where(labels == 1, 1.0, -1.0)[:, None]
    product = store.read("relevance/hidden/product")
    np.testing.assert_allclose(product, sign * terms, rtol=1e-4, atol=1e-5)
    gradient = np.broadcast_to(sign * v[0] / 2, terms.shape)
    np.testing.assert_allclose(
        store.read("relevance/hidden/gradient"), gradient, rtol=1e-5
    )
    target = store.read("influences/head/target")
    source = store.read("influences/head/source")
    influence = store.read("influences/head/influence")
    remainder = store.read("influences/head/remainder")
    assert (target == [0, 1]).all()
    for place, factor in enumerate((-1.0, 1.0)):
        kept = np.zeros_like(terms)
        row, rank = np.nonzero(source[:, place] >= 0)
        kept[row, source[row, place, rank]] = influence[row, place, rank]
        np.testing.assert_allclose(kept, factor * terms, rtol=1e-4, atol=1e-5)
        total = kept.sum(1) + remainder[:, place]
        logit = factor * (hidden @ v[0] + c[0]) / 2
        np.testing.assert_allclose(total, logit, rtol=1e-4, atol=1e-4)
    means = store.look("label = no").relevance("zero").means("hidden")
    wanted = [-terms[labels == 0].mean(0), terms[labels == 1].mean(0)]
    np.testing.assert_allclose(means, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("ending", ["", "first"])
def test_one_output__is_verified_ablated_and_extended(
    tmp_path: Path, ending: str
) -> None:
    network, x = OneLogit(ending).eval(), _inputs(80)
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
    store = _extracted(
        OneLogit().eval(),
        (x, np.array(labels * 10)),
        tmp_path / "s",
    )
    assert list(store.class_names) == names
    assert (store.instances()["prediction"] >= 0).all()


@pytest.mark.parametrize("labels", [[1, 2], [0, 2], [0.5, 1.0], [3, 3], [1, 1]])
def test_labels__of_a_regression(tmp_path: Path, labels: list[float]) -> None:
    x = _inputs(20)
    data = (x, np.array(labels * 10))
    store = _extracted(OneLogit().eval(), data, tmp_path / "s")
    assert (store.instances()["prediction"] == -1).all()
    assert store.plan.two_outputs_of is None


@pytest.mark.parametrize(
    ("classes", "names"), [(None, ["-1", "1"]), (["no", "yes"], ["no", "yes"])]
)
def test_labels__minus_one_and_one_are_the_sign_of_the_output(
    tmp_path: Path, classes: list[str] | None, names: list[str]
) -> None:
    network, x = OneLogit("first").eval(), _inputs(30)
    p = _probability(network, x)
    labels = np.where(np.arange(30) % 3, 1.0, -1.0)
    store = _extracted(
        network,
        (x[:20], labels[:20]),
        tmp_path / "s",
        classes=classes,
    )
    assert list(store.class_names) == names
    assert "are the sign of the network's one output" in str(store.plan)
    assert f"{names[1]} above 0, else {names[0]}" in str(store.plan)
    nnviz.extend(store, dataset=(x, labels))
    nnviz.extract(store, model=network, dataset=(x, labels), workers=0, progress=False)
    table = nnviz.open_store(tmp_path / "s").instances()
    assert table["label"].tolist() == (labels > 0).astype(int).tolist()
    assert table["prediction"].tolist() == (p > 0.5).astype(int).tolist()
    wrong = nnviz.open_store(tmp_path / "s").subset(
        f'label = "{names[0]}" and not correct'
    )
    assert wrong.instances.tolist() == np.flatnonzero((labels < 0) & (p > 0.5)).tolist()


def test_labels__minus_one_is_none_where_zero_is_a_class() -> None:
    labels = [-1, 0, 1, 1, 0] * 4
    plan, _ = nnviz.plan_run(OneLogit(), (_inputs(20), labels), timed=False)
    assert (plan.n_labelled, plan.class_names) == (16, ("0", "1"))


def test_labels__minus_one_of_two_outputs_is_said_to_be_none() -> None:
    network, data = nn.Linear(6, 2), (_inputs(20), [-1, 1] * 10)
    plan, _ = nnviz.plan_run(network, data, timed=False)
    assert plan.n_labelled == 10
    assert 'model.class_names = ["-1", "1"]' in str(plan)
    plan, _ = nnviz.plan_run(network, data, classes=["-1", "1"], timed=False)
    assert plan.n_labelled == 20


class WideAndDeep(nn.Module):
    """The sum of two outputs, each of a layer of its own."""

    def __init__(self, ending: str) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.ending = ending
        self.wide = nn.Linear(6, 1)
        self.deep = nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 1))

    def forward(self, x: Tensor) -> Tensor:
        p = torch.sigmoid(self.wide(x) + self.deep(x))
        return p[:, 0] if self.ending == "first" else p.squeeze(-1)


@pytest.mark.filterwarnings("ignore::Warning:torch", "ignore::FutureWarning")
@pytest.mark.parametrize("exported", [False, True], ids=["module", "exported"])
@pytest.mark.parametrize("ending", ["squeeze", "first"])
def test_one_output__may_be_a_sum_of_layers(
    tmp_path: Path, exported: bool, ending: str
) -> None:
    network, x = WideAndDeep(ending).eval(), _inputs(40)
    with torch.no_grad():
        p = network(torch.from_numpy(x)).numpy()
    np.savez(tmp_path / "data.npz", data=x, label=np.arange(40) % 2)
    store = _aggregated(
        {"source": _exported(network, tmp_path, x)} if exported else network,
        {"kind": "arrays", "path": str(tmp_path / "data.npz")},
        tmp_path / "s",
    )
    table = store.instances()
    assert store.plan.two_outputs_of == "wide + deep.2"
    assert table["prediction"].tolist() == (p > 0.5).astype(int).tolist()
    np.testing.assert_allclose(table["confidence"], np.maximum(p, 1 - p), rtol=1e-4)
    weights = network.deep[2].weight.detach().numpy()[0]
    for name, sign in (("0", -1), ("1", 1)):
        graph = store.graph(f"prediction = {name}")
        kept = graph.channel[graph.layer == 0]
        assert len(kept)
        assert all(sign * weights[kept] > 0)


class OneDistance(nn.Module):
    """One number for two classes, which no linear layer makes."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return 1 - torch.relu(self.hidden(x)).norm(dim=1)


class TwoOfDistance(nn.Module):
    """What the plan advises."""

    def __init__(self) -> None:
        super().__init__()
        self.network = OneDistance()

    def forward(self, x: Tensor) -> Tensor:
        z = self.network(x)
        return torch.stack([-z / 2, z / 2], 1)


def test_one_output__that_no_linear_layer_gives_is_said(tmp_path: Path) -> None:
    x = _inputs(20)
    data = (x, np.arange(20) % 2)
    network = TwoOfDistance().eval()
    store = _extracted(network.network, data, tmp_path / "one")
    notes = [note for note in store.plan.notes if "no predictions" in note]
    assert "torch.stack([-z / 2, z / 2], 1)" in notes[0]
    assert (store.instances()["prediction"] == -1).all()

    store = _extracted(network, data, tmp_path / "two")

    with torch.no_grad():
        z = network.network(torch.from_numpy(x)).numpy()
    assert store.instances()["prediction"].tolist() == (z > 0).astype(int).tolist()


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
    store = _extracted(network, (x, labels), tmp_path / "s")
    table = store.instances()
    assert store.plan.gives_probabilities
    assert table["prediction"].tolist() == p.argmax(1).tolist()
    np.testing.assert_allclose(table["confidence"], p.max(1), rtol=1e-5)
    loss = -np.log(p[np.arange(40), labels])
    np.testing.assert_allclose(table["loss"], loss, rtol=1e-4, atol=1e-6)


@pytest.mark.filterwarnings("ignore::Warning:torch", "ignore::FutureWarning")
def test_softmax__of_an_exported_program_is_taken_for_probabilities(
    tmp_path: Path,
) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3), nn.Softmax(dim=1)
    ).eval()
    x = _inputs(40)
    np.savez(tmp_path / "data.npz", data=x, label=np.arange(40) % 3)
    with torch.no_grad():
        p = network(torch.from_numpy(x)).numpy()
    store = _extracted(
        {"source": _exported(network, tmp_path, x)},
        {"kind": "arrays", "path": str(tmp_path / "data.npz")},
        tmp_path / "s",
    )
    table = store.instances()
    assert store.plan.gives_probabilities
    assert table["prediction"].tolist() == p.argmax(1).tolist()
    np.testing.assert_allclose(table["confidence"], p.max(1), rtol=1e-5)


def test_one_output__is_found_though_the_first_rows_miss_values(tmp_path: Path) -> None:
    network, x = OneLogit().eval(), _inputs()
    x[[0, 3], 2] = np.nan
    store = _extracted(
        network,
        (x, np.arange(len(x)) % 2),
        tmp_path / "one",
        extraction={"max_unreadable_fraction": 0.1},
    )

    expected = (_probability(network, x) > 0.5).astype(int)
    expected[[0, 3]] = -1
    assert store.instances()["prediction"].tolist() == expected.tolist()


def test_three_names_and_one_output__are_subsets_as_the_plan_says() -> None:
    labels = ["yes", "no", "maybe"] * 5

    plan, _ = nnviz.plan_run(OneLogit(), (_inputs(15), labels), timed=False)

    assert "3 names, and the network has one output" in str(plan)
