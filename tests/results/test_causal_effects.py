"""What a stored check says of a graph that is looked at, counted from its outputs."""

import math

import numpy as np
import pytest
from click.testing import CliRunner

import nnviz
from nnviz.ablation.ablation import ablate
from nnviz.ablation.asked_subsets import asked_subsets
from nnviz.ablation.graph_channels import GraphChoice
from nnviz.cli.main import main
from nnviz.graphs.options import SUMMIT_SHARE, GraphOptions
from nnviz.results.causal_effects import ablate_words, causal_effect
from nnviz.results.run_results import RunResults
from nnviz.store.store import Store
from nnviz_dashboards.graph.model import GraphModel
from nnviz_dashboards.graph.view import GraphView
from nnviz_dashboards.shared.selection import Selection
from tests import planted_network as planted
from tests.planted_network_run import aggregated_store

pytestmark = pytest.mark.slow

OPTIONS = GraphOptions()
QUERY = "label = 1 and confidence > 0"


@pytest.fixture(scope="module")
def checked(tmp_path_factory):
    """Return a store in which the graphs of all classes were checked, and a query's."""
    folder = tmp_path_factory.mktemp("checked")
    store = aggregated_store(folder)
    checks = [
        ablate(store, nnviz.named_subsets(store, "label"), n_instances=6, draws=3)
    ]
    collection, names = asked_subsets(store, [QUERY], None)
    checks.append(ablate(store, collection, names=names, n_instances=5, draws=0))
    return Store.open(store.url), checks


def n_right(check, row, what):
    """Count by hand, mean over the treatments of this name in all layers at once."""
    counts = [
        int(
            (check.prediction[row, t] == check.wanted[row])[
                check.instance[row] >= 0
            ].sum()
        )
        for t, one in enumerate(check.treatments)
        if (one.what, one.keeps, one.layer) == (what, False, check.treatments[0].layer)
    ]
    return float(np.mean(counts))


def test_effect__counts_what_is_predicted_right(checked):
    store, (check, _) = checked

    for row, name in enumerate(check.names):
        effect = causal_effect(store, "label", (name,), OPTIONS)

        assert effect.n_instances == int((check.instance[row] >= 0).sum())
        assert effect.n_channels == int(check.n_kept[row].sum())
        assert effect.n_right == n_right(check, row, "none")
        assert effect.n_right_without == n_right(check, row, "graph")
        assert effect.n_right_random == pytest.approx(n_right(check, row, "random"))
        assert effect.drop > effect.random_drop


def test_effect__of_a_query__is_found_by_its_text(checked):
    store, _ = checked

    effect = causal_effect(store, "label", (QUERY, "anything"), OPTIONS)

    assert effect.n_instances == 5
    assert math.isnan(effect.n_right_random)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        pytest.param("nobody", OPTIONS, id="subset"),
        pytest.param(planted.CLASS_NAMES[0], GraphOptions(weight="sum"), id="weight"),
        pytest.param(planted.CLASS_NAMES[0], GraphOptions(share=0.5), id="share"),
    ],
)
def test_effect__of_another_graph__is_none(checked, name, options):
    assert causal_effect(checked[0], "label", (name,), options) is None


def test_effect__share_that_is_the_usual_one__is_the_same_graph(checked):
    store, (check, _) = checked
    usual = GraphOptions(share=SUMMIT_SHARE)

    assert causal_effect(store, "label", check.names[:1], usual) is not None


def test_command__makes_the_check_that_is_looked_for(checked):
    options = GraphOptions(weight="sum", share=0.3, inner="nodes")
    command = list(ablate_words("run.zarr", ["a b"], options, "outcome"))

    assert command[:4] == ["nnviz", "ablate", "run.zarr", "a b"]
    seen = CliRunner().invoke(main, [*command[1:], "--help"])
    assert seen.exit_code == 0
    assert command[4:] == [
        "--subsets", "outcome", "--weight", "sum", "--share", "0.3", "--inner", "nodes"
    ]  # fmt: skip
    assert GraphChoice(options).name.endswith("share0.3-nodes")


def test_command__of_a_label_like_an_option__takes_it_for_a_subset(tmp_path):
    words = ablate_words(str(tmp_path / "x.zarr"), ["-1"], GraphOptions(weight="sum"))

    seen = CliRunner().invoke(main, words[1:])

    assert "there is no store" in seen.output


def test_page__says_it_beside_the_graph(checked):
    store, (check, _) = checked
    results = RunResults(store)
    layers = {layer.name: layer.n_channels for layer in results.layers}
    selection = Selection(layers, range(4), layer="second", subset=2)
    model = GraphModel(results, results.graphs, selection)
    panel = GraphView(model, pictures="p", layers={"second": "second"})._panel

    ((name, effect),) = model.effects
    assert name == check.names[2]
    ((unnamed, text),) = panel.check["texts"]
    assert unnamed == ""
    assert text.startswith(
        f"Without these {effect.n_channels} channels {effect.n_right_without} of "
        f"{effect.n_instances} instances are predicted right"
    )
    assert panel.check["is_whole"]
    selection.choose(versus=check.names[0])
    of_both = [(check.names[2], text), (check.names[0], panel.check["texts"][1][1])]
    assert [tuple(one) for one in panel.check["texts"]] == of_both
    assert panel.check["is_whole"]
    assert panel.check["command"].endswith(f"{check.names[2]} {check.names[0]}")
    selection.choose(weight="sum", versus="")
    assert panel.check["texts"] == []
    assert not panel.check["is_whole"]
    assert panel.check["command"].endswith(f"{check.names[2]} --weight sum")
