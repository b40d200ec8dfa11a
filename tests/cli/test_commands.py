"""The command line: what it prints, how it fails, and whom it talks to."""

import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner

import nnviz
from nnviz.cli.main import main
from nnviz.demo import write_demo
from nnviz_cluster import address
from tests.faults.tiny_run import address_in, start_dask


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    write_demo(folder, epochs=1)
    return folder


@pytest.fixture
def run(monkeypatch):
    def run(*arguments):
        return CliRunner().invoke(main, [str(argument) for argument in arguments])

    return run


def test_help__lists_commands_in_pipeline_order(run):
    lines = run("--help").output.splitlines()
    commands = [line.split()[0] for line in lines[lines.index("Commands:") + 1 :]]

    assert commands == [
        "plan",
        "pack",
        "extract",
        "extend",
        "aggregate",
        "index",
        "derive",
        "export",
        "graph",
        "compare",
        "motifs",
        "rescore",
        "subset",
        "column",
        "suggest",
        "ablate",
        "ablate-difference",
        "explain",
        "verify",
        "inspect",
        "serve",
        "demo",
        "cluster-config",
        "cluster-certificates",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(
            ["plan", "no.toml"], "cannot read the run file 'no.toml'", id="plan"
        ),
        pytest.param(["extract", "no.zarr"], "there is no store at ", id="run"),
        pytest.param(
            ["inspect", "no.zarr"], "nnviz plan run.toml --create", id="inspect"
        ),
        pytest.param(["derive", "no.zarr"], "there is no store", id="derive"),
        pytest.param(["export", "no.zarr", "x"], "there is no store", id="export"),
    ],
)
def test_error__of_nnviz__is_one_message_and_exit_code_1(run, arguments, message):
    result = run(*arguments)

    assert result.exit_code == 1
    assert message in result.output
    assert "Traceback" not in result.output


def test_usage_error__has_exit_code_2(run):
    assert run("extract").exit_code == 2


def test_plan__json__is_one_object_with_plan_and_size(run, digits):
    value = json.loads(run("plan", digits / "run.toml", "--json").output)

    assert value["plan"]["n_instances"] == 1_797
    assert value["plan"]["class_names"][7] == "seven"
    assert value["bytes"] > 1_797 * 100
    assert value["store"] is None


def test_plan__time__estimates_the_run(run, digits):
    output = run("plan", digits / "run.toml", "--time").output

    assert "instances/s" in output
    assert "mixed" in output


def test_inspect__incomplete_store__says_what_comes_next(run, digits, tmp_path):
    store = tmp_path / "run.zarr"
    run("plan", digits / "run.toml", "--create", store)

    output = run("inspect", store, "--arrays").output

    assert f"next: nnviz extract {store}" in output
    assert "activations/mixed" in output
    assert json.loads(run("inspect", store, "--json").output)["chunks_done"] == 0


def test_aggregate__before_extraction__names_the_missing_stage(run, digits, tmp_path):
    store = tmp_path / "run.zarr"
    run("plan", digits / "run.toml", "--create", store)

    result = run("aggregate", store, "--subsets", "label", "--quiet")

    assert result.exit_code == 1
    assert f"run 'nnviz extract {store}'" in result.output


def test_extract__nobody_at_the_address__is_one_message(
    run, digits, tmp_path, monkeypatch
):
    monkeypatch.setattr(address, "ANSWER_TIMEOUT_S", 1)
    store = tmp_path / "run.zarr"
    run("plan", digits / "run.toml", "--create", store)

    result = run("extract", store, "--scheduler", "tcp://127.0.0.1:9", "--quiet")

    assert result.exit_code == 1
    assert "no Dask scheduler answers at 'tcp://127.0.0.1:9'" in result.output


@pytest.fixture
def scheduler(tmp_path):
    """Start a scheduler and a worker as separate processes; return the address."""
    file = tmp_path / "scheduler.json"
    common = ["--scheduler-file", str(file), "--host", "127.0.0.1", "--no-dashboard"]
    commands = [
        ["scheduler", *common, "--port", "0", "--dashboard-address", "127.0.0.1:0"],
        ["worker", *common, "--nthreads", "1",
         "--local-directory", str(tmp_path / "scratch")],
    ]  # fmt: skip
    processes = [start_dask(tmp_path, *command) for command in commands]
    try:
        yield address_in(file)
    finally:
        for process in processes:
            process.kill_group()
            process.wait(timeout=30)


@pytest.mark.cluster
def test_extract__running_scheduler_and_log__fills_store_and_log(
    run, digits, tmp_path, scheduler
):
    store, log = tmp_path / "run.zarr", tmp_path / "events.jsonl"
    run("plan", digits / "run.toml", "--create", store)

    result = run(
        "extract", store, "--scheduler", scheduler, "--log", log, "--quiet", "--json"
    )

    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["n_instances"] == 1_797
    events = [json.loads(line) for line in log.read_text().splitlines()]
    assert events[0]["event"] == "StageStarted"
    assert events[-1]["event"] == "StageDone"
    done = [event for event in events if event["event"] == "TaskDone"]
    assert len(done) == 8
    assert list(done[0]["seconds"]) == [
        "read",
        "decode",
        "wait",
        "forward",
        "influence",
        "write",
    ]
    assert done[0]["worker"]
    assert nnviz.open_store(store).chunks.missing() == []


@pytest.mark.slow
def test_extract__chunk_that_fails_always__is_reported_and_the_rest_done(
    run, digits, tmp_path, scheduler_address
):
    store = tmp_path / "run.zarr"
    run("plan", digits / "run.toml", "--create", store)
    # A file where a folder is needed: writing this one shard fails, also for root.
    (store / "activations" / "float16" / "c").mkdir(parents=True, exist_ok=True)
    (store / "activations" / "float16" / "c" / "3").write_text("in the way")

    there = ("--scheduler", scheduler_address)
    result = run("extract", store, *there, "--quiet", "--json")

    assert result.exit_code == 1
    assert "1 of 8 chunks failed" in result.output
    assert nnviz.open_store(store).chunks.missing() == [3]

    (store / "activations" / "float16" / "c" / "3").unlink()
    again = run("extract", store, *there, "--quiet", "--json")

    assert again.exit_code == 0
    assert json.loads(again.stdout)["n_instances"] == 256
    found = nnviz.open_store(store).activations("mixed")
    assert np.isfinite(found).all()


def test_open_and_inspect__store_of_foreign_code__imports_nothing(
    digits, tmp_path, run
):
    folder = tmp_path / "copy"
    shutil.copytree(digits, folder)
    marker = tmp_path / "imported"
    (folder / "network.py").write_text(
        "from pathlib import Path\n"
        f"Path({str(marker)!r}).touch()\n"
        "from nnviz.demo import digits_network\n"
    )
    text = (folder / "run.toml").read_text()
    text = text.replace("nnviz.demo:digits_network", "network.py:digits_network")
    (folder / "run.toml").write_text(text)
    store = tmp_path / "run.zarr"
    assert run("plan", folder / "run.toml", "--create", store).exit_code == 0
    assert marker.exists()
    marker.unlink()

    assert run("inspect", store).exit_code == 0
    repr(nnviz.open_store(store))

    assert not marker.exists()


def test_extract__log_in_no_folder__is_one_message(run, digits, tmp_path):
    store = tmp_path / "run.zarr"
    run("plan", digits / "run.toml", "--create", store)

    result = run("extract", store, "--log", tmp_path / "nowhere" / "x.log", "--quiet")

    assert result.exit_code == 1
    assert "cannot write the log" in result.output
