"""A folder of SUMMIT's own files, without a run."""

import json

import pytest

import nnviz
from nnviz.errors import ConfigError, DatasetError, StoreNotFoundError
from nnviz.graphs.summit_files import holds_summit_files
from nnviz.results.published_graphs import PublishedGraphs
from nnviz_dashboards.published.model import PublishedModel, published_selection
from nnviz_dashboards.published.view import FilesView, PublishedFactsView
from nnviz_dashboards.serving.server import serve


def node(layer, channel, count, *arcs):
    return {
        "channel": channel,
        "layer": layer,
        "count": count,
        "pagerank": count / 100,
        "prev_channels": [{"prev_channel": c, "inf": n} for c, n in arcs],
        "attr_channels": [],
    }


@pytest.fixture
def folder(tmp_path):
    one = {
        "late": [node("late", 5, 80, (1, 40), (2, 10))],
        "early": [node("early", 1, 20), node("early", 2, 5)],
    }
    two = {"late": [node("late", 5, 60, (1, 30))], "early": [node("early", 1, 10)]}
    for name, value in (("ag-10", one), ("ag-2", two), ("tench", two)):
        (tmp_path / f"{name}.json").write_text(json.dumps(value))
    (tmp_path / "ag-30.json").write_text("{1")
    return tmp_path


@pytest.fixture
def model(folder):
    graphs = PublishedGraphs(folder)
    return PublishedModel(graphs, published_selection(graphs))


def test_files__are_in_order_of_their_classes(model):
    names = [file.name for file in model.graphs.files]

    assert names == ["class 2", "class 10", "class 30", "tench"]
    assert FilesView(model)._list.names == names
    assert model.drawing.subset == "class 2"


def test_classes__are_called_as_their_map_says(folder):
    graphs = PublishedGraphs(folder, {2: "shark", 10: "brambling", 30: "shark"})
    model = PublishedModel(graphs, published_selection(graphs))

    names = [file.name for file in graphs.files]
    assert names == ["shark (2)", "brambling", "shark (30)", "tench"]
    model.choose_file(1)
    model.compare_with("shark (2)")
    assert (model.drawing.subset, model.drawing.versus) == ("brambling", "shark (2)")
    assert "--classes" not in PublishedFactsView(model)._bar.facts["text"]


def test_classes__without_a_map__say_how_they_get_names(model):
    assert "--classes FILE" in PublishedFactsView(model)._bar.facts["text"]


def test_classes__of_a_map_without_names__are_refused(folder, graph_url, tmp_path):
    table = tmp_path / "classes.csv"
    table.write_text("index,wnid\n2,n01484850\n")

    with pytest.raises(DatasetError, match="needs a column 'name'; it has wnid"):
        serve(str(folder), classes=table)
    with pytest.raises(ConfigError, match="a run has names of its classes"):
        serve(graph_url, classes=table)


def test_folder__with_neither_says_what_can_be_served(finished_url, tmp_path):
    with pytest.raises(StoreNotFoundError, match=r"a store, or graphs of SUMMIT"):
        serve(str(tmp_path))
    (tmp_path / "run.zarr").symlink_to(finished_url)
    with pytest.raises(StoreNotFoundError, match=r"did you mean '.*run\.zarr'"):
        serve(str(tmp_path))


def test_graph__has_sizes_by_its_largest_count(model):
    model.choose_file(1)

    shares = {(n.layer, n.channel): n.shown_share for n in model.drawing.nodes}
    assert shares == {("late", 5): 1, ("early", 1): 20 / 80, ("early", 2): 5 / 80}
    assert [arc.shown_share for arc in model.drawing.arcs] == [1, 0.25]
    lines = {}
    exec(model.code, lines)
    assert lines["graph"].keys() == model.drawing.keys


def test_two_graphs__are_compared_and_written(model):
    model.choose_file(1)
    model.compare_with("class 2")

    sides = {(n.layer, n.channel): n.contrast.side for n in model.drawing.nodes}
    assert sides == {
        ("late", 5): "both",
        ("early", 1): "both",
        ("early", 2): "first",
    }
    assert model.drawing.similarity.node_jaccard == pytest.approx(2 / 3)
    assert set(model.files("csv")) == {
        "class-10-and-class-2-nodes.csv",
        "class-10-and-class-2-arcs.csv",
    }
    lines = {}
    exec(model.code, lines)
    assert lines["second"].n_nodes == 2
    assert PublishedFactsView(model)._bar.facts["against"] == "; beside class 2"


def test_file__that_is_damaged__says_so_and_the_others_go_on(model):
    model.choose_file(2)

    assert "ag-30.json" in model.missing.text
    assert model.drawing is None
    model.choose_file(3)
    assert model.missing is None
    assert model.drawing.subset == "tench"


def test_place__is_told_from_a_store(folder, graph_url, tmp_path):
    (tmp_path / "none").mkdir()

    assert holds_summit_files(folder)
    assert holds_summit_files(folder / "ag-2.json")
    assert not holds_summit_files(graph_url)
    assert not holds_summit_files(tmp_path / "none")
    assert not holds_summit_files("s3://bucket/run.zarr")
    with pytest.raises(ConfigError, match="serve it alone"):
        serve(str(folder), other_store=graph_url)
    with pytest.raises(ConfigError, match="no subset is named"):
        nnviz.attribution_graph(graph_url)
