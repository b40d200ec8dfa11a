"""Programs of tests end with the tests, also with those that are killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="processes end with their parents on Linux"
)

TESTS = """
import sys, time
from tests.forked import Forked

program = Forked(sys.argv[1])
print(program.pid, flush=True)
time.sleep(600)
"""


def test_program__tests_are_killed__ends(tmp_path: Path) -> None:
    script = tmp_path / "waits.py"
    script.write_text("import time; time.sleep(600)", encoding="utf-8")
    with subprocess.Popen(
        [sys.executable, "-c", TESTS, str(script)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).resolve().parents[1],
        text=True,
    ) as tests:
        assert tests.stdout is not None
        program = psutil.Process(int(tests.stdout.readline()))
        server = program.parent()
        assert server is not None
        assert server.ppid() == tests.pid
        tests.kill()
        _, there = psutil.wait_procs([program, server], timeout=60)
    try:
        assert there == []
    finally:
        for process in there:
            process.kill()
