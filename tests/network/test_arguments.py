"""Networks of named inputs take packed batches, and compute what they computed."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nnviz.errors import ModelError
from nnviz.network.arguments import bind_inputs, counted_of, inputs_of, parameters_of
from nnviz.network.recording.recorder import Recorder
from nnviz.network.recording.runtime import NetworkRuntime
from nnviz.network.tracing import trace
from nnviz.runs.config import ExtractionConfig, PreprocessingConfig
from nnviz.runs.network_inputs import InputPart, NetworkInputs


class PictureAndRow(nn.Module):
    """A picture, two numbers and a category."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 5, 3, padding=1)
        self.numbers = nn.Linear(2, 4)
        self.category = nn.Embedding(6, 3)
        self.hidden = nn.Linear(12, 8)
        self.head = nn.Linear(8, 2)

    def forward(self, image: Tensor, *, numbers: Tensor, category: Tensor) -> Tensor:
        seen = torch.relu(self.convolution(image)).amax((2, 3))
        parts = [seen, torch.relu(self.numbers(numbers)), self.category(category)]
        return self.head(torch.relu(self.hidden(torch.cat(parts, 1))))


class Tokens(nn.Module):
    """Mean of the embeddings where the mask is 1."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(20, 6)
        self.hidden = nn.Linear(6, 7)
        self.head = nn.Linear(7, 3)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor | None = None
    ) -> dict[str, Tensor]:
        del labels
        hidden = torch.relu(self.hidden(self.words(input_ids)))
        mask = attention_mask[..., None].to(hidden.dtype)
        mean = (hidden * mask).sum(1) / mask.sum(1).clamp_min(1)
        return {"logits": self.head(mean)}


PARTS = NetworkInputs(
    (
        InputPart("image", (3, 8, 8), "float32"),
        InputPart("numbers", (2,), "float32"),
        InputPart("category", (), "int64"),
    )
)
TOKENS = NetworkInputs(
    (
        InputPart("input_ids", (-1,), "int64"),
        InputPart("attention_mask", (-1,), "int64"),
        InputPart("counted", (-1,), "bool", "counted"),
    ),
    n_tokens=5,
)


def _batch(n: int) -> tuple[dict[str, Tensor], Tensor]:
    generator = torch.Generator().manual_seed(3)
    values = {
        "image": torch.randn(n, 3, 8, 8, generator=generator),
        "numbers": torch.randn(n, 2, generator=generator),
        "category": torch.randint(6, (n,), generator=generator),
    }
    rows = [{k: v[i].numpy() for k, v in values.items()} for i in range(n)]
    return values, torch.from_numpy(np.stack([PARTS.pack(row) for row in rows]))


def _bound(network: nn.Module, inputs: NetworkInputs) -> nn.Module:
    bind_inputs(network.eval(), inputs)
    return network


def test_bind_inputs__computes_the_same() -> None:
    torch.manual_seed(0)
    network = _bound(PictureAndRow(), PARTS)
    values, packed = _batch(4)
    wanted = network(values.pop("image"), **values)
    for one in (network, copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert torch.equal(one(packed), wanted)
        assert inputs_of(one) == PARTS
    assert network.double()(packed).dtype == torch.float64


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
def test_bind_inputs__refuses_compiled_code() -> None:
    scripted = torch.jit.script(nn.Linear(2, 2))
    with pytest.raises(ModelError, match="ScriptModule"):
        bind_inputs(scripted, PARTS)


def test_bind_inputs__twice_is_the_last() -> None:
    network = _bound(Tokens(), PARTS)
    bind_inputs(network, TOKENS)
    assert inputs_of(network) == TOKENS
    assert len(network._forward_pre_hooks) == 1


def test_counted_of__is_its_part() -> None:
    packed = torch.tensor([[1, 2, 0, 1, 1, 0, 1, 0, 0]])
    counted = counted_of(packed, TOKENS)
    assert counted is not None
    assert counted.tolist() == [[True, False, False]]
    assert counted_of(packed, PARTS) is None
    assert counted_of(packed, None) is None


def test_parameters_of__reads_the_signature() -> None:
    assert parameters_of(Tokens()).names == ("input_ids", "attention_mask", "labels")
    assert parameters_of(nn.Sequential()).names == ("input",)


def test_trace__several_inputs() -> None:
    torch.manual_seed(0)
    network = _bound(PictureAndRow(), PARTS)
    _, packed = _batch(2)
    architecture = trace(network, packed)
    names = {layer.name for layer in architecture.layers}
    assert {"convolution", "category", "hidden", "head"} <= names
    assert architecture.inputs == PARTS
    assert architecture.is_validated
    sources = {e.source for e in architecture.edges if e.target == "hidden"}
    assert sources
    field = architecture.layer("convolution").receptive_field
    assert field is not None
    assert field.size == (3, 3)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_runtime__records_what_hooks_see(precision: str) -> None:
    torch.manual_seed(0)
    network = _bound(PictureAndRow(), PARTS)
    values, packed = _batch(2)
    architecture = trace(network, packed)
    runtime = NetworkRuntime(
        network,
        architecture,
        preprocessing=PreprocessingConfig(kind="array"),
        extraction=ExtractionConfig(precision=precision, device="cpu"),
    )
    found = runtime.run(packed.numpy())
    seen: dict[str, Tensor] = {}
    network.hidden.register_forward_hook(
        lambda module, arguments, output: seen.update(hidden=output)
    )
    with torch.no_grad():
        logits = network(values.pop("image"), **values)
    tolerance = 1e-5 if precision == "float32" else 3e-2
    assert found.logits is not None
    np.testing.assert_allclose(found.logits, logits.numpy(), atol=tolerance)
    np.testing.assert_allclose(
        found.activations["hidden"], seen["hidden"].relu().numpy(), atol=tolerance
    )


def test_trace__tokens_and_mask() -> None:
    torch.manual_seed(0)
    network = _bound(Tokens(), TOKENS)
    packed = torch.from_numpy(TOKENS.example(2))
    packed[:, :5] = torch.tensor([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]])
    architecture = trace(network, packed)
    assert architecture.layer("hidden").positions == (5,)
    with Recorder(network, architecture) as recorder:
        found = recorder.run(packed)
        longer = recorder.run(torch.from_numpy(TOKENS.repacked(packed.numpy(), 9)))
    wanted = network(input_ids=packed[:, :5], attention_mask=packed[:, 5:10])
    assert found.logits is not None
    assert longer.logits is not None
    assert torch.equal(found.logits, wanted["logits"])
    # Positions of padding have a mask of 0, as repacked puts it there.
    torch.testing.assert_close(longer.logits, found.logits)
