"""Rules for the backward pass of others: LRP by hand, of zennit, and of lxt."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest
import torch
from torch import nn

from nnviz.network.recording.gradient_checks import check_gradients
from nnviz.network.recording.gradients import Explained
from nnviz.network.recording.runtime import NetworkRuntime
from nnviz.network.tracing import trace
from nnviz.runs.config import ExtractionConfig, PreprocessingConfig


class ZPlus:
    """The z-plus rule: relevance goes to inputs as their positive contributions do.

    Montavon et al., "Explaining nonlinear classification decisions with deep Taylor
    decomposition", Pattern Recognition 65, 2017, for inputs that are not negative.
    """

    def register(self, network):
        for module in network.modules():
            if isinstance(module, nn.Linear):
                module.register_forward_hook(self.keep)
                module.register_full_backward_hook(self.share_out)
        return network

    def keep(self, module, arguments, output):
        module.x, module.y = arguments[0].detach(), output.detach()

    def share_out(self, module, gradient_in, gradient_out):
        weights = module.weight.clamp(min=0)
        relevance = gradient_out[0] * module.y
        return (relevance / (module.x @ weights.T) @ weights,)


def by_hand(*weights):
    modules = []
    for rows in weights:
        linear = nn.Linear(2, 2, bias=False)
        linear.weight = nn.Parameter(torch.tensor(rows, dtype=torch.float32))
        modules += [linear, nn.ReLU()]
    return nn.Sequential(*modules[:-1]).eval()


def test_rule__of_anothers_own_is_what_relevance_is_made_of():
    """Of the input (1, 2) the hidden layers are (3, 1) and (5, 4), the outputs 1, 13.

    By z-plus, 13 comes as 1 * 5 and 2 * 4 from the second. Of the 5, all comes from the
    3, as the weight of the 1 is negative; of the 8, three parts and one. By gradients
    it would be 4 * 3 and 1 * 1.
    """
    network = ZPlus().register(
        by_hand([[1, 1], [3, -1]], [[2, -1], [1, 1]], [[1, -1], [1, 2]])
    )
    architecture = trace(network, torch.ones(1, 2))
    runtime = NetworkRuntime(
        network,
        architecture,
        preprocessing=PreprocessingConfig(kind="array"),
        extraction=ExtractionConfig(targets="none", device="cpu"),
        explained=Explained("label"),
    )
    x = np.array([[1, 2], [1, 2]], np.float32)

    notes = check_gradients(runtime, x)
    found = runtime.run(x, labels=np.array([1, 1])).relevance

    assert notes == ()
    np.testing.assert_allclose(found["2"]["product"], [[5, 8]] * 2, rtol=1e-6)
    np.testing.assert_allclose(found["0"]["product"], [[11, 2]] * 2, rtol=1e-6)


class TwoBranches(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3)
        self.left, self.right = nn.Conv2d(6, 4, 1), nn.Conv2d(6, 5, 3, padding=1)
        self.relus = nn.ModuleList(nn.ReLU() for _ in range(3))
        self.pool, self.head = nn.AdaptiveAvgPool2d(1), nn.Linear(9, 4)

    def forward(self, x):
        x = self.relus[0](self.first(x))
        x = torch.cat([self.relus[1](self.left(x)), self.relus[2](self.right(x))], 1)
        return self.head(self.pool(x).flatten(1))


def arriving(activation, gradient, counted):
    return gradient.sum(1)


def test_rules__of_zennit_are_stored_as_zennit_has_them():
    composites = pytest.importorskip("zennit.composites", exc_type=ImportError)
    torch.manual_seed(0)
    network, alone = TwoBranches().eval(), TwoBranches().eval()
    alone.load_state_dict(network.state_dict())
    x = torch.rand(3, 3, 9, 9)
    composites.EpsilonPlus().register(network)
    runtime = NetworkRuntime(
        network,
        trace(network, x),
        preprocessing=PreprocessingConfig(kind="array"),
        extraction=ExtractionConfig(targets="none", device="cpu"),
        explained=Explained("output", (1,), signal=arriving),
    )

    found = runtime.run(x.numpy()).relevance

    read = {}
    alone.relus[0].register_forward_hook(lambda *call: read.update(first=call[2]))
    alone.pool.register_forward_hook(lambda *call: read.update({"@cat": call[1][0]}))
    with composites.EpsilonPlus().context(alone):
        output = alone(x.requires_grad_())[:, 1].sum()
        relevance = torch.autograd.grad(output, list(read.values()))
    assert set(read) < set(found)
    for name, wanted in zip(read, relevance, strict=True):
        np.testing.assert_allclose(
            found[name]["product"], wanted.sum((2, 3)), rtol=1e-3, atol=1e-6
        )


class Decoder(nn.Module):
    def __init__(self, of):
        super().__init__()
        config = of.LlamaConfig(
            vocab_size=40,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            attn_implementation="eager",
        )
        self.model, self.head = of.LlamaModel(config), nn.Linear(32, 6, bias=False)

    def forward(self, input_ids):
        found = self.model(input_ids=input_ids, use_cache=False)
        return self.head(found.last_hidden_state[:, -1])


def test_rules__of_lxt_are_stored_as_lxt_has_them(monkeypatch):
    """AttnLRP: normalisations, gated products and attention pass relevance their way.

    It is gradient times activation. Made for transformers 4, the library's BERT does
    not import, and its patch of attention has to be made by hand.
    """
    pytest.importorskip("lxt")
    llama = pytest.importorskip("transformers.models.llama.modeling_llama")
    bert = types.ModuleType("lxt.efficient.models.bert")
    bert.modeling_bert, bert.attnLRP = bert, {}
    monkeypatch.setitem(sys.modules, "lxt.efficient.models.bert", bert)
    patches = pytest.importorskip("lxt.efficient.patches", exc_type=ImportError)
    monkeypatch.setattr(llama.LlamaMLP, "forward", patches.gated_mlp_forward)
    monkeypatch.setattr(llama.LlamaRMSNorm, "forward", patches.rms_norm_forward)
    attention = patches.wrap_attention_forward(llama.eager_attention_forward)
    monkeypatch.setattr(llama, "eager_attention_forward", attention)
    torch.manual_seed(0)
    network, alone = Decoder(llama).eval(), Decoder(llama).eval()
    alone.load_state_dict(network.state_dict())
    x = torch.randint(0, 40, (3, 9))
    architecture = trace(network, x)
    runtime = NetworkRuntime(
        network,
        architecture,
        preprocessing=PreprocessingConfig(kind="array", dtype="int64"),
        extraction=ExtractionConfig(targets="none", device="cpu"),
        explained=Explained("output", (1,)),
    )

    found = runtime.run(x.numpy()).relevance

    assert architecture.is_validated
    assert len(architecture.edges) == 27
    read = {}
    for name in ("model.embed_tokens", "model.layers.0", "model.layers.1", "head"):
        alone.get_submodule(name).register_forward_hook(
            lambda *call, name=name: read.update({name: call[2]})
        )
    output = alone(x)[:, 1]
    relevance = torch.autograd.grad(output.sum(), list(read.values()))
    for (name, values), gradient in zip(read.items(), relevance, strict=True):
        wanted = (values * gradient).detach().reshape(3, -1, values.shape[-1]).sum(1)
        np.testing.assert_allclose(found[name]["product"], wanted, atol=1e-6)
    plain = {name: one["product"].sum(1) for name, one in found.items()}
    np.testing.assert_allclose(plain["model.layers.1"], output.detach(), atol=1e-5)
