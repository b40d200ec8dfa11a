"""Run stages in processes that die at their n-th change of a file, for growing n.

    python -m tests.faults.crash_in_stages STORE STAGE ...

Writes as JSON for each stage how often it died, and how many changes it makes at last.
Each run goes on with what the one before has left; the last of a stage is not
disturbed. Processes are forked from this one, which has started no thread, and should
have imported everything (tests/imported_ahead.py): each would do it again.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import nnviz
from nnviz.ablation.ablation import ablate
from nnviz.aggregation.aggregation import aggregate
from nnviz.aggregation.index import make_index
from nnviz.derivation.derivation import derive
from nnviz.errors import NnvizError
from nnviz.export.tables import write_bundle
from nnviz.store.store import Store
from nnviz.subsets.naming import named_subsets
from nnviz.upkeep.extension import extend
from nnviz.upkeep.verification import verify

CHANGES = ("replace", "rename", "unlink", "mkdir", "rmdir", "link")


def aggregate_two(url: str) -> None:
    store = Store.open(url, writable=True)
    aggregate(store, [named_subsets(store, name) for name in ("label", "outcome")])


def derive_all(url: str) -> None:
    derive(Store.open(url, writable=True), pictures=False)


def index(url: str) -> None:
    make_index(Store.open(url, writable=True))


def ablate_labels(url: str) -> None:
    store = Store.open(url, writable=True)
    collection = named_subsets(store, "label")
    ablate(store, collection, n_instances=4, n_reference=8, draws=1, trust=True)


def verify_all(url: str) -> None:
    verify(url, trust=True)


def extend_rows(url: str) -> None:
    extend(url)


def export(url: str) -> None:
    """Beside the store, where nothing is until all is."""
    tables = Path(f"{url}.tables")
    if tables.exists():
        assert (tables / "manifest.json").exists()
        shutil.rmtree(tables)
    write_bundle(url, tables)


def plan(url: str) -> None:
    """As ``nnviz plan --create`` does it, in the folder of the run file."""
    planned, probe = nnviz.plan_run(nnviz.load_config(Path(url).parent / "run.toml"))
    nnviz.prepare_store(planned, url, probe=probe)


STAGES: dict[str, Callable[[str], None]] = {
    "aggregate": aggregate_two,
    "derive": derive_all,
    "index": index,
    "ablate": ablate_labels,
    "verify": verify_all,
    "extend": extend_rows,
    "export": export,
    "plan": plan,
}


def n_changes(stage: str, url: str, dies_at: int) -> int:
    """Run a stage in a child; return its changes, or -1 where it died."""
    here, there = os.pipe()
    child = os.fork()
    if child == 0:
        count = 0

        def counted(change: Callable[..., Any]) -> Callable[..., Any]:
            def call(*arguments: Any, **options: Any) -> Any:
                nonlocal count
                count += 1
                if count == dies_at:
                    os.kill(os.getpid(), signal.SIGKILL)
                return change(*arguments, **options)

            return call

        for name in CHANGES:
            setattr(os, name, counted(getattr(os, name)))
        code = 1
        try:
            torch.set_num_threads(1)
            STAGES[stage](url)
            os.write(there, str(count).encode())
            code = 0
        except NnvizError as error:
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
        finally:
            os._exit(code)
    os.close(there)
    with os.fdopen(here, "rb") as stream:
        told = stream.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return -1
    if os.WEXITSTATUS(status):
        sys.exit(f"{stage} failed after a crash, at change {dies_at}")
    return int(told)


def deaths_and_changes(url: str, stage: str) -> tuple[int, int]:
    """Let a stage die at growing numbers of changes until it ends."""
    n, n_deaths = 1, 0
    while (found := n_changes(stage, url, n)) < 0:
        n_deaths += 1
        n *= 3
    return n_deaths, found


if __name__ == "__main__":
    url, *stages = sys.argv[1:]
    sys.stdout.write(json.dumps([deaths_and_changes(url, stage) for stage in stages]))
