"""Five ways in: the page of the documents runs as it stands, and its numbers are right.

A module and a data set in a notebook: ``interface/test_notebook.py`` and
``docs/test_gallery.py``.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import save_file
from torch import nn

import nnviz
from nnviz.cli.main import main
from nnviz.results.run_results import RunResults
from tests.cluster.running_dask import REGISTERED, SCHEDULER, running

pytestmark = pytest.mark.slow

PAGE = Path(__file__).resolve().parents[1] / "docs" / "ways-in.md"
WAYS = PAGE.read_text(encoding="utf-8").split("\n## ")[1:]
ADDRESS = "tcp://127.0.0.1:8786"


def blocks(language, way):
    return re.findall(rf"```{language}\n(.*?)```", WAYS[way], flags=re.DOTALL)


def run_commands(way, language, address=ADDRESS):
    (block,) = blocks(language, way)
    commands = [
        shlex.split(line.removeprefix("$ ").replace(ADDRESS, address))
        for line in block.splitlines()
    ]
    assert len(commands) < 5
    for command in commands:
        assert command[0] == "nnviz"
        done = CliRunner().invoke(main, command[1:])
        assert done.exit_code == 0, done.output
    return done.output


def run_lines(way, capsys):
    (block,) = blocks("python", way)
    assert len([line for line in block.splitlines() if line.strip()]) < 10
    exec(compile(block, f"{PAGE.name}, way {way + 1}", "exec"), {})
    return capsys.readouterr().out


@pytest.fixture(scope="module")
def of_timm(tmp_path_factory):
    """Return a folder with what the first way supposes: pictures, weights, run file."""
    timm = pytest.importorskip("timm")
    folder = tmp_path_factory.mktemp("timm")
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (folder / "pictures" / name).mkdir(parents=True)
        for index in range(3):
            pixels = rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"pictures/{name}/{index}.png")
    torch.manual_seed(0)
    network = timm.create_model("resnet10t", num_classes=2)
    save_file(network.state_dict(), folder / "weights.safetensors")
    (block,) = blocks("toml", 0)
    (folder / "run.toml").write_text(block)
    # Workers import timm as well, and timm torchvision.
    here = Path(__file__).resolve().parent
    places = [here / "worker_path", here.parent, *filter(None, sys.path)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(map(str, places)))
        yield folder


def test_ways__are_six():
    assert len(WAYS) == 6


@pytest.fixture
def one_core():
    """Let commands start a worker where they would start one for each core."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    yield
    os.sched_setaffinity(0, cores)


@pytest.mark.cluster
def test_timm_network_on_a_folder__runs_as_the_page_says(
    one_core, of_timm, monkeypatch
):
    monkeypatch.chdir(of_timm)

    shown = run_commands(0, "console")

    assert "nnviz.AttributionGraph 'dog'" in shown
    assert "3 instances" in shown


def test_timm_network__without_weights__plans_with_a_warning(of_timm):
    network = {"source": "timm:resnet10t", "arguments": {"num_classes": 2}}

    plan, _ = nnviz.plan_run(network, of_timm / "pictures", classes=["cat", "dog"])

    assert "warning: the weights are random, and others each time" in str(plan)


@pytest.mark.cluster
def test_running_cluster__whose_workers_stand_elsewhere__runs_as_the_page_says(
    of_timm, monkeypatch, tmp_path
):
    monkeypatch.chdir(of_timm)
    with (
        running("scheduler", "--port", "0", folder=tmp_path, sign=SCHEDULER) as address,
        running("worker", address, "--nthreads", "1", folder=tmp_path, sign=REGISTERED),
    ):
        shown = run_commands(4, "sh", address)

    assert "nnviz.AttributionGraph 'dog'" in shown
    assert not list(tmp_path.glob("**/*.zarr"))


@pytest.mark.parametrize(
    ("way", "shown"),
    [
        pytest.param(1, "'label = dog and grams > 300'> directed, 17", id="memory"),
        pytest.param(2, "nnviz.AttributionGraph 'round'", id="several-labels"),
        pytest.param(3, "nnviz.AttributionGraph 'target > 350'", id="regression"),
        pytest.param(5, "nnviz.AttributionGraph 'no'", id="one-output"),
    ],
)
def test_lines__run_as_the_page_says(way, shown, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)

    assert shown in run_lines(way, capsys)


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
    for query, rows in {
        "round": [1, 2],
        "label = red": [0, 2],
        "labels != round": [0, 3],
        "label in (round, small)": [0, 1, 2],
        "label contains r and not red": [1],
    }.items():
        assert store.subset(query).instances.tolist() == rows, query
    store.save_subset("kept", "round")
    assert store.subset("kept and not red").instances.tolist() == [1]
    among = store.look("round")
    assert {v.value: v.count for v in among.metadata} == {
        "round": 2,
        "red": 1,
        "small": 0,
    }
    assert among.confusion == []
    shown = RunResults(store)
    assert shown.kind == "label"
    assert shown.class_table().n_instances.tolist() == [2, 2, 1]
    (listed,) = shown.pairs.of_class(1)
    assert (listed.query, listed.n_instances) == ("label = round", 2)
    with pytest.raises(nnviz.NnvizError, match="classes have no order"):
        store.subset("label > red")
    with pytest.raises(nnviz.NnvizError, match="several labels"):
        store.suggest()


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
    graph = nnviz.attribution_graph(store, 3)

    np.testing.assert_allclose(store.column("target"), prices.numpy(), rtol=1e-6)
    assert (store.column("prediction") == -1).all()
    assert [len(subset) for subset in subsets] == [10, 10, 10, 10]
    top = np.argsort(prices.numpy())[-10:]
    assert sorted(subsets.subset(subsets.names[3]).instances) == sorted(top)
    assert graph.n_instances == 10
    assert graph.layers[-1] == "out"
    assert graph.problems == ()
    dear = store.graph("target > 1.5", pictures=False)
    assert dear.n_instances == (prices > 1.5).sum()


OWN_ROWS = """
import torch

class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden, self.out = torch.nn.Linear(2, 8), torch.nn.Linear(8, 2)

    def forward(self, length, width):
        return self.out(torch.relu(self.hidden(torch.stack([length, width], 1))))
"""


def test_labels_that_are_no_classes__are_a_column_where_told_so(tmp_path):
    (tmp_path / "own.py").write_text(OWN_ROWS)
    rows = "".join(f"{i / 9},{i / 7},{'xyz'[i % 3]}\n" for i in range(12))
    (tmp_path / "rows.csv").write_text("length,width,label\n" + rows)
    network = {"source": f"{tmp_path / 'own.py'}:Network"}
    table = {"kind": "table", "path": str(tmp_path / "rows.csv")}

    with pytest.raises(nnviz.NnvizError, match=r'dataset.label_column = ""'):
        nnviz.plan_run(network, table)
    plan, probe = nnviz.plan_run(network, {**table, "label_column": ""})

    assert (plan.n_labelled, plan.target_column) == (0, None)
    assert probe.dataset.metadata["target"].tolist() == [*"xyz"] * 4


def test_labels_of_one_logit__are_classes_of_their_own(tmp_path):
    inputs = torch.rand(12, 2, generator=torch.Generator().manual_seed(0))

    store = nnviz.run(
        Rows(1), (inputs, torch.arange(12) % 2), tmp_path / "run.zarr", progress=False
    )

    assert store.class_names == ("0", "1")
    assert nnviz.attribution_graph(store, "1").n_instances == 6


def test_regression__has_the_quantiles_of_its_target_without_being_asked(tmp_path):
    inputs = torch.rand(40, 2, generator=torch.Generator().manual_seed(0))
    data = {"x": inputs, "y": inputs.sum(1) + 0.25}

    store = nnviz.run(Rows(1), data, tmp_path / "run.zarr", workers=0, progress=False)

    assert len(nnviz.aggregates_of(store, "target")) == 4
