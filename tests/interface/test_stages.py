"""A network and data in memory: every stage, in this process and in others."""

from __future__ import annotations

from pathlib import Path

import distributed
import numpy as np
import pytest
import torch
from torch import nn

import nnviz
from nnviz.errors import ConfigError, DatasetError, ModelError, PlanMismatchError
from nnviz.inputs.models.loading import memory_source
from nnviz.store.store import Store
from tests.forked import Forked

pytestmark = pytest.mark.slow

NAMES = ("red", "green", "blue")


class ColourNetwork(nn.Module):
    """Its hidden channel c is the mean of colour c, and so is its output."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Conv2d(3, 3, 1, bias=False)
        self.out = nn.Linear(3, 3, bias=False)
        with torch.no_grad():
            self.hidden.weight.copy_(torch.eye(3)[:, :, None, None])
            self.out.weight.copy_(torch.eye(3))

    def forward(self, x):
        return self.out(torch.relu(self.hidden(x)).mean((2, 3)))


class ColourDataset(torch.utils.data.Dataset):
    """Item i is of colour i % 3, and says how bright it is."""

    def __init__(self, n=30):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        image = torch.zeros(3, 4, 4)
        image[index % 3] = 1.0 + index / 100
        half = "first" if index < 15 else "second"
        return image, index % 3, {"brightness": 1.0 + index / 100, "half": half}


@pytest.fixture(scope="module")
def read_by_run():
    """Return the paths of the arrays that the run below reads, as often as it does."""
    return []


@pytest.fixture(scope="module")
def run_store(tmp_path_factory, read_by_run):
    url = tmp_path_factory.mktemp("memory") / "run.zarr"
    read = Store.read

    def noting(store, path, *arguments):
        read_by_run.append(path)
        return read(store, path, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Store, "read", noting)
        return nnviz.run(
            ColourNetwork(), ColourDataset(), url, classes=NAMES, progress=False
        )


def test_run__reads_labels_and_status_once_in_each_stage(run_store, read_by_run):
    """Each class asked for its instances by itself once, and so read all labels."""
    assert 1 <= read_by_run.count("instances/status") <= 5
    assert 1 <= read_by_run.count("instances/label") <= 8


def test_run__records_what_was_planted(run_store):
    table = run_store.instances()

    assert table["prediction"].tolist() == [i % 3 for i in range(30)]
    assert table["label"].tolist() == [i % 3 for i in range(30)]
    assert table["half"].tolist() == ["first"] * 15 + ["second"] * 15
    np.testing.assert_allclose(table["brightness"], 1 + np.arange(30) / 100)
    hidden = run_store.activations("hidden").astype(float)
    np.testing.assert_allclose(hidden.max(axis=1), 1 + np.arange(30) / 100, rtol=1e-3)
    assert hidden.argmax(axis=1).tolist() == [i % 3 for i in range(30)]


def test_run__leads_to_the_graph_of_a_class(run_store):
    graph = nnviz.attribution_graph(run_store, "green")

    strong = {key for key, n in zip(graph.keys(), graph.count, strict=True) if n}
    assert strong == {("hidden", 1), ("out", 1)}


def test_plan__says_that_the_network_came_from_memory(run_store):
    source = memory_source(ColourNetwork())

    assert source.startswith("memory:ColourNetwork@")
    assert source in repr(run_store)


def test_run__does_nothing_twice(run_store, capfd):
    before = (Path(run_store.url) / "zarr.json").stat().st_mtime_ns

    again = nnviz.run(ColourNetwork(), ColourDataset(), run_store.url, classes=NAMES)

    assert again.fingerprint == run_store.fingerprint
    assert (Path(run_store.url) / "zarr.json").stat().st_mtime_ns == before
    assert capfd.readouterr().err == ""


def test_run__of_other_weights_is_refused(run_store):
    other = ColourNetwork()
    with torch.no_grad():
        other.hidden.weight.mul_(2)

    with pytest.raises(PlanMismatchError, match="made by another plan"):
        nnviz.run(other, ColourDataset(), run_store.url, classes=NAMES, progress=False)


def test_run__leaves_the_network_as_it_is(tmp_path):
    network = ColourNetwork().train()

    nnviz.run(network, ColourDataset(6), tmp_path / "run.zarr", progress=False)

    assert network.training
    assert all(p.requires_grad for p in network.parameters())


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(lambda x, y: (x, y), id="pair of tensors"),
        pytest.param(lambda x, y: (x.numpy(), y.numpy()), id="pair of arrays"),
        pytest.param(lambda x, y: {"x": x, "y": y}, id="dictionary"),
        pytest.param(torch.utils.data.TensorDataset, id="TensorDataset"),
        pytest.param(lambda x, y: list(zip(x, y, strict=True)), id="list of pairs"),
        pytest.param(
            lambda x, y: [{"image": a, "label": b} for a, b in zip(x, y, strict=True)],
            id="list of dictionaries",
        ),
    ],
)
def test_run__takes_every_form_of_data(tmp_path, data):
    images = torch.stack([ColourDataset()[i][0] for i in range(9)])
    labels = torch.arange(9) % 3

    store = nnviz.run(
        ColourNetwork(), data(images, labels), tmp_path / "run.zarr", progress=False
    )

    assert store.column("label").tolist() == labels.tolist()
    assert store.column("prediction").tolist() == labels.tolist()


def test_stages__are_handed_the_same_objects_again(tmp_path):
    network, data = ColourNetwork(), ColourDataset()
    plan, probe = nnviz.plan_run(network, data, classes=NAMES)
    store = nnviz.prepare_store(plan, str(tmp_path / "run.zarr"), probe=probe)

    nnviz.extract(store, model=network, dataset=data, progress=False)
    nnviz.aggregate(store, "label", progress=False)
    nnviz.derive(store, dataset=data, progress=False)

    store = nnviz.open_store(store.url)
    assert store.column("prediction").tolist() == [i % 3 for i in range(30)]
    assert "examples" in store.groups.names("artifacts")


def test_store__keeps_its_chunks_where_none_are_stated(tmp_path):
    """As stores of earlier versions have others than would be chosen now."""

    def prepared(**extraction):
        plan, probe = nnviz.plan_run(
            ColourNetwork(), ColourDataset(), extraction=extraction
        )
        return nnviz.prepare_store(plan, str(tmp_path / "run.zarr"), probe=probe)

    begun = prepared(instances_per_chunk=8)

    assert prepared().fingerprint == begun.fingerprint
    assert prepared().plan.rows_per_chunk == 8
    with pytest.raises(PlanMismatchError, match="instances_per_chunk: 8, not 9"):
        prepared(instances_per_chunk=9)


def test_extract__without_the_objects_says_what_to_do(tmp_path):
    plan, probe = nnviz.plan_run(ColourNetwork(), ColourDataset(), classes=NAMES)
    store = nnviz.prepare_store(plan, str(tmp_path / "run.zarr"), probe=probe)

    with pytest.raises(DatasetError, match=r"hand it over again: nnviz\.extract"):
        nnviz.extract(store, workers=0, progress=False)
    with pytest.raises(ModelError, match=r"ColourNetwork@.*hand it over again"):
        nnviz.extract(store, dataset=ColourDataset(), workers=0, progress=False)


def test_extract__of_another_network_names_both(tmp_path):
    network = ColourNetwork()
    plan, probe = nnviz.plan_run(network, ColourDataset(), classes=NAMES)
    store = nnviz.prepare_store(plan, str(tmp_path / "run.zarr"), probe=probe)
    other = ColourNetwork()
    with torch.no_grad():
        other.out.weight.mul_(3)

    with pytest.raises(PlanMismatchError, match="not the one that the store was made"):
        nnviz.extract(store, model=other, dataset=ColourDataset(), progress=False)


def test_store__is_extended_verified_and_ablated(tmp_path):
    network = ColourNetwork()
    store = nnviz.run(
        network, ColourDataset(12), tmp_path / "run.zarr", classes=NAMES, progress=False
    )

    summary = nnviz.extend(store, dataset=ColourDataset(30))
    nnviz.extract(store.url, model=network, dataset=ColourDataset(30), progress=False)
    nnviz.aggregate(store.url, "label", progress=False)
    report = nnviz.verify(store.url, dataset=ColourDataset(30), progress=False)
    again = nnviz.recompute(store.url, 1.0, model=network, dataset=ColourDataset(30))
    check = nnviz.ablate(
        store.url, "green", model=network, dataset=ColourDataset(30), progress=False
    )

    assert (summary.n_before, summary.n_instances) == (12, 30)
    assert nnviz.open_store(store.url).column("prediction").tolist() == [
        i % 3 for i in range(30)
    ]
    assert report.is_sound
    assert (again.n_instances, again.wrong) == (30, {})
    assert check.names == ("green",)


def test_cluster_threads__get_the_objects(tmp_path, client):
    store = nnviz.run(
        ColourNetwork(),
        ColourDataset(),
        tmp_path / "run.zarr",
        classes=NAMES,
        client=client,
        progress=False,
    )

    assert store.column("prediction").tolist() == [i % 3 for i in range(30)]


SCRIPT = """
import nnviz
import torch
from colours import Half

class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first = Half()
        self.out = torch.nn.Linear(2, 2)

    def forward(self, x):
        return self.out(torch.relu(self.first(x)))

torch.manual_seed(0)
inputs, labels = torch.rand(40, 4), torch.arange(40) % 2
extraction = {"instances_per_chunk": 20}
store = nnviz.run(Network(), (inputs, labels), "run.zarr", workers=WORKERS,
                  extraction=extraction, progress=False)
print(store.n_instances, store.chunks.missing())
"""

MODULE = """
import torch

class Half(torch.nn.Linear):
    def __init__(self):
        super().__init__(4, 2)
"""


@pytest.mark.cluster
def test_script__without_main_guard_has_worker_processes(tmp_path):
    (tmp_path / "colours.py").write_text(MODULE)
    (tmp_path / "script.py").write_text(SCRIPT.replace("WORKERS", "1"))

    script = Forked("script.py", folder=tmp_path, has_server=True)
    out, errors = script.communicate(timeout=240)

    assert (script.returncode, out) == (0, "40 []\n"), errors


@pytest.mark.cluster
def test_cluster_in_another_folder__gets_code_that_is_not_installed(tmp_path):
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    (tmp_path / "here" / "colours.py").write_text(MODULE)
    text = SCRIPT.replace("workers=WORKERS", "client=Client(ADDRESS)").replace(
        "import nnviz", "import nnviz\nfrom distributed import Client"
    )
    with distributed.LocalCluster(
        n_workers=1,
        threads_per_worker=1,
        dashboard_address="127.0.0.1:0",
        local_directory=str(tmp_path / "there"),
    ) as cluster:
        address = cluster.scheduler_address
        text = text.replace("ADDRESS", repr(address))
        (tmp_path / "here" / "script.py").write_text(text)
        script = Forked("script.py", folder=tmp_path / "here")
        out, errors = script.communicate(timeout=240)

    assert (script.returncode, out) == (0, "40 []\n"), errors


@pytest.mark.parametrize(
    ("model", "dataset", "message"),
    [
        pytest.param(ColourNetwork, None, "data set is needed", id="no data"),
        pytest.param(
            ColourNetwork, [1], "the class ColourNetwork; .*not the class", id="class"
        ),
        pytest.param(3, [1], "model is 3, an int; .*torch.nn.Module", id="number"),
        pytest.param(ColourNetwork(), "nowhere", "neither a folder", id="no path"),
    ],
)
def test_wrong_type__names_what_was_given(model, dataset, message):
    with pytest.raises(ConfigError, match=message):
        nnviz.plan_run(model, dataset)


def test_data_loader__says_to_give_its_data_set():
    loader = torch.utils.data.DataLoader(ColourDataset())

    with pytest.raises(DatasetError, match=r"loader\.dataset"):
        nnviz.plan_run(ColourNetwork(), loader)
