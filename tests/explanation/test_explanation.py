"""One instance explained: maps, relevance, sources and graph, each computed again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from distributed import Client
from torch import Tensor, nn
from torch.nn import functional

import nnviz
from nnviz.cli.main import main
from nnviz.errors import (
    ConfigError,
    DatasetError,
    MissingDataError,
    ShapeError,
    UnknownNameError,
)
from nnviz.explanation.stored import explanation_of
from nnviz.interface.run_store import Store
from tests import planted_network as planted
from tests.planted_network_run import aggregated_store

# One of them wants the processes that others of this group share.
pytestmark = [pytest.mark.xdist_group("cluster"), pytest.mark.slow]

N, NAMES, CHANNELS = 24, ("red", "green", "blue"), 20
FIRST, INNER, SUM, HEAD = 0, 1, 2, 3


class Residual(nn.Module):
    """Two convolutions around which the first one's output is added."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, CHANNELS, 3, padding=1)
        self.inner = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)
        self.last = nn.Conv2d(CHANNELS, CHANNELS, 1)
        self.head = nn.Linear(CHANNELS, 3)

    def forward(self, x: Tensor) -> Tensor:
        a = torch.relu(self.first(x))
        b = torch.relu(self.inner(a))
        return self.head(torch.relu(self.last(b) + a).mean((2, 3)))


def network() -> Residual:
    torch.manual_seed(4)
    return Residual().eval()


def images() -> np.ndarray:
    rng = np.random.default_rng(6)
    made = rng.uniform(0, 1, (N, 3, 7, 7)).astype(np.float32)
    made[3] = np.nan
    return made


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explained")
    return nnviz.run(
        network(),
        (images(), np.arange(N) % 3),
        folder / "run.zarr",
        preprocessing={"kind": "array"},
        extraction={"shown": ["*", "!inner"], "max_unreadable_fraction": 0.5},
        classes=NAMES,
        workers=0,
        progress=False,
    )


@pytest.fixture(scope="module")
def explained(run):
    return run.explain(5, model=network(), dataset=(images(), np.arange(N) % 3))


@pytest.fixture(scope="module")
def computed(explained):
    """Return the four layers' outputs in float64, with gradients of the logit."""
    net = network().double()
    x = torch.from_numpy(images()[[explained.instance]]).double()
    first = torch.relu(net.first(x))
    inner = torch.relu(net.inner(first))
    total = torch.relu(net.last(inner) + first)
    logits = net.head(total.mean((2, 3)))
    outputs = [first, inner, total, logits]
    gradients = torch.autograd.grad(logits[0, explained.output], outputs)
    return [(o.detach()[0], g[0]) for o, g in zip(outputs, gradients, strict=True)]


def test_explain__maps_and_relevance_are_those_of_plain_torch(explained, computed):
    assert len(explained.layers) == 4
    assert explained.output == int(computed[HEAD][0].argmax())
    assert explained.value == pytest.approx(computed[HEAD][0].max().item(), abs=1e-5)
    for layer, (values, gradient) in zip(
        explained.layers.values(), computed, strict=True
    ):
        rows, slopes = (
            values.reshape(len(values), -1),
            gradient.reshape(len(values), -1),
        )
        np.testing.assert_allclose(layer.activation, rows.amax(1), atol=1e-5)
        np.testing.assert_allclose(layer.relevance(), (rows * slopes).sum(1), atol=1e-6)
        shifted = ((rows - 0.25) * slopes).sum(1)
        np.testing.assert_allclose(layer.relevance(0.25), shifted, atol=1e-6)
        for channel in layer.mapped.tolist():
            np.testing.assert_allclose(
                layer.map_of(channel), values[channel], atol=1e-5
            )


def test_explain__keeps_the_strongest_of_each_shown_layer(run, explained, computed):
    shown = [layer.name for layer in run.shown_layers]
    assert set(explained.shown) == set(shown)
    for number, (name, layer) in enumerate(explained.layers.items()):
        values, gradient = (x.reshape(len(x), -1) for x in computed[number])
        relevance = (values * gradient).sum(1).numpy()
        order = np.argsort(-relevance, kind="stable")
        half = np.cumsum(np.maximum(relevance[order], 0))
        wanted = int(np.searchsorted(half, half[-1] / 2)) + 1
        wanted = min(max(wanted, 8), 16, int((relevance > 0).sum()))
        if number != HEAD:
            assert layer.target.tolist() == order[:wanted].tolist()
        active = np.argsort(-values.amax(1).numpy(), kind="stable")[:8]
        kept = {*layer.target.tolist(), *active[layer.activation[active] > 0].tolist()}
        assert kept <= set(layer.mapped.tolist()) or name not in shown
        assert len(layer.mapped) == 0 or name in shown
    assert explained.layers[list(explained.layers)[HEAD]].target.tolist() == [
        explained.output
    ]
    with pytest.raises(UnknownNameError, match="the kept ones are those of the"):
        explained.layers[list(explained.layers)[INNER]].map_of(0)


def contributions(number, target, computed):
    """Return what each source contributes to a target where it peaks, and all there."""
    net = network().double()
    first, inner, total, _ = (values for values, _ in computed)
    if number == HEAD:
        parts = net.head.weight[target] * total.mean((1, 2))
        return parts.detach().numpy(), (parts.sum() + net.head.bias[target]).item()
    if number == SUM:
        weight = net.last.weight[target, :, 0, 0]
        pre = (weight[:, None, None] * inner).sum(0) + net.last.bias[target]
        pre = pre + first[target]
        at = divmod(int(pre.argmax()), pre.shape[1])
        identity = torch.zeros(CHANNELS, dtype=torch.float64)
        identity[target] = first[target][at]
        parts = {"inner": weight * inner[:, at[0], at[1]], "first": identity}
    else:
        patches = functional.unfold(first[None], 3, padding=1)[0]
        weight = net.inner.weight[target].reshape(-1)
        pre = weight @ patches + net.inner.bias[target]
        at = int(pre.argmax())
        parts = {"first": (weight * patches[:, at]).reshape(CHANNELS, 9).sum(1)}
    return {k: v.detach().numpy() for k, v in parts.items()}, pre.max().item()


def test_explain__sources_are_the_strongest_contributions_at_the_peak(
    run, explained, computed
):
    names = list(explained.layers)
    called = dict(zip(("first", "inner", "sum"), names, strict=False))
    for number in (INNER, SUM, HEAD):
        layer = explained.layers[names[number]]
        edges = [e for e in run.plan.architecture.edges if e.target == names[number]]
        for row, target in enumerate(layer.target.tolist()):
            parts, total = contributions(number, target, computed)
            if number == HEAD:
                parts = {"sum": parts}
            by_source = {called[name]: values for name, values in parts.items()}
            joined = np.concatenate([by_source[edge.source] for edge in edges])
            best = np.argsort(-np.abs(joined), kind="stable")[:5]
            assert layer.source[row].tolist() == best.tolist()
            np.testing.assert_allclose(layer.influence[row], joined[best], atol=1e-5)
            added = layer.influence[row].sum() + layer.remainder[row]
            assert added == pytest.approx(total, abs=1e-5)


def test_own_graph__has_the_arcs_that_a_walk_by_hand_finds(run, explained, computed):
    names = list(explained.layers)
    graph = run.graph(explained, inner="nodes", share=1.0, pictures=False)

    sizes = [(names[i], CHANNELS) for i in (FIRST, INNER, SUM)]
    arcs, reached = set(), {(names[HEAD], explained.output)}
    for number in (HEAD, SUM, INNER):
        layer = explained.layers[names[number]]
        edges = [e for e in run.plan.architecture.edges if e.target == names[number]]
        sources = [(e.source, c) for e in edges for c in range(dict(sizes)[e.source])]
        for row, target in enumerate(layer.target.tolist()):
            if (names[number], target) in reached:
                for place, value in zip(
                    layer.source[row], layer.influence[row], strict=True
                ):
                    if place >= 0 and value > 0:
                        reached.add(sources[place])
                        arcs.add((sources[place], (names[number], target)))
    relevance = {
        (names[i], c): float((o.reshape(len(o), -1) * g.reshape(len(o), -1)).sum(1)[c])
        for i, (o, g) in enumerate(computed)
        for c in range(len(o))
    }
    kept = {node for node in reached if relevance[node] > 0}
    kept.add((names[HEAD], explained.output))
    assert set(graph.keys()) >= kept
    # Those of no positive relevance connect others, and nothing else is added.
    assert set(graph.keys()) <= reached
    found = set(graph.arc_keys())
    assert found == {arc for arc in arcs if set(arc) <= set(graph.keys())}
    score = dict(zip(graph.keys(), graph.score.tolist(), strict=True))
    for node in kept - {(names[HEAD], explained.output)}:
        assert score[node] == pytest.approx(relevance[node], abs=1e-5)
    assert graph.n_instances == 1
    assert graph.n_total == N - 1


def test_explain__is_stored_and_read_again_without_data_or_network(run, explained):
    again = run.explain(str(explained.id))

    assert again.to_json() == explained.to_json()
    stored = explanation_of(run, explained.instance, explained.output)
    for name, layer in explained.layers.items():
        for field in layer.__slots__:
            np.testing.assert_array_equal(
                getattr(stored.layers[name], field), getattr(layer, field)
            )
    assert nnviz.verify(run, contents=False, progress=False).is_sound
    with pytest.raises(MissingDataError, match=r"nnviz explain .* --of"):
        explanation_of(run, 0, 1)


@pytest.mark.parametrize(
    ("asked", "of", "error", "message"),
    [
        pytest.param("nowhere", None, UnknownNameError, "no instance has the", id="id"),
        pytest.param(N, None, ShapeError, "there is no instance 24", id="number"),
        pytest.param(3, None, DatasetError, "cannot be used", id="unusable"),
        pytest.param(5, "grey", UnknownNameError, "did you mean 'green'", id="class"),
        pytest.param(5, 3, UnknownNameError, "it has 3: [a-z]", id="output"),
    ],
)
def test_explain__what_is_not_there__is_said(run, asked, of, error, message):
    with pytest.raises(error, match=message):
        run.explain(asked, of=of)


def test_own_graph__other_ways_of_making_graphs__are_refused(run, explained):
    with pytest.raises(ConfigError, match="leave out preset"):
        run.graph(explained, preset="summit")


@pytest.fixture(scope="module")
def planted_store(tmp_path_factory):
    return aggregated_store(tmp_path_factory.mktemp("planted-explained"))


def test_own_graph__is_the_planted_path_also_from_workers(planted_store, tmp_path):
    copy = tmp_path / "run.zarr"
    shutil.copytree(planted_store.url, copy)
    here = nnviz.explain(planted_store, 2)
    with Client(
        processes=False, n_workers=1, dashboard_address="127.0.0.1:0"
    ) as client:
        there = nnviz.explain(Store.open(copy), 2, client=client)

    for name, layer in here.layers.items():
        for field in layer.__slots__:
            np.testing.assert_array_equal(
                getattr(there.layers[name], field), getattr(layer, field)
            )
    graph = Store.open(copy).graph(there, pictures=False)
    c = here.output
    assert planted.CLASS_NAMES[c] == here.output_name
    best = {
        name: graph.channel[graph.nodes_of(name)][
            graph.score[graph.nodes_of(name)].argmax()
        ]
        for name in ("first", "second")
    }
    assert best == {"first": planted.FIRST[c], "second": planted.SECOND[c]}
    path = ("first", planted.FIRST[c]), ("second", planted.SECOND[c])
    assert path in graph.arc_keys()


def test_commands__explain_and_print_the_graph(planted_store, tmp_path):
    def call(*words):
        done = CliRunner().invoke(main, [*words, "--json"])
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    url = planted_store.url
    said = call("explain", url, "1", "--of", "west")
    drawn = call("graph", url, "--instance", "1", "--of", "west", "--out",
                 str(tmp_path / "own.graphml"), "--format", "graphml")  # fmt: skip

    assert said["output_name"] == "west"
    assert [layer["layer"] for layer in said["layers"]][:2] == ["first", "second"]
    assert drawn["subset"].endswith("as west")
    assert Path(drawn["files"][0]).read_text().count("<node ") == drawn["nodes"]
    missing = CliRunner().invoke(main, ["graph", url, "--instance", "1", "--of", "0"])
    assert missing.exit_code == 1
    assert "nnviz explain" in missing.output
    both = CliRunner().invoke(main, ["graph", url, "west", "--instance", "1"])
    assert both.exit_code == 2
