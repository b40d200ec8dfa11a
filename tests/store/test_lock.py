"""Who writes to a store? One driver at a time, with real processes."""

import linecache
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from nnviz.errors import StoreInUseError, StoreNotFoundError
from nnviz.store import lock
from nnviz.store.documents import sealed_group
from nnviz.store.hierarchy import Hierarchy
from nnviz.store.lock import WRITER, exclusive, writer_of, writing

HOLDER = """
import sys, time
from nnviz.store.lock import writing
with writing(sys.argv[1], "extract"):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


@pytest.fixture
def store(tmp_path):
    """Return the place of an empty store."""
    return Hierarchy.create(tmp_path / "run.zarr").url


@pytest.fixture
def holder(store):
    """Return a process that writes to the store."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, store, "600"],
        stdout=subprocess.PIPE,
        text=True,
        env=dict(os.environ, PYTHONPATH=os.pathsep.join(filter(None, sys.path))),
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def record_of_another_machine(**changes):
    return {
        "stage": "aggregate",
        "host": "node17",
        "pid": 1,
        "since": "yesterday",
        "token": "theirs",
        "renewed": 5,
        **changes,
    }


def write_record(store, record):
    folder = Path(store) / WRITER
    folder.mkdir(exist_ok=True)
    (folder / "zarr.json").write_bytes(sealed_group(record))


def test_writing__second_process__is_refused_with_who_writes(store, holder):
    with pytest.raises(StoreInUseError) as caught, writing(store, "derive"):
        pass

    message = str(caught.value)
    who = f"'nnviz extract', process {holder.pid} on {os.uname().nodename}, since 20"
    assert f"another driver writes to '{store}': {who}" in message
    assert writer_of(store).startswith(who)
    assert f"end it with 'kill {holder.pid}'" in message
    assert holder.poll() is None


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_writing__holder_is_dead__is_taken_at_once(store, holder, number):
    holder.send_signal(number)
    holder.wait(timeout=60)
    assert writer_of(store) == ""

    with writing(store, "extract"):
        assert Hierarchy.open(store).attributes(WRITER)["pid"] == os.getpid()

    assert not (Path(store) / WRITER).exists()


def test_writing__inside_of_itself__is_allowed_and_another_thread_is_not(store):
    refused = []

    def other():
        try:
            with writing(store, "derive"):
                pass
        except StoreInUseError as error:
            refused.append(error)

    with writing(store, "extract"), writing(store, "aggregate"):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()

    assert len(refused) == 1


def test_writing__record_of_a_dead_driver_elsewhere__is_taken_after_a_while(
    store, monkeypatch
):
    monkeypatch.setattr(lock, "DEAD_AFTER_S", 0.3)
    write_record(store, record_of_another_machine())

    with writing(store, "extract"):
        assert Hierarchy.open(store).attributes(WRITER)["stage"] == "extract"


def test_writing__process_id_of_a_container_of_the_same_name__says_nothing(
    store, monkeypatch
):
    """Its record is renewed, and its process id is another process here, or none."""
    monkeypatch.setattr(lock, "DEAD_AFTER_S", 60.0)
    record = record_of_another_machine(
        host=os.uname().nodename, pid=2**30, machine="another boot"
    )
    write_record(store, record)
    renewal = threading.Timer(1.0, write_record, (store, {**record, "renewed": 6}))
    renewal.start()

    with pytest.raises(StoreInUseError), writing(store, "extract"):
        pass
    renewal.join()
    assert writer_of(store) != ""


def test_writing__record_that_is_renewed_elsewhere__is_refused(store, monkeypatch):
    """What a file server shows that does not tell of the other machine's lock."""
    monkeypatch.setattr(lock, "DEAD_AFTER_S", 60.0)
    write_record(store, record_of_another_machine())
    renewal = threading.Timer(
        0.7, write_record, (store, record_of_another_machine(renewed=6))
    )
    renewal.start()

    with (
        pytest.raises(StoreInUseError, match="process 1 on node17"),
        writing(store, "extract"),
    ):
        pass
    renewal.join()


@pytest.mark.slow
def test_writing__place_without_locks__the_last_claim_holds(monkeypatch):
    monkeypatch.setattr(lock, "DEAD_AFTER_S", 60.0)
    monkeypatch.setattr(lock, "RENEWED_EVERY_S", 0.1)
    url = "memory://locks/run.zarr"
    Hierarchy.create(url)
    with writing(url, "extract"):
        refused = []

        def other():
            with (
                pytest.raises(StoreInUseError, match="'nnviz extract', process"),
                writing(url, "derive"),
            ):
                pass
            refused.append(True)

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert refused == [True]
    assert not Hierarchy.open(url).has(WRITER)

    monkeypatch.setattr(lock, "DEAD_AFTER_S", 0.3)
    Hierarchy.open(url, writable=True).create_group(WRITER, record_of_another_machine())
    with writing(url, "derive"):
        assert Hierarchy.open(url).attributes(WRITER)["stage"] == "derive"


def interrupting(n):
    """Return a function for `sys.settrace` that interrupts the n-th step of the lock.

    As a signal does it: once, between two lines, in the thread that works. Never at the
    end of a ``with``, where the interpreter sees a line, but looks for no signals.
    """
    left = [n]

    def trace(frame, event, argument):
        if frame.f_code.co_filename != lock.__file__:
            return None
        text = linecache.getline(frame.f_code.co_filename, frame.f_lineno)
        if event == "line" and not text.lstrip().startswith("with "):
            left[0] -= 1
            if left[0] == 0:
                raise KeyboardInterrupt
        return trace

    return trace


def test_writing__interrupted_at_any_step__leaves_nothing_behind(store):
    """A signal right after the start, or at the end: nobody finds a record of it."""
    writer = Path(store) / WRITER
    n_interrupted, is_whole = 0, False
    before = sys.gettrace()
    while not is_whole:
        try:
            sys.settrace(interrupting(n_interrupted + 1))
            with writing(store, "extract"):
                pass
            is_whole = True
        except KeyboardInterrupt:
            n_interrupted += 1
        finally:
            sys.settrace(before)

        assert not writer.exists(), n_interrupted
        with writing(store, "extract"):
            assert writer.exists(), n_interrupted

    assert n_interrupted > 50


def test_writing__interrupted_over_a_dead_record__can_be_taken_again(store):
    with writing(store, "extract"):
        machine = Hierarchy.open(store).attributes(WRITER)["machine"]
    write_record(store, record_of_another_machine(machine=machine, pid=-1))
    n_interrupted, is_whole = 0, False
    before = sys.gettrace()
    while not is_whole:
        try:
            sys.settrace(interrupting(n_interrupted + 1))
            with writing(store, "extract"):
                pass
            is_whole = True
        except KeyboardInterrupt:
            n_interrupted += 1
        finally:
            sys.settrace(before)

        assert "nnviz extract" not in writer_of(store), n_interrupted

    assert not (Path(store) / WRITER).exists()


def test_writing__process_ended_at_once__leaves_nothing_behind(store, capfd):
    """Of the command line, when it does not answer: no context is left."""
    program = (
        "import sys\nfrom nnviz.cli import ending\n"
        "from nnviz.store.lock import writing\n"
        "with writing(sys.argv[1], 'extract'): ending.leave(143)"
    )
    place = os.pathsep.join(filter(None, sys.path))
    found = subprocess.run(
        [sys.executable, "-c", program, store],
        env=dict(os.environ, PYTHONPATH=place),
        check=False,
    )

    assert found.returncode == 143
    assert not (Path(store) / WRITER).exists()


def test_writing__no_store__says_so(tmp_path):
    with pytest.raises(StoreNotFoundError), writing(tmp_path / "no.zarr", "extract"):
        pass
    assert not (tmp_path / "no.zarr").exists()


def test_exclusive__holds_while_the_function_runs(store):
    @exclusive("derive")
    def change(store, value=1):
        """Change something."""
        return Hierarchy.open(store.url).attributes(WRITER)["stage"], value

    assert change(store=Hierarchy.open(store), value=3) == ("derive", 3)
    assert change.__doc__ == "Change something."
    assert not (Path(store) / WRITER).exists()


IN_NAMESPACE = """
import socket, sys, time
from nnviz.errors import StoreInUseError
from nnviz.store import lock
lock.RENEWED_EVERY_S = 0.5
lock.DEAD_AFTER_S = float(sys.argv[2])
socket.sethostname("node1")
said = lock.writer_of(sys.argv[1])
try:
    with lock.writing(sys.argv[1], "extract"):
        print("held", flush=True)
        time.sleep(float(sys.argv[3]))
except StoreInUseError as error:
    print(f"refused: {error} | {said}", flush=True)
"""


@pytest.fixture(params=["--net --uts", "--net --uts --pid --fork --kill-child"])
def elsewhere(request):
    """Return a function that starts a driver in namespaces of its own."""
    command = ["unshare", *request.param.split()]
    try:
        found = subprocess.run([*command, "true"], capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no unshare command")
    if found.returncode:
        pytest.skip(f"namespaces may not be made here: {found.stderr.decode().strip()}")
    place = os.pathsep.join(filter(None, sys.path))
    started = []

    def start(store, *, dead_after, seconds):
        limits = [str(dead_after), str(seconds)]
        started.append(
            subprocess.Popen(
                [*command, sys.executable, "-c", IN_NAMESPACE, store, *limits],
                stdout=subprocess.PIPE,
                text=True,
                env=dict(os.environ, PYTHONPATH=place),
            )
        )
        return started[-1]

    yield start
    for one in started:
        one.kill()
        one.communicate()


@pytest.mark.slow
def test_writing__drivers_in_two_namespaces_of_one_host_name__one_at_a_time(
    store, elsewhere
):
    """Row 43: as two containers that share a folder; process 1 is both."""
    first = elsewhere(store, dead_after=60, seconds=600)
    assert first.stdout.readline() == "held\n"

    second = elsewhere(store, dead_after=60, seconds=0)
    told, _ = second.communicate(timeout=120)
    here = writer_of(store)
    first.kill()
    first.wait(timeout=60)
    third = elsewhere(store, dead_after=2, seconds=0)
    taken, _ = third.communicate(timeout=120)

    assert told.startswith(f"refused: another driver writes to '{store}': 'nnviz ext")
    assert told.count("on node1, since 20") == 2
    assert "on node1, since 20" in here
    assert taken == "held\n"
    assert not (Path(store) / WRITER).exists()
