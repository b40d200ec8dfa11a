"""The simulation of clusters against a pencil and an oracle; the benchmark, small."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.report import ROOT, documents, with_sections
from benchmarks.scaling import SMALL, Assumptions, conclusions, measure
from benchmarks.scaling_model import (
    Cluster,
    Work,
    best_chunk,
    cores_needed,
    first_limits,
    simulate,
)
from benchmarks.scaling_report import details, plot, summary
from tests.oracles.scaling import moments_of_a_run

FREE = Work(
    instances=40,
    instances_per_chunk=10,
    batch_size=2,
    read_bytes=0.0,
    written_bytes=0.0,
    read_operations=0.0,
    task_operations=0.0,
    listed_operations=0.0,
    decode_core_s=0.0,
)
ONE = Cluster(workers=1, forward_per_s=10.0)


def test_simulate__one_worker__adds_up():
    seconds = simulate(
        replace(FREE, task_core_s=0.5), replace(ONE, start_s=3.0, load_core_s=1.0)
    ).seconds

    # 3 + 1 until it is ready; then 4 chunks of 10 at 10 a second, each with 0.5 more.
    assert seconds == pytest.approx(4 + 4 * 1.5)


def test_simulate__slow_decoding__waits_for_the_first_batch_only():
    slow = simulate(replace(FREE, decode_core_s=0.2), ONE).seconds
    fast = simulate(replace(FREE, decode_core_s=0.05), ONE).seconds

    # Decoding takes 2 s of each chunk, and the network is done with it.
    assert slow == pytest.approx(4 * 2.0)
    # Decoding takes 0.1 s for the first batch, and then keeps up.
    assert fast == pytest.approx(4 * (0.1 + 1.0))


def test_simulate__shared_disk__serves_one_chunk_after_another():
    work = replace(FREE, read_bytes=1.0)
    cluster = Cluster(workers=2, forward_per_s=1e6, read_bytes_per_s=10.0)

    outcome = simulate(work, cluster)

    assert outcome.seconds == pytest.approx(4.0, rel=1e-3)
    assert outcome.limit == "file system, reading"


def test_simulate__last_chunk_is_short__is_counted_as_it_is():
    assert simulate(replace(FREE, instances=41), ONE).seconds == pytest.approx(4.1)


def test_simulate__two_cores_for_all__are_shared():
    work = replace(FREE, task_core_s=1.0)
    cluster = Cluster(workers=4, forward_per_s=1e9, shared_cores=2)

    assert simulate(work, cluster).seconds == pytest.approx(2.0)


@pytest.mark.parametrize("seed", range(40))
def test_simulate__equal_tasks__equals_the_oracle(seed):
    random = np.random.default_rng(seed)
    n_tasks, workers = int(random.integers(1, 60)), int(random.integers(1, 9))
    task, scheduler, client = (int(n) for n in random.integers(1, 12, 3))
    work = replace(
        FREE,
        instances=n_tasks,
        instances_per_chunk=1,
        scheduler_s=float(scheduler),
        client_s=float(client),
    )

    found = simulate(work, Cluster(workers, forward_per_s=1 / task)).seconds

    expected = moments_of_a_run(n_tasks, workers, task, scheduler, client)
    assert found == pytest.approx(expected)


BUSY = replace(
    FREE,
    instances=100_003,
    instances_per_chunk=64,
    read_bytes=1e5,
    written_bytes=1e4,
    read_operations=1.0,
    task_operations=100.0,
    listed_operations=1.0,
    decode_core_s=1e-3,
    scheduler_s=1e-3,
    client_s=1e-3,
)
FAST = Cluster(
    workers=16,
    forward_per_s=1000.0,
    cores_per_worker=8.0,
    read_bytes_per_s=1e11,
    write_bytes_per_s=1e11,
    operations_per_s=1e7,
)


@pytest.mark.parametrize(
    ("name", "work", "cluster"),
    [
        pytest.param("networks", {}, {}, id="networks"),
        pytest.param("decoding", {"decode_core_s": 0.1}, {}, id="decoding"),
        pytest.param(
            "file system, reading", {}, {"read_bytes_per_s": 1e7}, id="reading"
        ),
        pytest.param(
            "file system, writing", {}, {"write_bytes_per_s": 1e6}, id="writing"
        ),
        pytest.param(
            "file system, names", {"task_operations": 1e6}, {}, id="names-of-tasks"
        ),
        pytest.param("scheduler", {"scheduler_s": 0.1}, {}, id="scheduler"),
        pytest.param("client", {"client_s": 0.1}, {}, id="client"),
        pytest.param(
            "writing by the workers", {"task_core_s": 1.0}, {}, id="own-writing"
        ),
        pytest.param("listing, once", {"listed_operations": 1e4}, {}, id="listing"),
        pytest.param("start of workers", {}, {"start_s": 1e3}, id="start"),
        pytest.param(
            "few chunks", {"instances_per_chunk": 100_000}, {}, id="few-chunks"
        ),
    ],
)
def test_simulate__one_part_is_slow__is_the_limit_and_the_time(name, work, cluster):
    outcome = simulate(replace(BUSY, **work), replace(FAST, **cluster))

    slowest, second = list(outcome.limits.values())[:2]
    assert outcome.limit == name
    assert slowest <= outcome.seconds <= slowest + second + 1.0


@pytest.mark.parametrize("seed", range(20))
def test_simulate__no_run_beats_its_limits(seed):
    random = np.random.default_rng(seed)
    work = replace(
        BUSY,
        instances=int(random.integers(1, 20_000)),
        instances_per_chunk=int(random.integers(1, 500)),
        decode_core_s=float(random.uniform(0, 0.01)),
        scheduler_s=float(random.uniform(0, 0.05)),
        task_core_s=float(random.uniform(0, 0.05)),
    )
    cluster = replace(
        FAST,
        workers=int(random.integers(1, 40)),
        read_bytes_per_s=float(10 ** random.uniform(7, 10)),
        operations_per_s=float(10 ** random.uniform(3, 7)),
        shared_cores=[None, 2][seed % 2],
    )

    outcome = simulate(work, cluster)

    assert outcome.seconds >= max(outcome.limits.values()) * (1 - 1e-9)


def test_simulate__more_workers__are_no_slower_where_nothing_is_listed():
    work = replace(BUSY, listed_operations=0.0)

    seconds = [
        simulate(work, replace(FAST, workers=n)).seconds
        for n in (1, 2, 4, 8, 16, 32, 64, 128)
    ]

    assert all(b <= a * 1.01 for a, b in itertools.pairwise(seconds))


def test_first_limits__are_where_the_time_stops_to_fall():
    work = replace(BUSY, listed_operations=0.0, scheduler_s=2e-3)
    name, number = next(iter(first_limits(work, FAST).items()))

    below = simulate(work, replace(FAST, workers=round(number * 0.9)))
    above = simulate(work, replace(FAST, workers=round(number * 4)))

    assert (name, number) == ("scheduler", pytest.approx(64 / 1000 / 2e-3))
    assert (below.limit, above.limit) == ("networks", "scheduler")
    assert above.seconds == pytest.approx(work.n_tasks * 2e-3, rel=0.05)


def test_cores_needed__keep_the_network_busy():
    work = replace(BUSY, decode_core_s=2e-3, listed_operations=0.0)
    few, enough = (replace(FAST, cores_per_worker=n) for n in (1.0, 2.0))

    assert cores_needed(work, FAST) == pytest.approx(2.0)
    assert simulate(work, few).limit == "decoding"
    assert simulate(work, enough).limit == "networks"


def test_best_chunk__is_large_where_the_scheduler_is_slow_and_small_for_few_rounds():
    slow = replace(BUSY, scheduler_s=0.1, listed_operations=0.0)

    large = best_chunk(slow, FAST).instances_per_chunk
    small = best_chunk(replace(slow, scheduler_s=0.0), FAST).instances_per_chunk

    assert large > small


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.timeout(900)  # beside other work it takes minutes
def test_measure__small__has_what_the_report_needs(
    tmp_path, monkeypatch, forked_clusters
):
    monkeypatch.setenv("NNVIZ_SHARED", str(tmp_path / "nowhere"))

    found = measure(tmp_path, SMALL, workers=[1], repeat=1)
    result = {
        "command": "python -m benchmarks.scaling",
        "machine": {"processor": "?", "cores": 1, "load": [0.0], "date": "today"},
        **found,
        **conclusions(found, Assumptions()),
    }
    plot(result, tmp_path)

    assert found["pictures"] == "generated"
    assert [row["recorded"] for row in found["real"]] == ["maxima", "influences"]
    costs = found["chunk"]["squeezenet1_0"]
    assert costs["data_questions_of_an_instance"] == 1
    assert 5 < costs["files_written"] < 20
    assert all(row["scheduler_s"] > 0 for row in found["scheduling"])
    assert {row["gpus"] for row in result["simulated"]} >= {8, 64, 512}
    assert "| as it is | 512 |" in details(result)
    assert "| squeezenet1_0, influences | 1 |" in summary(result)
    assert "<svg" in (tmp_path / "scaling.svg").read_text()


@pytest.mark.parametrize(
    "name",
    [
        "docs/performance.md",
        "docs/causal-check.md",
        "docs/scaling.md",
        "docs/subsets.md",
    ],
)
def test_report__sections_of_documents__are_those_of_the_results(name):
    path = ROOT / name
    text = path.read_text(encoding="utf-8")

    assert with_sections(text, documents()[path]) == text, (
        "run: python -m benchmarks.report"
    )
