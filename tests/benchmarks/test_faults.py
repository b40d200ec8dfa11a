"""The campaign of faults, a few rounds of it, by a fixed seed."""

import pytest

from benchmarks.faults import run_campaign


@pytest.mark.slow
def test_campaign__loses_nothing_and_serves_nothing_wrong():
    tally = run_campaign(12, seed=0)

    assert tally.is_sound, tally.to_json()["wrong"]
    assert sum(tally.tried.values()) == 12
    n_damaged = sum(tally.noticed.values())
    assert 5 < n_damaged <= sum(tally.repaired.values())
