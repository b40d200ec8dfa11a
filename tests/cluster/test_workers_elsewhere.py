"""Workers of a running scheduler that stand in another folder than the driver.

They find the store, the data and the user's code all the same, and where one of them
does not, the message names it. What the user's code raises there is one message, too.
"""

import re
import subprocess

import pytest
from click.testing import CliRunner

import nnviz
from nnviz.cli.main import main
from nnviz_cluster.opening import open_client
from nnviz_cluster.site import load_site
from tests.cluster.running_dask import REGISTERED, SCHEDULER, running
from tests.faults.small_run import NETWORK, RUN, write_inputs

pytestmark = pytest.mark.cluster

FAULTS = """
from pathlib import Path

KIND = Path(__file__).with_name("fault")


def fault(n_instances):
    # What the file says: in batches, or already where one instance is tried.
    size, _, kind = (KIND.read_text() if KIND.exists() else "").partition(" ")
    if not size or n_instances < int(size):
        return None
    if kind == "assert":
        assert not kind, "no luck"
    if kind == "key":
        {}["absent"]
    if kind == "exit":
        raise SystemExit(3)
    if kind == "generator":
        return (x for x in [])
"""
RAISING = NETWORK.replace(
    "class Small", "from faults_beside import fault\n\n\nclass Small"
)
RAISING = RAISING.replace(
    "        return self.second(self.act(self.first(x)))",
    "        found = fault(len(x))\n"
    "        if found is not None:\n            return found\n"
    "        return self.second(self.act(self.first(x)))",
)


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """Return the address of a scheduler with a worker, and the folder they are in."""
    folder = tmp_path_factory.mktemp("elsewhere")
    with (
        running("scheduler", "--port", "0", folder=folder, sign=SCHEDULER) as address,
        running("worker", address, "--nthreads", "1", folder=folder, sign=REGISTERED),
    ):
        yield address, folder


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Return the inputs of a small run, in the folder that one stands in."""
    write_inputs(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def nnviz_command(*arguments):
    return CliRunner().invoke(main, list(map(str, arguments)))


def test_stages__a_relative_store__is_found_by_workers_in_another_folder(
    here, elsewhere
):
    address, folder = elsewhere
    there = ("--cluster", address, "--quiet")
    graph = ("--instances", "4", "--draws", "1", "--no-by-layer")
    stages = [
        ("plan", "run.toml", "--create", "run.zarr"),
        ("extract", "run.zarr", *there),
        ("aggregate", "run.zarr", *there),
        ("derive", "run.zarr", *there),
        ("ablate", "run.zarr", *graph, *there),
        ("explain", "run.zarr", "0", "--cluster", address),
        ("verify", "run.zarr", "--recompute", "100%", *there),
        ("inspect", "run.zarr"),
    ]

    outputs = {}
    for stage in stages:
        result = nnviz_command(*stage)
        outputs[stage[0]] = result.output
        assert result.exit_code == 0, result.output

    assert "all are equal bit for bit" in outputs["verify"]
    assert "not complete" not in outputs["inspect"]
    assert "artifacts/attribution_graphs/label" in outputs["inspect"]
    assert "answers about single instances" in outputs["inspect"]
    assert not list(folder.glob("**/run.zarr"))


def test_python__relative_store_and_data__are_found_by_workers_in_another_folder(
    here, elsewhere
):
    address, _ = elsewhere
    dataset = nnviz.DatasetConfig("arrays", path="rows.npz")
    model = nnviz.ModelConfig(
        "network.py:network", weights="weights.safetensors", class_names=tuple("abc")
    )
    as_arrays = {"kind": "array", "scale": 1.0}
    extraction = {"instances_per_chunk": 16, "batch_size": 8}

    with open_client(load_site(address)) as client:
        store = nnviz.run(
            model,
            dataset,
            "face.zarr",
            preprocessing=as_arrays,
            extraction=extraction | {"max_unreadable_fraction": 0.5},
            client=client,
            progress=False,
        )
        nnviz.aggregate("face.zarr", "site", client=client, progress=False)
        nnviz.derive("face.zarr", client=client, progress=False)
        check = nnviz.ablate(
            "face.zarr", n_instances=4, draws=1, client=client, progress=False
        )
        verified = nnviz.verify("face.zarr", client=client, progress=False)
        again = nnviz.recompute("face.zarr", 1.0, client=client)

    assert store.url == str(here / "face.zarr")
    assert check.names == ("a", "b", "c")
    assert verified.is_sound
    assert not again.wrong


@pytest.mark.parametrize(
    ("files", "source"),
    [
        pytest.param(
            {
                "code/parts_beside.py": NETWORK,
                "code/model.py": "from parts_beside import *",
            },
            "code/model.py:network",
            id="file-beside",
        ),
        pytest.param(
            {
                "own_package/__init__.py": "",
                "own_package/parts.py": NETWORK,
                "own_package/model.py": "from own_package.parts import network",
            },
            "own_package.model:network",
            id="package-in-run-folder",
        ),
    ],
)
def test_extract__code_of_the_user__is_found_by_workers(here, elsewhere, files, source):
    for name, text in files.items():
        (here / name).parent.mkdir(exist_ok=True)
        (here / name).write_text(text)
    (here / "run.toml").write_text(RUN.replace("network.py:network", source))
    created = nnviz_command("plan", "run.toml", "--create", "run.zarr")

    there = nnviz_command("extract", "run.zarr", "--cluster", elsewhere[0], "--quiet")

    assert created.exit_code == 0, created.output
    assert there.exit_code == 0, there.output
    assert "40 instances in 3 chunks" in there.output


def test_extract__code_of_the_user__is_found_by_local_processes(here):
    (here / "code").mkdir()
    (here / "code/parts_at_home.py").write_text(NETWORK)
    (here / "code/model.py").write_text("from parts_at_home import network")
    (here / "run.toml").write_text(
        RUN.replace("network.py:network", "code/model.py:network")
    )
    created = nnviz_command("plan", "run.toml", "--create", "run.zarr")

    done = nnviz_command("extract", "run.zarr", "--workers", "1", "--quiet")

    assert created.exit_code == 0, created.output
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    ("kind", "message", "line"),
    [
        pytest.param("assert", "AssertionError: no luck", "assert not kind", id="a"),
        pytest.param("key", "KeyError: 'absent'", '{}["absent"]', id="key"),
        pytest.param("exit", "SystemExit: 3", "raise SystemExit(3)", id="exit"),
    ],
)
def test_extract__forward_raises_on_a_worker__is_one_message(
    here, elsewhere, kind, message, line
):
    (here / "network.py").write_text(RAISING)
    (here / "faults_beside.py").write_text(FAULTS)
    assert nnviz_command("plan", "run.toml", "--create", "run.zarr").exit_code == 0
    (here / "fault").write_text(f"2 {kind}")

    result = nnviz_command("extract", "run.zarr", "--cluster", elsewhere[0], "--quiet")

    assert result.exit_code == 1
    assert result.output.count(message) == 1, result.output
    assert "faults_beside.py, line " in result.output
    assert line in result.output
    assert "chunks 0, 1, 2 failed" in result.output
    assert "Traceback" not in result.output


def test_extract__forward_raises_for_one_instance__ends_before_any_chunk(
    here, elsewhere
):
    (here / "network.py").write_text(RAISING)
    (here / "faults_beside.py").write_text(FAULTS)
    assert nnviz_command("plan", "run.toml", "--create", "run.zarr").exit_code == 0
    (here / "fault").write_text("1 assert")

    result = nnviz_command("extract", "run.zarr", "--cluster", elsewhere[0], "--quiet")

    assert result.exit_code == 1
    assert result.output.count("AssertionError: no luck") == 1, result.output
    assert "said by the worker at tcp://" in result.output
    assert f"in folder {str(elsewhere[1])!r}" in result.output
    assert "chunks" not in result.output


def test_extract__forward_returns_no_tensor_on_a_worker__is_one_message(
    here, elsewhere
):
    (here / "network.py").write_text(RAISING)
    (here / "faults_beside.py").write_text(FAULTS)
    assert nnviz_command("plan", "run.toml", "--create", "run.zarr").exit_code == 0
    (here / "fault").write_text("2 generator")

    result = nnviz_command("extract", "run.zarr", "--cluster", elsewhere[0], "--quiet")

    assert result.exit_code == 1
    assert "chunks 0, 1, 2 failed: ModelError: the network took a way" in result.output
    assert "Traceback" not in result.output


def test_extract__worker_that_does_not_see_the_store__is_named(here, tmp_path_factory):
    """Another file system lies over the store's folder, for the worker alone."""
    folder = tmp_path_factory.mktemp("blind")
    hide = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none "$0" && exec "$@"']
    tried = subprocess.run([*hide, str(here), "true"], capture_output=True, check=False)
    if tried.returncode:
        pytest.skip("a process may not have file systems of its own here")
    assert nnviz_command("plan", "run.toml", "--create", "run.zarr").exit_code == 0

    with (
        running("scheduler", "--port", "0", folder=folder, sign=SCHEDULER) as address,
        running(
            *("worker", address, "--nthreads", "1", "--no-nanny"),
            folder=folder,
            sign=REGISTERED,
            before=[*hide, str(here)],
        ),
    ):
        result = nnviz_command("extract", "run.zarr", "--cluster", address, "--quiet")

    assert result.exit_code == 1
    assert re.search(
        r"the worker at tcp://127\.0\.0\.1:\d+ \(process \d+ on \S+, in folder "
        rf"{str(folder)!r}\) does not see the store: there is no store at "
        rf"{str(here / 'run.zarr')!r}; the store has to be where the driver",
        result.output,
    ), result.output
    assert "Traceback" not in result.output
