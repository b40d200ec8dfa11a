"""The benchmark for GPUs, on the processor: what runs in one process works there."""

import dataclasses

import pytest

from benchmarks.gpu import compared, measure
from nnviz.store.store import Store
from nnviz.testing import write_store
from tests import planted_stores


@pytest.mark.slow
def test_measure__on_the_processor__has_its_numbers(tmp_path):
    found = measure(
        tmp_path,
        network="resnet20",
        device="cpu",
        batch=4,
        n_instances=8,
        seconds=0.01,
        parts=["recorded", "decoding"],
    )

    assert not [part["failed"] for part in found.values() if "failed" in part]
    for row in found["recorded"].values():
        assert row["bare_per_s"] > 0
        assert len(row["ratio"]) == 3
    assert all(found["decoding"]["reader_per_s"].values())


def test_compared__a_run_with_itself_and_with_another_seed__says_how_far_they_agree(
    extracted_url, tmp_path
):
    other = dataclasses.replace(planted_stores.RUN, seed=planted_stores.RUN.seed + 1)
    write_store(tmp_path / "other.zarr", other)
    one, two = Store.open(extracted_url), Store.open(tmp_path / "other.zarr")

    same = compared(one, one)
    differing = compared(one, two)

    assert same == {
        "equal": 1.0,
        "largest_difference": 0.0,
        "same_predictions": 1.0,
    }
    assert differing["equal"] < 1.0
    assert differing["largest_difference"] > 0.0
