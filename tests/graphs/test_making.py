"""Attribution graphs of a store: planted paths come out, edges of the possible work."""

import json
import shutil
from dataclasses import replace

import networkx as nx
import numpy as np
import pytest
from click.testing import CliRunner

from nnviz.aggregation.aggregation import aggregate
from nnviz.cli.main import main
from nnviz.errors import ConfigError, MissingDataError, UnknownNameError
from nnviz.graphs.making import SubsetGraphs, attribution_graph
from nnviz.graphs.making_comparisons import compare_subsets
from nnviz.graphs.summit_files import from_summit_json
from nnviz.runs.plan import Plan
from nnviz.store.documents import sealed_group
from nnviz.store.store import Store, plan_attributes
from nnviz.subsets.naming import named_subsets
from nnviz.testing import PlantedRun, planted_channels, write_store

NEVER = 5
"""A class that is never predicted."""
RUN = PlantedRun(
    n_classes=6,
    n_instances=180,
    examples_per_channel=0,
    accuracy=0.9,
    never_predicted=NEVER,
    influence_ranks=3,
    share=0.7,
    n_unreadable=4,
    instances_per_chunk=32,
)
CLASSES = range(5)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    store = write_store(tmp_path_factory.mktemp("graphs") / "run.zarr", RUN)
    aggregate(store, [named_subsets(store, name) for name in ("label", "outcome")])
    return Store.open(store.url)


@pytest.mark.parametrize("preset", ["directed", "summit"])
@pytest.mark.parametrize("label", CLASSES)
def test_graph__has_the_planted_path(store, preset, label):
    graph = attribution_graph(store, RUN.names[label], preset=preset, share=0.9)

    for layer, _, _ in RUN.layers:
        nodes = graph.nodes_of(layer)
        best = nodes[np.argsort(-graph.score[nodes], kind="stable")][:3]
        found = sorted(graph.channel[best].tolist())
        assert found == planted_channels(RUN, layer, label)


def test_directed_graph__starts_at_the_classs_output_and_follows_what_is_planted(store):
    graph = attribution_graph(store, RUN.names[2])

    assert graph.layers == ("early", "middle", "late", "output")
    assert graph.keys()[-1] == ("output", 2)
    assert graph.score[-1] == 1
    into = graph.source[graph.target == len(graph) - 1]
    assert sorted(graph.channel[into].tolist()) == planted_channels(RUN, "late", 2)
    late = graph.node("late", planted_channels(RUN, "late", 2)[0])
    assert graph.lift[late] > 4
    assert graph.problems == ()


def test_graph__of_a_class_that_is_never_predicted__says_where_it_starts(store):
    graph = attribution_graph(store, RUN.names[NEVER])

    assert "is a top channel in none" in graph.problems[0]
    assert graph.n_nodes > 0


def test_graph__of_outcomes__starts_at_the_outputs_that_they_have(store):
    graphs = list(SubsetGraphs(store, "outcome").graphs())

    assert [graph.subset for graph in graphs] == list(
        store.groups.attributes("aggregates/outcome")["names"]
    )
    assert graphs[0].keys()[-1][0] == "output"


@pytest.mark.parametrize("preset", ["directed", "summit"])
def test_graph__with_inner_layers_as_nodes__has_all_recorded_layers(store, preset):
    graph = attribution_graph(store, RUN.names[0], preset=preset, inner="nodes")

    assert graph.layers == ("early", "middle", "late", "output")


def test_graph__by_sums__follows_the_planted_path(store):
    graph = attribution_graph(store, RUN.names[1], weight="sum")

    assert graph.score[graph.node("output", 1)] == 1
    for layer, _, _ in RUN.layers:
        nodes = graph.nodes_of(layer)
        best = nodes[np.argsort(-graph.score[nodes], kind="stable")][:3]
        assert sorted(graph.channel[best].tolist()) == planted_channels(RUN, layer, 1)


@pytest.mark.parametrize("scoring", ["in_strength", "out_strength", "specificity"])
def test_graph__by_another_scoring__has_the_planted_path(store, scoring):
    graph = attribution_graph(store, RUN.names[4], scoring=scoring)

    for layer, _, _ in RUN.layers:
        found = set(graph.channel[graph.nodes_of(layer)].tolist())
        assert found >= set(planted_channels(RUN, layer, 4))


def test_comparison__with_itself_is_empty_and_with_another_class_is_not(store):
    same = compare_subsets(store, RUN.names[0], RUN.names[0])
    other = compare_subsets(store, RUN.names[0], RUN.names[3])

    assert same.is_empty()
    parts = other.node_parts
    of_first = [("late", c) for c in planted_channels(RUN, "late", 0)]
    rows = [other.nodes.index(node) for node in of_first]
    assert (parts.in_first[rows] & ~parts.in_second[rows]).all()
    assert (parts.effect[rows] > 0.8).all()
    assert (parts.adjusted_p_value[rows] < 0.01).all()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"subset": "clas 001"}, UnknownNameError, "did you mean 'class 001'"),
        ({"subsets": "labels"}, UnknownNameError, "did you mean 'label'"),
        ({"share": 0.0}, ConfigError, "above 0 and at most 1"),
        ({"preset": "other"}, ConfigError, "one of directed, summit"),
        ({"preset": "summit", "weight": "sum"}, ConfigError, "no weight 'sum'"),
        ({"scoring": "other"}, ConfigError, "one of evidence, in_strength"),
    ],
    ids=["subset", "subsets", "share", "preset", "weight", "scoring"],
)
def test_graph__of_what_is_not_there__says_what_is(store, options, error, message):
    with pytest.raises(error, match=message):
        attribution_graph(store, **{"subset": RUN.names[1], **options})


def test_graph__without_influences__says_how_to_get_some(tmp_path):
    store = write_store(tmp_path / "run.zarr", replace(RUN, influence_ranks=0))
    aggregate(store, [named_subsets(store, "label")])

    with pytest.raises(MissingDataError, match=r"extraction\.targets"):
        attribution_graph(Store.open(store.url), RUN.names[0])


@pytest.mark.parametrize("layers", [("output",), ("late", "output"), ("early", "late")])
def test_graph__over_few_layers__is_composed_through_the_others(
    store, layers, tmp_path
):
    url = tmp_path / "run.zarr"
    shutil.copytree(store.url, url)
    meta = json.loads((url / "zarr.json").read_text())
    value = meta["attributes"]["plan"]
    for layer in value["architecture"]["layers"]:
        layer["shown"] = layer["name"] in layers
    attributes = {**meta["attributes"], **plan_attributes(Plan.from_json(value))}
    (url / "zarr.json").write_bytes(sealed_group(attributes))

    for preset in ("directed", "summit"):
        graph = attribution_graph(Store.open(url), RUN.names[1], preset=preset)
        shown = layers if preset == "summit" else dict.fromkeys([*layers, "output"])
        assert graph.layers == tuple(shown)
        assert (graph.n_arcs > 0) == (len(graph.layers) > 1)


def test_command__writes_every_format(store, tmp_path):
    runner, name = CliRunner(), RUN.names[0]
    arguments = ["graph", store.url, name, "--json", "--out"]

    results = {
        suffix: runner.invoke(
            main, [*arguments, str(tmp_path / f"g.{suffix}"), "--format", suffix]
        )
        for suffix in ("json", "graphml", "csv", "summit")
    }

    assert {result.exit_code for result in results.values()} == {0}
    files = json.loads(results["csv"].stdout)["files"]
    assert files == [str(tmp_path / f"g-{part}.csv") for part in ("nodes", "arcs")]
    graph = attribution_graph(store, name)
    network = nx.read_graphml(tmp_path / "g.graphml")
    assert set(network.nodes) == {f"{layer}-{channel}" for layer, channel in graph}
    read = from_summit_json((tmp_path / "g.summit").read_text())
    assert read.keys() == graph.keys()


def test_command__without_a_file__prints_the_graph(store):
    result = CliRunner().invoke(main, ["graph", store.url, RUN.names[0]])

    assert result.exit_code == 0
    assert "class 000" in result.stdout
    assert "highest scores (count)" in result.stdout


def test_command__unknown_subset__is_a_message(store):
    result = CliRunner().invoke(main, ["graph", store.url, "clas 000"])

    assert result.exit_code == 1
    assert "did you mean 'class 000'" in result.output


def test_command__with_errors__prints_them(store):
    arguments = ["graph", store.url, RUN.names[1], "--jackknife", "5"]

    result = CliRunner().invoke(main, arguments)

    assert result.exit_code == 0
    assert "first score ± error" in result.stdout
    assert "1.000 ± 0.000" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.json"], "cannot read 'nowhere.json'"),
        (["STORE"], "name a SUBSET of the store"),
        (["STORE", RUN.names[1], "--out", "no/such/folder.json"], "name another --out"),
    ],
    ids=["file", "subset", "folder"],
)
def test_command__of_what_cannot_be_read_or_written__is_a_message(
    store, arguments, message
):
    named = [store.url if name == "STORE" else name for name in arguments]

    result = CliRunner().invoke(main, ["graph", *named])

    assert result.exit_code in (1, 2)
    assert message in result.output
