"""The benchmark of other tools: what it measures of a command, and where two cross."""

import sys

import pytest

from benchmarks.peers import crossing, run_measured

HOLDING = """
import pathlib, subprocess, sys, time
held = b"x" * 80_000_000
pathlib.Path(sys.argv[1], "file").write_bytes(held[:1234])
child = "import time; a = time.process_time\\nwhile a() < 0.3: pass"
subprocess.run([sys.executable, "-c", child])
time.sleep(1.5)
"""


def test_run_measured__memory_processor_and_bytes__are_those_of_the_command(tmp_path):
    cost = run_measured([sys.executable, "-c", HOLDING, str(tmp_path)], tmp_path)

    assert cost.seconds > 1.5
    # The child's 0.3 s are among it, and sleeping is not.
    assert 0.3 <= cost.processor_s < cost.seconds
    assert cost.peak_bytes > 80_000_000
    assert cost.disk_bytes == 1234


def test_run_measured__command_that_fails__says_what_it_said():
    with pytest.raises(RuntimeError, match="no such thing"):
        run_measured([sys.executable, "-c", "raise SystemExit('no such thing')"])


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        ((10, 20, 30), (5, 15, 40), 200 + 100 / 3),
        ((1, 2, 3), (2, 3, 4), 0.0),
        ((3, 4, 5), (2, 3, 4), None),
    ],
)
def test_crossing__is_where_lines_between_sizes_meet(ours, theirs, expected):
    sizes = {
        str(size): {"a": {"seconds": a}, "b": {"seconds": b}}
        for size, a, b in zip((100, 200, 300), ours, theirs, strict=True)
    }

    found = crossing(sizes, "a", "b")

    assert found == (pytest.approx(expected) if expected else expected)
