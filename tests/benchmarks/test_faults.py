"""The campaign of faults, a few rounds of it, by a fixed seed."""

import pytest

from benchmarks.faults import run_campaign


@pytest.mark.slow
def test_campaign__loses_nothing_and_serves_nothing_wrong():
    # `.ci/run` has fifty more, of another seed.
    tally = run_campaign(6, seed=0)

    assert tally.is_sound, tally.to_json()["wrong"]
    assert sum(tally.tried.values()) == 6
    n_damaged = sum(tally.noticed.values())
    assert 2 < n_damaged <= sum(tally.repaired.values())
