"""What is said of a store is what stages have written."""

import pytest

from nnviz.testing import PlantedRun, write_complete_store
from nnviz.upkeep.inspection import describe_store


@pytest.mark.slow
def test_describe_store__lists_graphs_one_by_one_and_calls_them_complete(tmp_path):
    run = PlantedRun(n_classes=3, n_instances=60, influence_ranks=2)
    store = write_complete_store(tmp_path / "run.zarr", run)

    groups = describe_store(store).groups

    unfinished = [path for path, facts in groups.items() if not facts["complete"]]
    assert unfinished == []
    assert groups["artifacts/attribution_graphs/label/summit"]["subsets"] == 3
