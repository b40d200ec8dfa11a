"""Row 44: names become paths in a store; none leads elsewhere, none is Zarr's own."""

from pathlib import Path

import numpy as np
import pytest
from torch import nn

import nnviz
from nnviz.errors import PlanError
from nnviz.runs.stored_names import check_columns, check_layers, is_storable

ODD = [
    *("", ".", "..", "../up", "/abs", "a/b", "a\\b", "zarr.json", ".hidden"),
    *("nul\0", "line\nbreak", "\x1b[31m", "\u202egnp.exe", "\ud800", "x" * 201),
]


@pytest.mark.parametrize("name", ODD)
def test_odd_name__is_refused_with_a_way_out(name):
    assert not is_storable(name)
    with pytest.raises(PlanError, match=r"cannot be stored(.|\n)*leave it out with"):
        check_layers(["fine", name])
    with pytest.raises(PlanError, match=r"cannot be stored(.|\n)*leave it out with"):
        check_columns(["fine", name])


def test_other_names__are_taken(tmp_path):
    """Each as the one part of a path below a folder, none twice."""
    names = ["c", "zarr", "=cmd", "-1", "é", "e\u0301", "a:b", " ", "%2F", "x" * 120]
    check_layers(names)
    check_columns(names)

    for name in names:
        (tmp_path / name).mkdir()

    assert {path.name for path in tmp_path.iterdir()} == set(names)


def test_layer__with_a_separator_in_its_name__is_refused_in_the_plan(tmp_path):
    """As networks have it that were converted from others: ``inception_3a/1x1``."""
    network = nn.Sequential()
    network.add_module("block/1x1", nn.Linear(6, 5))
    network.add_module("act", nn.ReLU())
    network.add_module("head", nn.Linear(5, 3))
    rows = np.random.default_rng(0).random((12, 6), dtype=np.float32)

    with pytest.raises(PlanError, match=r"layer 'block/1x1' cannot be stored"):
        nnviz.plan_run(network.eval(), (rows, np.arange(12) % 3))

    assert list(Path(tmp_path).iterdir()) == []
