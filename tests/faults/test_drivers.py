"""What may happen to drivers and schedulers: killed, interrupted, started twice."""

import contextlib
import os
import random
import signal
import time

import pytest

import nnviz
from nnviz.store.store import Store
from tests.faults.small_run import one_worker
from tests.faults.tiny_run import (
    N_CHUNKS,
    N_INSTANCES,
    address_in,
    checksums,
    children_of,
    group_is_gone,
    n_done,
    start_dask,
    wait_for,
    workers_of,
)

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


def finish_run(store):
    """Do what is left, undisturbed, in threads of this process."""
    with one_worker() as client:
        summary = nnviz.extract(Store.open(store, writable=True), client=client)
    assert summary.failed == {}


def lines(text):
    return [line for line in text.splitlines() if line.strip()]


def kill_driver(one, rng):
    one.process.kill()


def kill_group(one, rng):
    one.kill_group()


def end_driver(one, rng):
    one.signal(signal.SIGTERM)


def kill_worker_and_go_on(one, rng):
    alive = workers_of(one.process.pid)
    if alive:
        os.kill(rng.choice(alive), signal.SIGSEGV)


def test_extract__any_sequence_of_kills_and_restarts__ends_in_the_same_bytes(
    run, undisturbed, tmp_path, driver
):
    """Rows 1, 2 and 6: drivers, groups and workers, at seeded moments, then a rest.

    The campaign of the benchmarks has many more such sequences.
    """
    store = run.store(tmp_path / "run.zarr")
    run.fault("all", "sleep 0.01")
    rng = random.Random(7)
    ends = [kill_driver, kill_group, end_driver]
    rng.shuffle(ends)
    for end in ends:
        one = driver("extract", store, "--workers", "2", "--quiet")
        goal = n_done(store) + 1
        wait_for(
            lambda one=one, goal=goal: (
                one.process.poll() is not None or n_done(store) >= goal
            )
        )
        time.sleep(rng.uniform(0, 0.3))
        kill_worker_and_go_on(one, rng)
        time.sleep(rng.uniform(0, 0.3))
        end(one, rng)
        one.process.wait(timeout=240)
        wait_for(lambda pid=one.process.pid: group_is_gone(pid))

    run.repair()
    finish_run(store)
    assert not (store / "writer").exists()
    assert checksums(store) == undisturbed


@pytest.mark.parametrize(
    ("number", "code", "is_running", "to"),
    [
        pytest.param(signal.SIGTERM, 143, True, os.kill, id="sigterm-while-running"),
        pytest.param(signal.SIGINT, 130, True, os.killpg, id="sigint-of-a-terminal"),
        pytest.param(signal.SIGINT, 130, False, os.kill, id="sigint-at-start"),
        pytest.param(signal.SIGUSR1, 138, False, os.kill, id="sigusr1-at-start"),
    ],
)
def test_extract__signal__ends_with_one_line_and_leaves_nothing(
    run, tmp_path, driver, number, code, is_running, to
):
    """Row 7: at any time, to one or all processes; 128 and the number; resumable."""
    store = run.store(tmp_path / "run.zarr")
    run.fault("all", "sleep 0.05")
    n_workers = "2" if to is os.killpg else "1"
    one = driver("extract", store, "--workers", n_workers, "--quiet")
    if is_running:
        wait_for(lambda: n_done(store) >= 1)
    else:
        wait_for((store / "writer" / "zarr.json").exists)

    to(one.process.pid, number)
    found, out, errors = one.finish()

    assert (found, out) == (code, "")
    assert lines(errors) == [
        "interrupted; what is complete is kept: repeat the command to go on"
    ]
    wait_for(lambda: group_is_gone(one.process.pid))
    assert not (store / "writer").exists()
    assert n_done(store) < N_CHUNKS


def test_extract__killed_while_instances_are_read_one_by_one__leaves_no_process(
    run, tmp_path, driver
):
    """Row 6: the one that hangs in an instance ends by itself, without its worker."""
    store = run.store(tmp_path / "run.zarr")
    run.fault(9, "sleep 3600")
    command = ("extract", store, "--workers", "1", "--quiet", "--deadline", "1s")
    one = driver(*command)
    wait_for(lambda: children_of(one.process.pid, "nnviz.extraction.isolation"))

    one.process.kill()
    one.process.wait(timeout=60)

    wait_for(lambda: group_is_gone(one.process.pid))


def test_plan__signal__ends_with_one_line(run, driver):
    """Row 7: while planning, which is inside a read that never comes back."""
    run.fault("all", "sleep-once 3600")
    one = driver("plan", run.file)
    wait_for(lambda: list(run.faults.glob("*.pid")))

    one.signal(signal.SIGTERM)
    code, _, errors = one.finish()

    assert code == 143
    assert lines(errors) == [
        "interrupted; what is complete is kept: repeat the command to go on"
    ]


def test_extract__time_limit__exits_with_its_own_code_and_goes_on(
    run, undisturbed, tmp_path, driver
):
    """Row 30, the part of the driver: out of time is code 75, and nothing is lost."""
    store = run.store(tmp_path / "run.zarr")
    run.fault("all", "sleep 0.05")
    command = ("extract", store, "--workers", "1", "--quiet")

    code, out, errors = driver(*command, "--time-limit", "1s").finish()

    assert code == 75
    assert "chunks are left: the time limit was reached" in out
    assert "repeat 'nnviz extract" in errors
    run.repair()
    finish_run(store)
    assert checksums(store) == undisturbed


def test_extract__all_processes_are_stopped_for_a_while__blames_nobody(
    run, undisturbed, tmp_path, driver
):
    """Row 16: SIGSTOP to the whole group, SIGCONT later, as where a job is suspended.

    Longer than a chunk may take, which nobody was there to watch.
    """
    store, log = run.store(tmp_path / "run.zarr"), tmp_path / "log"
    run.fault("all", "sleep 0.05")
    options = ("--workers", "1", "--quiet", "--deadline", "5s", "--log", log)
    one = driver("extract", store, *options)
    wait_for(lambda: n_done(store) >= 1)

    os.killpg(one.process.pid, signal.SIGSTOP)
    before = n_done(store)
    time.sleep(7)
    meanwhile = n_done(store)
    os.killpg(one.process.pid, signal.SIGCONT)
    code, _, errors = one.finish()

    assert before == meanwhile < N_CHUNKS
    assert (code, errors) == (0, "")
    assert "running for" not in log.read_text()
    assert checksums(store) == undisturbed


def test_extract__second_driver__is_refused_and_the_first_unharmed(
    run, undisturbed, tmp_path, driver
):
    """Row 15: refused at once, with process, host and time; also other stages."""
    store = run.store(tmp_path / "run.zarr")
    run.fault(N_INSTANCES - 1, "hold")  # the first one ends when it is killed
    first = driver("extract", store, "--workers", "1", "--quiet")
    wait_for((store / "writer" / "zarr.json").exists)

    refused = driver("extract", store, "--workers", "1", "--quiet")
    code, _, errors = refused.finish()

    assert code == 1
    assert f"process {first.process.pid} on {os.uname().nodename}, since 20" in errors
    assert "wait until it has ended" in errors
    assert first.process.poll() is None

    first.process.kill()
    first.process.wait(timeout=60)
    run.repair()
    finish_run(store)
    assert checksums(store) == undisturbed


def test_extract__scheduler_killed__says_how_to_go_on_and_does_not_hang(
    run, undisturbed, tmp_path, driver
):
    """Rows 4 and 5: SIGKILL to the scheduler; then one that has no workers."""
    store = run.store(tmp_path / "run.zarr")
    run.fault(N_INSTANCES - 1, "hold")
    processes = []

    def start(name):
        file = tmp_path / f"{name}.json"
        common = ["--scheduler-file", str(file), "--host", "127.0.0.1"]
        options = [
            "--port",
            "0",
            "--no-dashboard",
            "--dashboard-address",
            "127.0.0.1:0",
        ]
        processes.append(start_dask(tmp_path, "scheduler", *common, *options))
        return common, address_in(file)

    try:
        common, address = start("first")
        processes.append(
            start_dask(tmp_path, "worker", *common, "--nthreads", "1", "--no-dashboard")
        )
        one = driver("extract", store, "--cluster", address, "--quiet")
        wait_for(lambda: n_done(store) >= 1)
        os.killpg(processes[0].pid, signal.SIGKILL)
        code, _, errors = one.finish()

        assert code == 1
        assert "connection to the Dask scheduler was lost" in errors
        assert "repeat the command" in errors
        assert "Traceback" not in errors, errors

        _, address = start("second")
        again = driver(
            *("extract", store, "--cluster", address, "--quiet"),
            *("--wait-for-workers", "7s"),
        )
        code, _, errors = again.finish()
        assert code == 1
        assert f"waiting for a worker of the scheduler at {address}" in errors
        assert "the cluster has had no workers for" in errors
    finally:
        for process in processes:
            process.kill_group()
            process.wait(timeout=60)
    run.repair()
    finish_run(store)
    assert checksums(store) == undisturbed


def kill_children(pid):
    """Kill all that a driver has started, what Python itself has started, too."""
    for child in children_of(pid, ""):
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize("moments", [["starting"], ["running", "starting"]])
def test_extract__all_children_killed__others_do_the_rest(
    run, undisturbed, tmp_path, driver, moments
):
    """Row 41: workers that were never ready have nobody who starts them again."""
    store = run.store(tmp_path / "run.zarr")
    run.fault(N_INSTANCES - 1, "hold")  # there is something left to do until then
    command = ("extract", store, "--workers", "1", "--quiet")
    one = driver(*command, has_server=moments[0] != "starting")

    def has_come(moment):
        is_started = bool(workers_of(one.process.pid))
        return is_started and (moment == "starting" or n_done(store) >= 1)

    for moment in moments:
        wait_for(lambda moment=moment: has_come(moment))
        kill_children(one.process.pid)
    run.repair()
    code, out, errors = one.finish()

    assert code == 0, errors
    assert "extracted" in out
    assert checksums(store) == undisturbed


def test_extract__children_killed_whenever_they_start__says_so_and_ends(
    run, tmp_path, driver
):
    """Row 41: three times in a row for each worker, and nobody waits for one more."""
    store = run.store(tmp_path / "run.zarr")
    command = ("extract", store, "--workers", "2", "--quiet")
    one = driver(*command, has_server=False)
    while one.process.poll() is None:
        for child in workers_of(one.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        time.sleep(0.1)

    code, _, errors = one.finish()

    assert code == 1
    said = [line for line in lines(errors) if line.startswith("Error")]
    assert len(said) == 1
    assert "worker processes in a row have ended before they were ready" in said[0]
    assert "repeat the command" in said[0]
    wait_for(lambda: group_is_gone(one.process.pid))
    assert not (store / "writer").exists()
