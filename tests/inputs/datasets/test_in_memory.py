"""What users hand over is taken for what they mean, or refused with what would do."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from nnviz.errors import DatasetError
from nnviz.inputs.datasets.in_memory import hold_dataset

INPUTS = np.arange(12, dtype=np.float32).reshape(4, 3)
LABELS = [1, 0, 0, 1]


@pytest.mark.parametrize(
    "labels",
    [
        pytest.param(np.array(LABELS), id="numbers"),
        pytest.param(np.array(LABELS)[:, None], id="a column of one"),
        pytest.param(torch.tensor(LABELS).float(), id="float tensor"),
        pytest.param(np.eye(2)[LABELS], id="one-hot"),
        pytest.param(pd.Series(LABELS, index=[9, 7, 5, 3]), id="series"),
        pytest.param(pd.DataFrame({"label": LABELS}), id="frame of one column"),
        pytest.param(LABELS, id="list"),
    ],
)
def test_hold_dataset__takes_labels_of_any_kind(labels):
    assert hold_dataset((INPUTS, labels)).listing.labels.tolist() == LABELS


@pytest.mark.parametrize(
    "inputs",
    [
        pytest.param(INPUTS, id="array"),
        pytest.param(INPUTS.tolist(), id="lists"),
        pytest.param(pd.DataFrame(INPUTS, columns=list("abc")), id="frame"),
        pytest.param(list(INPUTS), id="list of arrays"),
    ],
)
def test_hold_dataset__reads_row_after_row(inputs):
    held = hold_dataset((inputs, LABELS))
    rows = [held.data[i][0] for i in range(len(held.data))]
    assert np.array_equal(np.array(rows), INPUTS)


def test_hold_dataset__takes_inputs_without_labels_but_with_columns():
    held = hold_dataset((INPUTS, None, {"grams": [1.5, 2.5, 3.5, 4.5]}))
    assert held.listing.labels is None
    assert held.listing.metadata["grams"].tolist() == [1.5, 2.5, 3.5, 4.5]


def test_hold_dataset__takes_columns_from_a_frame():
    table = pd.DataFrame({"grams": [1, 2, 3, 4], "kind": list("abab")})
    held = hold_dataset((INPUTS, LABELS, table))
    assert {name: list(v) for name, v in held.listing.metadata.items()} == {
        "grams": [1, 2, 3, 4],
        "kind": ["a", "b", "a", "b"],
    }


def test_hold_dataset__keeps_sets_of_which_one_has_several():
    held = hold_dataset((INPUTS, [[0], [0, 1], [1], []]))
    assert held.listing.labels.tolist() == [(0,), (0, 1), (1,), ()]


class WithAttribute(torch.utils.data.Dataset):
    """Keeps numbers as `targets`, which are not its items' labels."""

    def __init__(self, targets, labels):
        self.targets, self.own = targets, labels

    def __len__(self):
        return len(self.own)

    def __getitem__(self, index):
        return torch.tensor(INPUTS[index]), self.own[index]


@pytest.mark.parametrize(
    "targets",
    [
        pytest.param([5, 6, 6, 5], id="before a transform"),
        pytest.param([0, 0, 0, 0, *LABELS], id="of a longer data set"),
    ],
)
def test_hold_dataset__believes_the_items_rather_than_an_attribute(targets):
    held = hold_dataset(WithAttribute(targets, LABELS))
    assert held.listing.labels.tolist() == LABELS


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(iter([(INPUTS[0], 1)]), r"list\(data\)", id="iterator"),
        pytest.param(pd.DataFrame(INPUTS), "give them apart", id="frame alone"),
        pytest.param(
            (pd.DataFrame({"a": [1.0], "b": ["x"]}), [1]),
            "b are no numbers",
            id="texts among the inputs",
        ),
        pytest.param(
            (INPUTS, LABELS[:3]), "4 inputs and 3 of 'label'", id="other length"
        ),
        pytest.param(
            {"data": INPUTS, "y": LABELS, "DESCR": "four"},
            "'four', a str of 'DESCR'",
            id="a text as a column",
        ),
        pytest.param((INPUTS, LABELS, INPUTS), "third part", id="array as columns"),
        pytest.param((INPUTS, INPUTS), "are columns", id="several values to predict"),
    ],
)
def test_hold_dataset__says_what_would_do(data, message):
    with pytest.raises(DatasetError, match=message):
        hold_dataset(data)
