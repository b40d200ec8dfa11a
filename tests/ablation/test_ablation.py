"""The causal check: planted paths matter, others do not, and the numbers are right."""

import json
import shutil

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from distributed import Client

import nnviz
from nnviz.ablation.ablation import ablate
from nnviz.ablation.asked_subsets import asked_subsets
from nnviz.ablation.graph_channels import GraphChoice
from nnviz.ablation.results import causal_check_of, check_names
from nnviz.ablation.treatments import ablated_channels
from nnviz.aggregation.aggregation import aggregate
from nnviz.cli.main import main
from nnviz.errors import (
    ConfigError,
    DatasetError,
    MissingDataError,
    ModelError,
    PlanMismatchError,
    QueryError,
    UnknownNameError,
)
from nnviz.graphs.options import GraphOptions
from nnviz.runs.config import load_config
from nnviz.store.documents import sealed_group
from nnviz.store.store import Store
from tests import planted_network as planted
from tests.oracles import ablation as oracle

# One of them wants the processes that others of this group share.
pytestmark = [pytest.mark.xdist_group("cluster"), pytest.mark.slow]

LOST = (5, 7)
NAMES = planted.CLASS_NAMES


def extracted(folder, client, **options):
    run_file = planted.write_run(folder, **options)
    plan, probe = nnviz.plan_run(load_config(run_file))
    store = nnviz.prepare_store(plan, str(folder / "run.zarr"), probe=probe)
    nnviz.extract(store, client=client)
    return store


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("planted")
    with Client(
        processes=False, n_workers=1, dashboard_address="127.0.0.1:0"
    ) as client:
        store = extracted(folder, client, lost=LOST)
    groups = folder / "groups.json"
    groups.write_text(json.dumps({"one": ["1"], "lost": ["5"], "two": ["2", "3"]}))
    names = ("label", "prediction", "outcome")
    nnviz.aggregate(store, [nnviz.named_subsets(store, name) for name in names])
    own = nnviz.named_subsets(store, str(groups))
    aggregate(store, [own], empty_subsets=True)
    return folder


@pytest.fixture
def store(folder, tmp_path):
    """Return a store that the test may write."""
    shutil.copytree(folder / "run.zarr", tmp_path / "run.zarr")
    return Store.open(tmp_path / "run.zarr", writable=True)


def labels_of(store):
    return nnviz.named_subsets(store, "label")


WAYS = {
    "counts": GraphOptions(),
    "sums": GraphOptions(weight="sum"),
    "in-strength": GraphOptions(scoring="in_strength"),
    "specificity": GraphOptions(scoring="specificity"),
    "summit": GraphOptions(preset="summit"),
}


@pytest.mark.parametrize("way", list(WAYS))
def test_ablate__planted_path__destroys_the_class_and_random_sets_do_not(store, way):
    choice = GraphChoice(WAYS[way], fraction=0.03)

    check = ablate(store, labels_of(store), graph=choice, n_instances=12, draws=20)

    sets = store.groups.read(f"artifacts/ablation/label/{choice.name}/sets/second")
    assert [np.flatnonzero(row[1]).tolist() for row in sets] == [
        [channel] for channel in planted.SECOND
    ]
    graph, random = check.effect("graph"), check.effect("random")
    assert check.effect("none").accuracy.tolist() == [1.0] * 4
    assert (graph.share > 0.9).all()
    assert (random.share < 0.3).all()
    assert (check.beaten() >= 0.9).all()
    assert (check.effect("least").share < 0.1).all()
    assert (check.effect("graph", keeps=True).share < 0.2).all()
    assert (check.effect("random", keeps=True).share > 0.7).all()
    for layer in ("first", "second"):
        assert (check.effect("graph", layers=[layer]).share > 0.9).all()
        assert (check.effect("random", layers=[layer]).share < 0.3).all()


def test_ablate__equals_the_plain_loop(store):
    choice = GraphChoice()

    check = ablate(
        store, labels_of(store), n_instances=3, draws=2, n_reference=30, seed=4
    )

    network = planted.build().double()
    data, labels = planted.instances(90)
    usable = np.setdiff1d(np.arange(90), LOST)
    drawn = np.random.default_rng((4, 1)).choice(usable, 30, replace=False)
    path = f"artifacts/ablation/label/{choice.name}"
    listed = [tuple(x) for x in store.groups.attributes(path)["sets"]]
    sets = {x: store.groups.read(f"{path}/sets/{x}") for x in planted.N_CHANNELS}
    with torch.no_grad():
        means = oracle.channel_means(
            network, data[drawn].astype(np.float64), list(planted.N_CHANNELS)
        )
        for row, treatment in enumerate(check.treatments):
            for label, name in enumerate(NAMES):
                assert check.names[label] == name
                instances = check.instance[label]
                members = {
                    key: {x: np.flatnonzero(sets[x][label, i]) for x in sets}
                    for i, key in enumerate(listed)
                }
                ablated = ablated_channels(treatment, members, planted.N_CHANNELS)
                logits = oracle.ablated_logits(
                    network, data[instances].astype(np.float64), ablated, means
                )
                assert (labels[instances] == label).all()
                assert np.allclose(
                    check.logit[label, row], logits[:, label], rtol=1e-4, atol=1e-5
                )
                probability = [oracle.softmax(one)[label] for one in logits]
                assert np.allclose(
                    check.probability[label, row], probability, rtol=1e-4, atol=1e-6
                )
                assert (check.prediction[label, row] == logits.argmax(1)).all()


@pytest.mark.cluster
def test_ablate__any_number_of_workers__stores_the_same_numbers(
    store, client, processes
):
    checks = [ablate(store, labels_of(store), n_instances=20, draws=2)]
    checks.append(
        ablate(store, labels_of(store), n_instances=20, draws=2, client=client)
    )
    checks.append(
        ablate(store, labels_of(store), n_instances=20, draws=2, client=processes)
    )

    for check in checks[1:]:
        for name in ("instance", "logit", "probability", "prediction"):
            assert np.array_equal(getattr(check, name), getattr(checks[0], name))


def test_ablate__is_read_back_as_it_was(store):
    summit = GraphChoice(GraphOptions(preset="summit"))
    first = ablate(store, labels_of(store), names=["west"], draws=1)
    ablate(store, labels_of(store), names=["east"], graph=summit, draws=1)

    read = causal_check_of(Store.open(store.url), name="directed-evidence")

    assert repr(read) == repr(first)
    assert np.array_equal(read.logit, first.logit, equal_nan=True)
    assert check_names(store) == ["directed-evidence", "summit-evidence"]
    with pytest.raises(UnknownNameError, match="name one of the causal checks"):
        causal_check_of(store)
    with pytest.raises(MissingDataError, match="run 'nnviz ablate"):
        causal_check_of(store, "outcome")


def test_ablate__subsets_that_are_no_classes__look_at_the_predicted_class(
    store, folder
):
    collection = nnviz.named_subsets(store, str(folder / "groups.json"))

    check = ablate(store, collection, draws=2, by_layer=False)

    predictions = store.column("prediction")
    assert check.n_instances.tolist() == [1, 0, 2]
    assert check.instance[2].tolist() == [2, 3]
    row = [one.what for one in check.treatments].index("none")
    assert check.prediction[2, row].tolist() == predictions[[2, 3]].tolist()
    assert (check.probability[2, row] > 0.5).all()
    assert np.isnan(check.effect("graph").error[0])
    assert np.isnan(check.effect("graph").drop[1])
    assert "subset 'lost' has no usable instance: nothing was ablated" in check.problems
    assert check.overall(by_layer=True) == []
    json.dumps(check.to_json(), allow_nan=False)


def test_ablate__outcomes__are_checked_too(store):
    collection = nnviz.named_subsets(store, "outcome")

    check = ablate(store, collection, draws=2, by_layer=False, n_instances=3)

    assert check.names == tuple(f"{name} correct" for name in NAMES)
    assert check.n_instances.tolist() == [3] * 4
    assert (check.effect("none").accuracy == 1).all()


def test_ablate__graph_of_all_channels__says_that_other_sets_are_the_same(store):
    choice = GraphChoice(fraction=1.0)

    check = ablate(store, labels_of(store), graph=choice, draws=2, n_instances=2)

    assert "has all channels of first, second" in check.problems[0]
    assert np.array_equal(check.effect("graph").drop, check.effect("random").drop)
    assert (check.beaten() == 0.5).all()
    assert (check.effect("graph").share == 1).all()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"names": ["wset"]}, UnknownNameError, "did you mean 'west'"),
        ({"n_instances": 0}, ConfigError, "n_instances is 0; it is 1 or more"),
        ({"draws": -1}, ConfigError, "draws is -1; it is 0 or more"),
    ],
    ids=["name", "instances", "draws"],
)
def test_ablate__impossible_options__are_refused(store, options, error, message):
    with pytest.raises(error, match=message):
        ablate(store, labels_of(store), **options)


def test_graph_choice__impossible__is_refused():
    with pytest.raises(ConfigError, match="fraction is 0; it is above 0"):
        GraphChoice(fraction=0)
    with pytest.raises(ConfigError, match="give one of them"):
        GraphChoice(GraphOptions(share=0.1), fraction=0.1)


def test_ablate__other_subsets_than_were_aggregated__are_refused(
    store, folder, tmp_path
):
    groups = tmp_path / "groups.json"
    groups.write_text(json.dumps({"other": ["1"]}))

    with pytest.raises(DatasetError, match="aggregate again with these"):
        ablate(store, nnviz.named_subsets(store, str(groups)))


def test_asked_subsets__a_query__is_counted_and_checked(store, client):
    query = "label = north and id != '1'"

    named, names = asked_subsets(store, ["north"], None)
    made, chosen = asked_subsets(store, [query, "west"], None, client=client)
    check = ablate(store, made, names=chosen, draws=1, n_instances=3)

    assert (named.name, names) == ("label", ["north"])
    assert check.names == (query, "west")
    assert check.subsets == made.name
    with pytest.raises(QueryError, match="did you mean 'north'"):
        asked_subsets(store, ["nort"], None)


def test_ablate__changed_data__are_refused(folder, tmp_path, client):
    shutil.copytree(folder, tmp_path / "copy")
    copy = tmp_path / "copy"
    meta = json.loads((copy / "run.zarr" / "zarr.json").read_text())
    meta["attributes"]["plan"]["dataset"]["path"] = str(copy / "data.npz")
    (copy / "run.zarr" / "zarr.json").write_bytes(sealed_group(meta["attributes"]))
    planted.write_run(copy, n=88)
    store = Store.open(copy / "run.zarr")

    with pytest.raises(PlanMismatchError, match="the data set has changed"):
        ablate(store, labels_of(store), client=client)


def test_ablate__network_without_classes__is_refused(tmp_path, client):
    store = extracted(tmp_path, client, source="plain_network")
    nnviz.aggregate(store, [])

    with pytest.raises(ModelError, match="predicts no classes"):
        ablate(store, nnviz.named_subsets(store, "all"))


def test_command__prints_stores_and_answers_in_json(store, scheduler_address):
    arguments = ["ablate", store.url, "north", "west", "--draws", "2"]
    arguments += ["--scheduler", scheduler_address, "--instances", "5", "--quiet"]

    shown = CliRunner().invoke(main, arguments)
    result = CliRunner().invoke(main, [*arguments, "--fraction", "0.1", "--json"])

    assert shown.exit_code == 0, shown.output
    assert "as many at random" in shown.stdout
    value = json.loads(result.stdout)
    assert value["name"] == "directed-evidence-fraction0.1"
    assert [row["subset"] for row in value["by_subset"]] == ["north", "west"]
    assert [row["layer"] for row in value["by_layer"]] == ["second", "first"]
    assert check_names(store) == ["directed-evidence", value["name"]]
