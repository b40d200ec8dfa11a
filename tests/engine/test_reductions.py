"""Ordered reductions: one order, on a cluster or in this process."""

import functools
from dataclasses import dataclass

import pytest

from nnviz.engine.reductions import FAN_IN, run_reductions
from nnviz.errors import ShapeError, TaskError


@dataclass(frozen=True)
class Brackets:
    """Writes down how leaves were combined."""

    name: str
    n: int

    @property
    def leaves(self):
        return range(self.n)

    def compute(self, leaf, shared):
        return f"{shared}{leaf}"

    def combine(self, partials):
        return functools.reduce(lambda one, other: f"({one} {other})", partials)

    def finish(self, partial):
        return f"{self.name}: {partial}"


class Refusing(Brackets):
    def compute(self, leaf, shared):
        raise ShapeError("wrong shape")


class Breaking(Brackets):
    def combine(self, partials):
        raise RuntimeError("broken")


def test_run_reductions__combines_neighbours_in_order():
    jobs = [Brackets("one", 1), Brackets("six", 6)]

    found = dict(run_reductions(None, jobs, shared="x"))

    assert found[jobs[0]] == "one: x0"
    assert found[jobs[1]] == "six: (((((x0 x1) x2) x3) x4) x5)"


def test_run_reductions__adds_in_the_same_order_on_a_cluster(client):
    sizes = [*range(1, 2 * FAN_IN + 2), FAN_IN**2, FAN_IN**2 + 1, FAN_IN**3 - 1]
    jobs = [Brackets(str(n), n) for n in sizes]

    here = dict(run_reductions(None, jobs, shared="x"))
    there = dict(run_reductions(client, jobs, shared="x"))

    assert there == here


@pytest.mark.parametrize("is_on_cluster", [False, True], ids=["here", "cluster"])
def test_run_reductions__raises_what_a_task_raised_on_purpose(client, is_on_cluster):
    with pytest.raises(ShapeError, match="wrong shape"):
        list(
            run_reductions(
                client if is_on_cluster else None, [Refusing("a", 2)], shared=""
            )
        )


def test_run_reductions__says_that_a_task_failed(client):
    with pytest.raises(TaskError, match=r"a task of a reduction failed.*broken"):
        list(run_reductions(client, [Breaking("a", 2)], shared=""))


def test_run_reductions__of_no_jobs_does_nothing(client):
    assert list(run_reductions(client, [], shared="x")) == []
