"""The columns of a table are the channels of its input, and called by their names."""

from __future__ import annotations

import csv
import json

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import nnviz
from nnviz.graphs.files import graph_files
from nnviz.runs.identity import fingerprint_of

COLUMNS = [
    {"name": "age", "scale": "range", "lowest": 0, "highest": 100},
    {"name": "kind", "encoding": "one-hot", "categories": ["cat", "dog"]},
    {"name": "weight", "missing": "value", "value": 0},
    {"name": "weight", "encoding": "indicator"},
]
NAMES = ("age", "kind = cat", "kind = dog", "weight", "weight missing")


def animals(n=60):
    """Return a table, and what the network receives of it, shape (n, 5)."""
    rng = np.random.default_rng(3)
    age, weight = rng.integers(0, 100, n), rng.normal(2, 1, n).round(3)
    weight[::7] = np.nan
    kind = rng.choice(["cat", "dog"], n)
    frame = pd.DataFrame({"age": age, "kind": kind, "weight": weight})
    parts = [age / 100, kind == "cat", kind == "dog", np.nan_to_num(weight)]
    received = np.stack([*parts, np.isnan(weight)], 1).astype(np.float32)
    return frame.assign(label=(age > 50).astype(int)), received


def make_network():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(5, 9), nn.ReLU(), nn.Linear(9, 2)).eval()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    network = make_network()
    store = nnviz.run(
        network,
        animals()[0],
        tmp_path_factory.mktemp("animals") / "animals.zarr",
        preprocessing={"columns": COLUMNS},
        extraction=nnviz.ExtractionConfig(relevance="label", targets="all", ranks=5),
        workers=0,
        progress=False,
    )
    return store, network


@pytest.mark.slow
def test_input__is_the_first_layer__with_the_numbers_that_are_received(run):
    store, _ = run

    assert [layer.name for layer in store.layers] == ["input", "0", "2"]
    assert store.layer("input").channel_names == NAMES
    np.testing.assert_allclose(store.activations("input"), animals()[1], atol=2e-3)


def test_influences__of_columns_are_products_with_their_weights(run):
    store, network = run
    received, weight = animals()[1], network[0].weight.detach().numpy()
    products = received[:, None] * weight  # (instance, target, source)

    target = store.read("influences/0/target")
    source, influence = (
        store.read(f"influences/0/{name}") for name in ("source", "influence")
    )
    for row, targets in enumerate(target):
        for place, j in enumerate(targets):
            kept = source[row, place] >= 0
            found = source[row, place][kept]
            expected = products[row, j]
            assert sorted(found) == np.flatnonzero(expected).tolist()
            assert (np.diff(np.abs(influence[row, place][kept])) <= 1e-6).all()
            np.testing.assert_allclose(
                influence[row, place][kept], expected[found], rtol=1e-4, atol=1e-6
            )


def test_relevance__of_columns_is_their_gradient_times_what_they_are(run):
    store, network = run
    frame, received = animals()
    x = torch.from_numpy(received).requires_grad_()
    logit = network(x).gather(1, torch.tensor(frame["label"])[:, None]).sum()
    (gradient,) = torch.autograd.grad(logit, x)

    found = [store.read(f"relevance/input/{name}") for name in ("gradient", "product")]

    np.testing.assert_allclose(found[0], gradient, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found[1], gradient * x.detach(), rtol=1e-4, atol=1e-6)


def test_graph__ends_at_columns_that_have_their_names(run, tmp_path):
    store, _ = run

    graph = nnviz.attribution_graph(store, 1, share=0.001)

    named = {channel for layer, channel in graph if layer == "input"}
    assert named
    assert {graph.called("input", channel) for channel in named} <= set(NAMES)
    assert any(f"{NAMES[channel]} (" in repr(graph) for channel in named)
    assert any(f"input, channel {c}, {NAMES[c]}" in graph._repr_html_() for c in named)
    table = graph_files(graph, "one", "csv")["one-nodes.csv"].decode().splitlines()
    rows = [row for row in csv.DictReader(table) if row["layer"] == "input"]
    assert {row["name"] for row in rows} == {NAMES[channel] for channel in named}
    first_layer = [r for r in csv.DictReader(table) if r["layer"] == "0"]
    assert {row["name"] for row in first_layer} == {""}


def test_differences__of_columns_have_their_names(run):
    store, _ = run

    found = store.look("kind = cat", "kind = dog").channels

    by_name = {one.name: one for one in found if one.layer == "input"}
    assert by_name["kind = cat"].mean == 1
    assert by_name["kind = cat"].other_mean == 0
    assert "kind = cat  on top" in str(store.look("kind = cat", "kind = dog"))


def test_tables__of_aggregates_have_the_names(run, tmp_path):
    store, _ = run

    nnviz.write_bundle(store, tmp_path / "tables", format="csv")

    found = pd.read_csv(tmp_path / "tables" / "aggregates" / "label" / "input.csv")
    assert set(found["name"]) == set(NAMES)
    use = nnviz.aggregates_of(store, "label").channels("input", "1")
    assert tuple(use.to_frame()["name"]) == NAMES


def test_plan__from_before_channels_had_names_is_the_same_one(run):
    plan = json.loads(json.dumps(run[0].plan.to_json()))
    for layer in plan["architecture"]["layers"]:
        del layer["channel_names"]

    assert fingerprint_of(plan) == run[0].plan.fingerprint
    found = nnviz.Plan.from_json(plan).architecture.layer("input")
    assert found.called(3) == "3"


@pytest.mark.slow
def test_input__can_be_left_out(tmp_path):
    store = nnviz.run(
        make_network(),
        animals()[0],
        tmp_path / "animals.zarr",
        preprocessing={"columns": COLUMNS},
        extraction=nnviz.ExtractionConfig(layers=("*", "!input")),
        workers=0,
        progress=False,
    )

    assert [layer.name for layer in store.layers] == ["0", "2"]


class Halves(nn.Module):
    def __init__(self):
        super().__init__()
        self.input = nn.Linear(2, 4)
        self.other, self.out = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, numbers, kinds):
        return self.out(torch.relu(self.input(numbers)) + self.other(kinds))


@pytest.mark.slow
def test_inputs__several_have_the_names_of_their_parameters(tmp_path):
    of_inputs = [
        {**COLUMNS[1], "input": "kinds"},
        {"name": "age"},
        {**COLUMNS[3], "input": "kinds"},
        COLUMNS[2],
    ]
    store = nnviz.run(
        Halves().eval(),
        animals()[0],
        tmp_path / "halves.zarr",
        preprocessing={"columns": of_inputs},
        workers=0,
        progress=False,
    )

    names = {layer.name: layer.channel_names for layer in store.layers}
    assert names["numbers"] == ("age", "weight")
    assert names["kinds"] == ("kind = cat", "kind = dog", "weight missing")
    received = animals()[1]
    for name, columns in (("numbers", [0, 3]), ("kinds", [1, 2, 4])):
        scale = [100, 1] if name == "numbers" else 1
        expected = received[:, columns] * np.array(scale)
        np.testing.assert_allclose(store.activations(name), expected, rtol=1e-3)
    edges = {(e.source, e.target) for e in store.plan.architecture.edges}
    assert {source for source, _ in edges} >= {"numbers", "kinds"}
