"""Workers of this machine that are forks of one process: in a program of its own.

The process of the tests has a fork server already, as a user's program may have.
"""

import json
import multiprocessing.forkserver
import os
import subprocess
import sys

import pytest

from nnviz_cluster import fork_server

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks on Linux"),
]

PROGRAM = """
import json, os, signal, sys, time
import psutil
from nnviz.cli.running import client_of

def start_of_this_worker():
    process = psutil.Process()
    variables = ("OMP_NUM_THREADS", "MALLOC_TRIM_THRESHOLD_", "PYTHONSAFEPATH")
    return {
        "pid": process.pid,
        "parent": process.ppid(),
        "has_torch": "torch" in sys.modules,
        "variables": [os.environ.get(name) for name in variables],
        # As libraries found it that were loaded before the fork.
        "threads": sys.modules["torch"].get_num_threads(),
        "path": [place for place in sys.path if "scratch" not in place],
        "ignores_interrupts": signal.getsignal(signal.SIGINT) == signal.SIG_IGN,
    }

if __name__ == "__main__":
    before = dict(os.environ)
    with client_of(None, 2, 1, ahead="nnviz_cluster.extraction_ahead") as client:
        workers = list(client.run(start_of_this_worker).values())
        server = psutil.Process(workers[0]["parent"])
        facts = {
            "workers": workers,
            "server": server.pid,
            "server_parent": server.ppid(),
            "server_threads": server.num_threads(),
            "path": sys.path,
            "pid": os.getpid(),
        }
        os.kill(workers[0]["pid"], signal.SIGKILL)
        pids = {worker["pid"] for worker in workers}
        while True:
            time.sleep(0.1)
            found = client.run(os.getpid, on_error="ignore").values()
            new = {pid for pid in found if isinstance(pid, int)} - pids
            if new:
                break
        facts["parent_of_new"] = psutil.Process(new.pop()).ppid()
    facts["is_left"] = server.is_running()
    facts["same_environment"] = dict(os.environ) == before
    print(json.dumps(facts))
"""


def test_running__workers_are_forks_with_all_that_they_need(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    # Clusters of other tests in this process leave theirs, which a user may have, too.
    own = {"PYTHONSAFEPATH", "MALLOC_TRIM_THRESHOLD_"}
    done = subprocess.run(
        [sys.executable, program],
        env={k: v for k, v in os.environ.items() if k not in own},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)

    assert facts["server_parent"] == facts["pid"]
    assert facts["server_threads"] == 1  # what runs threads cannot be forked safely
    assert len({worker["pid"] for worker in facts["workers"]}) == 2
    for worker in facts["workers"]:
        assert worker["parent"] == facts["server"]
        assert worker["has_torch"]
        assert worker["variables"] == ["1", str(8 * 2**30), None]
        assert worker["threads"] == 1
        assert set(facts["path"]) <= set(worker["path"])
        assert worker["ignores_interrupts"]
    assert (
        facts["parent_of_new"] == facts["server"]
    )  # of one that took a dead one's place
    assert not facts["is_left"]
    assert facts["same_environment"]


def test_running__the_program_has_a_fork_server__it_is_left_alone():
    multiprocessing.forkserver.ensure_running()
    pid = multiprocessing.forkserver._forkserver._forkserver_pid

    with fork_server.running("nnviz_cluster.extraction_ahead", {}):
        assert not fork_server.is_running()

    assert multiprocessing.forkserver._forkserver._forkserver_pid == pid
    os.kill(pid, 0)  # it is there
