"""What differs between subsets, and between networks on the same instances."""

import csv
import json
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from numpy.testing import assert_array_equal
from scipy import stats

import nnviz
from nnviz.aggregation.aggregation import aggregate
from nnviz.cli.main import main
from nnviz.errors import ConfigError, ShapeError
from nnviz.graphs.files import comparison_files
from nnviz.graphs.making import attribution_graph
from nnviz.graphs.making_comparisons import compare_networks, compare_subsets
from nnviz.graphs.network_matching import matched_channels
from nnviz.store.store import Store
from nnviz.subsets.naming import named_subsets
from nnviz.subsets.subsets import Subset
from nnviz.testing import PlantedRun, planted_channels, write_store

pytestmark = pytest.mark.slow

RUN = PlantedRun(n_classes=4, n_instances=160, influence_ranks=3, share=0.8)
NETWORK = """
import torch
from torch import nn

def build(seed=0):
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 9, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(9, 11, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(11, 3),
    )
    if seed:
        random = torch.Generator().manual_seed(seed)
        first, second, last = network[0], network[3], network[7]
        one, two = (torch.randperm(n, generator=random) for n in (9, 11))
        with torch.no_grad():
            first.weight.copy_(first.weight[one]); first.bias.copy_(first.bias[one])
            second.weight.copy_(second.weight[two][:, one])
            second.bias.copy_(second.bias[two])
            last.weight.copy_(last.weight[:, two])
    return network
"""


def extracted(folder, name, seed, images, client):
    (folder / "networks.py").write_text(NETWORK)
    np.savez(folder / "data.npz", data=images, label=np.arange(len(images)) % 3)
    (folder / f"{name}.toml").write_text(f"""
        [model]
        source = "{folder}/networks.py:build"
        arguments = {{ seed = {seed} }}
        [dataset]
        kind = "arrays"
        path = "{folder}/data.npz"
        [preprocessing]
        kind = "array"
        [extraction]
        instances_per_chunk = 32
        batch_size = 16
        share = 0.5
    """)
    plan, probe = nnviz.plan_run(nnviz.load_config(folder / f"{name}.toml"))
    store = nnviz.prepare_store(plan, str(folder / f"{name}.zarr"), probe=probe)
    nnviz.extract(store, client=client)
    aggregate(store, [named_subsets(store, "label")])
    return Store.open(store.url)


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    store = write_store(tmp_path_factory.mktemp("compare") / "run.zarr", RUN)
    aggregate(store, [named_subsets(store, name) for name in ("label", "outcome")])
    return Store.open(store.url)


def test_networks__a_permuted_copy__is_found_and_does_not_differ(tmp_path, client):
    random = np.random.default_rng(0)
    images = random.random((96, 1, 12, 12), dtype=np.float32)
    first = extracted(tmp_path, "one", 0, images, client)
    second = extracted(tmp_path, "two", 5, images, client)

    matches = matched_channels(first, second)
    found = compare_networks(first, second, first.class_names[1], share=1.0)

    order = torch.Generator().manual_seed(5)
    names = [layer.name for layer in first.layers]
    for name, size in zip(names[:2], (9, 11), strict=True):
        permutation = torch.randperm(size, generator=order).numpy()
        values = first.activations(name)
        alive = values.std(axis=0) > 0
        assert_array_equal(
            permutation[matches.channels[name]][alive], np.arange(size)[alive]
        )
        np.testing.assert_allclose(matches.correlation[name][alive], 1, atol=1e-4)
    assert names[-1] not in matches.channels
    assert matches.n_instances == 96
    assert found.nodes
    assert found.similarity.node_jaccard > 0.95
    assert not (found.node_parts.adjusted_p_value < 0.5).any()
    # What the graph keeps by default is what it keeps in the copy, under other numbers.
    for class_name in first.class_names:
        same = compare_networks(first, second, class_name)
        other = compare_networks(first, second, class_name, match=False)
        assert same.similarity.node_jaccard == 1
        assert same.similarity.arc_jaccard == 1
        assert min(same.matched.values()) > 0.999
        assert other.matched is None
        assert other.similarity.node_jaccard < 0.9
        assert "channels are matched by their activations" in repr(same)


def test_networks__compared_with_itself__do_not_differ(planted):
    assert compare_networks(planted, planted, RUN.names[0]).is_empty()


def test_networks__of_other_layers__are_refused(planted, tmp_path):
    layers = (("early", 32, (16, 16)), ("late", 96, (4, 4)))
    other = write_store(
        tmp_path / "o.zarr", PlantedRun(n_classes=4, n_instances=40, layers=layers)
    )

    with pytest.raises(ShapeError, match=r"other layers, as middle \(48 channels\)"):
        compare_networks(planted, other, RUN.names[0])


def test_networks__without_a_shared_instance__are_refused(planted, tmp_path):
    other = write_store(tmp_path / "o.zarr", RUN)
    ids = other.column("id")

    class Renamed(Store):
        def column(self, name):
            values = super().column(name)
            return np.array([f"x{v}" for v in ids], object) if name == "id" else values

    with pytest.raises(ConfigError, match="share no instance"):
        matched_channels(planted, Renamed.open(other.url))


def test_subsets__of_two_collections_or_any_instances__are_compared(planted):
    outcomes = planted.groups.attributes("aggregates/outcome")["names"]
    right, wrong = outcomes[:2]

    apart = compare_subsets(planted, right, wrong, subsets="outcome")
    mixed = compare_subsets(planted, RUN.names[0], right, other_subsets="outcome")
    rows = np.flatnonzero(planted.column("label") == 0)
    mine = compare_subsets(planted, RUN.names[0], Subset("mine", rows))

    assert apart.first.subset == right
    late = [("late", c) for c in planted_channels(RUN, "late", 0)]
    numbers = [apart.nodes.index(node) for node in late]
    assert (apart.node_parts.difference[numbers] > 0.3).all()
    assert mixed.second.subset == right
    assert (mine.node_parts.difference == 0).all()


@pytest.mark.parametrize("suffix", ["csv", "json", "graphml"])
def test_command__writes_the_union(planted, tmp_path, suffix):
    out = tmp_path / f"c.{suffix}"
    arguments = [planted.url, *RUN.names[:2], "--out", str(out), "--format", suffix]

    result = CliRunner().invoke(main, ["compare", *arguments, "--json"])

    assert result.exit_code == 0, result.output
    value = json.loads(result.stdout)
    found = compare_subsets(planted, *RUN.names[:2])
    assert value["nodes"] == len(found.nodes)
    if suffix == "csv":
        nodes, _ = value["files"]
        with Path(nodes).open(encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        assert len(rows) == len(found.nodes)
        assert {row["kept_in"] for row in rows} <= {"first", "second", "both"}
        return
    network = (
        nx.read_graphml(out)
        if suffix == "graphml"
        else nx.node_link_graph(json.loads(out.read_text()), edges="links")
    )
    assert len(network) == len(found.nodes)
    assert network.number_of_edges() == len(found.arcs)


def test_command__prints_what_differs_most(planted):
    result = CliRunner().invoke(main, ["compare", planted.url, *RUN.names[:2]])

    assert result.exit_code == 0
    assert "adjusted p" in result.stdout


@pytest.mark.parametrize("extra", [[], ["b", "--other-store", "x.zarr"]])
def test_command__with_neither_or_both__is_a_usage_error(planted, extra):
    result = CliRunner().invoke(main, ["compare", planted.url, "a", *extra])

    assert result.exit_code == 2
    assert "--other-store" in result.output


def test_command__two_networks__are_compared(planted):
    arguments = ["compare", planted.url, RUN.names[0], "--other-store", planted.url]

    result = CliRunner().invoke(main, [*arguments, "--json"])

    assert json.loads(result.stdout)["different_nodes"] == 0


class CountingStore(Store):
    """A store that notes which facts were read."""

    read_facts: list

    def activations(self, layer, *span):
        CountingStore.read_facts.append((layer, *span))
        return super().activations(layer, *span)


def test_comparison__of_sets_of_instances__reads_the_facts_of_each_once(
    tmp_path, monkeypatch
):
    store = write_store(tmp_path / "run.zarr", RUN)
    aggregate(store, [named_subsets(store, "label")])
    monkeypatch.setattr("nnviz.aggregation.layer_sums.Store", CountingStore)
    CountingStore.read_facts = []
    first, second = Subset("first", range(60)), Subset("second", range(60, 160))

    found = compare_subsets(Store.open(store.url), first, second)
    of_two = len(CountingStore.read_facts)
    compare_subsets(Store.open(store.url), first, RUN.names[0], halves=False)
    of_one = len(CountingStore.read_facts) - of_two

    # The first lies in the first chunk, the second in both.
    assert len(store.chunks) == 2
    assert of_two == (1 + 2) * len(store.layers)
    # The class is aggregated. They share instances: the others of both are counted.
    assert of_one == (1 + 1 + 2) * len(store.layers)
    assert found.first.n_instances == int(store.usable()[:60].sum())


def test_comparison__on_a_cluster__is_the_same(tmp_path, client):
    store = write_store(tmp_path / "run.zarr", RUN)
    aggregate(store, [named_subsets(store, "label")])
    first, second = Subset("first", range(60)), Subset("second", range(40, 160))

    here = compare_subsets(store, first, second)
    there = compare_subsets(store, first, second, client=client)

    assert (here.first, here.second) == (there.first, there.second)
    assert_array_equal(here.node_parts.p_value, there.node_parts.p_value)
    assert_array_equal(here.arc_parts.first_count, there.arc_parts.first_count)


def test_comparison__of_sets_that_share_instances__tests_the_others(tmp_path):
    store = write_store(tmp_path / "run.zarr", RUN)
    aggregate(store, [named_subsets(store, "label")])
    a, b = Subset("a", range(100)), Subset("b", range(60, 160))

    shared = compare_subsets(store, a, b)
    apart = compare_subsets(store, Subset("a", range(60)), Subset("b", range(100, 160)))
    part = compare_subsets(store, Subset("part", range(10)), a)

    text = (
        "they share 40 instances: tests compare the 60 that are only in 'a' with the "
        "60 that are only in 'b'"
    )
    assert shared.notes == (text,)
    ours = dict(zip(shared.nodes, shared.node_parts.p_value.tolist(), strict=True))
    theirs = dict(zip(apart.nodes, apart.node_parts.p_value.tolist(), strict=True))
    both = ours.keys() & theirs.keys()
    assert len(both) > 10
    assert [ours[node] for node in both] == pytest.approx([theirs[n] for n in both])
    text = "tests compare 'part' with the 90 that are only in 'a'"
    assert part.notes == (f"they share 10 instances: {text}",)
    assert compare_subsets(store, *RUN.names[:2]).notes == ()


def test_comparison__with_errors__tests_scores_by_student_s_t(tmp_path):
    """Errors of both graphs, which are tested elsewhere, give the test by hand."""
    store = write_store(tmp_path / "run.zarr", RUN)
    aggregate(store, [named_subsets(store, "label")])
    names = RUN.names[:2]

    found = compare_subsets(store, *names, jackknife=10, weight="sum")

    graphs = [
        attribution_graph(store, name, jackknife=10, weight="sum") for name in names
    ]
    places = [{key: i for i, key in enumerate(graph.keys())} for graph in graphs]
    n_checked = 0
    for i, node in enumerate(found.nodes):
        if not all(node in place for place in places):
            continue
        rows = [place[node] for place in places]
        one, two = (g.score[row] for g, row in zip(graphs, rows, strict=True))
        error = np.hypot(
            *(g.errors.score[r] for g, r in zip(graphs, rows, strict=True))
        )
        assert found.scores.difference[i] == pytest.approx(one - two)
        assert found.scores.error[i] == pytest.approx(error)
        if error:
            wanted = 2 * stats.t.sf(abs(one - two) / error, 9)
            assert found.scores.p_value[i] == pytest.approx(wanted, rel=1e-6)
            n_checked += 1
    assert n_checked > 5
    halves = [half.nodes for half in found.halves]
    assert halves == [graph.halves.nodes for graph in graphs]
    assert "two random halves share" in repr(found)
    columns = comparison_files(found, "c")["c-nodes.csv"].decode().splitlines()[0]
    assert columns.endswith(
        "score_difference,score_error,score_p_value,score_adjusted_p_value"
    )
