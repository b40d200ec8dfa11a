"""The laws of reductions, and what must not change a byte of the aggregates."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from nnviz.aggregation.aggregation import aggregate
from nnviz.aggregation.reductions import (
    ActivationCounts,
    ActivationMoments,
    InfluenceRows,
    InfluenceTotals,
    RelevanceMoments,
)
from nnviz.network.top_channels import top_channels
from nnviz.store.store import Store
from nnviz.subsets.naming import named_subsets
from nnviz.testing import PlantedRun, write_store
from tests.oracles.files import tree_bytes

pytestmark = pytest.mark.slow

S, C, TARGETS, SOURCES = 3, 5, 3, 4


def pieces(rng, n, *, is_exact):
    """Return membership and every kind of values of n instances."""
    membership = sparse.csr_array(rng.random((S, n)) < rng.choice([0.1, 0.5, 0.9]))
    # Sums of small whole numbers are exact, so that regrouping them changes nothing.
    activations = (
        rng.integers(-9, 9, (n, C)).astype(np.float16)
        if is_exact
        else rng.normal(0, 100, (n, C)).astype(np.float16)
    )
    source = np.argsort(rng.random((n, 2, SOURCES)), axis=2)[:, :, :2].astype(np.int32)
    source[rng.random(source.shape) < 0.3] = -1
    target = np.argsort(rng.random((n, TARGETS)), axis=1)[:, :2].astype(np.int32)
    target[rng.random(target.shape) < 0.3] = -1
    influence = rng.integers(1, 9, source.shape).astype(np.float32)
    if not is_exact:
        influence = rng.random(source.shape).astype(np.float32)
    return membership, activations, InfluenceRows(target, source, influence)


REDUCTIONS = {
    "counts": (ActivationCounts(S, C), lambda a, i: top_channels(a, share=0.5)),
    "moments": (ActivationMoments(S, C), lambda a, i: a),
    "influences": (InfluenceTotals(S, TARGETS, SOURCES), lambda a, i: i),
    "relevance": (
        RelevanceMoments(S, C, has_norms=True),
        lambda a, i: np.stack([a, a[:, ::-1], a + 1, a * 2]).astype(np.float32),
    ),
}


def joined(first, second):
    membership = sparse.hstack([first[0], second[0]], format="csr")
    activations = np.concatenate([first[1], second[1]])
    rows = InfluenceRows(
        *(
            np.concatenate([getattr(first[2], name), getattr(second[2], name)])
            for name in ("target", "source", "influence")
        )
    )
    return membership, activations, rows


def dense(reduction, partial):
    return {
        name: values.toarray() if sparse.issparse(values) else values
        for name, values in reduction.finalize(partial).items()
    }


def partial_of(kind, piece):
    reduction, pick = REDUCTIONS[kind]
    return reduction.chunk(piece[0], pick(piece[1], piece[2]))


@pytest.mark.parametrize("kind", REDUCTIONS)
@given(seed=st.integers(0, 2**32 - 1), sizes=st.lists(st.integers(0, 7), max_size=2))
@settings(max_examples=40, deadline=None)
def test_chunk__of_joined_data_is_the_combined_chunks(kind, seed, sizes):
    rng = np.random.default_rng(seed)
    reduction, _ = REDUCTIONS[kind]
    first, second = (pieces(rng, n, is_exact=True) for n in (*sizes, 3, 4)[:2])

    whole = partial_of(kind, joined(first, second))
    combined = reduction.combine(partial_of(kind, first), partial_of(kind, second))

    for name, values in dense(reduction, whole).items():
        np.testing.assert_array_equal(dense(reduction, combined)[name], values)


@pytest.mark.parametrize("kind", REDUCTIONS)
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_combine__is_associative(kind, seed):
    rng = np.random.default_rng(seed)
    reduction, _ = REDUCTIONS[kind]
    a, b, c = (
        partial_of(kind, pieces(rng, rng.integers(0, 6), is_exact=True))
        for _ in range(3)
    )

    left = reduction.combine(reduction.combine(a, b), c)
    right = reduction.combine(a, reduction.combine(b, c))

    for name, values in dense(reduction, left).items():
        np.testing.assert_array_equal(dense(reduction, right)[name], values)


@pytest.mark.parametrize("kind", REDUCTIONS)
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_identity__is_the_unit_of_combine_to_the_bit(kind, seed):
    rng = np.random.default_rng(seed)
    reduction, _ = REDUCTIONS[kind]
    partial = partial_of(kind, pieces(rng, 5, is_exact=False))

    for other in (
        reduction.combine(reduction.identity(), partial),
        reduction.combine(partial, reduction.identity()),
    ):
        for name, values in dense(reduction, partial).items():
            assert dense(reduction, other)[name].tobytes() == values.tobytes()


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(0, 9), m=st.integers(0, 9))
@settings(max_examples=40, deadline=None)
def test_sums__regrouped_differ_by_rounding_only(seed, n, m):
    rng = np.random.default_rng(seed)
    reduction, _ = REDUCTIONS["moments"]
    first, second = pieces(rng, n, is_exact=False), pieces(rng, m, is_exact=False)

    whole = partial_of("moments", joined(first, second))
    parts = reduction.combine(
        partial_of("moments", first), partial_of("moments", second)
    )

    for name, values in dense(reduction, whole).items():
        np.testing.assert_allclose(
            dense(reduction, parts)[name], values, rtol=1e-12, atol=1e-9
        )


SMALL = PlantedRun(
    n_classes=4, n_instances=100, layers=(("early", 8, (4, 4)), ("late", 12, (2, 2)))
)


def aggregated(path, run, client=None):
    store = write_store(path, run)
    subsets = [named_subsets(store, name) for name in ("label", "outcome")]
    aggregate(store, subsets, client=client)
    return Store.open(path)


@pytest.mark.parametrize("n_workers", [1, 2, 4])
def test_aggregates__have_the_same_bytes_for_any_number_of_workers(
    tmp_path, monkeypatch, n_workers
):
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr("nnviz.aggregation.aggregation.VALUES_PER_SPAN", 1)
    run = replace(SMALL, instances_per_chunk=8, n_unreadable=7, has_relevance=True)
    aggregated(tmp_path / "here", run)

    with distributed.Client(
        processes=False,
        n_workers=n_workers,
        threads_per_worker=1,
        dashboard_address="127.0.0.1:0",
        set_as_default=False,
    ) as client:
        aggregated(tmp_path / "there", run, client)

    here = tree_bytes(tmp_path / "here" / "aggregates")
    assert len(here) > 100
    assert tree_bytes(tmp_path / "there" / "aggregates") == here


@pytest.mark.parametrize("rows", [8, 33, 100])
def test_counts_and_maxima__do_not_depend_on_the_size_of_a_chunk(
    tmp_path, monkeypatch, rows
):
    monkeypatch.setattr("nnviz.aggregation.aggregation.VALUES_PER_SPAN", 1)
    whole = aggregated(tmp_path / "a", SMALL)

    cut = aggregated(tmp_path / "b", replace(SMALL, instances_per_chunk=rows))

    for layer in whole.layers:
        path = f"aggregates/outcome/activation_counts/{layer.name}"
        assert (whole.groups.read_csr(path) != cut.groups.read_csr(path)).nnz == 0
        path = f"aggregates/outcome/activation_maximum/{layer.name}"
        np.testing.assert_array_equal(whole.groups.read(path), cut.groups.read(path))
        path = f"aggregates/outcome/activation_sum/{layer.name}"
        np.testing.assert_allclose(
            whole.groups.read(path), cut.groups.read(path), rtol=1e-14
        )
