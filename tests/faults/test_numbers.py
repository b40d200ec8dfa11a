"""Rows 19 and 20: activations that are no numbers, and those beyond float16."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

import nnviz
from nnviz.cli.main import main
from nnviz.store.store import open_store
from tests.faults.small_run import create, later_stages, one_worker, write_inputs

BAD = {7: np.nan, 20: np.inf, 33: -np.inf}
LARGE = 38


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Return a store with bad and large rows, and one of the same rows without."""
    made = []
    for name in ("bad", "clean"):
        folder = write_inputs(tmp_path_factory.mktemp(name))
        with np.load(folder / "rows.npz") as known:
            columns = dict(known)
        for row, value in BAD.items():
            columns["data"][row] = 0 if name == "clean" else columns["data"][row]
            columns["data"][row, 2] = 0 if name == "clean" else value
        columns["data"][LARGE] *= 1e6
        np.savez(folder / "rows.npz", **columns)
        store = create(folder)
        with one_worker() as client:
            nnviz.extract(store, client=client)
        later_stages(store)
        made.append(open_store(store.url))
    return made


@pytest.mark.slow
def test_row_that_is_no_number__is_recorded_and_changes_no_other(stores):
    """Row 19: reason by instance; every other value is bit for bit as without it."""
    bad, clean = stores
    rows = sorted(BAD)
    others = np.setdiff1d(np.arange(40), rows)

    assert list(np.flatnonzero(~bad.usable())) == rows
    assert all("not finite numbers" in bad.column("status")[row] for row in rows)
    for layer in ("first", "second"):
        ours, theirs = bad.activations(layer), clean.activations(layer)
        assert np.isnan(ours[rows]).all()
        assert ours[others].tobytes() == theirs[others].tobytes()


def test_row_that_is_no_number__counts_nowhere(stores):
    """Row 19: not in subsets, maxima, or examples."""
    bad, _ = stores
    classes = nnviz.aggregates_of(bad, "label")

    assert classes.n_instances.sum() == 37
    assert np.isfinite(classes.maximum("first")).all()
    assert np.isfinite(classes.mean("first")).all()
    assert not np.isin(bad.read("peaks/first/instance"), sorted(BAD)).any()


def test_row_that_is_no_number__is_reported(stores):
    """Row 19: by inspect, with id and reason."""
    result = CliRunner().invoke(
        main, ["inspect", stores[0].url, "--unreadable", "--json"]
    )

    report = json.loads(result.output)
    assert report["counts"]["n_unreadable"] == 3
    assert len(report["unreadable"]) == 3
    assert all("not finite" in why for why in report["unreadable"].values())


def test_activation_beyond_float16__is_saturated_and_counted(stores):
    """Row 20: never infinite in the store."""
    bad, _ = stores
    values = bad.activations("first")[LARGE]

    assert values.dtype == np.float16
    assert values.max() == 65_504
    assert bad.usable()[LARGE]
    assert bad.chunks.marks()["n_saturated"].sum() >= (values == 65_504).sum() > 0
    result = CliRunner().invoke(main, ["inspect", bad.url])
    assert "stored as 65,504, the largest float16" in result.output
