"""What the tests of clusters have: a store to fill, and the bytes it should have."""

import hashlib
import os
import sys
from pathlib import Path

import distributed
import pytest

import nnviz
from nnviz.demo import write_demo
from nnviz.runs.config import load_config

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    """Return a run file of 640 digits in chunks of 32, which is 20 chunks."""
    folder = tmp_path_factory.mktemp("digits")
    write_demo(folder, epochs=1)
    run_file = folder / "run.toml"
    text = run_file.read_text(encoding="utf-8")
    text = text.replace("_chunk = 256", "_chunk = 32")
    text = text.replace("batch_size = 64", "batch_size = 16")
    run_file.write_text(text.replace('"digits.csv"', '"digits.csv"\nlimit = 640'))
    return run_file


@pytest.fixture
def create(digits):
    """Return a function that makes an empty store at a place."""

    def create(url):
        plan, probe = nnviz.plan_run(load_config(digits))
        return nnviz.prepare_store(plan, str(url), probe=probe)

    return create


@pytest.fixture(scope="session")
def expected(digits, tmp_path_factory):
    """Return the checksums of the store that one undisturbed worker makes."""
    url = tmp_path_factory.mktemp("expected") / "run.zarr"
    plan, probe = nnviz.plan_run(load_config(digits))
    store = nnviz.prepare_store(plan, str(url), probe=probe)
    # Threads of this process write the same bytes, and start sooner.
    with distributed.Client(
        processes=False,
        n_workers=1,
        threads_per_worker=1,
        dashboard_address="127.0.0.1:0",
        set_as_default=False,
    ) as client:
        nnviz.extract(store, client=client)
    return checksums_of(url)


def checksums_of(url):
    return {
        str(path.relative_to(url)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(url.rglob("*"))
        if path.is_file() and "c" in path.relative_to(url).parts
    }


@pytest.fixture(scope="session")
def checksums():
    """Return a function: the SHA-256 of every piece of a store, by its path."""
    return checksums_of


@pytest.fixture(scope="session")
def program_environment(tmp_path_factory):
    """Return an environment in which `nnviz` and `dask` are this checkout's."""
    folder = tmp_path_factory.mktemp("bin")
    for name, module in (("nnviz", "nnviz"), ("dask", "dask")):
        script = folder / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {module} "$@"\n')
        script.chmod(0o755)
    places = [str(ROOT), str(ROOT / "cluster"), str(ROOT / "dashboards")]
    return {
        **os.environ,
        "PATH": f"{folder}:{os.environ['PATH']}",
        "PYTHONPATH": ":".join(places),
        "OMP_NUM_THREADS": "1",
    }
