"""SSH for real: a server on a free port of loopback, with its own keys and settings."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from slurm_site import free_port, wait_for

import nnviz
from nnviz.errors import TaskError
from nnviz_cluster.opening import open_client
from nnviz_cluster.site import load_site

pytestmark = pytest.mark.cluster
ROOT = Path(__file__).resolve().parents[2]

SETTINGS = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PidFile {folder}/sshd.pid
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
PermitRootLogin yes
"""


@pytest.fixture
def site(tmp_path):
    """Return a cluster file of three processes on this machine, through SSH."""
    server = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin")
    if server is None or shutil.which("ssh-keygen") is None:
        pytest.skip("no sshd: apt-get install openssh-server")
    Path("/run/sshd").mkdir(exist_ok=True)
    for name in ("host", "user"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)],
            check=True,
        )
    port = free_port()
    settings = tmp_path / "sshd_config"
    settings.write_text(SETTINGS.format(port=port, folder=tmp_path))
    public = (tmp_path / "host.pub").read_text()
    (tmp_path / "known").write_text(f"[127.0.0.1]:{port} {public}")
    places = ":".join(map(str, (ROOT, ROOT / "cluster", ROOT / "dashboards")))
    file = tmp_path / "site.toml"
    file.write_text(
        f"""
kind = "ssh"
memory = "1GB"
host = "127.0.0.1"
python = "env PYTHONPATH={places} {sys.executable}"
shared_folder = "{tmp_path}"
[ssh]
hosts = ["127.0.0.1", "127.0.0.1", "127.0.0.1"]
port = {port}
key = "{tmp_path / "user"}"
known_hosts = "{tmp_path / "known"}"
local_folder = "{tmp_path}"
[tls]
temporary = true
"""
    )
    log = tmp_path / "sshd.log"
    daemon = subprocess.Popen(
        [server, "-D", "-f", str(settings), "-E", str(log)], stderr=subprocess.DEVNULL
    )
    try:
        wait_for(lambda: log.exists() and "listening" in log.read_text())
        yield file
    finally:
        daemon.terminate()
        daemon.wait(timeout=20)


def test_extract__through_ssh__gives_the_same_bytes_and_leaves_no_process(
    site, create, tmp_path, checksums, expected
):
    store = create(tmp_path / "run.zarr")

    with open_client(load_site(str(site))) as client:
        client.wait_for_workers(2, timeout=60)
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
        processes = [client.scheduler_info()["address"], *(w["id"] for w in workers)]
        threads = client.run(lambda: __import__("os").environ["OMP_NUM_THREADS"])
        pids = list(client.run(lambda: __import__("os").getpid()).values())
        summary = nnviz.extract(store, client=client)

    assert all(part.startswith("tls://127.0.0.1:") for part in processes[:1])
    assert list(threads.values()) == ["1", "1"]
    assert summary.failed == {}
    assert checksums(tmp_path / "run.zarr") == expected
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))
    assert list(tmp_path.glob(".nnviz-tls-*")) == []


def test_cluster__nobody_lets_us_in__is_one_message(site):
    text = site.read_text().replace(f'key = "{site.parent / "user"}"', "")
    site.write_text(text.replace("port = ", f'key = "{site.parent / "host"}"\nport = '))

    with (
        pytest.raises(TaskError, match=r"cannot start a cluster on 127\.0\.0\.1"),
        open_client(load_site(str(site))),
    ):
        pass
