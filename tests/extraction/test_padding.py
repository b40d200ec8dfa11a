"""Runs over sentences: neighbours, padding and workers change nothing in a store."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch

import nnviz
from nnviz.store.store import Store
from tests.network.recording.test_padding_masks import bert, llama, maxima_alone
from tests.network.token_networks import (
    Blocks,
    Encoder,
    MeanOfEmbeddings,
    WordCNN,
    sentence,
)

pytestmark = pytest.mark.slow

N = 24
LONGEST = 14


def sentences():
    """Sentences of which the first and the last token are special, and labels."""
    lengths = np.random.default_rng(3).integers(3, LONGEST + 1, N)
    lengths[5] = LONGEST
    return [sentence(int(n), seed) for seed, n in enumerate(lengths)]


def items(more):
    """Items as a tokenizer gives them, each with so many tokens of padding more."""
    found = []
    for number, one in enumerate(sentences()):
        special = np.pad(1 - one["counted"], (0, more), constant_values=1)
        found.append(
            {
                "input_ids": np.pad(one["input_ids"], (0, more)),
                "attention_mask": np.pad(one["attention_mask"], (0, more)),
                "special_tokens_mask": special,
                "labels": number % 3,
            }
        )
    return found


def network_of(make):
    torch.manual_seed(4)
    return make().eval()


@functools.cache
def planned(make, more, options):
    """Return plan and probe of a run, once for all stores that it fills."""
    return nnviz.plan_run(
        network_of(make), items(more), extraction=dict(options), timed=False
    )


def run(folder, make, *, batch_size, more=0, client=None, **options):
    """Plan and extract a run of sentences; return its store."""
    network, given = network_of(make), items(more)
    options |= {"batch_size": batch_size, "instances_per_chunk": 12}
    plan, probe = planned(make, more, tuple(options.items()))
    store = nnviz.prepare_store(plan, str(folder), probe=probe)
    workers = None if client else 0
    nnviz.extract(
        store, model=network, dataset=given, client=client, workers=workers,
        progress=False,
    )  # fmt: skip
    return Store.open(store.url)


def arrays_of(store):
    paths = [x.path for x in store.plan.arrays if x.path != "extraction_done"]
    return {path: store.read(path) for path in paths}


def same(one, other):
    if one.dtype.kind in "iufb":
        return np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
    return one.tolist() == other.tolist()


def close(one, other):
    if one.dtype.kind != "f":
        return same(one, other)
    precision = 2e-3 if one.dtype == np.float16 else 1e-4
    return np.allclose(one, other, rtol=precision, atol=precision, equal_nan=True)


@pytest.mark.parametrize(
    ("make", "signal"),
    [(MeanOfEmbeddings, "max"), (Encoder, "peak"), (Blocks, "max"), (WordCNN, "max")],
)
def test_run__other_batches_other_padding_and_workers_store_the_same(
    tmp_path, processes, make, signal
):
    options = {"signal": signal, "targets": "all"}
    plain = run(tmp_path / "a.zarr", make, batch_size=8, **options)
    alone = run(tmp_path / "b.zarr", make, batch_size=1, **options)
    cluster = run(tmp_path / "c.zarr", make, batch_size=8, client=processes, **options)
    wanted = arrays_of(plain)
    found = [arrays_of(alone)]
    if make is not WordCNN:  # windows over padding are another network's
        padded = run(tmp_path / "d.zarr", make, batch_size=5, more=6, **options)
        found.append(arrays_of(padded))

    assert (plain.column("status") == "").all()
    assert all(same(x, wanted[path]) for path, x in arrays_of(cluster).items())
    for other in found:
        wrong = [path for path, x in other.items() if not close(x, wanted[path])]
        # Sources that contribute the same to rounding may change places.
        assert [p for p in wrong if not p.endswith("/source")] == []


@pytest.mark.parametrize("make", [functools.partial(bert, "sdpa"), llama])
def test_run__of_transformers_stores_the_same_in_other_batches(tmp_path, make):
    plain = run(tmp_path / "a.zarr", make, batch_size=8)
    alone = run(tmp_path / "b.zarr", make, batch_size=1)
    padded = run(tmp_path / "c.zarr", make, batch_size=5, more=6)

    wanted = arrays_of(plain)
    assert plain.plan.architecture.padding.mode == "buckets"
    assert (plain.column("status") == "").all()
    for other in (alone, padded):
        found = arrays_of(other)
        assert found.keys() == wanted.keys()
        wrong = [path for path, x in found.items() if not close(x, wanted[path])]
        # Where values tie to rounding, others may be among the top and the strongest.
        assert [p for p in wrong if p.startswith(("activations", "instances"))] == []
        peaks = [p for p in found if p.startswith("peaks/") and p.endswith("/value")]
        assert all(close(found[path], wanted[path]) for path in peaks)


@pytest.mark.parametrize("make", [MeanOfEmbeddings, Encoder])
def test_run__stores_what_each_sentence_has_alone(tmp_path, make):
    names = ["words", "hidden", "pooled"] if make is MeanOfEmbeddings else ["up"]
    store = run(tmp_path / "run.zarr", make, batch_size=8)

    network = network_of(make)
    for number, one in enumerate(sentences()):
        logits, maxima = maxima_alone(network, one, names)
        assert store.column("prediction")[number] == int(logits.argmax())
        for name in names:
            stored = store.read(f"activations/{name}")[number].astype(np.float64)
            assert np.allclose(stored, maxima[name], atol=2e-3)


def test_run__peaks_are_tokens_of_the_sentence(tmp_path):
    store = run(tmp_path / "run.zarr", MeanOfEmbeddings, batch_size=8, more=3)

    instance = store.read("peaks/hidden/instance").ravel()
    token = store.read("peaks/hidden/position").ravel()

    lengths = np.array([len(one["input_ids"]) for one in sentences()])
    assert (token >= 1).all()
    assert (token < lengths[instance] - 1).all()


def test_recompute__of_sentences_gives_the_stored_numbers(tmp_path):
    store = run(tmp_path / "run.zarr", Encoder, batch_size=8)

    found = nnviz.recompute(store.url, 1.0, model=network_of(Encoder), dataset=items(0))

    assert found.n_instances == N
    assert found.differences == {}


def test_plan__says_how_batches_are_padded():
    plans = [planned(make, 0, ())[0] for make in (MeanOfEmbeddings, WordCNN)]

    assert [plan.architecture.padding.mode for plan in plans] == [
        "buckets", "one length",
    ]  # fmt: skip
    assert "padding changes nothing that counts" in str(plans[0])
    assert "padded to one number of tokens: layer 'three'" in str(plans[1])


def test_run__an_instance_of_special_tokens_only_says_so(tmp_path):
    given = items(0)
    given[7]["special_tokens_mask"][:] = 1
    network = network_of(MeanOfEmbeddings)
    plan, probe = nnviz.plan_run(network, given, timed=False)
    store = nnviz.prepare_store(plan, str(tmp_path / "run.zarr"), probe=probe)
    nnviz.extract(
        store, model=network, dataset=given, workers=0, progress=False,
        max_unreadable_fraction=0.1,
    )  # fmt: skip

    status = store.column("status")
    assert "no token that counts" in status[7]
    assert (np.delete(status, 7) == "").all()
