"""Targets are top channels, and at least so many of the strongest ones."""

from __future__ import annotations

import json

import numpy as np
import pytest

import nnviz
from nnviz.network.top_channels import planned_top_channels
from nnviz.runs.config import load_config
from nnviz.runs.plan import Plan
from nnviz.store.store import Store
from tests import planted_network as planted


def extracted(folder, options=""):
    run_file = planted.write_run(folder, n=40)
    with run_file.open("a", encoding="utf-8") as opened:
        opened.write(options)
    plan, probe = nnviz.plan_run(load_config(run_file))
    store = nnviz.prepare_store(plan, str(folder / "run.zarr"), probe=probe)
    nnviz.extract(store, workers=0, progress=False)
    return Store.open(store.url)


@pytest.mark.parametrize("n_least", [1, 8, 20])
def test_targets__are_the_strongest_and_at_least_so_many(tmp_path, n_least):
    store = extracted(tmp_path, f"targets_minimum = {n_least}")

    for kept in store.plan.influences:
        values = store.activations(kept.target)
        options = store.plan.extraction
        top = planned_top_channels(values, kept.target, options).toarray()
        targets = store.read(f"influences/{kept.target}/target")
        for row, activation in enumerate(values):
            strongest = np.argsort(-activation.astype(np.float64), kind="stable")
            n = max(n_least, int(top[row].sum()))
            wanted = [c for c in strongest[:n] if activation[c] > 0]
            assert sorted(targets[row][targets[row] >= 0]) == sorted(wanted)


def test_plan__from_before_has_the_top_channels_alone_and_the_same_identity(tmp_path):
    store = extracted(tmp_path, "targets_minimum = 1")
    value = json.loads(json.dumps(store.plan.to_json()))

    del value["extraction"]["targets_minimum"]
    before = Plan.from_json(value)

    assert before.extraction.targets_minimum == 1
    assert before.influences == store.plan.influences
    assert before.fingerprint == store.plan.fingerprint
