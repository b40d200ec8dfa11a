"""What is taken from networks in the causal benchmark, and how it is summed up."""

import numpy as np
import pytest
import torch

from benchmarks import networks
from benchmarks.causal import orders, summaries
from benchmarks.causal_ablation import Asked
from benchmarks.causal_networks import STUDIES, Sample, Study, chain_of
from benchmarks.causal_report import DEFAULT, EXACT, tables
from nnviz.demo import DigitsNetwork

NETWORKS = {
    "digits": (DigitsNetwork, (1, 8, 8)),
    "resnet20": (networks.resnet20, (3, 32, 32)),
    "squeezenet": (lambda: networks.squeezenet1_0(12), (3, 64, 64)),
}


def hooked(network, name, masks, value, images):
    """Return logits with channels replaced where torch's hooks find the layer."""
    module = network.get_submodule(name)

    def replace(_module, _inputs, output):
        return torch.where(masks[None, :, None, None], value, output)

    handle = module.register_forward_hook(replace)
    try:
        return network(images)
    finally:
        handle.remove()


@pytest.mark.parametrize("name", NETWORKS)
def test_chain__without_some_channels__is_the_network_without_them(name):
    make, shape = NETWORKS[name]
    torch.manual_seed(0)
    network = make().eval()
    chain = chain_of(network)
    images = torch.randn(2, *shape)

    with torch.no_grad():
        outputs = chain.outputs(images)
        found = chain.logits_after(len(outputs) - 1, outputs[-1])
        torch.testing.assert_close(found, network(images))
        # What a convolution is followed by is no module of its own in the first ones.
        for number in range(1, len(chain.layers)):
            masks = torch.arange(outputs[number].shape[1]) % 3 == 0
            value = torch.linspace(0, 1, len(masks))[:, None, None]
            wanted = hooked(network, chain.layers[number], masks, value, images)
            replaced = torch.where(masks[None, :, None, None], value, outputs[number])
            found = chain.logits_after(number, replaced)
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_losses__are_those_of_one_set_at_a_time():
    torch.manual_seed(1)
    network = DigitsNetwork().eval()
    images = np.random.default_rng(0).random((2, 7, 1, 8, 8), np.float32)
    study = Study("digits", "noise", 2, 2, n_ranked=4, n_tested=3, n_single=2)
    chain = chain_of(network)
    depths = {"early": [0], "middle": [1], "late": [2, 3]}
    with torch.no_grad():
        asked = Asked(chain, Sample(images, np.array([3, 5]), ("a", "b")), study)
        channels = [x.shape[1] for x in chain.outputs(asked.ranked[0])]
        draw = np.random.default_rng(0)
        scores = {
            way: {
                layer: draw.random((2, n))
                for layer, n in zip(chain.layers, channels, strict=True)
            }
            for way in (DEFAULT, "other way")
        }
        single = asked.one_by_one(1, depths, 2)
        found = asked.losses(1, scores, single, depths)

        tested = torch.from_numpy(images[1, 4:])
        none = network(tested)
        means = torch.cat(
            [chain.outputs(torch.from_numpy(images[:, :4]).flatten(0, 1))[1]]
        )
        n = round(0.1 * channels[1])
        first = np.argsort(-scores["other way"]["residual"][1])[:n]
        masks = torch.zeros(channels[1], dtype=torch.bool)
        masks[first.tolist()] = True
        mean = means.mean((0, 2, 3))[:, None, None]
        for mode, taken in (("taken", masks), ("alone", ~masks)):
            left = hooked(network, "residual", taken, mean, tested)
            lost = (none - left).numpy()
            others = np.delete(lost, 5, axis=1).mean(1)
            own, less_others, right = found["other way", mode, "mean", "middle"]
            np.testing.assert_allclose(own, lost[:, 5], atol=1e-4)
            np.testing.assert_allclose(less_others, lost[:, 5] - others, atol=1e-4)
            assert (right == (left.argmax(1) == 5).numpy()).all()
        # The bound, of the ranked images: without one channel, the last one.
        ranked = torch.from_numpy(images[1, :2])
        last = torch.arange(channels[1]) == channels[1] - 1
        left = hooked(network, "residual", last, torch.zeros(1, 1, 1), ranked)
        lost = (network(ranked) - left).numpy()[:, 5]
        np.testing.assert_allclose(single["zero", 1][:, -1], lost, atol=1e-4)


def test_summaries__pair_ways_and_have_errors_over_classes_and_images():
    draw = np.random.default_rng(2)
    drops = {
        (way, "taken", "mean", "early"): list(draw.random((5, 3, 8)))
        for way in (DEFAULT, "other way", "random 1", "random 2", "random 3")
    }

    rows = {row["way"]: row for row in summaries(drops)}

    one, base = (
        np.array(drops[x, "taken", "mean", "early"])[:, 1]
        for x in ("other way", DEFAULT)
    )
    row = rows["other way"]
    assert row["own_less_others"] == pytest.approx(one.mean(), abs=1e-4)
    paired = (one - base).mean(1)
    assert row["against_default"] == pytest.approx(paired.mean(), abs=1e-4)
    error = np.sqrt(paired.var(ddof=1) / 5)
    assert row["against_default_error"] == pytest.approx(error, abs=1e-4)
    within = np.sqrt(one.var(axis=1, ddof=1).sum() / 8) / 5
    assert row["error_over_images"] == pytest.approx(within, abs=1e-4)
    assert set(rows) == {DEFAULT, "other way", "random"}


def test_tables__have_a_row_for_every_way():
    single = [{("mean", 0): np.array([[1.0, 2, 3], [1, 3, 2]])} for _ in range(2)]
    depths = {"early": [0], "middle": [0], "late": [0]}
    scores = {DEFAULT: {"a": np.array([[1.0, 2, 3], [3, 2, 1]])}}
    found = orders(scores, single, ("a",), depths)
    assert {row["way"] for row in found} == {DEFAULT, EXACT}
    # Halves have 1, 2, 3 and 1, 3, 2; their mean has 1, 2.5, 2.5.
    assert next(x for x in found if x["way"] == EXACT)["early"] == pytest.approx(0.5)
    row = {
        **dict.fromkeys(
            ["own_less_others", "error_over_classes", "against_default"], 1.0
        ),
        "against_default_error": 0.5,
        "way": DEFAULT,
        "mode": "taken",
        "kind": "mean",
        "depth": "early",
    }
    study = {
        "study": {
            x: getattr(STUDIES["digits"], x) for x in STUDIES["digits"].__slots__
        },
        "layers": {depth: ["a"] for depth in depths},
        "rows": [row, {**row, "way": "other way"}],
        "orders": found,
    }
    result = {"command": "a command", "machine": {}, "studies": {"digits": study}}

    text = tables(result, lambda _: "a machine")

    assert f"| {DEFAULT}: the default | **1.00** ± 1.00 | – |" in text
    assert "| other way | +1.00 ± 0.50 | – |" in text
    assert text.endswith("`a command`, a machine")
