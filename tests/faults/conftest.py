"""The tiny run of these tests, its undisturbed store, and commands that get stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

import nnviz
from tests.faults.tiny_run import N_CHUNKS, Driver, TinyRun, checksums


@pytest.fixture(scope="session")
def _session_run(tmp_path_factory: pytest.TempPathFactory) -> TinyRun:
    return TinyRun(tmp_path_factory.mktemp("tiny") / "run")


@pytest.fixture
def run(_session_run: TinyRun) -> Iterator[TinyRun]:
    """Return the tiny run, without faults."""
    _session_run.repair()
    yield _session_run
    _session_run.repair()


@pytest.fixture(scope="session")
def undisturbed(
    _session_run: TinyRun, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """Return the checksums of the store that one process makes, without a fault."""
    from nnviz.extraction.worker_tasks import Opening, extract_chunk

    store = _session_run.store(tmp_path_factory.mktemp("undisturbed") / "run.zarr")
    fingerprint = nnviz.open_store(store).fingerprint
    for chunk in range(N_CHUNKS):
        extract_chunk(chunk, Opening(str(store), fingerprint, writable=True))
    return checksums(store)


@pytest.fixture
def driver() -> Iterator[Callable[..., Driver]]:
    """Return a function that starts commands; what is left of them is killed."""
    started: list[Driver] = []

    def start(*arguments: object, has_server: bool = True) -> Driver:
        started.append(Driver(*arguments, has_server=has_server))
        return started[-1]

    yield start
    for one in started:
        one.kill_group()
        one.process.communicate()
