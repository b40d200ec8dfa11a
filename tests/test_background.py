"""Work beside everything: what it raises is told, but not over the end of a program."""

import subprocess
import sys

PROGRAM = """
import time
from concurrent.futures import ThreadPoolExecutor
from nnviz.background import in_background

POOL = ThreadPoolExecutor(1)

def work():
    while True:  # until the process ends, which takes a pool its work
        POOL.submit(int).result()
        time.sleep(0.01)

def fail():
    raise RuntimeError("the work itself is wrong")

if {fails}:
    failing = in_background(fail, "nnviz-failing")
    failing.start()
    failing.join()
in_background(work, "nnviz-working").start()
# Pools are closed at once, and the process ends when this is done.
ThreadPoolExecutor(1).submit(time.sleep, 0.5)
print("done")
"""


def program(*, fails):
    command = [sys.executable, "-c", PROGRAM.format(fails=fails)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_work__at_the_end_of_its_process__is_silent():
    ended = program(fails=False)
    assert (ended.stdout, ended.stderr, ended.returncode) == ("done\n", "", 0)


def test_work__that_fails__is_told():
    ended = program(fails=True)
    assert "RuntimeError: the work itself is wrong" in ended.stderr
    assert "nnviz-failing" in ended.stderr
    assert ended.stderr.count("Traceback") == 1
