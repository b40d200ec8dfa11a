"""Networks of several inputs, through the whole run, against plain loops of torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import nnviz
from nnviz.errors import DatasetError, ModelError
from nnviz.inputs.preparation.preprocessing import Preprocessing
from nnviz.results.instance_pictures import InstancePictures

pytestmark = pytest.mark.slow

N = 70


class PictureAndRow(nn.Module):
    """A picture, numbers, and a category."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 5, 3, padding=1)
        self.category = nn.Embedding(6, 3)
        self.hidden = nn.Linear(10, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, picture: Tensor, numbers: Tensor, category: Tensor) -> Tensor:
        seen = torch.relu(self.convolution(picture)).amax((2, 3))
        both = torch.cat([seen, numbers, self.category(category)], 1)
        return self.head(torch.relu(self.hidden(both)))


class Encoder(nn.Module):
    """As a model of transformers: ids and mask by name, labels as well."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(40, 6)
        self.hidden = nn.Linear(6, 7)
        self.head = nn.Linear(7, 3)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> dict[str, Tensor]:
        assert labels is None
        assert attention_mask is not None
        hidden = torch.relu(self.hidden(self.words(input_ids)))
        mask = attention_mask[..., None].to(hidden.dtype)
        return {"logits": self.head((hidden * mask).sum(1) / mask.sum(1))}


class Named(torch.utils.data.Dataset[dict[str, object]]):
    """Items as dictionaries."""

    def __init__(self, columns: dict[str, np.ndarray]) -> None:
        self.columns = columns

    def __len__(self) -> int:
        return N

    def __getitem__(self, index: int) -> dict[str, object]:
        return {key: torch.tensor(v[index]) for key, v in self.columns.items()}


def _columns() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {
        "picture": rng.normal(size=(N, 3, 6, 6)).astype(np.float32),
        "numbers": rng.normal(size=(N, 2)).astype(np.float32),
        "category": rng.integers(6, size=N),
        "label": rng.integers(3, size=N),
    }


def _network(kind: type[nn.Module]) -> nn.Module:
    torch.manual_seed(5)
    return kind().eval()


def _ways(columns: dict[str, np.ndarray]) -> dict[str, object]:
    three = tuple(columns[key] for key in ("picture", "numbers", "category"))
    rows = [{key: v[i] for key, v in columns.items()} for i in range(N)]
    shuffled = {key: columns[key] for key in reversed(columns)}
    return {
        "torch data set": Named(columns),
        "list of dictionaries": rows,
        "dictionary of arrays": shuffled,
        "tuple of arrays": (three, columns["label"]),
        "dictionary and labels": (
            {key: v for key, v in columns.items() if key != "label"},
            columns["label"],
        ),
        "items of tuples": [
            (tuple(each[i] for each in three), int(columns["label"][i]))
            for i in range(N)
        ],
    }


@pytest.mark.parametrize("way", list(_ways(_columns())))
def test_plan_run__packs_the_same_of_every_way(way: str) -> None:
    columns = _columns()
    given = _ways(columns)[way]
    network = _network(PictureAndRow)
    plan, probe = nnviz.plan_run(network, given, timed=False)
    inputs = plan.architecture.inputs
    assert inputs is not None
    assert inputs.names == ("picture", "numbers", "category")
    raw = probe.dataset.read(7)
    packed = Preprocessing(plan.preprocessing, inputs).prepare(raw)
    wanted = [columns[name][7].ravel() for name in inputs.names]
    assert packed.tolist() == np.concatenate(wanted).tolist()
    assert probe.classes.labels.tolist() == columns["label"].tolist()


def test_run__several_inputs(tmp_path: Path) -> None:
    columns = _columns()
    network = _network(PictureAndRow)
    store = nnviz.run(
        network, columns, tmp_path / "run.zarr", workers=0, progress=False
    )
    hidden: list[Tensor] = []
    network.hidden.register_forward_hook(
        lambda module, arguments, output: hidden.append(output.relu())
    )
    with torch.no_grad():
        logits = network(
            *(torch.from_numpy(columns[n]) for n in ("picture", "numbers", "category"))
        )
    np.testing.assert_allclose(
        store.activations("hidden"), hidden[0].numpy(), atol=2e-3
    )
    assert store.column("prediction").tolist() == logits.argmax(1).tolist()
    assert store.column("category").tolist() == columns["category"].tolist()
    pictures = InstancePictures(store)
    assert pictures.missing == ""
    shown = pictures.picture(3)
    assert shown.startswith(b"<svg")
    assert f">{columns['category'][3]}</text>".encode() in shown


def test_run__items_of_a_tokenizer(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    lengths = rng.integers(2, 9, N)
    items = [
        {
            "input_ids": rng.integers(1, 40, n).tolist(),
            "attention_mask": [1] * int(n),
            "labels": int(rng.integers(3)),
        }
        for n in lengths
    ]
    network = _network(Encoder)
    plan, _ = nnviz.plan_run(network, items, timed=False)
    assert "up to 8 tokens" in str(plan)
    store = nnviz.run(network, items, tmp_path / "run.zarr", workers=0, progress=False)
    with torch.no_grad():
        wanted = [
            network(
                torch.tensor([item["input_ids"]]),
                torch.tensor([item["attention_mask"]]),
            )["logits"].argmax()
            for item in items
        ]
    assert store.column("prediction").tolist() == [int(one) for one in wanted]
    assert store.column("label").tolist() == [item["labels"] for item in items]


@pytest.mark.parametrize(
    "extraction",
    [
        pytest.param({}, id="in one chunk"),
        pytest.param({"batch_size": 1}, id="alone"),
        pytest.param({"batch_size": 7, "instances_per_chunk": 19}, id="other company"),
    ],
)
def test_extract__company_and_padding_change_nothing(
    extraction: dict[str, int], tmp_path: Path
) -> None:
    rng = np.random.default_rng(3)
    items = [
        {
            "input_ids": rng.integers(1, 40, n).tolist(),
            "attention_mask": [1] * int(n),
            "labels": int(rng.integers(3)),
        }
        for n in rng.integers(2, 30, N)
    ]
    network = _network(Encoder)
    plan, probe = nnviz.plan_run(network, items, extraction=extraction, timed=False)
    assert plan.architecture.padding is not None
    assert plan.architecture.padding.mode == "buckets"
    path = str(tmp_path / "run.zarr")
    made = nnviz.prepare_store(plan, path, probe=probe)
    nnviz.extract(made, model=network, dataset=items, workers=0, progress=False)
    store = nnviz.open_store(path)
    wanted = []
    for item in items:
        with torch.no_grad():
            words = network.words(torch.tensor(item["input_ids"]))
            wanted.append(torch.relu(network.hidden(words)).amax(0).numpy())
    found = store.activations("hidden")
    np.testing.assert_allclose(found, np.stack(wanted), atol=1e-3)
    best = store.read("peaks/hidden/instance")[:, :, 0]
    position = store.read("peaks/hidden/position")[:, :, 0]
    for chunk, channel in np.ndindex(best.shape):
        item = items[best[chunk, channel]]
        with torch.no_grad():
            words = network.words(torch.tensor(item["input_ids"]))
            values = torch.relu(network.hidden(words))[:, channel]
        assert values[position[chunk, channel]] > values.max() - 1e-5
    again = nnviz.recompute(store, 1.0, model=network, dataset=items)
    assert not again.wrong
    assert again.n_instances == N


def test_plan_run__says_what_is_cut_off() -> None:
    items = [
        {"input_ids": [3] * n, "attention_mask": [1] * n, "labels": 0}
        for n in (4, 9, 5, 7)
    ]
    plan, _ = nnviz.plan_run(
        _network(Encoder), items, preprocessing={"max_length": 6}, timed=False
    )
    assert any("2 of 4 instances have more than 6 tokens" in n for n in plan.notes)
    assert "first '1'; the longest has 9" in str(plan)


def test_plan_run__ragged_lists_of_indices() -> None:
    network = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 3)).eval()
    items = [([1, 2, 3], 0), ([4, 5], 1), ([6, 7, 8, 1], 2)]
    plan, _ = nnviz.plan_run(network, items, timed=False)
    assert plan.architecture.inputs is not None
    assert plan.architecture.inputs.n_tokens == 4
    assert plan.architecture.inputs.counted is not None


def test_plan_run__refuses_other_names() -> None:
    items = [{"tokens": [1, 2], "labels": 0}] * 3
    with pytest.raises(DatasetError, match=r"forward takes input_ids.*has tokens"):
        nnviz.plan_run(_network(Encoder), items, timed=False)


def test_plan_run__refuses_more_inputs_than_parameters() -> None:
    four = tuple(np.zeros((3, 2), np.float32) for _ in range(4))
    with pytest.raises(DatasetError, match="4 inputs, and the network's forward takes"):
        nnviz.plan_run(_network(PictureAndRow), (four, [0, 1, 2]), timed=False)


def test_plan_run__tells_what_the_network_says_of_them() -> None:
    columns = _columns() | {"category": np.full(N, 7)}
    with pytest.raises(ModelError, match="index out of range"):
        nnviz.plan_run(_network(PictureAndRow), columns, timed=False)


def test_plan_run__says_how_columns_become_one_input(tmp_path: Path) -> None:
    rows = [",".join(map(str, range(20))) for _ in range(4)]
    head = ",".join(f"column {n}" for n in range(20))
    (tmp_path / "rows.csv").write_text("\n".join([head, *rows]))

    with pytest.raises(DatasetError, match=r"column 7 and 12 more; .* as one array"):
        nnviz.plan_run(nn.Linear(20, 2), tmp_path / "rows.csv", timed=False)
