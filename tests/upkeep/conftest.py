"""A small run of a real network, made once, and copied for each test."""

from __future__ import annotations

import shutil

import pytest

import nnviz
from tests.faults.small_run import extracted, write_inputs


@pytest.fixture(scope="session")
def _extracted_once(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(extracted(write_inputs(tmp_path_factory.mktemp("small"))).url)


@pytest.fixture
def small(
    _extracted_once: str, tmp_path_factory: pytest.TempPathFactory
) -> nnviz.Store:
    """Return a store of its own, of inputs that it shares: no test changes them."""
    copy = tmp_path_factory.mktemp("copy") / "run.zarr"
    return nnviz.open_store(shutil.copytree(_extracted_once, copy))
