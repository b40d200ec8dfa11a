"""Relevance of a run: what is stored is what the network's gradients say."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

import nnviz
from nnviz.errors import PlanError, StoreError
from nnviz.extraction.planned_network import load_planned_network
from nnviz.runs.config import load_config
from nnviz.runs.declarations import RELEVANCE_PARTS
from nnviz.runs.plan import Plan
from nnviz.store.store import Store
from nnviz.upkeep.extension import extend
from nnviz.upkeep.recomputation import recompute
from tests import planted_network as planted

pytestmark = pytest.mark.slow

LOST = (5, 40)
N = 70


def extracted(folder, options, **written):
    run_file = planted.write_run(folder, n=N, **written)
    with run_file.open("a", encoding="utf-8") as opened:
        opened.write(options)
    plan, probe = nnviz.plan_run(load_config(run_file))
    store = nnviz.prepare_store(plan, str(folder / "run.zarr"), probe=probe)
    nnviz.extract(store, workers=0, progress=False)
    return Store.open(store.url)


def outputs(store, layer):
    """Return hidden values of a layer and the gradients of each output, in float64."""
    network = load_planned_network(store.plan, trust=True).double()
    x = torch.from_numpy(planted.instances(N)[0]).double()
    first = torch.relu(network.first(x)).detach().requires_grad_()
    second = torch.relu(network.second(first))
    second.retain_grad()
    logits = network.head(second.mean((2, 3)))
    gradients = []
    for k in range(logits.shape[1]):
        first.grad = second.grad = None
        logits[:, k].sum().backward(retain_graph=True)
        gradients.append({"first": first.grad, "second": second.grad}[layer].clone())
    values = {"first": first, "second": second}[layer].detach()
    return logits.detach().numpy(), values, torch.stack(gradients)


@pytest.mark.parametrize("layer", ["first", "second"])
@pytest.mark.parametrize(
    ("options", "explained"),
    [
        ('relevance = "label"', lambda logits, labels: [(labels, 1)]),
        ('relevance = "prediction"', lambda logits, labels: [(logits.argmax(1), 1)]),
        (
            'relevance = "output"\nrelevance_outputs = ["south", "east"]',
            lambda logits, labels: [(np.full(N, 2), 1), (np.full(N, 1), -1)],
        ),
    ],
    ids=["label", "prediction", "difference"],
)
def test_relevance__stored_sums_are_those_of_autograd(
    tmp_path, layer, options, explained
):
    store = extracted(tmp_path, options, lost=LOST)

    logits, values, gradients = outputs(store, layer)
    chosen = explained(logits, planted.instances(N)[1])
    row = np.arange(N)
    gradient = sum(sign * gradients[outputs, row] for outputs, sign in chosen)
    usable = np.setdiff1d(row, LOST)
    for part, wanted in {
        "product": (gradient * values).sum((2, 3)),
        "gradient": gradient.sum((2, 3)),
        "mean": values.mean((2, 3)),
        "norm": (gradient**2).sum((2, 3)) ** 0.5,
    }.items():
        stored = store.read(f"relevance/{layer}/{part}")
        np.testing.assert_allclose(stored[usable], wanted[usable], atol=1e-5)
        assert np.isnan(stored[list(LOST)]).all()


def test_relevance__run_planned_before_norms_were_kept_has_the_rest(tmp_path):
    new = extracted(tmp_path, 'relevance = "label"')
    plan, probe = nnviz.plan_run(load_config(tmp_path / "run.toml"))
    plan = dataclasses.replace(plan, keeps_gradient_norms=False)
    value = plan.to_json()
    del value["keeps_gradient_norms"]
    before = Plan.from_json(value)

    store = nnviz.prepare_store(before, str(tmp_path / "before.zarr"), probe=probe)
    nnviz.extract(store, workers=0, progress=False)

    assert before.fingerprint == plan.fingerprint != new.plan.fingerprint
    assert not any("norm" in spec.path for spec in before.arrays)
    assert nnviz.verify(store).is_sound
    for layer in store.shown_layers:
        for part in RELEVANCE_PARTS[:-1]:
            path = f"relevance/{layer.name}/{part}"
            np.testing.assert_array_equal(store.read(path), new.read(path))


def test_relevance__of_a_network_without_biases_is_the_output(tmp_path):
    store = extracted(tmp_path, 'relevance = "prediction"')

    logits = outputs(store, "first")[0]
    for layer in ("first", "second"):
        total = store.read(f"relevance/{layer}/product").sum(1)
        np.testing.assert_allclose(total, logits.max(1), rtol=1e-4)


def test_relevance__is_verified_and_computed_again(tmp_path):
    store = extracted(tmp_path, 'relevance = "label"')

    again = recompute(store, 1.0, trust=True)
    report = nnviz.verify(store)

    assert again.differences == {}
    assert report.is_sound
    assert {x.name for x in store.plan.architecture.shown} == {
        path.split("/")[1]
        for spec in store.plan.arrays
        if (path := spec.path).startswith("relevance/")
    }


def test_relevance__stores_without_it_have_the_fingerprint_of_before(tmp_path):
    store = extracted(tmp_path, "")
    value = store.plan.to_json()
    names = [name for name in value["extraction"] if name.startswith("relevance")]

    older = {k: v for k, v in value["extraction"].items() if k not in names}
    before = Plan.from_json({**value, "extraction": older})

    assert len(names) == 3
    assert before.fingerprint == store.plan.fingerprint
    assert before == store.plan
    assert not any(x.path.startswith("relevance/") for x in store.plan.arrays)


def test_relevance__plan_tells_what_it_costs(tmp_path):
    run_file = planted.write_run(tmp_path, n=N)
    with run_file.open("a", encoding="utf-8") as opened:
        opened.write('relevance = "output"\nrelevance_outputs = ["south", "east"]')

    plan, _ = nnviz.plan_run(load_config(run_file))

    n_channels = sum(x.n_channels for x in plan.architecture.shown)
    text = "\n".join(line for line in str(plan).splitlines() if "relevance" in line)
    assert "of the shown layers for south less east: " in text
    assert f"{16 * n_channels:,} bytes an instance" in text
    # Maps of 36 and 44 channels at 36 places, and four outputs.
    assert plan.measurements.gradient_bytes >= 4 * (36 + 44) * 36
    without = Plan.from_json({**plan.to_json(), "measurements": {}})
    assert plan.task_bytes > without.task_bytes


def test_relevance__network_without_outputs_is_refused_when_it_is_planned(tmp_path):
    with pytest.raises(PlanError, match="not of shape"):
        extracted(tmp_path, 'relevance = "prediction"', source="plain_network")
    with pytest.raises(StoreError):
        Store.open(tmp_path / "run.zarr")


def test_relevance__of_a_store_that_has_grown_is_that_of_one_run(tmp_path):
    whole = extracted(tmp_path, 'relevance = "label"')
    data = dict(np.load(tmp_path / "data.npz"))
    np.savez(tmp_path / "data.npz", **{k: v[: N - 20] for k, v in data.items()})
    plan, probe = nnviz.plan_run(load_config(tmp_path / "run.toml"))
    store = nnviz.prepare_store(plan, str(tmp_path / "grown.zarr"), probe=probe)
    nnviz.extract(store, workers=0, progress=False)
    np.savez(tmp_path / "data.npz", **data)

    extend(store.url)
    nnviz.extract(store.url, workers=0, progress=False)

    grown = Store.open(store.url)
    for layer in grown.shown_layers:
        for part in RELEVANCE_PARTS:
            path = f"relevance/{layer.name}/{part}"
            np.testing.assert_array_equal(grown.read(path), whole.read(path))
