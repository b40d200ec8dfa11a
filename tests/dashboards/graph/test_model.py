"""The attribution graph's view model as a plain object, on a store with influences."""

import dataclasses
import json
import math
import threading

import numpy as np
import param
import pytest

from nnviz.engine.wanted import NotWantedError
from nnviz.graphs.drawing import SIZES
from nnviz.graphs.making import attribution_graph
from nnviz.results.query_pool import NOT_WANTED
from nnviz.results.run_results import RunResults
from nnviz.store.store import Store
from nnviz.testing import planted_channels
from nnviz_dashboards.graph.model import GraphModel
from nnviz_dashboards.graph.node_places import Places
from nnviz_dashboards.graph.view import GraphPanel, GraphView
from tests.dashboards.selections import choose
from tests.planted_stores import NEVER, RUN


def select(results, subset=1):
    collections = results.graphs.collections(results.kind)
    return choose(results, subset=subset, collections=collections)


@pytest.fixture(scope="module")
def results(graph_url):
    return RunResults(Store.open(graph_url))


@pytest.fixture
def selection(results):
    return select(results)


@pytest.fixture
def model(results, selection):
    return GraphModel(results, results.graphs, selection)


def channels_of(drawing, layer):
    nodes = [node for node in drawing.nodes if node.layer == layer]
    best = sorted(nodes, key=lambda node: (-node.score, node.channel))[:3]
    return sorted(node.channel for node in best)


def places_of(drawing):
    return dict(zip(drawing.keys, drawing.places, strict=True))


def test_drawing__has_the_planted_channels_of_the_class(model, selection):
    selection.choose(subset=6)

    assert model.drawing.subset == "cat"
    assert channels_of(model.drawing, "late") == planted_channels(RUN, "late", 6)
    assert channels_of(model.drawing, "middle") == planted_channels(RUN, "middle", 6)


def test_drawing__has_the_numbers_of_the_graph(model, graph_url):
    graph = attribution_graph(Store.open(graph_url), "wolf")
    low, high = graph.lift_interval()

    found = [(n.count, n.share, n.base_rate, n.lift) for n in model.drawing.nodes]
    columns = (graph.count, graph.share, graph.base_rate, graph.lift)
    np.testing.assert_array_equal(found, np.stack(columns, axis=1))
    ends = [(n.lift_low, n.lift_high) for n in model.drawing.nodes]
    np.testing.assert_array_equal(ends, np.stack([low, high], axis=1))
    arcs = [(a.source, a.target, a.count) for a in model.drawing.arcs]
    columns = (graph.source, graph.target, graph.arc_count)
    np.testing.assert_array_equal(arcs, np.stack(columns, axis=1))


def test_nodes__name_outputs_and_have_examples_of_shown_layers(model):
    output = next(node for node in model.drawing.nodes if node.layer == "output")
    late = next(node for node in model.drawing.nodes if node.layer == "late")

    assert (output.row, output.name) == (0, "wolf")
    assert ("output", output.channel) not in model.examples
    assert late.name == ""
    examples = model.examples["late", late.channel]
    assert all(example.has_picture for example in examples)
    assert late.targets[0].layer == "output"
    assert late.sources[0].layer == "middle"


def test_graph__is_sent_without_the_texts_of_examples(model):
    panel = GraphView(model, pictures="p", layers={"late": "late"}).__panel__()

    sent = json.dumps(panel.graph)

    assert ": activation" not in sent
    assert len(json.dumps(panel.graph["nodes"])) < 150 * len(model.drawing.nodes)
    assert len(json.dumps(panel.graph["arcs"])) < 60 * len(model.drawing.arcs)


def test_numbers__are_sent_of_what_is_looked_at(model):
    view = GraphView(model, pictures="p", layers={"late": "late"})
    panel, sent = view.__panel__(), []
    panel._send_msg = sent.append
    version = panel.graph["version"]

    view._send_numbers(node=1, version=version)
    view._send_arc_numbers(arc=2, version=version)
    view._send_numbers(node=1, version=version - 1)
    view._send_numbers(node=10**6, version=version)

    (node,), (arc,) = [[s["numbers"] for s in sent if k in s["numbers"]]
                       for k in ("node", "arc")]  # fmt: skip
    drawn = model.drawing.nodes[1]
    assert node["facts"]["count"].startswith(f"{drawn.count} (")
    assert [link[1:] for link in node["sources"]] == [
        [link.channel, link.count] for link in drawn.sources
    ]
    assert set(node["facts"]) <= set(panel.graph["node_terms"])
    assert arc["facts"]["count"].startswith(f"{model.drawing.arcs[2].count} (")
    assert set(arc["facts"]) <= set(panel.graph["arc_terms"])


def test_places__of_nodes_that_both_have_stay_and_going_back_restores(model, selection):
    first = places_of(model.drawing)
    for subset in (0, 2, 3):
        before = places_of(model.drawing)
        selection.choose(subset=subset)
        after = places_of(model.drawing)
        shared = before.keys() & after.keys()
        assert shared
        assert {key: before[key] for key in shared} == {
            key: after[key] for key in shared
        }
    model.tidy()
    selection.choose(subset=1)
    here = places_of(model.drawing)
    selection.choose(subset=5)
    selection.choose(subset=1)

    assert places_of(model.drawing) == here
    assert here.keys() == first.keys()


@pytest.mark.parametrize("seed", range(5))
def test_places__never_put_two_nodes_on_one(seed):
    rng = np.random.default_rng(seed)
    places = Places()

    for _ in range(6):
        keys = [
            (f"layer {row}", int(channel))
            for row in range(4)
            for channel in rng.choice(20, rng.integers(1, 9), replace=False)
        ]
        rows = np.array([int(layer[-1]) for layer, _ in keys])
        pairs = rng.integers(0, len(keys), (2, 30))
        x = places.place(keys, rows, pairs[:, rows[pairs[0]] < rows[pairs[1]]])
        assert len(set(zip(rows.tolist(), x.tolist(), strict=True))) == len(keys)
        for row in range(4):
            steps = np.diff(np.sort(x[rows == row]))
            np.testing.assert_array_equal(steps % 1, 0)


def test_outcome__follows_the_class(model, selection):
    model.choose_collection("outcome")
    assert model.drawing.subset == "wolf correct"
    model.choose_member("wrong")

    selection.choose(subset=6)

    assert model.drawing.subset == "cat wrong"
    assert model.choices.members == ("correct", "wrong")
    model.compare_with("correct")
    assert model.drawing.versus == "cat correct"


def test_collections__offer_what_the_store_has(model, selection):
    assert model.choices.collections == (
        "label", "all", "groups", "outcome", "prediction",
    )  # fmt: skip
    model.compare_with("ant")

    model.choose_collection("groups")

    assert (model.drawing.subset, selection.versus) == ("canines", "")
    model.choose_member("insects")
    assert model.drawing.subset == "insects"
    model.choose_collection("all")
    assert model.drawing.n_instances == 296


def test_subset_without_instances__says_so(model):
    model.choose_collection("groups")
    model.choose_member("nobody")

    assert model.drawing is None
    assert model.missing.title == "No instance is in 'nobody'"


def test_class_never_predicted__tells_where_the_graph_starts(model, selection):
    selection.choose(subset=NEVER)

    assert model.drawing.subset == "fox"
    assert "the graph starts at the" in model.drawing.problems[0]


def test_comparison__with_itself_differs_in_nothing(model):
    model.compare_with("wolf")

    assert model.drawing.is_equal
    assert {node.contrast.side for node in model.drawing.nodes} == {"both"}
    assert {node.contrast.difference for node in model.drawing.nodes} == {0.0}
    assert model.drawing.similarity.node_jaccard == 1


def test_comparison__tells_sides_and_differences(model):
    alone = set(model.drawing.keys)

    model.compare_with("cat")

    sides = {node.contrast.side for node in model.drawing.nodes}
    assert sides >= {"first", "second"}
    kept = {
        key
        for key, node in zip(model.drawing.keys, model.drawing.nodes, strict=True)
        if node.contrast.side != "second"
    }
    assert kept == alone
    own = planted_channels(RUN, "late", 6)[0]
    node = model.drawing.nodes[model.drawing.keys.index(("late", own))]
    assert node.contrast.side == "second"
    assert node.contrast.second_share > 0.1
    assert node.contrast.difference == node.share - node.contrast.second_share < -0.1
    assert node.contrast.adjusted_p < 0.05


def test_pin__chooses_layer_and_channel_and_again_gives_up(model, selection):
    model.pin("late", 3)
    assert (selection.layer, selection.channel) == ("late", 3)

    model.pin("late", 3)

    assert selection.pinned is None


def test_pin__of_another_shown_layer_leaves_the_layer(model, selection):
    model.pin("middle", 3)

    assert (selection.layer, selection.pinned) == ("late", ("middle", 3))
    model.unpin()
    assert (selection.layer, selection.pinned) == ("late", None)


def test_pin__of_a_layer_that_is_not_shown_leaves_the_layer(model, selection):
    model.pin("output", 1)

    assert (selection.layer, selection.channel) == ("late", -1)
    assert selection.pinned == ("output", 1)
    assert "node=output-1" in selection.address()
    model.choose_layer("output")
    assert selection.layer == "late"


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="default"),
        pytest.param({"preset": "summit"}, id="summit"),
        pytest.param({"scoring": "specificity", "weight": "sum"}, id="specificity"),
        pytest.param({"inner": "nodes", "share": "0.3"}, id="inner-nodes"),
        pytest.param({"collection": "outcome", "member": "wrong"}, id="outcome"),
    ],
)
def test_code__makes_the_graph_that_is_shown(model, selection, options):
    selection.choose(**options)
    names = {}

    exec(model.code, names)

    assert len(model.code.splitlines()) == 3
    assert names["graph"] == model.drawing.files


def test_code__of_a_comparison_makes_it(model):
    model.compare_with("ant")
    names = {}

    exec(model.code, names)

    assert names["comparison"].second.subset == "ant"
    assert list(names["comparison"].nodes) == model.drawing.keys


def test_summit__ignores_options_that_it_has_not(model, selection):
    selection.choose(scoring="in_strength", weight="sum")
    selection.choose(preset="summit")

    assert model.missing is None
    assert model.drawing.files.preset == "summit"


def test_files__hold_the_nodes(model):
    names = {
        form: sorted(model.files(form)) for form in ("json", "graphml", "csv", "summit")
    }

    assert names == {
        "json": ["wolf.json"],
        "graphml": ["wolf.graphml"],
        "csv": ["wolf-arcs.csv", "wolf-nodes.csv"],
        "summit": ["wolf.json"],
    }
    found = json.loads(model.files("json")["wolf.json"])
    assert len(found["nodes"]) == len(model.drawing.nodes)


def test_graph__is_not_made_while_it_is_not_looked_at(results):
    selection = select(results)
    selection.choose(view="channels")
    model = GraphModel(results, results.graphs, selection)
    assert model.drawing is None

    selection.choose(view="graph")

    assert model.drawing.subset == "wolf"


def test_graph__that_takes_long_is_shown_unless_another_was_asked_for(graph_url):
    results = RunResults(Store.open(graph_url))
    selection, waiting = select(results), []
    model = GraphModel(
        results,
        results.graphs,
        selection,
        run_later=lambda work, done: waiting.append((work, done)),
    )
    assert model.is_loading
    selection.choose(subset=6)
    (first, first_done), (second, second_done) = waiting

    with pytest.raises(NotWantedError):
        first()
    first_done(NOT_WANTED)
    assert (model.is_loading, model.missing, model.drawing) == (True, None, None)
    second_done(second())

    assert (model.is_loading, model.drawing.subset) == (False, "cat")
    selection.choose(subset=2)
    assert (len(waiting), model.drawing.subset) == (2, "crane (2)")


def test_graphs__are_shared_by_threads(graph_url):
    results = RunResults(Store.open(graph_url))
    models, errors = [], []
    barrier = threading.Barrier(6)

    def visit(subset):
        barrier.wait()
        try:
            models.append(GraphModel(results, results.graphs, select(results, subset)))
        except Exception as error:  # noqa: BLE001  any of them fails the test
            errors.append(error)

    visitors = [threading.Thread(target=visit, args=(i % 2 + 4,)) for i in range(6)]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join()

    assert errors == []
    graphs = {model.drawing.subset: model.drawing.files for model in models}
    assert sorted(graphs) == ["ant", "bee"]
    assert all(model.drawing.files is graphs[model.drawing.subset] for model in models)


def test_run_without_influences__says_how_to_get_some(finished_url):
    results = RunResults(Store.open(finished_url))
    model = GraphModel(results, results.graphs, select(results))

    assert model.drawing is None
    assert 'targets = "top"' in model.missing.text
    assert model.missing.command.startswith("nnviz plan")


def test_view__sends_plain_values_that_follow_the_model(model, selection):
    view = GraphView(model, pictures="pictures/x", layers={"late": "late"})
    panel = view.__panel__()
    assert panel.pinned == []

    selection.choose(subset=6)
    model.pin("late", 18)

    assert json.loads(json.dumps(panel.graph))["subset"] == "cat"
    assert panel.pinned == ["late", 18]
    panel._handle_msg({"type": "option", "name": "strength", "value": 0.2})
    assert selection.strength == 0.2
    assert panel.chosen["strength"] == 0.2
    panel._handle_msg({"type": "option", "name": "layer", "value": "early"})
    assert selection.layer == "late"


def test_comparison__with_what_is_not_there_is_none(model, selection):
    selection.restore("?layer=late&class=6&versus=nobody")

    assert selection.versus == ""
    assert model.drawing.versus == ""
    assert model.drawing.subset == "cat"


def test_comparison__offers_classes_with_instances_the_most_confused_first(
    model, selection, results
):
    selection.choose(subset=6)
    store, names = results.store, results.graphs.collection("label").all_names
    label, prediction = store.column("label"), store.column("prediction")
    pairs = [(a, b) for a, b in zip(label, prediction, strict=True) if a != b]
    confused = {
        name: sum((i, 6) == pair or (6, i) == pair for pair in pairs)
        for i, name in enumerate(names)
    }

    others = model.choices.others
    counts = [confused[name] for name in others]
    assert "cat" not in others
    assert set(others) == {names[i] for i in set(label.tolist()) - {-1, 6}}
    assert counts == sorted(counts, reverse=True)


def test_comparison__of_right_ones_is_offered_with_wrong_ones_alone(model, selection):
    selection.choose(subset=6, collection="outcome")
    has_wrong = model.choices.others

    assert "correct" not in has_wrong
    assert len(has_wrong) <= 1


def test_subset__that_is_impossible_leaves_the_address(model, selection):
    selection.restore("?layer=late&class=6&subset=x")

    assert selection.member == ""
    assert "subset=x" not in selection.address()
    selection.restore("?layer=late&class=6&of=groups&subset=insects")
    assert model.drawing.subset == "insects"


def test_page__draws_with_the_sizes_of_notebooks():
    script = GraphPanel._esm

    for name, value in SIZES.items():
        assert script.count(f"const {name} =") == 1
        assert f"const {name} = {value}\n" in script


def test_graph__that_does_not_reach_the_first_layer_has_no_empty_rows(model, results):
    panel = GraphView(model, pictures="p", layers={"late": "late"})._panel
    whole = panel.graph
    assert whole["n_rows"] == len(whole["layers"])
    assert "reaches back" not in whole["note"]

    drawing = model.drawing
    kept = [node for node in drawing.nodes if node.row < 2]
    with param.edit_constant(model):
        model.drawing = dataclasses.replace(
            drawing, nodes=tuple(kept), arcs=(), places=drawing.places[: len(kept)]
        )

    assert panel.graph["n_rows"] == 2
    assert panel.graph["note"].endswith("; reaches back to late")


def test_errors__where_instances_have_no_influences__are_said_to_be_missing(model):
    model.set_option("errors", "blocks")

    assert "errors need influences of instances, and the store has none" in (
        model.drawing.problems
    )
    assert all(math.isnan(node.score_error) for node in model.drawing.nodes)
