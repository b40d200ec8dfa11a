"""A sample is computed again: equal on this machine, and a wrong number is found."""

import numpy as np
import pytest
from click.testing import CliRunner

from nnviz.cli.main import main
from nnviz.errors import ConfigError, PlanMismatchError
from nnviz.store.store import Store, open_store
from nnviz.upkeep.recomputation import parse_fraction, recompute
from nnviz.upkeep.verification import verify
from tests.faults.small_run import extracted, one_worker, write_inputs, write_weights


@pytest.fixture
def store(small):
    return small


def test_recompute__everything__is_equal_bit_for_bit(store):
    result = recompute(store, 1.0)

    assert (result.n_instances, result.n_batches) == (40, 5)
    assert result.has_to_be_equal
    assert result.differences == {}


def test_recompute__a_fraction__draws_at_least_one_and_its_batch(store):
    small = recompute(store, 1e-9, seed=3)

    assert (small.n_instances, small.n_batches) == (8, 1)
    assert small.differences == {}


@pytest.mark.slow
def test_recompute__on_a_cluster_is_the_same(store):
    with one_worker() as client:
        result = recompute(store, 0.2, client=client, seed=1)

    assert result == recompute(store, 0.2, seed=1)


def test_recompute__finds_a_wrong_number_that_checksums_cannot(store):
    writable = Store.open(store.url, writable=True)
    arrays = {p: store.read(p, *_part(p, 1, 16, 32)) for p in store.chunks.arrays}
    arrays["activations/first"][3, 2] += np.float16(0.5)
    counts = {"n_instances": 16, "n_unreadable": 0, "n_saturated": 0}
    writable.chunks.write(1, arrays, counts)

    result = recompute(open_store(store.url), 1.0)

    assert verify(store.url).is_sound
    assert list(result.wrong) == ["activations/first"]
    assert result.wrong["activations/first"] > 0.05
    assert result.instances == {"activations/first": store.column("id")[19]}
    assert "wrong: 'activations/first'" in str(result)


def _part(path, index, start, stop):
    return (index, index + 1) if path.startswith("peaks/") else (start, stop)


def test_recompute__with_other_software_allows_rounding(store, monkeypatch):
    monkeypatch.setattr("nnviz.upkeep.recomputation.software_versions", dict)

    assert not recompute(store, 1.0).has_to_be_equal


def test_recompute__with_other_weights_is_refused(tmp_path):
    store = extracted(write_inputs(tmp_path))
    write_weights(tmp_path, seed=1)

    with pytest.raises(PlanMismatchError, match="the network has changed"):
        recompute(store, 1.0)


def test_verify_command__with_a_sample(store):
    result = CliRunner().invoke(main, ["verify", store.url, "--recompute", "10%"])

    assert result.exit_code == 0
    assert "everything is as it was written" in result.output
    assert "all are equal bit for bit" in result.output


@pytest.mark.parametrize("text", ["0", "200%", "some", "-1"])
def test_parse_fraction__refuses_what_is_none(text):
    with pytest.raises(ConfigError, match="should be like"):
        parse_fraction(text)
