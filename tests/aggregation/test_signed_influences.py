"""With signed influences only those that speak for a target are counted."""

from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file

import nnviz
from nnviz.errors import PlanMismatchError
from nnviz.graphs.making import attribution_graph
from nnviz.runs.config import load_config
from nnviz.store.store import Store, open_store
from nnviz.upkeep.extension import extend
from nnviz.upkeep.recomputation import recompute
from tests.faults.small_run import RUN, one_worker, write_inputs

pytestmark = pytest.mark.slow

RANKS, EXCLUDED, UNREADABLE = 3, {1, 5}, 7
SIGNED = f'targets = "all"\nsignal = "peak"\nranks = {RANKS}\n'
WITHOUT = "[extraction.excluded_channels]\nfirst = [1, 5]\n"


def planned(folder, extraction):
    """Return the plan of the small run with more options, and what was probed."""
    write_inputs(folder)
    (folder / "run.toml").write_text(RUN + extraction)
    return nnviz.plan_run(load_config(folder / "run.toml"))


def finished(folder, extraction):
    plan, probe = planned(folder, extraction)
    store = nnviz.prepare_store(plan, str(folder / "run.zarr"), probe=probe)
    with one_worker() as client:
        nnviz.extract(store, client=client)
    nnviz.aggregate(store, [nnviz.named_subsets(store, "label")])
    return open_store(store.url)


def expected(folder, label, *, excluded, sign):
    """Count, one product after the other, what is among the strongest and of a sign."""
    weights = load_file(folder / "weights.safetensors")
    with np.load(folder / "rows.npz") as rows:
        data, labels = rows["data"].astype(np.float64), rows["label"]
    counts = [[0] * 8 for _ in range(3)]
    sums = [[0.0] * 8 for _ in range(3)]
    for instance, row in enumerate(data):
        if labels[instance] != label or instance == UNREADABLE:
            continue
        hidden = [
            max(0.0, float(weights["first.weight"][i] @ row + weights["first.bias"][i]))
            for i in range(8)
        ]
        for target in range(3):
            own = {
                i: float(weights["second.weight"][target, i]) * hidden[i]
                for i in range(8)
                if i not in excluded and hidden[i] > 0
            }
            for i in sorted(own, key=lambda i: (-abs(own[i]), i))[:RANKS]:
                if sign * own[i] > 0:
                    counts[target][i] += 1
                    sums[target][i] += own[i]
    return np.array(counts), np.array(sums)


@pytest.mark.parametrize("extremum", ["max", "min"])
@pytest.mark.parametrize("excluded", [False, True], ids=["all", "some"])
def test_signed_influences__count_where_they_have_the_sign_asked_for(
    tmp_path, extremum, excluded
):
    options = SIGNED + f'extremum = "{extremum}"\n' + (WITHOUT if excluded else "")
    store = finished(tmp_path, options)

    stored = store.read("influences/second/influence")
    assert (stored > 0).any()
    assert (stored < 0).any()
    for label in range(3):
        counts, sums = expected(
            tmp_path,
            label,
            excluded=EXCLUDED if excluded else set(),
            sign=1 if extremum == "max" else -1,
        )
        found = [
            store.groups.read_csr(f"aggregates/label/influence_{what}/second")[[label]]
            for what in ("counts", "sums")
        ]
        assert found[0].toarray().reshape(3, 8).tolist() == counts.tolist()
        np.testing.assert_allclose(
            found[1].toarray().reshape(3, 8), sums, rtol=1e-5, atol=1e-5
        )


@pytest.mark.parametrize("preset", ["directed", "summit"])
@pytest.mark.parametrize("extraction", [SIGNED, SIGNED.replace('"peak"', '"max"')])
def test_graph__of_a_class_has_what_was_counted_and_no_excluded_channel(
    tmp_path, preset, extraction
):
    store = finished(tmp_path, extraction + WITHOUT)
    counts, _ = expected(tmp_path, 2, excluded=EXCLUDED, sign=1)

    graph = attribution_graph(store, "c", preset=preset, share=0.001)

    nodes = [
        (graph.layers[layer], channel)
        for layer, channel in zip(graph.layer, graph.channel.tolist(), strict=True)
    ]
    assert not {("first", channel) for channel in EXCLUDED}.intersection(nodes)
    arcs = {
        (nodes[target], nodes[source]): count
        for target, source, count in zip(
            graph.target, graph.source, graph.arc_count.tolist(), strict=True
        )
    }
    assert arcs
    assert not EXCLUDED.intersection(graph.strongest_channel.ravel().tolist())
    if extraction == SIGNED:
        assert arcs == {
            (("second", target), ("first", source)): counts[target, source]
            for (_, target), (_, source) in arcs
        }


def old_store(folder):
    """Return a store as planned before influences at peaks had signs."""
    plan, probe = planned(folder, SIGNED)
    plan = replace(plan, keeps_remainders=False)
    return nnviz.prepare_store(plan, str(folder / "run.zarr"), probe=probe)


def test_extract__never_mixes_meanings_in_a_store_from_before(tmp_path):
    store = old_store(tmp_path)
    old = "when influences at peaks .* were the positive ones alone.*make a new store"

    with one_worker() as client, pytest.raises(PlanMismatchError, match=old):
        nnviz.extract(store, client=client)
    with pytest.raises(PlanMismatchError, match=old):
        recompute(store, 1.0)
    write_inputs(tmp_path, n=44)
    with pytest.raises(PlanMismatchError, match=old):
        extend(store.url)

    assert store.chunks.missing() == [0, 1, 2]


def test_extract__leaves_a_complete_store_from_before_as_it_is(tmp_path):
    store = old_store(tmp_path)
    for index, (start, stop) in enumerate(store.chunks.spans):
        chunk = {
            spec.path: np.zeros(
                (
                    1 if spec.path.startswith("peaks/") else stop - start,
                    *spec.shape[1:],
                ),
                dtype=spec.dtype if spec.dtype != "string" else object,
            )
            for spec in store.plan.arrays
            if not spec.is_static and spec.path in store.chunks.arrays
        }
        chunk["instances/status"] = np.full(stop - start, "", dtype=object)
        counts = {"n_instances": stop - start, "n_unreadable": 0, "n_saturated": 0}
        store.chunks.write(index, chunk, counts)

    with one_worker() as client:
        summary = nnviz.extract(Store.open(store.url, writable=True), client=client)

    assert (summary.n_chunks, summary.n_done_before) == (3, 3)
