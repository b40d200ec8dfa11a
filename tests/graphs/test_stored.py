"""Graphs that derivation keeps in the store, and one layout for all of them."""

import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner

import nnviz
from nnviz.aggregation.aggregation import aggregate
from nnviz.cli.main import main
from nnviz.derivation.derivation import derive
from nnviz.errors import StoreFormatError
from nnviz.graphs.files import graph_files
from nnviz.graphs.making import SubsetGraphs, attribution_graph
from nnviz.graphs.making_comparisons import compare_subsets
from nnviz.graphs.motif_search import find_motifs
from nnviz.graphs.motifs import Motifs
from nnviz.graphs.options import GraphOptions
from nnviz.results.graph_results import GraphRequest, GraphResults
from nnviz.store.store import Store
from nnviz.subsets.naming import named_subsets
from nnviz.subsets.subsets import Subset, collect_subsets
from nnviz.testing import PlantedRun, write_store

pytestmark = pytest.mark.slow

RUN = PlantedRun(n_classes=6, n_instances=120, influence_ranks=3, share=0.7)
PRESETS = ("directed", "summit")
PATH = "artifacts/attribution_graphs/label/"


def derived(url, client=None):
    store = write_store(url, RUN)
    aggregate(store, [named_subsets(store, "label")])
    summary = derive(store, client=client, pictures=False)
    assert summary.n_graphs == 2 * RUN.n_classes
    return Store.open(store.url)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return derived(tmp_path_factory.mktemp("stored") / "run.zarr")


@pytest.fixture
def copy(store, tmp_path):
    url = tmp_path / "copy.zarr"
    shutil.copytree(store.url, url)
    return url


def test_motifs__of_default_graphs__are_stored_and_read(store, copy):
    wanted = find_motifs(list(SubsetGraphs(store).graphs()), "label")

    read = nnviz.motifs(without_counts(copy))

    assert read == wanted
    assert store.groups.attributes(PATH + "summit")["motifs"] is None


def test_motifs__that_are_not_stored__are_searched_for(store, tmp_path):
    out = tmp_path / "parts.csv"
    arguments = [
        store.url,
        *["--shuffles", "0", "--share", "0.4", "--at-least", "2", "--out"],
        str(out),
    ]

    result = CliRunner().invoke(main, ["motifs", *arguments, "--json"])

    graphs = list(SubsetGraphs(store).graphs(share=0.4))
    wanted = find_motifs(graphs, "label", shuffles=0, at_least=2)
    assert len(wanted)
    assert result.exit_code == 0, result.output
    value = json.loads(result.stdout)
    assert value.pop("files") == [str(out)]
    assert Motifs.from_json(value) == wanted
    assert out.read_text(encoding="utf-8") == wanted.to_csv()
    # Each of them is in the graphs that are said to have it.
    for motif in wanted:
        for graph in graphs:
            has_all = set(motif.arcs) <= set(graph.arc_keys())
            assert has_all == (graph.subset in motif.subsets)


def without_counts(url):
    """Damage what graphs are made from, so that they can only be read."""
    for path in url.glob("aggregates/*/*_counts/*"):
        for piece in path.rglob("*"):
            if piece.is_file() and piece.name != "zarr.json":
                piece.write_bytes(b"no piece")
    store = Store.open(url)
    with pytest.raises(StoreFormatError):
        made_anew(store, RUN.names[0])
    return store


def made_anew(store, name, **options):
    return SubsetGraphs(store, use_stored=False).graph(name, **options)


@pytest.mark.parametrize("share", [None, 0.075], ids=["default", "said"])
@pytest.mark.parametrize("preset", PRESETS)
def test_stored_graphs__are_those_that_are_made_anew(store, preset, share):
    kept = SubsetGraphs(store)

    for name in RUN.names:
        wanted = made_anew(store, name, preset=preset)
        assert kept.graph(name, preset=preset, share=share) == wanted
        found = kept.graph(name, preset=preset, share=share)
        assert graph_files(found, "g", "json") == graph_files(wanted, "g", "json")


def test_stored_graphs__on_a_cluster__have_the_same_bytes(store, tmp_path, client):
    other = derived(tmp_path / "run.zarr", client)

    for preset in PRESETS:
        path = f"artifacts/attribution_graphs/label/{preset}"
        for name in store.groups.names(path):
            one, two = (s.groups.read(f"{path}/{name}") for s in (store, other))
            assert one.tobytes() == two.tobytes()


@pytest.mark.parametrize("preset", PRESETS)
def test_stored_graphs__are_all_that_command_page_and_python_read(copy, store, preset):
    wanted = made_anew(store, RUN.names[2], preset=preset)
    bare, name = without_counts(copy), RUN.names[2]

    command = ["graph", str(copy), name, "--preset", preset]
    result = CliRunner().invoke(main, command)
    options = GraphOptions(preset=preset, share=0.075)
    of_page = GraphResults(bare).graph(GraphRequest("label", name, "", options))

    assert result.stdout.startswith(repr(wanted))
    assert of_page == wanted
    assert attribution_graph(bare, name, preset=preset) == wanted


@pytest.mark.parametrize(
    "options",
    [
        {"preset": "summit", "share": 0.9},
        {"scoring": "specificity"},
        {"weight": "sum"},
        {"jackknife": 3},
    ],
    ids=["share", "scoring", "weight", "jackknife"],
)
def test_stored_graphs__of_other_options__are_made(store, options):
    graph = attribution_graph(store, RUN.names[0], **options)

    assert graph == made_anew(store, RUN.names[0], **options)
    assert graph != attribution_graph(store, RUN.names[0])


def test_stored_graphs__of_other_aggregates__are_not_read(copy):
    store = Store.open(copy, writable=True)
    labels = store.column("label")
    names = RUN.names
    shifted = [
        Subset(name, np.flatnonzero((labels + 1) % len(names) == index))
        for index, name in enumerate(names)
    ]
    before = attribution_graph(store, names[0])
    collection = collect_subsets(shifted, store.n_instances, name="label", kind="label")

    aggregate(store, [collection])

    found = attribution_graph(Store.open(copy), names[0])
    assert found != before
    assert found == made_anew(Store.open(copy), names[0])


def test_stored_graphs__of_facts_that_were_written_again__are_not_read(copy):
    store = Store.open(copy, writable=True)
    start, stop = store.chunks.spans[0]
    arrays = {
        path: store.read(path, start, stop)
        for path in store.chunks.arrays
        if not path.startswith("peaks/")
    }
    arrays |= {
        path: store.read(path, 0, 1)
        for path in store.chunks.arrays
        if path.startswith("peaks/")
    }
    for path, values in arrays.items():
        if path.startswith("activations/"):
            arrays[path] = values[:, ::-1].copy()
    counts = {"n_instances": stop - start, "n_unreadable": 0, "n_saturated": 0}
    store.chunks.write(0, arrays, counts)
    aggregate(store, [named_subsets(store, "label")])

    store = Store.open(copy)
    found = [attribution_graph(store, name) for name in RUN.names]

    assert found == [made_anew(store, name) for name in RUN.names]


@pytest.mark.parametrize("part", ["count", "arc_count", "node_offset"])
def test_stored_graphs__that_are_damaged__are_made_anew(copy, store, part):
    path = copy / "artifacts/attribution_graphs/label/directed" / part / "c"
    for piece in [p for p in path.rglob("*") if p.is_file()]:
        data = bytearray(piece.read_bytes())
        data[len(data) // 2] ^= 4
        piece.write_bytes(data)

    for name in RUN.names:
        assert attribution_graph(Store.open(copy), name) == made_anew(store, name)


def test_stored_graphs__of_an_earlier_nnviz__are_not_read(copy, store):
    """Its graphs do not say what they were made from."""
    group = Store.open(copy, writable=True)
    path = "artifacts/attribution_graphs/label/directed"
    attributes = group.groups.attributes(path)
    del attributes["made"]
    group.groups.finish(path, {**attributes, "names": ["other"]})

    assert attribution_graph(Store.open(copy), RUN.names[1]) == made_anew(
        store, RUN.names[1]
    )


def test_comparison__of_stored_graphs__is_that_of_graphs_made_anew(store, copy):
    shutil.rmtree(copy / "artifacts")

    found, wanted = (
        compare_subsets(one, RUN.names[0], RUN.names[3])
        for one in (store, Store.open(copy))
    )

    assert (found.first, found.second) == (wanted.first, wanted.second)
    for parts, others in (
        (found.node_parts, wanted.node_parts),
        (found.arc_parts, wanted.arc_parts),
    ):
        np.testing.assert_array_equal(parts.second_count, others.second_count)
        np.testing.assert_array_equal(parts.adjusted_p_value, others.adjusted_p_value)


def test_layout__of_all_graphs__keeps_the_order_of_what_they_share(store):
    """Of the pairs of nodes that two graphs have in one row, most stand alike."""
    graphs = SubsetGraphs(store)
    made = [graphs.graph(name, share=0.6) for name in RUN.names]
    places = [graphs.layout(graph).order(graph) for graph in made]

    alike = total = 0
    for one in places:
        for two in places:
            shared = sorted(set(one) & set(two))
            for a in shared:
                for b in shared:
                    if a < b and a[0] == b[0]:
                        alike += (one[a] < one[b]) == (two[a] < two[b])
                        total += 1
    assert total > 100
    assert alike / total > 0.9
