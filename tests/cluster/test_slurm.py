"""Slurm for real: a cluster of one machine on loopback, started by the tests."""

import subprocess
import sys
from pathlib import Path

import pytest
from slurm_site import jobs, lacking, running_slurm, wait_for

import nnviz
from nnviz.errors import TaskError
from nnviz_cluster import slurm as slurm_kind
from nnviz_cluster.opening import open_client
from nnviz_cluster.site import load_site

pytestmark = pytest.mark.cluster
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    if reason := lacking():
        pytest.skip(reason)
    with running_slurm(tmp_path_factory.mktemp("slurm")) as environment:
        yield environment


@pytest.fixture
def site(slurm, program_environment, tmp_path, monkeypatch):
    """Return a cluster file; commands of this process talk to the tests' Slurm."""
    for name, value in {**program_environment, **slurm}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(
        "PATH", f"{program_environment['PATH'].split(':')[0]}:{slurm['PATH']}"
    )
    file = tmp_path / "site.toml"
    file.write_text(
        f"""
kind = "slurm"
workers = 2
memory = "1GB"
host = "127.0.0.1"
shared_folder = "{tmp_path}"
[slurm]
walltime = "00:10:00"
resubmit_after = "1s"
log_folder = "{tmp_path / "logs"}"
local_folder = "{tmp_path / "scratch"}"
[tls]
temporary = true
"""
    )
    return file


class KillsAWorker:
    """Cancels the job of a worker with SIGKILL when some chunks are done."""

    def __init__(self, environment, after):
        self.environment = environment
        self.after = after
        self.n_done = 0
        self.killed = []

    def receive(self, event):
        if type(event).__name__ != "TaskDone":
            return
        self.n_done += 1
        if self.n_done in self.after:
            number = jobs(self.environment)[0]
            subprocess.run(["scancel", "--signal=KILL", number], check=True)
            subprocess.run(["scancel", number], check=False)
            self.killed.append(number)


def test_extract__worker_jobs_killed_mid_run__gives_the_same_bytes(
    site, create, tmp_path, checksums, expected
):
    """Row 30: jobs that Slurm ends are replaced, and the store is that of no fault."""
    store = create(tmp_path / "run.zarr")
    killer = KillsAWorker(None, after=(3, 9))

    with open_client(load_site(str(site))) as client:
        client.wait_for_workers(2, timeout=60)
        address = client.scheduler.address
        summary = nnviz.extract(store, client=client, listeners=[killer])
        # Replaced, not merely missed: `scale` alone would leave fewer.
        wait_for(lambda: len(client.scheduler_info(n_workers=-1)["workers"]) == 2)

    assert address.startswith("tls://127.0.0.1:")
    assert len(killer.killed) == 2
    assert summary.failed == {}
    assert checksums(tmp_path / "run.zarr") == expected
    wait_for(lambda: not jobs(None))
    assert list(tmp_path.glob(".nnviz-tls-*")) == []


def test_sbatch__ended_by_its_time_limit__goes_on_in_the_next_job(
    site, create, tmp_path, checksums, expected, monkeypatch
):
    """Row 30: one allocation for all; its end stops it, the next job completes it."""
    url = tmp_path / "run.zarr"
    create(url)
    monkeypatch.setenv("NNVIZ_HOST", "127.0.0.1")
    monkeypatch.chdir(tmp_path)
    command = [
        "sbatch", "--parsable", "--ntasks=1", "--output=job-%j.log",
        str(ROOT / "cluster" / "slurm" / "extract.sbatch"), str(url),
    ]  # fmt: skip

    first = subprocess.check_output(command, text=True).strip()
    wait_for(lambda: nnviz.open_store(url).chunks.done().any())
    # What Slurm sends to the script before the time ends, and then at its end.
    subprocess.run(["scancel", "--batch", "--signal=TERM", first], check=True)
    wait_for(lambda: first not in jobs(None))
    n_missing = len(nnviz.open_store(url).chunks.missing())
    second = subprocess.check_output(command, text=True).strip()
    wait_for(lambda: second not in jobs(None))

    log = (tmp_path / f"job-{second}.log").read_text()
    assert 0 < n_missing < 20
    assert nnviz.open_store(url).chunks.missing() == [], log
    assert checksums(url) == expected
    assert list(tmp_path.glob(".nnviz-job-*")) == []
    assert subprocess.run(["pgrep", "-f", str(url)], check=False).returncode == 1


def test_cluster__more_memory_than_a_machine_has__is_refused_at_once(site):
    site.write_text(site.read_text().replace('"1GB"', '"900GB"'))

    with (
        pytest.raises(
            TaskError, match=r"Slurm does not take the job of a worker: .*not available"
        ),
        open_client(load_site(str(site))),
    ):
        pass


def test_extract__jobs_that_end_before_they_connect__are_told(
    site, create, tmp_path, monkeypatch
):
    monkeypatch.setattr(slurm_kind, "SECONDS_BETWEEN_QUESTIONS", 0.5)
    site.write_text(site.read_text().replace("workers = 2", 'python = "/bin/false"'))
    store = create(tmp_path / "run.zarr")

    with (
        pytest.raises(TaskError, match=r"3 jobs of Slurm have ended before a worker"),
        open_client(load_site(str(site))) as client,
    ):
        nnviz.extract(store, client=client)


def test_command__cluster_of_a_file__extracts(site, create, tmp_path):
    store = tmp_path / "run.zarr"
    create(store)

    done = subprocess.run(
        [sys.executable, "-m", "nnviz", "extract", str(store), "--cluster", str(site),
         "--quiet"],
        capture_output=True,
        text=True,
        timeout=120,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert nnviz.open_store(store).chunks.missing() == []
