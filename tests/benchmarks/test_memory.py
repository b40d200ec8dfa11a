"""Many chunks through real processes: the scheduler holds a window, never all tasks."""

import pytest

from benchmarks.memory import measure, summarise


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.timeout(900)  # beside other work it takes minutes
def test_extract__many_chunks__scheduler_holds_a_window_and_does_not_grow(
    tmp_path, forked_clusters
):
    found = measure(tmp_path, n_instances=50_000, chunk=256, n_workers=2, every_s=0.1)

    tasks = [sample["scheduler"]["tasks"] for sample in found["samples"]]
    groups = [sample["scheduler"]["groups"] for sample in found["samples"]]
    assert found["tasks"] == 196
    assert len(tasks) > 10
    # Two for each of two workers, and no more while one of them is being forgotten.
    assert max(tasks) <= 6
    assert max(groups) <= 6
    growth = found["summary"]["memory"]
    # A list of results, or a task that is not forgotten with its data, would be more.
    assert growth["client"]["bytes_per_task"] < 50_000
    assert growth["scheduler"]["bytes_per_task"] < 50_000


def test_summarise__memory_that_grows__is_told_by_task():
    samples = [
        {
            "second": float(i),
            "client": 10**8,
            "scheduler": {
                "bytes": 10**8 + 1000 * i,
                "tasks": 4,
                "groups": 1,
                "idle": 0,
            },
            "workers": [10**8, 2 * 10**8],
        }
        for i in range(101)
    ]

    found = summarise(samples, n_tasks=1000)

    assert found["memory"]["scheduler"]["bytes_per_task"] == 100
    assert found["memory"]["client"]["bytes_per_task"] == 0
    assert found["samples_with_an_idle_worker"] == 0
