"""What every test has: one thread, no network but loopback, the shared real data."""

from __future__ import annotations

import os

# Before anything imports a numerical library: tests share few cores with each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# Nothing is fetched from a hub.
os.environ["HF_HUB_OFFLINE"] = "1"

import ctypes
import importlib.util
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import distributed
import pytest
import torch

from nnviz.results.run_results import RunResults
from nnviz.store.store import Store
from nnviz.testing import write_store
from tests import planted_stores

BROWSER_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-background-networking",
    "--disable-component-update",
]

# Shells let what runs in the background ignore it, and children would do so, too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parent.parent


def _define_missing_torchvision_operators() -> None:
    """Make a torchvision for CUDA importable beside a torch for CPUs.

    Its compiled part needs CUDA libraries and then cannot register its operators, at
    which importing torchvision fails, and timm and transformers with it. Declared
    operators are enough: no test computes a non-maximum suppression.
    """
    spec = importlib.util.find_spec("torchvision")
    if spec is None or not spec.submodule_search_locations:
        return
    folder = Path(spec.submodule_search_locations[0])
    try:
        for library in folder.glob("_C*.so"):
            ctypes.CDLL(str(library))
    except OSError:
        library = torch.library.Library("torchvision", "DEF")
        signature = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        for operator in ("nms", "qnms"):
            library.define(operator + signature)
        _KEPT.append(library)


# The operators vanish with the object that defined them.
_KEPT: list[torch.library.Library] = []
_define_missing_torchvision_operators()


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let what is heavy take turns where tests run in parallel.

    Tests of one group run in one process, one after the other: one browser at a time,
    one cluster, and one of the clusters whose processes are killed.
    """
    for item in items:
        if item.get_closest_marker("xdist_group"):
            continue  # it shares something costly with others, and says so
        if item.get_closest_marker("browser"):
            item.add_marker(pytest.mark.xdist_group("browser"))
        elif item.get_closest_marker("cluster"):
            kind = "faults" if item.path.parent.name == "faults" else "cluster"
            item.add_marker(pytest.mark.xdist_group(kind))


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


@pytest.fixture(scope="session")
def chromium() -> str:
    """Return the path of an installed Chromium; skip where there is none."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    pytest.skip("no Chromium on the path")


@pytest.fixture(scope="session")
def browser(chromium: str) -> Iterator[Any]:
    """Return the one browser of all tests: Playwright has one loop in a process."""
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=BROWSER_ARGUMENTS
        )
        yield browser
        browser.close()


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
