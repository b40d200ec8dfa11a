"""A signal ends a command wherever it comes, also where Python drops what is raised."""

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner
from distributed.comm.core import CommClosedError

from nnviz.cli.ending import OrderedCommands
from nnviz.engine.connection import LOST

SCRIPT = """
import os, signal, time, weakref

from nnviz.cli.ending import Interrupted, heeding_signals

NUMBER = signal.{name}


class Fragile:
    def __del__(self):
        os.kill(os.getpid(), NUMBER)
        time.sleep(0.1)  # the handler is called here


def in_a_destructor():
    Fragile()


def in_a_weak_reference():
    class Plain:
        pass

    one = Plain()
    kept = weakref.ref(one, lambda _: Fragile.__del__(None))
    del one


try:
    with heeding_signals():
        {where}()
        time.sleep(10)
        print("not interrupted")
except Interrupted as error:
    print("interrupted by", error.number == NUMBER)
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("where", ["in_a_destructor", "in_a_weak_reference"])
def test_signal__where_python_drops_errors__still_interrupts(where, name):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(where=where, name=name)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    assert (done.stdout, done.stderr) == ("interrupted by True\n", "")


def test_command__that_lost_its_scheduler__says_so_and_how_to_go_on():
    @click.group(cls=OrderedCommands)
    def group():
        """Hold one command."""

    @group.command
    def broken():
        raise CommClosedError(
            "in <TCP (closed) ConnectionPool.gather>: Stream is closed"
        )

    done = CliRunner().invoke(group, ["broken"])

    assert (done.exit_code, done.output) == (1, f"Error: {LOST}\n")
