"""Row 35: who may talk to a cluster, and what is never opened to others."""

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from nnviz.errors import ConfigError, TaskError
from nnviz_cluster import address, slurm
from nnviz_cluster.opening import open_client
from nnviz_cluster.site import KINDS, ClusterConfig, TlsConfig, load_site, template
from nnviz_cluster.tls import write_certificates

pytestmark = pytest.mark.cluster


@pytest.fixture
def scheduler(tmp_path):
    """Start a scheduler that speaks TLS; return its address and its certificates."""
    cert, key = write_certificates(tmp_path / "site")
    file = tmp_path / "scheduler.json"
    process = subprocess.Popen(
        [sys.executable, "-m", "dask", "scheduler", "--protocol", "tls",
         "--tls-ca-file", cert, "--tls-cert", cert, "--tls-key", key,
         "--host", "127.0.0.1", "--port", "0", "--no-dashboard",
         "--dashboard-address", "127.0.0.1:0", "--scheduler-file", file],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env=dict(os.environ, PYTHONWARNINGS="ignore"),
    )  # fmt: skip
    try:
        for _ in range(600):
            if file.exists() and file.stat().st_size:
                break
            time.sleep(0.1)
        tls = TlsConfig(ca=str(cert), cert=str(cert), key=str(key))
        yield json.loads(file.read_text())["address"], tls
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=30)


def test_client__of_the_same_authority__is_let_in(scheduler):
    place, tls = scheduler

    with address.open_client(
        ClusterConfig(kind="address", address=place, tls=tls)
    ) as client:
        assert client.scheduler.address.startswith("tls://127.0.0.1:")


def test_client__without_certificates__is_refused(scheduler):
    """Row 35: a plain client does not reach a scheduler that speaks TLS."""
    place, _ = scheduler

    with (
        pytest.raises(ConfigError, match="speaks TLS and no certificates are given"),
        open_client(load_site(place)),
    ):
        pass


def test_client__of_another_authority__is_refused(scheduler, tmp_path):
    """Row 35: certificates of a wrong authority."""
    place, _ = scheduler
    cert, key = map(str, write_certificates(tmp_path / "other"))
    tls = TlsConfig(ca=cert, cert=cert, key=key)

    with (
        pytest.raises(TaskError, match="are of the same authority"),
        address.open_client(ClusterConfig(kind="address", address=place, tls=tls)),
    ):
        pass


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(ClusterConfig(host="0.0.0.0"), id="local"),
        pytest.param(ClusterConfig(interface="eth0"), id="interface"),
        pytest.param(ClusterConfig(kind="cuda", host="0.0.0.0"), id="cuda"),
        pytest.param(ClusterConfig(kind="slurm"), id="slurm"),
        pytest.param(ClusterConfig(kind="ssh"), id="ssh"),
        pytest.param(ClusterConfig(kind="kubernetes"), id="kubernetes"),
    ],
)
def test_cluster__beyond_loopback_without_tls__is_refused(config):
    """Row 35: no kind listens for others without TLS."""
    with (
        pytest.raises(ConfigError, match="without TLS, and whoever reaches it"),
        open_client(config),
    ):
        pass


def test_local_cluster__with_tls__computes_and_removes_its_keys(tmp_path):
    config = ClusterConfig(
        workers=1, shared_folder=str(tmp_path), tls=TlsConfig(temporary=True)
    )

    with open_client(config) as client:
        kept = [oct(file.stat().st_mode & 0o77) for file in tmp_path.rglob("*.pem")]
        assert client.submit(sum, [1, 2]).result(timeout=60) == 3
        assert client.scheduler.address.startswith("tls://127.0.0.1:")

    assert kept == ["0o0", "0o0"]
    assert list(tmp_path.iterdir()) == []


def test_local_cluster__another_user_of_the_machine__runs_nothing(tmp_path):
    """Row 37: without the certificate nobody talks to scheduler or workers."""
    marker = tmp_path / "ran"
    with open_client(ClusterConfig(workers=1)) as client:
        workers = client.scheduler_info(n_workers=-1)["workers"]
        places = [client.scheduler.address, *workers]
        refused = [_is_refused(place, marker) for place in places]

    assert {place.partition("://")[0] for place in places} == {"tls"}
    assert refused == [True, True]
    assert not marker.exists()


def _is_refused(place, marker):
    """Whether a client without certificates, in a process of its own, is refused."""
    code = (
        "import asyncio, sys\n"
        "from distributed.core import rpc\n"
        "async def run():\n"
        "    async with rpc(sys.argv[1], timeout=5) as other:\n"
        "        await other.identity()\n"
        "    open(sys.argv[2], 'w').close()\n"
        "asyncio.run(run())\n"
    )
    plain = place.replace("tls://", "tcp://")
    done = subprocess.run(
        [sys.executable, "-c", code, plain, marker], capture_output=True, timeout=60
    )
    return done.returncode != 0


def test_local_cluster__insecure__goes_without_certificates():
    with open_client(ClusterConfig(workers=1, insecure=True)) as client:
        assert client.scheduler.address.startswith("tcp://127.0.0.1:")


def test_local_cluster__listens_on_loopback_only():
    with open_client(ClusterConfig(workers=1)):
        driver = psutil.Process()
        listening = {
            connection.laddr.ip
            for process in [driver, *driver.children(recursive=True)]
            for connection in process.net_connections(kind="inet")
            if connection.status == psutil.CONN_LISTEN
        }

    assert listening == {"127.0.0.1"}


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "address"])
def test_template__of_every_kind__is_one_that_nnviz_reads(kind):
    assert load_site(kind, workers=3).workers == 3
    assert template(kind).startswith("#")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("worker = 2", "did you mean 'workers'", id="unknown"),
        pytest.param("minimum = 2", "'minimum' and 'maximum'", id="half-adaptive"),
        pytest.param("workers = 0", "at least one worker", id="none"),
        pytest.param("[tls]\ncertificate = 'x'", "'certificate'", id="tls"),
    ],
)
def test_load_site__what_it_does_not_know__is_refused(tmp_path, text, message):
    file = tmp_path / "site.toml"
    file.write_text(text)

    with pytest.raises(ConfigError, match=message):
        load_site(str(file))


def test_load_site__no_kind_file_or_address__names_the_near_one():
    with pytest.raises(ConfigError, match="did you mean 'slurm'"):
        load_site("slrum")


def test_slurm_arguments__carry_the_environment_and_the_lifetime():
    config = load_site("slurm")

    arguments = slurm.cluster_arguments(config, None, 4)

    assert "export OMP_NUM_THREADS=4" in arguments["job_script_prologue"]
    assert "--lifetime" in arguments["worker_extra_args"]
    assert arguments["job_cpu"] == 4
