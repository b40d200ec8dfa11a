"""What tells two classes apart, taken from the network."""

import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import nnviz
from nnviz.ablation.difference import ablate_difference
from nnviz.ablation.difference_check import Removal
from nnviz.cli.main import main
from nnviz.errors import ConfigError, UnknownNameError
from tests import planted_network as planted
from tests.oracles import ablation as oracle

pytestmark = pytest.mark.slow

LAYERS = list(planted.N_CHANNELS)
FIRST, SECOND = planted.CLASS_NAMES[:2]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("planted")
    plan, probe = nnviz.plan_run(planted.write_run(folder))
    store = nnviz.prepare_store(plan, str(folder / "run.zarr"), probe=probe)
    nnviz.extract(store, workers=0)
    nnviz.aggregate(store, "label", progress=False)
    return nnviz.open_store(store.url)


def test_difference__of_planted_paths__takes_each_class_and_not_the_other(store):
    check = ablate_difference(store, FIRST, SECOND, n_instances=10, draws=8)

    right = check.taken_for("nothing")[0]
    assert right.tolist() == [[1, 0], [0, 1]]
    assert check.n_channels[check.removals.index(Removal("first"))] == 2
    for sample, part in enumerate(("first", "second")):
        own, other = check.drop(part)[0][[sample, 1 - sample]]
        assert own > 2 * check.drop(part, random=True)[:, sample].max()
        assert own > 5 * abs(other)
    assert (check.drop("shared") == 0).all()


def test_difference__counts_as_the_plain_loop_does(store):
    check = ablate_difference(
        store, FIRST, SECOND, n_instances=3, n_reference=30, draws=2, seed=4
    )

    graphs = [nnviz.attribution_graph(store, name) for name in (FIRST, SECOND)]
    one, two = ({x: set() for x in LAYERS}, {x: set() for x in LAYERS})
    for kept, graph in zip((one, two), graphs, strict=True):
        for layer, channel in graph:
            if layer in kept:
                kept[layer].add(channel)
    network = planted.build().double()
    data, _ = planted.instances(90)
    drawn = np.random.default_rng((4, 1)).choice(np.arange(90), 30, replace=False)
    parts = {
        "nothing": {x: set() for x in LAYERS},
        "first": {x: one[x] - two[x] for x in LAYERS},
        "second": {x: two[x] - one[x] for x in LAYERS},
        "shared": {x: one[x] & two[x] for x in LAYERS},
    }
    labels = store.column("label")
    with torch.no_grad():
        means = oracle.channel_means(network, data[drawn].astype(np.float64), LAYERS)
        for part, channels in parts.items():
            row = check.removals.index(Removal(part))
            assert check.n_channels[row] == sum(map(len, channels.values()))
            for sample in (0, 1):
                members = np.flatnonzero(labels == sample)
                random = np.random.default_rng((4, 0, sample))
                chosen = np.sort(random.choice(members, 3, replace=False))
                logits = oracle.ablated_logits(
                    network,
                    data[chosen].astype(np.float64),
                    {x: sorted(channels[x]) for x in LAYERS},
                    means,
                )
                mine = check.logit[sample, row]
                np.testing.assert_allclose(
                    mine, logits[:, sample], rtol=1e-4, atol=1e-5
                )
                assert check.prediction[sample, row].tolist() == (
                    logits.argmax(axis=1).tolist()
                )
    # A draw has as many channels as the part that it stands beside.
    n = dict(zip(check.removals, check.n_channels.tolist(), strict=True))
    assert all(n[one] == n[Removal(one.part)] for one in check.removals)


def test_difference__of_what_are_no_two_classes__is_refused(store):
    with pytest.raises(ConfigError, match="are not two classes"):
        ablate_difference(store, FIRST, FIRST)
    with pytest.raises(UnknownNameError):
        ablate_difference(store, FIRST, "nowhere")


def test_command__prints_what_both_are_taken_for(store, scheduler_address):
    arguments = ["ablate-difference", store.url, FIRST, SECOND, "--draws", "2"]
    arguments += ["--instances", "5", "--scheduler", scheduler_address, "--quiet"]

    shown = CliRunner().invoke(main, arguments)
    result = CliRunner().invoke(main, [*arguments, "--json"])

    assert shown.exit_code == 0, shown.output
    assert f"only in '{FIRST}'" in shown.stdout
    here = ablate_difference(store, FIRST, SECOND, n_instances=5, draws=2)
    assert json.loads(result.stdout) == json.loads(json.dumps(here.to_json()))
