"""The decoding benchmark, on a few generated pictures."""

from __future__ import annotations

import pytest

from benchmarks.decoding import measure
from benchmarks.decoding_report import speed_rows, table
from benchmarks.pictures import make_like_shared


@pytest.mark.slow
def test_measure__few_pictures__finds_pillows_pixels_and_what_reduction_changes(
    tmp_path,
):
    shared = make_like_shared(tmp_path, n_files=3)

    found = measure(shared, n=3, repeat=1, forward_per_s=1000.0)

    machine = {"processor": "?", "cores": 1, "load": [0.0], "date": "today"}
    result = {"command": "", "machine": machine, "pictures": "generated", **found}
    as_they_are, enlarged = (found["files"][name] for name in found["files"])
    # A half of 500 x 375 would be smaller than 256; a quarter of 2000 x 1500 is not.
    assert as_they_are["changes"]["1.0"]["images_with_other_pixels"] == 0
    assert as_they_are["changes"]["1.0"]["same_prediction"] == 1
    assert enlarged["changes"]["1.0"]["images_with_other_pixels"] == 1
    assert 0 < enlarged["changes"]["2.0"]["mean_levels"] < 3
    cores = found["cores_for_a_gpu"]["nnviz"]
    assert cores == pytest.approx(as_they_are["core_ms"]["nnviz"])
    assert "| nnviz | " in table(result)
    assert len(speed_rows(result)) == 2
