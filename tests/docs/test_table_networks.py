"""The page on tables runs as it stands, and what it says is so."""

from __future__ import annotations

import re
import runpy
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file
from sklearn.preprocessing import StandardScaler

import nnviz
from nnviz.cli.main import main

pytestmark = pytest.mark.slow

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "tables.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which the script has run."""
    found = tmp_path_factory.mktemp("tables")
    shutil.copy(DOCS / "gallery" / "table_networks.py", found)
    runpy.run_path(str(found / "table_networks.py"))["main"](found)
    return found


@pytest.fixture
def inside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "table_networks", raising=False)
    return folder


def outputs_of(folder: Path) -> np.ndarray:
    """Return what the network gives for each patient, by scikit-learn and torch."""
    script = runpy.run_path(str(folder / "table_networks.py"))
    network = script["ProgressionNetwork"]().eval()
    network.load_state_dict(load_file(folder / "patients.safetensors"))
    frame = pd.read_csv(folder / "patients.csv")
    names = ["age", "bmi", "bp", *(f"s{i}" for i in range(1, 7))]
    trained_on = frame.loc[frame["part"] == "training", names]
    numbers = StandardScaler().fit(trained_on).transform(frame[names])
    with torch.no_grad():
        found = network(
            torch.tensor(numbers, dtype=torch.float32),
            torch.tensor(frame["sex"].to_numpy() == 2).long(),
        )
    return found[:, 0].numpy()


def test_page__regression(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (inside / "patients.toml").write_text(blocks("toml")[0], encoding="utf-8")
    (commands,) = blocks("console")
    printed = ""
    for line in commands.splitlines():
        command = shlex.split(line.removeprefix("$ "))
        if command[0] == "python":
            continue  # the fixture did
        done = CliRunner().invoke(main, command[1:])
        assert done.exit_code == 0, done.output
        printed += done.output
    exec(compile(blocks("python")[0], "docs/tables.md", "exec"), {})
    printed += capsys.readouterr().out

    frame, outputs = pd.read_csv("patients.csv"), outputs_of(inside)
    store = nnviz.open_store("patients.zarr")
    wanted = outputs - frame["progression"]
    np.testing.assert_allclose(store.column("output"), outputs, rtol=1e-4)
    np.testing.assert_allclose(store.column("error"), wanted, rtol=1e-3, atol=0.02)
    older = (frame["age"] > 60) & (frame["sex"] == 1)
    assert f"age > 60 and sex = 1: {older.sum()} instances" in printed
    worst = store.subset("absolute_error > 80").instances.tolist()
    assert worst == np.flatnonzero(np.abs(store.column("error")) > 80).tolist()
    quarters = nnviz.named_subsets(store, "progression")
    wanted = pd.qcut(frame["progression"], 4, labels=False)
    found = quarters.membership.toarray().argmax(axis=0)
    assert found.tolist() == wanted.tolist()


def test_page__classifier(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(blocks("python")[1], "docs/tables.md", "exec"), {})

    frame = pd.read_csv(inside / "tumours.csv")
    store, later = nnviz.open_store("tumours.zarr"), nnviz.open_store("later.zarr")
    assert store.plan.preprocessing.columns == later.plan.preprocessing.columns
    names = np.array(["benign", "malignant"])
    predicted = np.concatenate([s.column("prediction") for s in (store, later)])
    right = (names[predicted] == frame["label"]) & (frame["part"] == "test")
    assert right.sum() / (frame["part"] == "test").sum() > 0.95
    assert "label = malignant and not correct" in capsys.readouterr().out
