"""What a run has to show, and what it lacks and how to get it."""

import shutil
import threading

import numpy as np
import pytest

from nnviz.derivation.examples import read_examples
from nnviz.results import run_results
from nnviz.results.query_pool import N_THREADS
from nnviz.results.run_results import RunResults, first_layer, stage_state
from nnviz.store.store import Store
from nnviz.testing import PlantedRun, write_store


def test_first_layer__is_not_the_networks_answer(finished):
    layers = finished.layers

    assert first_layer(layers, n_outputs=10) == "late"
    assert first_layer(layers, n_outputs=-1) == "output"
    assert first_layer((), n_outputs=10) == ""


def test_results__of_an_unfinished_extraction_name_the_command(partial_url):
    missing = RunResults(Store.open(partial_url)).missing_stage()

    assert missing.command == f"nnviz extract {partial_url}"
    assert "2 of 3 chunks" in missing.text


def test_results__picture_is_a_file_and_empty_outside(results):
    assert results.picture("late", 0, 0)[:2] in (b"\xff\xd8", b"\x89P", b"RI")
    assert results.picture("late", 10_000, 0) == b""
    assert results.picture("late", 0, 4) == b""
    assert results.picture("late", -1, 0) == b""


@pytest.mark.parametrize("piece", [61, 1000, 10**9])
def test_results__picture_is_what_derivation_has_written(results, monkeypatch, piece):
    monkeypatch.setattr(run_results, "PIECE_BYTES", piece)
    written = read_examples(results.store, "middle")
    fresh = RunResults(results.store)

    for channel in (0, 1, 7):
        for rank in range(written.instance.shape[1]):
            picture = fresh.picture("middle", channel, rank)
            assert picture == written.picture(channel, rank)


def test_results__without_labels_show_the_predicted_classes(tmp_path):
    run = PlantedRun(n_classes=3, n_instances=60, is_labelled=False)
    store = write_store(tmp_path / "run.zarr", run)

    results = RunResults(Store.open(store.url))

    assert results.kind == "prediction"
    table = results.class_table()
    expected = np.bincount(run.predictions, minlength=3)
    np.testing.assert_array_equal(table.n_instances, expected)
    assert np.isnan(table.accuracy).all()


def test_stage_state__changes_with_every_stage(extracted_url, aggregated_url, finished):
    stores = [Store.open(extracted_url), Store.open(aggregated_url), finished]

    states = [stage_state(store) for store in stores]

    assert len(set(states)) == 3
    assert stage_state(Store.open(aggregated_url)) == states[1]


def test_results__of_a_store_that_was_taken_away_say_so(extracted_url, tmp_path):
    shutil.copytree(extracted_url, tmp_path / "run.zarr")
    found = RunResults(Store.open(str(tmp_path / "run.zarr")))
    assert "aggregate" in found.missing_stage().command

    shutil.rmtree(tmp_path / "run.zarr")

    missing = found.missing_stage()
    assert missing.title == "The store is gone"
    assert missing.command == ""


def test_reads__do_not_wait_for_what_is_counted(results):
    held, answered = threading.Event(), threading.Event()
    for _ in range(N_THREADS):
        results.graphs.queries.run(lambda: held.wait(60), lambda _: None)

    results.reads.run(lambda: 1, lambda _: answered.set())

    assert answered.wait(30)
    held.set()
    results.close()
