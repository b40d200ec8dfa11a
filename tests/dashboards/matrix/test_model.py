"""The neuron matrix as a plain object, on a real store; its cells by plain NumPy."""

import csv
import io

import numpy as np
import pytest

from nnviz.testing import planted_channels
from nnviz_dashboards.classes.model import SubsetsModel
from nnviz_dashboards.matrix.model import TILE_ROWS, MatrixModel
from nnviz_dashboards.matrix.stack import MatrixStack
from nnviz_dashboards.matrix.view import MatrixView
from nnviz_dashboards.subsets.model import SubsetPairModel
from tests.planted_stores import NAMES, RUN

USABLE = ~RUN.is_unreadable


@pytest.fixture
def matrix(results, selection):
    selection.choose(matrix="open")
    subsets = SubsetsModel(results, selection)
    pairs = SubsetPairModel(results, selection)
    return MatrixModel(results, subsets, pairs)


@pytest.fixture
def values(finished):
    return finished.activations("late").astype(np.float64)


def class_mean(values, index):
    return values[USABLE & (RUN.labels == index)].mean(axis=0)


def test_rows__are_a_b_and_the_classes_of_the_list(matrix, selection):
    state = matrix.state

    assert [(r.key, r.name) for r in state.rows] == [("A", "wolf"), ("B", "all others")]
    assert state.classes[0] == 1
    assert sorted(state.classes) == list(range(len(NAMES)))

    selection.choose(search="crane")
    assert sorted(matrix.state.classes) == [0, 2]


def test_columns__begin_sorted_by_what_tells_a_from_b(matrix, values):
    a = USABLE & (RUN.labels == 1)
    difference = values[a].mean(0) - values[USABLE & ~a].mean(0)

    assert set(matrix.state.columns[:3]) <= set(planted_channels(RUN, "late", 1))
    effect = matrix.state.contrast.effect[matrix.state.columns]
    assert np.all(np.diff(effect) <= 0)
    assert (
        difference[matrix.state.columns[0]] > 0 > difference[matrix.state.columns[-1]]
    )


@pytest.mark.parametrize("key", ["A", "B", "class 6", "#4"])
def test_sort__by_a_row__orders_its_values(matrix, key):
    matrix.keep("#4")

    matrix.sort(key)

    state = matrix.state
    assert state.sorted_by == key
    keys = [row.key for row in state.rows] + [f"class {i}" for i in state.classes]
    shades = matrix.tile(0, 0)[keys.index(key)].astype(int)
    assert np.all(np.diff(shades) <= 0)


def test_sort__by_what_there_is_not__is_by_number(matrix):
    matrix.sort("#7")

    assert matrix.state.sorted_by == "number"
    assert matrix.state.columns.tolist() == list(range(96))


def test_sort__by_likeness__puts_a_classs_channels_side_by_side(matrix):
    matrix.sort("cluster")

    order = matrix.state.columns.tolist()
    assert sorted(order) == list(range(96))
    places = sorted(order.index(c) for c in planted_channels(RUN, "late", 6))
    assert places[-1] - places[0] == len(places) - 1


def test_tile__shades_the_means(matrix, values):
    state = matrix.state
    low, high = state.bounds

    shades = matrix.tile(0, 0)

    assert shades.shape == (state.n_rows, 96)
    row = len(state.rows) + state.classes.tolist().index(6)
    share = (class_mean(values, 6)[state.columns] - low) / (high - low)
    np.testing.assert_allclose(shades[row], 254 * share.clip(0, 1), atol=0.51)


@pytest.mark.parametrize("place", [(-1, 0), (0, -1), (999, 0), (0, 999)])
def test_tile__outside__is_empty(matrix, place):
    assert matrix.tile(*place).size == 0


def test_tile__is_of_so_many_rows_at_most(matrix):
    assert len(matrix.tile(0, 0)) == min(TILE_ROWS, matrix.state.n_rows)
    assert len(matrix.tile(10, 0)) == matrix.state.n_rows - 10


def test_shade__by_channel__makes_each_channels_largest_class_darkest(matrix):
    matrix.shade("channel")

    of_classes = matrix.tile(0, 0)[2:]
    assert (of_classes.max(axis=0) == 254).all()


def test_cell__has_exact_numbers(matrix, values):
    state = matrix.state
    row, column = len(state.rows) + 3, 5
    channel = int(state.columns[column])

    cell = matrix.cell(row, column)

    index = int(state.classes[3])
    assert cell.channel == channel
    assert cell.value == pytest.approx(class_mean(values, index)[channel], rel=1e-5)
    assert cell.a == pytest.approx(class_mean(values, 1)[channel], rel=1e-5)
    assert cell.p_value == state.contrast.p_value[channel]
    assert matrix.cell(row, 99) is None
    assert matrix.cell(99, 0) is None


def test_keep__instances_and_queries__are_rows_that_can_be_removed(matrix, selection):
    matrix.keep("#4")
    matrix.keep("#4")
    matrix.keep("label = cat and not correct")
    matrix.keep("A")

    kept = [(row.key, row.kind) for row in matrix.state.rows[2:]]
    assert kept == [
        ("#4", "instance"),
        ("label = cat and not correct", "subset"),
        ("label = wolf", "subset"),
    ]
    assert matrix.state.rows[3].name == "cat, predicted wrong"

    matrix.remove("#4")
    assert [row.kind for row in matrix.state.rows[2:]] == ["subset", "subset"]
    assert "#4" not in selection.kept


def test_kept_rows__are_renamed_and_moved(matrix, selection):
    for key in ("#4", "label = cat", "label = dog"):
        matrix.keep(key)

    matrix.rename("label = cat", "  my\tcats\n ")
    matrix.move("label = dog", 0)
    matrix.move("#4", 99)

    rows = [(row.key, row.name) for row in matrix.state.rows[2:]]
    assert rows[:2] == [("label = dog", "dog"), ("label = cat", "my cats")]
    assert rows[2][0] == "#4"
    assert selection.kept == "label = dog\nlabel = cat\tmy cats\n#4"

    matrix.rename("label = cat", "")
    assert matrix.state.rows[3].name == "cat"


def test_keep__nonsense_of_an_address__is_left_out(matrix, selection):
    selection.choose(kept="#99999\n#-1\nnot a query (\n\n#4")

    assert [row.key for row in matrix.state.rows] == ["A", "B", "#4"]


def test_measure__share__counts_top_channels(matrix, selection):
    matrix.measure("share")

    row = matrix.state.rows[0].values
    use = {
        c.channel: c.share for c in matrix._pairs.counted.channels if c.layer == "late"
    }
    expected = [use.get(channel, 0.0) for channel in range(96)]
    np.testing.assert_allclose(row, expected, rtol=1e-5)


def test_point_at__shows_an_instance_for_the_moment(matrix, values):
    n = int(np.flatnonzero(USABLE & (RUN.labels == 6))[0])

    matrix.point_at(n)
    np.testing.assert_allclose(matrix.passing.values, values[n])
    assert len(matrix.passing_shades()) == 96
    assert "cat" in matrix.passing.name

    matrix.point_at(-1)
    assert matrix.passing is None
    matrix.point_at(10**9)
    assert matrix.passing is None


def test_csv__has_every_row_and_channel_in_order(matrix, values):
    table = list(csv.reader(io.StringIO(matrix.table().csv().decode())))

    assert table[0][2:] == [str(c) for c in matrix.state.columns]
    assert len(table) == 1 + matrix.state.n_rows + 2
    wolf = next(row for row in table if row[0] == "wolf" and row is not table[1])
    expected = class_mean(values, 1)[matrix.state.columns]
    np.testing.assert_allclose(np.array(wolf[2:], float), expected, rtol=1e-4)
    assert table[-1][0] == "A - B: adjusted p"
    assert {row[0][0] for row in table} & set("=+-@") == set()


def test_closed__computes_nothing(matrix, selection):
    matrix.toggle()
    before = matrix.state

    selection.choose(layer="early")
    assert matrix.state is before

    matrix.toggle()
    assert matrix.state.layer == "early"


def test_slow__what_was_asked_before__is_not_shown(results, selection):
    selection.choose(matrix="open")
    waiting = []
    pairs = SubsetPairModel(results, selection)
    matrix = MatrixModel(
        results,
        SubsetsModel(results, selection),
        pairs,
        run_later=lambda work, done: waiting.append((work, done)),
    )
    matrix.measure("maximum")
    assert matrix.is_loading
    matrix.measure("mean")
    (work, done) = waiting[0]
    done(work())

    assert matrix.state.measure == "mean"
    assert not matrix.is_loading


def test_look_at__chooses_the_channel_and_lets_go(matrix, selection):
    matrix.look_at(7)
    assert selection.pinned == ("late", 7)

    matrix.look_at(7)
    assert selection.pinned is None


@pytest.fixture
def stack(results, selection):
    selection.choose(matrix="open")
    subsets = SubsetsModel(results, selection)
    pairs = SubsetPairModel(results, selection)
    return MatrixStack(results, subsets, pairs)


def keys(matrix):
    state = matrix.state
    return [row.key for row in state.rows], state.classes.tolist()


def test_stack__opens_layers_with_the_same_rows(stack, selection, finished):
    stack.chosen.keep("#4")
    stack.toggle("early")

    early = stack.beside[0]
    assert [matrix.layer for matrix in stack.matrices] == ["late", "early"]
    assert stack.can_open == ["middle"]
    assert keys(early) == keys(stack.chosen)
    expected = finished.activations("early")[4].astype(float)
    np.testing.assert_allclose(early.state.rows[2].values, expected)
    assert selection.beside == "early"


def test_stack__sorts_each_layer_by_its_own_difference(stack):
    stack.toggle("early")

    for matrix in stack.matrices:
        state = matrix.state
        effect = state.contrast.effect[state.columns]
        assert state.sorted_by == "a-b"
        assert np.all(np.diff(np.nan_to_num(effect, nan=-np.inf)) <= 0)


def test_stack__likeness__keeps_the_rows_of_the_chosen_layer(stack):
    stack.toggle("early")
    stack.chosen.sort("cluster")

    early = stack.beside[0]
    assert keys(early) == keys(stack.chosen)
    n_channels = early.results.store.layer("early").n_channels
    assert sorted(early.state.columns.tolist()) == list(range(n_channels))

    stack.look_at_layer("middle")
    assert keys(early) == keys(stack.chosen)


def test_stack__what_is_closed_is_computed_no_more(stack, selection):
    stack.toggle("early")
    early = stack.beside[0]
    before = early.state

    stack.toggle("early")
    selection.choose(measure="share", kept="#4")

    assert stack.beside == ()
    assert early.state is before
    assert stack.chosen.state.measure == "share"


def test_stack__chosen_layer__changes_places(stack, selection):
    stack.toggle("early")
    stack.toggle("middle")

    stack.look_at_layer("early")

    assert [m.layer for m in stack.matrices] == ["early", "late", "middle"]
    assert [m.state.layer for m in stack.matrices] == ["early", "late", "middle"]
    selection.choose(layer="middle", matrix="closed")
    assert [m.layer for m in stack.matrices] == ["middle"]
    selection.choose(matrix="open")
    assert [m.layer for m in stack.matrices] == ["middle", "late", "early"]


def test_stack__channel_of_another_layer__is_looked_at(stack, selection):
    stack.toggle("early")

    stack.beside[0].look_at(3)
    assert selection.pinned == ("early", 3)
    assert selection.layer == "late"

    stack.beside[0].look_at(3)
    assert selection.pinned is None


def test_stack__points_at_an_instance_in_all_layers(stack, finished):
    stack.toggle("early")
    stack.point_at(4)

    for matrix in stack.matrices:
        expected = finished.activations(matrix.layer)[4].astype(float)
        np.testing.assert_allclose(matrix.passing.values, expected)
    stack.toggle("middle")
    assert stack.beside[1].passing is not None


def test_view__sends_what_the_scripts_need(stack):
    matrix = stack.chosen
    labels = {layer.name: layer.name for layer in matrix.results.layers}
    sent = []
    view = MatrixView(stack, labels, run_later=lambda work, done: done(work()))
    view._panel._send_msg = sent.append

    version = matrix.state.version
    view._send_tile(0, 0, 0, version)
    view._send_tile(0, 0, 0, version - 1)
    view._send_cell(0, 0, 3, 9)
    view._send_data("csv", 0)

    tile, cell, file = sent
    assert tile["tile"]["n_columns"] == 96
    assert cell["turn"] == 9
    assert "adjusted p" in cell["cell"]
    assert file["file"]["name"] == "neurons-late-mean.csv"
    code = compile(view._panel.about["code"], "shown", "exec")
    found = {}
    exec(code, found)
    np.testing.assert_allclose(found["a"], matrix.state.rows[0].values, rtol=1e-5)


def test_view__sends_only_the_layer_that_changes(stack):
    labels = {layer.name: layer.name for layer in stack.chosen.results.layers}
    view = MatrixView(stack, labels, run_later=lambda work, done: done(work()))
    panel, changed = view._panel, []
    panel.param.watch(
        lambda *events: changed.extend(event.name for event in events),
        ["layer_0", "layer_1", "layer_2", "layer_3"],
    )

    stack.toggle("early")
    assert changed == ["layer_1"]
    assert panel.layer_1["name"] == "early"
    assert [name for name, _ in panel.can_open] == ["middle"]
    stack.beside[0].look_at(3)
    assert panel.channels == [-1, 3]

    stack.toggle("early")
    assert panel.layer_1 is None


def test_rows__of_a_pair_that_is_not_counted_yet__are_not_those_before(
    results, selection
):
    waiting = []
    subsets = SubsetsModel(results, selection)
    pairs = SubsetPairModel(
        results, selection, run_later=lambda work, done: waiting.append((work, done))
    )
    matrix = MatrixModel(results, subsets, pairs)
    work, done = waiting.pop()
    done(work())

    selection.choose(b="instance < 40", matrix="open")

    assert matrix.state.rows == ()
    work, done = waiting.pop()
    done(work())
    assert [(r.key, r.n_instances) for r in matrix.state.rows] == [
        ("A", (USABLE & (RUN.labels == 1)).sum()),
        ("B", USABLE[:40].sum()),
    ]
