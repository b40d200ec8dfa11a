"""Batches of tokens: each instance comes once, in company of its own length."""

from __future__ import annotations

import numpy as np
import pytest

from nnviz.errors import UnreadableInstanceError
from nnviz.inputs.preparation.batches import BatchReader
from nnviz.inputs.preparation.preprocessing import Preprocessing
from nnviz.runs.config import PreprocessingConfig
from nnviz.runs.network_inputs import InputPart, NetworkInputs

INPUTS = NetworkInputs(
    (
        InputPart("input_ids", (-1,), "int64", padding=9),
        InputPart("attention_mask", (-1,), "int64"),
        InputPart("counted", (-1,), "bool", "counted"),
    ),
    n_tokens=40,
)
RNG = np.random.default_rng(4)
LENGTHS = RNG.integers(1, 41, 300)


class Texts:
    """Instances of ids that tell their number; every 50th cannot be read."""

    ids = tuple(map(str, range(len(LENGTHS))))

    def __len__(self) -> int:
        return len(LENGTHS)

    def read(self, index: int) -> dict[str, np.ndarray]:
        """Return one instance."""
        if index % 50 == 7:
            msg = "it is broken"
            raise UnreadableInstanceError(msg)
        n = LENGTHS[index]
        return {
            "input_ids": np.full(n, index + 10),
            "attention_mask": np.ones(n, np.int64),
        }


@pytest.fixture
def reader() -> BatchReader:
    """Return a reader of batches of 16."""
    return BatchReader(
        Texts(),  # type: ignore[arg-type]
        Preprocessing(PreprocessingConfig(kind="inputs"), INPUTS),
        batch_size=16,
        n_threads=2,
        shape=(INPUTS.length(),),
        dtype="int64",
        inputs=INPUTS,
    )


def test_iter_batches__has_every_instance_once_with_its_own_tokens(
    reader: BatchReader,
) -> None:
    seen: dict[int, int] = {}
    for batch in reader.iter_batches(20, 220, excluded={30: "left out"}):
        n_tokens = INPUTS.tokens_of(batch.values.shape[1])
        assert 1 <= batch.values.shape[0] <= 16
        assert len(batch.values) == batch.n_instances
        for row, instance in enumerate(batch.instances.tolist()):
            ids, mask, counted = batch.values[row].reshape(3, n_tokens)
            length = int(LENGTHS[instance])
            if row in batch.reasons:
                assert not batch.valid[row]
                assert not batch.values[row].any()
            else:
                wanted = [instance + 10] * length + [9] * (n_tokens - length)
                assert ids.tolist() == wanted
                assert mask.tolist() == counted.tolist()
                assert mask.sum() == length
            seen[instance] = seen.get(instance, 0) + 1
    assert seen == dict.fromkeys(range(20, 220), 1)


def test_iter_batches__says_what_is_wrong_where_it_stands(reader: BatchReader) -> None:
    reasons = {
        int(batch.instances[row]): why
        for batch in reader.iter_batches(20, 220, excluded={30: "left out"})
        for row, why in batch.reasons.items()
    }
    assert reasons == {
        30: "left out",
        **dict.fromkeys((57, 107, 157, 207), "it is broken"),
    }


def test_iter_batches__wastes_little(reader: BatchReader) -> None:
    total = own = 0
    for batch in reader.iter_batches(0, 300):
        n_tokens = INPUTS.tokens_of(batch.values.shape[1])
        total += batch.n_instances * n_tokens
        own += int(LENGTHS[batch.instances[batch.valid[: batch.n_instances]]].sum())
    assert own / total > 0.9


def test_own_tokens__counts_up_to_the_last_that_is_no_padding() -> None:
    packed = [
        INPUTS.pack(
            Preprocessing(PreprocessingConfig(kind="inputs"), INPUTS).arrays_of(x)
            | {"counted": np.ones(len(x["input_ids"]), bool)}
        )
        for x in (Texts().read(0), Texts().read(1))
    ]
    assert INPUTS.own_tokens(np.stack(packed)).tolist() == LENGTHS[:2].tolist()
    assert INPUTS.own_tokens(np.zeros((1, 120), np.int64)).tolist() == [40]
