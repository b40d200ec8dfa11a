"""The stages together, on the demonstration's digits: any cluster, the same bytes."""

import dataclasses
import hashlib
import io
import shutil
from collections import Counter

import distributed
import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

import nnviz
from nnviz.demo import write_demo
from nnviz.errors import (
    DatasetError,
    MissingDataError,
    PlanError,
    PlanMismatchError,
    StoreExistsError,
)
from nnviz.graphs.from_totals import FullGraphs
from nnviz.graphs.making import SubsetGraphs
from nnviz.runs.config import load_config

# One of them wants the processes that others of this group share.
pytestmark = [pytest.mark.xdist_group("cluster"), pytest.mark.slow]


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    write_demo(folder, epochs=2)
    return folder


@pytest.fixture(scope="module")
def reference(digits, tmp_path_factory):
    """Return the store that one worker makes, a thread of this process, all stages."""
    url = tmp_path_factory.mktemp("reference") / "run.zarr"
    with distributed.Client(
        processes=False,
        n_workers=1,
        threads_per_worker=1,
        dashboard_address="127.0.0.1:0",
        set_as_default=False,
    ) as client:
        run_stages(digits / "run.toml", url, client)
    return url


def create(run_file, url):
    plan, probe = nnviz.plan_run(load_config(run_file))
    return nnviz.prepare_store(plan, str(url), probe=probe)


def run_stages(run_file, url, client):
    store = create(run_file, url)
    nnviz.extract(store, client=client)
    collections = [nnviz.named_subsets(store, kind) for kind in ("label", "outcome")]
    nnviz.aggregate(store, collections, client=client)
    return store


def with_text(digits, name, text):
    """Write another run file beside the digits', and return it."""
    run_file = digits / f"{name}.toml"
    run_file.write_text(text, encoding="utf-8")
    return run_file


def with_weights_of_its_own(digits, name):
    """Return another run file beside the digits', and its weights, which are a copy."""
    weights = digits / f"{name}.safetensors"
    shutil.copyfile(digits / "digits.safetensors", weights)
    text = (digits / "run.toml").read_text(encoding="utf-8")
    text = text.replace("digits.safetensors", weights.name)
    return with_text(digits, name, text), weights


def checksums(url):
    """Return the SHA-256 of every file of a store, by its path."""
    return {
        str(path.relative_to(url)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(url.rglob("*"))
        if path.is_file() and path.name != "zarr.json"
    }


@pytest.mark.cluster
def test_pipeline__two_processes__write_the_same_bytes(
    digits, reference, tmp_path, processes
):
    run_stages(digits / "run.toml", tmp_path / "run.zarr", processes)

    assert checksums(tmp_path / "run.zarr") == checksums(reference)


def test_pipeline__two_threads_of_this_process__write_the_same_bytes(
    digits, reference, tmp_path, client
):
    run_stages(digits / "run.toml", tmp_path / "run.zarr", client)

    assert checksums(tmp_path / "run.zarr") == checksums(reference)


def test_extract__some_chunks_lost__repeats_only_those(
    digits, reference, tmp_path, client
):
    url = tmp_path / "run.zarr"
    shutil.copytree(reference, url)
    for index in (1, 4):
        (url / "extraction_done" / "c" / str(index) / "0").unlink()
        shutil.rmtree(url / "activations" / "float16" / "c" / str(index))
    store = nnviz.Store.open(url, writable=True)

    with pytest.raises(MissingDataError, match="missing for 2 of 8 chunks"):
        store.activations("stem")
    summary = nnviz.extract(store, client=client)

    assert (summary.n_chunks, summary.n_done_before) == (8, 6)
    assert summary.n_instances == 512
    assert checksums(url) == checksums(reference)


def test_extract__complete_store__does_nothing(reference, client):
    summary = nnviz.extract(nnviz.Store.open(reference, writable=True), client=client)

    assert summary.n_instances == 0
    assert summary.n_done_before == 8


def test_prepare_store__same_plan__opens_what_is_there(digits, reference):
    store = create(digits / "run.toml", reference)

    assert store.chunks.missing() == []


def test_prepare_store__other_plan__names_the_field_that_differs(
    digits, reference, tmp_path
):
    text = (digits / "run.toml").read_text(encoding="utf-8")
    other = with_text(
        digits, "other", text.replace("batch_size = 64", "batch_size = 32")
    )

    with pytest.raises(
        PlanMismatchError, match=r"extraction\.batch_size: 64, not 32; choose another"
    ):
        create(other, reference)


def test_prepare_store__something_else_there__is_refused(digits, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")

    with pytest.raises(StoreExistsError, match="there is something at"):
        create(digits / "run.toml", tmp_path)


def test_extract__weights_changed_since_the_plan__is_refused(digits, tmp_path, client):
    run_file, weights = with_weights_of_its_own(digits, "changing")
    store = create(run_file, tmp_path / "run.zarr")
    save_file({k: v + 1 for k, v in load_file(weights).items()}, weights)

    with pytest.raises(
        PlanMismatchError, match="the network has changed since the plan was made"
    ):
        nnviz.extract(store, client=client)

    assert len(store.chunks.missing()) == 8


def damage(path, kind):
    data = path.read_bytes()
    if kind == 0:
        path.write_bytes(b"")
    elif kind == 1:
        path.write_bytes(data[: len(data) // 2])
    elif kind == 2:
        path.write_text("this is a text, not a picture")
    elif kind == 3:
        path.unlink()
    else:
        buffer = io.BytesIO()
        Image.new("L", (9, 9)).save(buffer, format="PNG")
        path.write_bytes(buffer.getvalue())


@pytest.fixture
def damaged(digits, tmp_path):
    """Return two run files, of a copy with 25 damaged files and of the others alone."""
    text = (digits / "run.toml").read_text(encoding="utf-8")
    lines = (digits / "digits.csv").read_text(encoding="utf-8").splitlines()
    header, rows = lines[0], lines[1:601]
    for row in rows:
        picture = tmp_path / row.split(",")[0]
        picture.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(digits / row.split(",")[0], picture)
    shutil.copy(digits / "digits.safetensors", tmp_path)
    (tmp_path / "digits.csv").write_text("\n".join([header, *rows]) + "\n")
    lost = list(range(7, 600, 24))
    kept = [row for index, row in enumerate(rows) if index not in lost]
    (digits / "kept.csv").write_text("\n".join([header, *kept]) + "\n")
    without = with_text(digits, "kept", text.replace("digits.csv", "kept.csv"))
    names = []
    for number, index in enumerate(lost):
        name = rows[index].split(",")[0]
        # A file that is not there when the data are listed is an error of the table;
        # kind 3 goes away after the plan was made.
        damage(tmp_path / name, number % 5 if number % 5 != 3 else 0)
        names.append(name)
    return with_text(tmp_path, "run", text), without, names


def test_pipeline__twenty_five_damaged_files__equals_the_run_without_them(
    damaged, tmp_path, client
):
    with_damage, without, names = damaged
    with with_damage.open("a") as file:
        file.write("max_unreadable_fraction = 0.1\n")
    store = run_stages(with_damage, tmp_path / "with.zarr", client)
    clean = run_stages(without, tmp_path / "without.zarr", client)

    table = store.instances()
    unusable = table[table.status != ""]
    assert sorted(unusable.id) == sorted(names)
    assert unusable.status.str.len().min() > 5
    for name in ("label", "outcome"):
        found = nnviz.aggregates_of(store, name)
        expected = nnviz.aggregates_of(clean, name)
        assert (found.n_instances == expected.n_instances).all()
        for layer in store.layers:
            ours, theirs = found.counts(layer.name), expected.counts(layer.name)
            assert (ours != theirs).nnz == 0
            assert np.allclose(
                found.mean(layer.name),
                expected.mean(layer.name),
                rtol=1e-12,
                equal_nan=True,
            )
            assert np.array_equal(
                found.maximum(layer.name), expected.maximum(layer.name), equal_nan=True
            )


def test_extract__more_unreadable_than_allowed__stops_with_the_reasons(
    damaged, tmp_path, client
):
    with_damage, _, _ = damaged
    store = create(with_damage, tmp_path / "run.zarr")

    with pytest.raises(DatasetError, match=r"more than the allowed fraction 0\.01"):
        nnviz.extract(store, client=client)


def test_prepare_store__larger_than_the_disk__is_refused_before_anything_is_written(
    digits, tmp_path
):
    plan, probe = nnviz.plan_run(load_config(digits / "run.toml"))
    huge = dataclasses.replace(plan, n_instances=10**13)

    with pytest.raises(PlanError, match=r"writes .* GB and the disk of .* free"):
        nnviz.prepare_store(huge, str(tmp_path / "run.zarr"), probe=probe)

    assert list(tmp_path.iterdir()) == []


def test_extract__task_larger_than_a_worker__is_refused_before_it_starts(
    digits, tmp_path, client
):
    text = (digits / "run.toml").read_text(encoding="utf-8")
    huge = with_text(
        digits, "huge", text.replace("batch_size = 64", "batch_size = 500000000")
    )
    store = create(huge, tmp_path / "run.zarr")

    with pytest.raises(PlanError, match=r"a task needs about .* but the worker at"):
        nnviz.extract(store, client=client)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param('precision = "bfloat16"', id="bfloat16"),
        pytest.param('memory_format = "contiguous"', id="contiguous"),
        pytest.param("fold_batch_norm = false", id="not-folded"),
        pytest.param('targets = "all"\nranks = 100', id="all-targets"),
        pytest.param('signal = "peak"\nextremum = "min"', id="peak-inhibition"),
        pytest.param("top_count = 3\nexamples_per_channel = 0", id="count-rule"),
        pytest.param('layers = ["*", "!mixed"]\nshown = ["top"]', id="some-layers"),
    ],
)
def test_pipeline__every_option__fills_a_store(
    digits, reference, tmp_path, client, options
):
    text = (digits / "run.toml").read_text(encoding="utf-8")
    text = text.replace('path = "digits.csv"', 'path = "digits.csv"\nlimit = 300')
    run_file = with_text(digits, "option", text + options + "\n")
    store = run_stages(run_file, tmp_path / "run.zarr", client)
    default = nnviz.open_store(reference)

    assert store.chunks.missing() == []
    for layer in store.layers:
        found = store.activations(layer.name, 0, 256).astype(np.float32)
        expected = default.activations(layer.name, 0, 256).astype(np.float32)
        tolerance = 0.03 * np.abs(expected).max()
        assert np.abs(found - expected).max() <= tolerance, layer.name


def test_plan_run__weights_that_are_not_finite__are_refused_with_the_layer(digits):
    run_file, file = with_weights_of_its_own(digits, "broken")
    weights = load_file(file)
    weights["residual.conv.weight"][3] = float("nan")
    save_file(weights, file)

    with pytest.raises(PlanError, match="activations of layer 'residual' are not fini"):
        nnviz.plan_run(load_config(run_file))


def test_pipeline__instance_whose_activations_are_not_finite__is_excluded_alone(
    tmp_path, client
):
    values = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    values[[7, 30]] = np.nan
    values[12, 3] = np.inf
    np.savez(tmp_path / "rows.npz", data=values, label=np.arange(40) % 3)
    (tmp_path / "network.py").write_text(
        "import torch\n"
        "from torch import nn\n"
        "def network():\n"
        "    torch.manual_seed(0)\n"
        "    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))\n"
    )
    (tmp_path / "run.toml").write_text(
        """
[model]
source = "network.py:network"
class_names = ["a", "b", "c"]

[dataset]
kind = "arrays"
path = "rows.npz"

[preprocessing]
kind = "array"
scale = 1.0

[extraction]
instances_per_chunk = 20
batch_size = 8
max_unreadable_fraction = 0.5
"""
    )
    store = run_stages(tmp_path / "run.toml", tmp_path / "run.zarr", client)

    assert list(np.flatnonzero(~store.usable())) == [7, 12, 30]
    assert "not finite" in store.column("status")[7]
    assert np.isnan(store.activations("0")[[7, 12, 30]]).all()
    assert np.isfinite(store.activations("0")[store.usable()]).all()
    assert nnviz.aggregates_of(store, "label").n_instances.sum() == 37
    peaks = store.read("peaks/0/instance")
    assert not np.isin(peaks, [7, 12, 30]).any()


def test_full_graph__over_a_sum_and_a_concatenation__counts_what_was_stored(reference):
    store = nnviz.Store.open(reference)
    label = 3
    rows = np.flatnonzero((store.column("label") == label) & store.usable())

    graphs = FullGraphs(store, "label")
    full = graphs.full(graphs.totals(store.class_names[label]))

    for layer in ("residual", "mixed", "classifier"):
        targets, sources, influences = (
            store.read(f"influences/{layer}/{part}")[rows]
            for part in ("target", "source", "influence")
        )
        # What speaks against a target is stored, and is no evidence for it.
        sources = np.where(influences > 0, sources, -1)
        places = [
            (edge.source, channel)
            for edge in store.plan.architecture.edges
            if edge.target == layer
            for channel in range(store.layer(edge.source).n_channels)
        ]
        counted = Counter(
            (int(t), *places[s])
            for row, ranked in zip(targets, sources, strict=True)
            for t, kept in zip(row, ranked, strict=True)
            if t >= 0
            for s in kept
            if s >= 0
        )
        found = {
            (int(t), source, int(s)): int(matrix[t, s])
            for (target, source), matrix in full.arcs.items()
            if target == layer
            for t, s in zip(*matrix.nonzero(), strict=True)
        }
        assert found == counted


@pytest.mark.parametrize("preset", ["directed", "summit"])
def test_graphs__of_the_demonstration__are_linked_from_output_to_input(
    reference, preset
):
    store = nnviz.Store.open(reference)

    for graph in SubsetGraphs(store, "label").graphs(preset=preset):
        assert {layer for layer, _ in graph} == set(graph.layers)
        assert graph.problems == ()
        assert (graph.arc_count <= graph.n_instances).all()
        assert (graph.count <= graph.base_count).all()


def test_extract__another_store_at_the_same_place__is_not_taken_for_the_first(
    digits, tmp_path, client
):
    url = tmp_path / "run.zarr"
    text = (digits / "run.toml").read_text(encoding="utf-8")
    text = text.replace('path = "digits.csv"', 'path = "digits.csv"\nlimit = 300')
    run_file = with_text(digits, "first", text)
    nnviz.extract(create(run_file, url), client=client)
    first = nnviz.open_store(url).activations("top")
    shutil.rmtree(url)
    with_text(digits, "first", text + 'precision = "bfloat16"\n')

    nnviz.extract(create(run_file, url), client=client)

    assert not np.array_equal(nnviz.open_store(url).activations("top"), first)
