"""Which stages are folded, as plain values."""

import pytest

from nnviz.results.network_graph import stages_of
from nnviz.runs.architecture import Architecture, Layer
from nnviz_dashboards.layers.network_stages import StagesModel
from nnviz_dashboards.shared.selection import Selection


def network(names):
    layers = tuple(Layer(name, name, "convolution", 8) for name in names)
    return Architecture(layers, ())


def deep(n_blocks):
    names = [f"stage{s}.{b}" for s in (1, 2) for b in range(n_blocks)]
    return ["stem", *names, "head"]


@pytest.fixture
def run():
    """Return a function that gives a selection and the stages of its network."""

    def make(n_blocks, chosen="head"):
        names = deep(n_blocks)
        channels = dict.fromkeys(names, 8)
        selection = Selection(channels, [0], layer=chosen, subset=0)
        return selection, StagesModel(network(names), selection)

    return make


def test_stages_of__outermost_blocks_with_three_shown_layers():
    names = ["stem", "one.0", "one.1", "one.2", "two.0", "two.1", "head"]

    assert stages_of(network(names)) == dict.fromkeys(names[1:4], "one")


def test_deep_network__begins_folded(run):
    _, stages = run(8)

    assert stages.folded == {n: n[:6] for n in deep(8)[1:-1]}
    assert stages.shown["stage1"][-1] == "stage1.7"


def test_shallow_network__begins_open(run):
    assert run(4)[1].folded == {}


def test_toggle__opens_and_folds(run):
    selection, stages = run(8)

    stages.toggle("stage2")
    assert set(stages.folded.values()) == {"stage1"}
    assert selection.stages == "stage2"

    stages.toggle("stage2")
    assert set(stages.folded.values()) == {"stage1", "stage2"}
    assert selection.stages == ""
    stages.toggle("nowhere")
    assert selection.stages == ""


def test_toggle__shallow__all_folded_is_in_the_address(run):
    selection, stages = run(4)

    stages.toggle("stage1")
    stages.toggle("stage2")

    assert selection.stages == "-"
    assert set(stages.folded.values()) == {"stage1", "stage2"}


def test_what_is_looked_at__opens_its_stage(run):
    selection, stages = run(8)

    selection.choose(layer="stage1.3")
    assert set(stages.folded.values()) == {"stage2"}

    selection.choose(layer="stage1.7")  # the last stands for all
    assert set(stages.folded.values()) == {"stage1", "stage2"}

    selection.choose_node("stage2.0", 3)
    assert set(stages.folded.values()) == {"stage1"}


def test_toggle__folds_what_is_looked_at(run):
    selection, stages = run(8, chosen="stage1.3")
    selection.choose_node("stage1.2", 1)

    stages.toggle("stage1")

    assert selection.layer == "stage1.7"
    assert selection.pinned is None
    assert set(stages.folded.values()) == {"stage1", "stage2"}
