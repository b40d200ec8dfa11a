"""Folders are named n01 to n03, and a class map calls them cat, dog and owl."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from torch import nn

import nnviz
from nnviz.cli.main import main
from nnviz.errors import QueryError, UnknownNameError
from nnviz.runs.identity import fingerprint_of
from nnviz.runs.plan import Plan

pytestmark = pytest.mark.slow

FOLDERS = ("n03", "n01", "n02")
"""In the order of the outputs, which is not that of their names."""
NAMES = ("cat", "dog", "owl")


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Conv2d(3, 6, 3)
        self.out = nn.Linear(6, 3)

    def forward(self, x):
        return self.out(torch.relu(self.hidden(x)).mean((2, 3)))


def write_pictures(folder, indices):
    for place, name in enumerate(FOLDERS):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for index in indices:
            pixels = np.random.default_rng((place, index)).integers(0, 255, (8, 8, 3))
            Image.fromarray(pixels.astype(np.uint8)).save(
                folder / name / f"{index}.png"
            )


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("names")
    write_pictures(folder / "pictures", range(4))
    rows = [f"{i},{f},{n}" for i, (f, n) in enumerate(zip(FOLDERS, NAMES, strict=True))]
    (folder / "map.csv").write_text("\n".join(["index,folder,name", *rows]))
    torch.manual_seed(0)
    return nnviz.run(
        Network(),
        folder / "pictures",
        folder / "run.zarr",
        classes=folder / "map.csv",
        subsets=["prediction"],
        progress=False,
    )


def in_folder(store, name):
    ids = store.column("id")
    return [index for index, one in enumerate(ids) if f"{name}/" in str(one)]


def test_folder__means_its_class_in_subsets_and_queries(store):
    for folder, name in zip(FOLDERS, NAMES, strict=True):
        expected = in_folder(store, folder)
        assert len(expected) == 4
        for asked in (
            folder,
            name,
            f"label = {folder}",
            f"label = {name}",
            f"label in ({folder})",
            f"label starts with {folder}",
            f"label ends with {folder[1:]}",
            f"not label != {folder}",
        ):
            assert store.subset(asked).instances.tolist() == expected, asked
    both = store.subset("n01 or label = cat").instances.tolist()
    assert both == sorted(in_folder(store, "n01") + in_folder(store, "n03"))


def test_folder__means_its_class_in_graphs_and_tables(store):
    graph = store.graph("n03")
    table = nnviz.aggregates_of(store, "label").top("hidden", "n03", 3)

    assert graph.subset == "cat"
    assert graph.keys() == store.graph("cat").keys()
    assert nnviz.attribution_graph(store, "n03", jackknife=2).subset == "cat"
    assert table.subset == "cat"
    compared = nnviz.compare(store, "n03", "n01")
    assert (compared.first.subset, compared.second.subset) == ("cat", "dog")
    assert store.compare("n02", "dog").first.subset == "owl"


def test_number_of_a_class__does_in_python(store):
    aggregates = nnviz.aggregates_of(store, "label")

    assert nnviz.attribution_graph(store, 1).subset == "dog"
    assert aggregates.top("hidden", 2).subset == "owl"
    compared = nnviz.compare(store, 0, 2, pictures=False)
    assert (compared.first.subset, compared.second.subset) == ("cat", "owl")
    with pytest.raises(UnknownNameError, match=r"no subset 3.* 0 to 2"):
        nnviz.compare(store, 0, 3)


def test_folder__is_taken_by_the_command(store):
    by_folder, by_name = (
        CliRunner().invoke(main, ["graph", store.url, name, "--json"])
        for name in ("n01", "dog")
    )

    assert by_folder.exit_code == 0, by_folder.output
    assert json.loads(by_folder.stdout) == json.loads(by_name.stdout)


def test_folder__with_a_slip__gets_a_near_match(store):
    with pytest.raises(QueryError, match=r"did you mean .*n03"):
        store.subset("label = n033")
    with pytest.raises(UnknownNameError):
        nnviz.aggregates_of(store, "label").row("n033")


def test_extension__keeps_the_names_and_changes_no_identity(store, tmp_path):
    plan = store.plan
    unaware = replace(plan, class_of_label={})
    without = {k: v for k, v in plan.to_json().items() if k != "class_of_label"}

    assert unaware.fingerprint == plan.fingerprint == fingerprint_of(without)
    assert Plan.from_json(without).class_of_label == {}
    assert dict(plan.class_of_label) == {"n03": 0, "n01": 1, "n02": 2}

    write_pictures(Path(plan.dataset.path), range(4, 6))
    nnviz.extend(store.url)

    grown = nnviz.open_store(store.url)
    assert dict(grown.plan.class_of_label) == {"n03": 0, "n01": 1, "n02": 2}
    assert len(in_folder(grown, "n01")) == 6
    assert grown.subset("n01").instances.tolist() == in_folder(grown, "n01")
