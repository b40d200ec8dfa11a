"""Tasks on a real in-process cluster: bounded, repeated, in order."""

import os
import threading
import time

from nnviz.engine.tasks import RunLimits, run_tasks
from nnviz.engine.worker_cache import cached
from nnviz.errors import DatasetError
from tests.faults.tiny_run import Events


def square(item, offset):
    return item * item + offset


def fail_on_three(item):
    if item == 3:
        msg = "three is damaged"
        raise DatasetError(msg)
    return item


def fail_twice(item, folder):
    path = os.path.join(folder, str(item))  # noqa: PTH118
    with open(path, "a") as stream:  # noqa: PTH123
        stream.write("x")
    if os.path.getsize(path) < 3:  # noqa: PTH202
        msg = "the file system is away for a moment"
        raise OSError(msg)
    return item


def test_run_tasks__many_items__gives_every_result_once(client):
    outcomes = list(run_tasks(client, square, range(50), arguments=(1,)))

    assert sorted(o.value for o in outcomes) == [i * i + 1 for i in range(50)]
    assert all(o.error is None for o in outcomes)


def test_run_tasks__long_list__hands_a_window_to_the_scheduler(client):
    taken = []

    def items():
        for item in range(40):
            taken.append(item)
            yield item

    outcomes = run_tasks(client, square, items(), arguments=(0,), window=4)
    next(outcomes)

    assert len(taken) <= 5 + 4


def test_run_tasks__one_task_fails__the_others_are_done(client):
    outcomes = {o.item: o for o in run_tasks(client, fail_on_three, range(6))}

    assert isinstance(outcomes[3].error, DatasetError)
    assert str(outcomes[3].error) == "three is damaged"
    assert [outcomes[i].value for i in (0, 1, 2, 4, 5)] == [0, 1, 2, 4, 5]


def test_run_tasks__passing_fault__is_tried_again(client, tmp_path):
    outcomes = list(run_tasks(client, fail_twice, [7], arguments=(str(tmp_path),)))

    assert outcomes[0].value == 7
    assert (tmp_path / "7").read_text() == "xxx"


def load_for_seconds(item):
    cached("network", "of this run", lambda: time.sleep(2.5))
    return item


def test_run_tasks__worker_loads_first__its_deadline_counts_from_then(client):
    """A slow start is not a task that hangs: to end its worker starts it again."""
    told = Events()
    limits = RunLimits(deadline=1.0)

    outcomes = list(
        run_tasks(client, load_for_seconds, [7], limits=limits, listeners=[told])
    )

    assert outcomes[0].value == 7
    assert told.seen == []


def test_cached__four_threads__load_once():
    loads = []

    def load():
        time.sleep(0.05)
        loads.append(1)
        return object()

    values = []
    threads = [
        threading.Thread(target=lambda: values.append(cached("test", "key", load)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(loads) == 1
    assert len(set(map(id, values))) == 1


def test_cached__another_key__replaces_the_value():
    first = cached("test", "one", lambda: "first")
    second = cached("test", "two", lambda: "second")

    assert (first, second) == ("first", "second")
    assert cached("test", "one", lambda: "third") == "third"
