"""What every test has: one thread, no network but loopback, the shared real data."""

from __future__ import annotations

import atexit
import gc
import os
import shutil
import tempfile

# Before anything imports a numerical library: tests share few cores with each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def is_roomy(folder: str, room: int = 4 << 30) -> bool:
    """Whether a folder has room for what tests write, and programs may be run there."""
    try:
        there = os.statvfs(folder)
    except OSError:
        return False
    return there.f_bavail * there.f_frsize > room and not there.f_flag & os.ST_NOEXEC


def put_temporary_files(folder: str) -> None:
    """Let temporary files be below a folder, in one that goes with this process.

    Programs that are killed leave theirs behind, and there are many. What tests ask
    pytest for stays beside it, as long as pytest keeps it.
    """
    place, process = tempfile.mkdtemp(prefix="nnviz-tests-", dir=folder), os.getpid()

    def remove() -> None:
        if os.getpid() == process:
            shutil.rmtree(place, ignore_errors=True)

    atexit.register(remove)
    os.environ["TMPDIR"] = place
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", folder)
    tempfile.tempdir = None  # it has been asked for already


# Tests make, sync and remove some hundred thousand small files: on a disk that takes as
# long as all that they compute. Who names a place for temporary files has them there.
if "TMPDIR" not in os.environ and is_roomy("/dev/shm"):
    put_temporary_files("/dev/shm")
# Nothing is fetched from a hub.
os.environ["HF_HUB_OFFLINE"] = "1"
# Before all that is imported, as commands have it.
from nnviz.garbage import look_at_old_objects_seldom

look_at_old_objects_seldom()

import asyncio
import contextlib
import importlib
import json
import signal
import types
from collections.abc import Callable, Generator, Iterator
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import dask
import distributed
import psutil
import pytest
import torch
from _pytest.doctest import DoctestModule
from click.testing import CliRunner

from nnviz.cli.main import main as command_line
from nnviz.interface.local_workers import OF_THREADS
from nnviz.results.run_results import RunResults
from nnviz.store.store import Store
from nnviz.testing import write_store
from nnviz_cluster import local
from tests import planted_stores
from tests.dashboards.visits import SIZE, Visits
from tests.forked import Forked, ForkedInLoop
from tests.torchvision_operators import define_missing_operators

BROWSER_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-background-networking",
    "--disable-component-update",
    # A page lives for seconds here: with room for what it makes, little of it is ever
    # looked through for garbage.
    "--js-flags=--min-semi-space-size=64",
]

# Shells let what runs in the background ignore it, and children would do so, too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# What takes long begins first, so that no process waits for another at the end: the
# groups that take minutes, then files of tests that take seconds.
HEAVY = ("browser", "cluster", "slow")
LONGEST = ("browser", "cluster", "faults", "demonstration")

# Worker processes run it as they start; here it would define operators again.
collect_ignore = ["worker_path/sitecustomize.py"]

IMPORTED_AHEAD = ["tests.imported_ahead"]

DEMONSTRATION = "demo --no-serve --out digits"

ROOT = Path(__file__).resolve().parent.parent


define_missing_operators()

# Workers of clusters that are started in this process are forked from one that has
# imported what workers import, which is most of what a worker costs; programs as well
# (tests/forked.py). These, as those that are started as users start them, start their
# own as users have them.
dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"})
# Of workers that are threads of this process (nnviz/interface/local_workers.py).
dask.config.set(OF_THREADS)
distributed.utils.get_mp_context().set_forkserver_preload(IMPORTED_AHEAD)


def pytest_xdist_auto_num_workers() -> int:
    """Return one process more than there are cores: one or the other always waits.

    Not more: each takes a gigabyte, ten seconds to collect the tests, and caches from
    the others; on two cores five of them need a fifth longer than three.
    """
    n_for_memory = psutil.virtual_memory().available // (3 << 29)
    return max(1, min(len(os.sched_getaffinity(0)) + 1, 4, n_for_memory))


def pytest_collection_finish() -> None:
    """Leave what was imported and thousands of tests out of the search for garbage."""
    gc.freeze()


def pytest_collection(session: pytest.Session) -> None:
    """Let processes that collect the same tests begin at different ones.

    In a clean checkout, pytest compiles every module of tests first, which takes ten
    seconds. Each process compiles its share, and finds what the others have compiled.
    """
    of_worker = getattr(session.config, "workerinput", None)
    if (
        of_worker is None
        or session.config.args_source is not pytest.Config.ArgsSource.TESTPATHS
    ):
        return
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    names = [".".join(f.relative_to(ROOT).with_suffix("").parts) for f in files]
    share = len(names) // of_worker["workercount"]
    begin = share * int(of_worker["workerid"].removeprefix("gw"))
    for name in names[begin : begin + share]:
        # Whatever is wrong with it, collection meets it again, and says so.
        with contextlib.suppress(Exception, pytest.skip.Exception):
            importlib.import_module(name)


@pytest.hookimpl(wrapper=True)
def pytest_collect_file() -> Generator[None, list[Any], list[Any]]:
    """Look for examples in the docstrings of what is tested; those of tests have none.

    Each file of them would be gone through twice, and helpers be imported by every
    process, also where no test needs them.
    """
    found = yield
    return [one for one in found if type(one) is not DoctestModule]


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let what is heavy take turns, and start first, where tests run in parallel.

    Tests of one group run in one process, one after the other: one browser at a time,
    one cluster, and one of the clusters whose processes are killed. All others are
    groups by their file, which share what the file sets up.
    """
    for item in items:
        if item.get_closest_marker("xdist_group"):
            continue  # it shares something costly with others, and says so
        if item.get_closest_marker("browser"):
            group = "browser"
        elif item.get_closest_marker("cluster"):
            group = "faults" if item.path.parent.name == "faults" else "cluster"
        else:
            group = item.nodeid.partition("::")[0].replace("/", ".")
        item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    """Return when a test has its turn: the number of what is before it."""
    marker = item.get_closest_marker("xdist_group")
    group = marker.args[0] if marker else ""
    if group in LONGEST:
        return LONGEST.index(group)
    is_light = all(item.get_closest_marker(name) is None for name in HEAVY)
    return len(LONGEST) + is_light


@pytest.fixture(autouse=True)
def _import_ahead(request: pytest.FixtureRequest) -> None:
    """Let a fork server that is not there yet import for tests, whoever had another.

    Where processes are likely to be started it starts before: commands that find none
    start one of their own, each time, and end it.
    """
    distributed.utils.get_mp_context().set_forkserver_preload(IMPORTED_AHEAD)
    if request.node.get_closest_marker("cluster"):
        forkserver.ensure_running()


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Start every test with one thread, whatever a worker in this process has set."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder of real data sets and weights; skip where there is none."""
    named = os.environ.get("NNVIZ_SHARED")
    folder = Path(named) if named else ROOT.parent / "shared"
    if not (folder / "data").is_dir():
        pytest.skip(
            f"no real data at {folder}; NNVIZ_SHARED names a folder that has some"
        )
    return folder


@pytest.fixture
def client() -> Iterator[distributed.Client]:
    """Return a client of two workers that are threads of this process."""
    with distributed.Client(
        processes=False,
        n_workers=2,
        threads_per_worker=1,
        dashboard_address="127.0.0.1:0",
        set_as_default=False,
    ) as client:
        yield client


@pytest.fixture
def spawned() -> Iterator[None]:
    """Let workers start with the environment that they are started in."""
    with dask.config.set({"distributed.worker.multiprocessing-method": "spawn"}):
        yield


@pytest.fixture
def forked_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the kernels of notebooks be forked from a process that has imported."""
    from jupyter_client.provisioning import local_provisioner

    def launch(
        command: list[str], *, cwd: str, env: dict[str, str], **_: Any
    ) -> Forked:
        _, switch, module, *arguments = command
        assert switch == "-m"
        return Forked(module, *arguments, folder=Path(cwd), env=env)

    monkeypatch.setattr(local_provisioner, "launch_kernel", launch)


@pytest.fixture
def forked_clusters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each scheduler and worker that a benchmark starts be forked, likewise."""
    from distributed.deploy import subprocess as starting

    # Dask's own asks for the children of what may have ended, and is not there then.
    async def close(interface: Any) -> None:
        if interface.process is not None:
            await interface.process.end()
        interface.process = None
        await starting.ProcessInterface.close(interface)

    of_loop = {**vars(asyncio), "create_subprocess_exec": ForkedInLoop.start}
    monkeypatch.setattr(starting, "asyncio", types.SimpleNamespace(**of_loop))
    monkeypatch.setattr(starting.Subprocess, "close", close)


@pytest.fixture(scope="module")
def scheduler_address() -> Iterator[str]:
    """Return where a cluster answers that commands can name.

    Its worker is a thread of this process: commands that are called here, and not
    started, then cost no import of torch in processes of their own.
    """
    with distributed.LocalCluster(
        processes=False,
        n_workers=1,
        threads_per_worker=1,
        protocol="tcp://",
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
    ) as cluster:
        yield cluster.scheduler_address


@pytest.fixture(scope="module")
def processes() -> Iterator[distributed.Client]:
    """Return a client of two worker processes, started as commands start theirs.

    For tests that need real processes and leave them as they are: starting two takes
    some seconds. Not for the whole session: Hypothesis minds threads that draw random
    numbers, and a cluster's do.
    """
    with local.client(n_workers=2) as client:
        yield client


@pytest.fixture(scope="module")
def cluster_file(
    processes: distributed.Client, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Return a cluster file with which commands find the two worker processes."""
    tls = processes.security.get_tls_config_for_role("client")
    lines = ['kind = "address"', f"address = {json.dumps(processes.scheduler.address)}"]
    lines += ["[tls]"]
    for name, key in {"ca": "ca_file", "cert": "cert", "key": "key"}.items():
        lines.append(f"{name} = {json.dumps(str(tls[key]))}")
    file = tmp_path_factory.mktemp("cluster") / "cluster.toml"
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


@pytest.fixture(scope="session")
def demonstration(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which the demonstration was run, into ``digits``.

    What it printed is in ``printed.json`` there. Tests that ask for it are one group.
    """
    folder = tmp_path_factory.mktemp("demonstration")
    with contextlib.chdir(folder):
        done = CliRunner().invoke(command_line, [*DEMONSTRATION.split(), "--json"])
    assert done.exit_code == 0, done.output
    (folder / "printed.json").write_text(done.stdout, encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def chromium() -> str:
    """Return the path of an installed Chromium; skip where there is none."""
    # The first is the same without a window around the page, which is drawn, too.
    names = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
    for name in names:
        if path := shutil.which(name):
            return path
    pytest.skip("no Chromium on the path")


@pytest.fixture(scope="session")
def browser(chromium: str) -> Iterator[Any]:
    """Return the one browser of all tests: Playwright has one loop in a process."""
    sync_api = pytest.importorskip("playwright.sync_api")
    sync_api.expect.set_options(
        timeout=60_000
    )  # a guard against hanging, no measurement
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=BROWSER_ARGUMENTS
        )
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def _visits(browser: Any) -> Iterator[Visits]:
    with contextlib.closing(browser.new_context(viewport=SIZE)) as context:
        yield Visits(context)


@pytest.fixture
def _visitor(_visits: Visits, request: pytest.FixtureRequest) -> Iterator[Visits]:
    failed = request.session.testsfailed
    # Frames of movements have to be drawn, so that only those pages move whose tests
    # look at more than one choice, or at a movement.
    _visits.let_move(request.node.get_closest_marker("moving") is not None)
    yield _visits
    wrong = [*_visits.wrong]
    _visits.leave(has_failed=request.session.testsfailed > failed or wrong != [])
    _visits.wrong.clear()
    assert wrong == []


@pytest.fixture
def visit(_visitor: Visits) -> Callable[..., Any]:
    """Return a function that loads a page; what goes wrong on it fails the test."""
    return _visitor.open_page


@pytest.fixture
def turn(_visitor: Visits) -> Callable[..., Any]:
    """Return a function like ``visit`` that goes on with the page of the last test."""
    return _visitor.turn_page


@pytest.fixture(scope="session")
def partial_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the place of a run whose extraction has a chunk to go."""
    url = str(tmp_path_factory.mktemp("partial") / "run.zarr")
    write_store(url, planted_stores.RUN, missing_chunks=[1])
    return url


@pytest.fixture(scope="session")
def extracted_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the place of a run of which nothing is aggregated."""
    url = str(tmp_path_factory.mktemp("extracted") / "run.zarr")
    write_store(url, planted_stores.RUN)
    return url


@pytest.fixture(scope="session")
def aggregated_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the place of a run of which nothing is derived."""
    url = str(tmp_path_factory.mktemp("aggregated") / "run.zarr")
    planted_stores.write_aggregated(url)
    return url


@pytest.fixture(scope="session")
def finished_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the place of a finished run without influences."""
    url = str(tmp_path_factory.mktemp("finished") / "run.zarr")
    planted_stores.write_finished(url)
    return url


@pytest.fixture(scope="session")
def graph_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the place of a finished run with influences."""
    url = str(tmp_path_factory.mktemp("graphs") / "run.zarr")
    planted_stores.write_with_graphs(url)
    return url


@pytest.fixture
def finished(finished_url: str) -> Store:
    """Return a finished run without influences, opened for reading."""
    return Store.open(finished_url)


@pytest.fixture
def results(finished: Store) -> RunResults:
    """Return what a finished run without influences has to show."""
    return RunResults(finished)
