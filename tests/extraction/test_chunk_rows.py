"""What a chunk writes about a network's outputs, against torch's own functions."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import torch

from nnviz.extraction.chunk_rows import ChunkRows
from nnviz.runs.declarations import OUTCOME_COLUMNS
from nnviz.testing import PlantedRun, write_store


def rows_of(tmp_path, logits, labels):
    """Return the rows of one batch with these outputs."""
    plan = write_store(tmp_path / "run.zarr", PlantedRun(n_classes=5)).plan
    plan = dataclasses.replace(plan, outcome_columns=OUTCOME_COLUMNS)
    rows = ChunkRows(plan, 0, labels)
    n = len(labels)
    batch = SimpleNamespace(
        instances=np.arange(n), reasons={}, valid=np.ones(n, dtype=bool)
    )
    rows.add(batch, SimpleNamespace(activations={}, influences={}, logits=logits))
    return {name: rows.arrays[f"instances/{name}"] for name in OUTCOME_COLUMNS}


def test_outcomes__are_those_of_torch(tmp_path):
    generator = torch.Generator().manual_seed(0)
    logits = 6 * torch.randn(60, 5, generator=generator)
    logits[0, :] = torch.tensor([900.0, -900.0, 0.0, 0.0, 0.0])
    labels = torch.randint(0, 5, (60,), generator=generator)
    labels[0] = 1

    found = rows_of(tmp_path, logits.numpy(), labels.numpy().astype(np.int32))

    distribution = torch.distributions.Categorical(logits=logits.double())
    loss = torch.nn.functional.cross_entropy(logits.double(), labels, reduction="none")
    two = distribution.probs.topk(2, dim=1).values
    order = logits.argsort(dim=1, descending=True, stable=True)
    rank = (order == labels[:, None]).nonzero()[:, 1] + 1
    assert np.allclose(found["loss"], loss, rtol=1e-6)
    assert np.allclose(found["margin"], two[:, 0] - two[:, 1], atol=1e-6)
    assert np.allclose(found["entropy"], distribution.entropy(), atol=1e-6)
    assert found["rank"].tolist() == rank.tolist()


def test_outcomes__without_a_label__are_not_there(tmp_path):
    logits = np.eye(5, dtype=np.float32)

    found = rows_of(tmp_path, logits, np.full(5, -1, np.int32))

    assert np.isnan(found["loss"]).all()
    assert (found["rank"] == -1).all()
    assert not np.isnan(found["entropy"]).any()
