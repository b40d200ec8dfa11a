"""View models as plain objects on a real store."""

import subprocess
import sys

import numpy as np
import pytest

from nnviz.aggregation.aggregates import aggregates_of
from nnviz.derivation.similarity import cosine_similarity
from nnviz.results.run_results import RunResults, first_layer, stage_state
from nnviz.store.store import Store
from nnviz.testing import PlantedRun, planted_channels, write_store
from nnviz_dashboards.channels.model import ChannelsModel
from nnviz_dashboards.classes.model import SubsetsModel
from nnviz_dashboards.layers.model import LayersModel, short_names
from nnviz_dashboards.page.run_facts import run_facts
from nnviz_dashboards.shared.selection import Selection
from tests.dashboards.conftest import NAMES, RUN


def choose(results, layer="late", subset=1):
    layers = {layer.name: layer.n_channels for layer in results.layers}
    return Selection(layers, range(len(NAMES)), layer=layer, subset=subset)


@pytest.fixture
def results(finished):
    return RunResults(finished)


@pytest.fixture
def selection(results):
    return choose(results)


@pytest.fixture
def subsets(results, selection):
    return SubsetsModel(results, selection)


@pytest.fixture
def channels(results, selection):
    return ChannelsModel(results, selection)


def names_of(subsets):
    return [NAMES[i] for i in subsets.order]


def test_view_models__load_neither_panel_nor_bokeh():
    views = ("channels", "classes", "graph", "layers")
    modules = ", ".join(f"nnviz_dashboards.{view}.model" for view in views)
    script = (
        f"import sys, {modules}; "
        "print(*sorted({'panel', 'bokeh', 'torch', 'tornado'} & set(sys.modules)))"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )

    assert (done.stdout.strip(), done.stderr) == ("", "")


def test_run_facts__count_what_the_run_has(results):
    facts = run_facts(results)

    label, prediction = RUN.labels, RUN.predictions
    usable = ~RUN.is_unreadable
    assert (facts.n_instances, facts.n_unusable, facts.n_pending) == (296, 4, 0)
    assert (facts.n_classes, facts.n_outputs) == (10, 10)
    assert (facts.n_shown, facts.n_recorded) == (3, 4)
    assert facts.accuracy == pytest.approx((label == prediction)[usable].mean())


def test_run_facts__say_what_is_pending(partial_url):
    facts = run_facts(RunResults(Store.open(partial_url)))

    assert facts.n_pending == 128
    assert facts.n_instances + facts.n_unusable == 300 - 128


def test_layers__choose_is_the_selections(results, selection):
    layers = LayersModel(results, selection)

    layers.choose("early")

    assert [item.name for item in layers.items] == ["early", "middle", "late"]
    assert selection.layer == "early"


@pytest.mark.parametrize(
    ("names", "short"),
    [
        pytest.param([], [], id="none"),
        pytest.param(["net.conv"], ["net.conv"], id="one"),
        pytest.param(["a", "b"], ["a", "b"], id="plain"),
        pytest.param(["layer1.0", "layer1.1"], ["layer1.0", "layer1.1"], id="numbers"),
        pytest.param(
            ["f.3.expand@concat", "f.12.expand@concat"], ["f.3", "f.12"], id="function"
        ),
        pytest.param(["m.a.conv", "m.b.conv", "m.head"], ["a.conv", "b.conv", "head"],
                     id="uneven"),
    ],
)  # fmt: skip
def test_short_names__leave_out_what_all_have_in_common(names, short):
    assert short_names(names) == short


def test_first_layer__is_not_the_networks_answer(finished):
    layers = finished.layers

    assert first_layer(layers, n_outputs=10) == "late"
    assert first_layer(layers, n_outputs=-1) == "output"
    assert first_layer((), n_outputs=10) == ""


def test_subsets__begin_with_the_chosen_class_and_then_the_most_similar(
    finished, subsets
):
    counts = aggregates_of(finished).counts("late")
    cosine = cosine_similarity(counts)[1]

    assert subsets.order[0] == 1
    assert np.all(np.diff(cosine[subsets.order[1:]]) <= 1e-6)
    np.testing.assert_allclose(subsets.similarity, cosine, rtol=1e-6)
    assert list(subsets.neighbours) == list(subsets.order[1:9])


def test_subsets__another_layer_changes_places_similarity_and_order(subsets, selection):
    before = subsets.places.copy(), subsets.similarity.copy()

    selection.choose(layer="early")

    assert not np.array_equal(before[0], subsets.places)
    assert not np.array_equal(before[1], subsets.similarity)
    # In the first layer, runs of four neighbouring classes share their channels.
    assert set(subsets.order[:4].tolist()) == {0, 1, 2, 3}


def test_subsets__places_fill_the_square(subsets):
    span = np.nanmax(subsets.places, axis=0) - np.nanmin(subsets.places, axis=0)

    assert span.max() == pytest.approx(2, abs=1e-5)
    assert np.nanmax(np.abs(subsets.places)) <= 1 + 1e-5


def test_subsets__search_lists_names_that_contain_the_text(subsets):
    subsets.search(" CR")

    assert names_of(subsets) == ["crane", "crane"]

    subsets.search("nothing like it")
    assert names_of(subsets) == []


def test_subsets__search_finds_a_class_by_its_mark(subsets):
    subsets.search("(2)")

    assert subsets.order.tolist() == [2]


def test_subsets__sort_by_accuracy_errors_and_name(subsets):
    accuracy = subsets.classes.accuracy

    subsets.sort("accuracy")
    assert np.all(np.diff(accuracy[subsets.order]) <= 0)
    subsets.sort("errors")
    assert np.all(np.diff(accuracy[subsets.order]) >= 0)
    subsets.sort("name")
    assert names_of(subsets) == sorted(NAMES)


def test_subsets__classes_of_one_name_have_marks(subsets):
    marks = subsets.classes.marks

    assert (marks[0], marks[2]) == ("(0)", "(2)")
    assert {marks[i] for i in range(10) if i not in (0, 2)} == {""}


def test_subsets__facts_name_what_the_class_is_taken_for(subsets):
    label, prediction = RUN.labels, RUN.predictions
    of_class = (label == 1) & ~RUN.is_unreadable
    # A wrong prediction is always the next class.
    n_wrong = int((prediction[of_class] == 2).sum())

    facts = subsets.facts

    assert (facts.name, facts.n_instances) == ("wolf", int(of_class.sum()))
    assert facts.accuracy == pytest.approx((prediction == 1)[of_class].mean())
    assert [(c.subset, c.n_instances) for c in facts.confusions] == [(2, n_wrong)]


def test_subsets__share_is_that_of_the_chosen_channel(finished, subsets, selection):
    channel = planted_channels(RUN, "late", 1)[0]

    selection.choose(channel=channel)

    share = aggregates_of(finished).share("late")[:, channel]
    np.testing.assert_allclose(subsets.share, share)
    selection.choose(channel=-1)
    assert subsets.share is None


def test_subsets__histograms_count_every_usable_instance(subsets):
    classes = subsets.classes

    assert classes.confidence.shape == (10, 20)
    np.testing.assert_array_equal(classes.confidence.sum(axis=1), classes.n_instances)


def test_subsets__published_values_cannot_be_set_by_a_view(subsets):
    with pytest.raises(TypeError, match="Constant parameter"):
        subsets.order = np.zeros(0, np.int64)


def test_subsets__without_derivation_say_which_command_to_run(aggregated_url):
    results = RunResults(Store.open(aggregated_url))

    subsets = SubsetsModel(results, choose(results))

    assert subsets.missing.command == f"nnviz derive {aggregated_url}"
    assert subsets.similarity is None
    assert subsets.places is None
    assert names_of(subsets) == sorted(NAMES)


def test_channels__are_those_that_were_planted(channels, selection):
    selection.choose(subset=6)

    found = {row.channel for row in channels.rows[:3]}

    assert found == set(planted_channels(RUN, "late", 6))


def test_channels__agree_with_the_query(finished, channels):
    top = aggregates_of(finished).top("late", "wolf", 30)

    assert [row.channel for row in channels.rows] == top.channel.tolist()
    assert [row.count for row in channels.rows] == top.count.tolist()
    for name in ("share", "base_rate", "lift"):
        values = [getattr(row, name) for row in channels.rows]
        np.testing.assert_allclose(values, getattr(top, name))


def test_channels__most_specific_first(channels):
    channels.rank("lift")

    lifts = [row.lift for row in channels.rows if row.share >= 0.1]
    assert lifts == sorted(lifts, reverse=True)
    assert len(lifts) >= 3


def test_channels__choosing_twice_is_choosing_none(channels, selection):
    channels.choose(4)
    assert selection.channel == 4

    channels.choose(4)
    assert selection.channel == -1


def test_channels__keep_the_chosen_channel_in_view(channels, selection):
    channel = planted_channels(RUN, "late", 9)[0]

    selection.choose(channel=channel)
    selection.choose(subset=0)

    row = channels.rows[-1]
    assert (row.channel, row.count) == (channel, 0)


def test_channels__uses_name_the_classes_of_the_chosen_channel(channels, selection):
    channel = planted_channels(RUN, "late", 6)[0]

    selection.choose(channel=channel)

    assert channels.uses[0].subset == 6
    assert [use.share for use in channels.uses] == sorted(
        (use.share for use in channels.uses), reverse=True
    )


def test_channels__examples_are_the_strongest_instances(finished, channels):
    row = channels.rows[0]

    values = np.nan_to_num(finished.activations("late")[:, row.channel], nan=-1)
    strongest = np.sort(values)[::-1][: len(row.examples)]
    assert [e.value for e in row.examples] == pytest.approx(strongest.tolist())
    assert [e.label for e in row.examples] == [
        NAMES[RUN.labels[e.instance]] for e in row.examples
    ]
    assert all(e.has_picture for e in row.examples)


def test_channels__without_aggregates_say_which_command_to_run(extracted_url):
    results = RunResults(Store.open(extracted_url))

    channels = ChannelsModel(results, choose(results))

    assert channels.missing.command == f"nnviz aggregate {extracted_url}"
    assert channels.rows == []


def test_channels__without_derivation_have_no_examples(aggregated_url):
    results = RunResults(Store.open(aggregated_url))

    channels = ChannelsModel(results, choose(results))

    assert channels.missing is None
    assert channels.missing_examples.command == f"nnviz derive {aggregated_url}"
    assert {len(row.examples) for row in channels.rows} == {0}


def test_results__of_an_unfinished_extraction_name_the_command(partial_url):
    missing = RunResults(Store.open(partial_url)).missing_stage()

    assert missing.command == f"nnviz extract {partial_url}"
    assert "2 of 3 chunks" in missing.text


def test_results__picture_is_a_file_and_empty_outside(results):
    assert results.picture("late", 0, 0)[:2] in (b"\xff\xd8", b"\x89P", b"RI")
    assert results.picture("late", 10_000, 0) == b""
    assert results.picture("late", 0, 4) == b""
    assert results.picture("late", -1, 0) == b""


def test_results__without_labels_show_the_predicted_classes(tmp_path):
    store = write_store(tmp_path / "run.zarr", PlantedRun(n_classes=3, n_instances=60))
    label = store.column("label")
    store._hierarchy.write("instances/label", 0, np.full_like(label, -1))

    results = RunResults(Store.open(store.url))

    assert results.kind == "prediction"
    table = results.class_table()
    expected = np.bincount(store.column("prediction"), minlength=3)
    np.testing.assert_array_equal(table.n_instances, expected)
    assert np.isnan(table.accuracy).all()


def test_stage_state__changes_with_every_stage(extracted_url, aggregated_url, finished):
    stores = [Store.open(extracted_url), Store.open(aggregated_url), finished]

    states = [stage_state(store) for store in stores]

    assert len(set(states)) == 3
    assert stage_state(Store.open(aggregated_url)) == states[1]
