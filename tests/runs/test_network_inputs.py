"""Parts of an instance as one array, against arrays put together by hand."""

from __future__ import annotations

import numpy as np
import pytest

from nnviz.errors import ShapeError
from nnviz.runs.architecture import Architecture, Layer
from nnviz.runs.json_values import from_json, to_json
from nnviz.runs.network_inputs import InputPart, NetworkInputs

IDS = InputPart("input_ids", (-1,), "int64", padding=7)
MASK = InputPart("attention_mask", (-1,), "int64")
COUNTED = InputPart("counted", (-1,), "bool", "counted")
AGES = InputPart("ages", (2, 2), "float32")


def test_are_token_indices__are_those_of_the_first_part_of_indices() -> None:
    parts = (
        InputPart("attention_mask", (-1,), "int64"),
        InputPart("ids", (-1,), "int64"),
        InputPart("token_type_ids", (-1,), "int64"),
    )
    found = NetworkInputs(parts, n_tokens=2).are_token_indices(2)

    assert found.tolist() == [False, False, True, True, False, False]


def test_ends_in_padding__is_said_of_each_instance() -> None:
    ids = InputPart("ids", (-1,), "int64", padding=7)
    inputs = NetworkInputs((ids, InputPart("mask", (-1,), "bool")), n_tokens=3)
    packed = np.array([[1, 2, 3, 1, 1, 1], [1, 2, 7, 1, 1, 0], [1, 2, 7, 1, 1, 1]])

    assert inputs.ends_in_padding(packed).tolist() == [False, True, False]


def test_pack__pads_tokens_to_the_longest() -> None:
    inputs = NetworkInputs((IDS, MASK, COUNTED), n_tokens=4)
    values = {
        "input_ids": np.array([3, 4]),
        "attention_mask": np.array([1, 1]),
        "counted": np.array([True, False]),
    }
    packed = inputs.pack(values)
    assert packed.dtype == np.int64
    assert packed.tolist() == [3, 4, 7, 7, 1, 1, 0, 0, 1, 0, 0, 0]
    assert inputs.tokens_of(len(packed)) == 4
    shorter = inputs.repacked(packed[None], 3)
    assert shorter.tolist() == [[3, 4, 7, 1, 1, 0, 1, 0, 0]]
    assert inputs.repacked(shorter, 4)[0].tolist() == packed.tolist()


def test_pack__holds_numbers_and_indices_exactly() -> None:
    inputs = NetworkInputs((AGES, InputPart("code", (), "int64")))
    ages = np.array([[0.1, 1e-30], [3e38, -2.5]], np.float32)
    packed = inputs.pack({"ages": ages, "code": np.int64(2**52 + 1)})
    assert packed.dtype == np.float64
    assert packed[:4].astype(np.float32).tolist() == ages.ravel().tolist()
    assert int(packed[4]) == 2**52 + 1
    assert inputs.tokens_of(5) == 0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"input_ids": np.zeros(5)}, "'input_ids' has the shape"),
        ({"ids": np.zeros(2)}, "'input_ids' is missing; there are ids"),
    ],
)
def test_pack__refuses_other_values(
    values: dict[str, np.ndarray], message: str
) -> None:
    with pytest.raises(ShapeError, match=message):
        NetworkInputs((IDS,), n_tokens=4).pack(values)


def test_tokens_of__refuses_a_length_of_other_inputs() -> None:
    with pytest.raises(ShapeError, match="packed instance of 7 elements"):
        NetworkInputs((IDS, MASK), n_tokens=4).tokens_of(7)


def test_example__has_zeros_and_masks_of_ones() -> None:
    inputs = NetworkInputs((IDS, MASK, AGES), n_tokens=2)
    assert inputs.example(2).tolist() == [[0, 0, 1, 1, 0, 0, 0, 0]] * 2
    assert inputs.are_real(2).tolist() == [False] * 4 + [True] * 4


def test_architecture__keeps_its_inputs_as_json() -> None:
    layer = Layer("fc", "fc", "linear", 3)
    inputs = NetworkInputs((IDS, COUNTED), n_tokens=9)
    architecture = Architecture((layer,), inputs=inputs)
    assert from_json(Architecture, to_json(architecture)) == architecture
