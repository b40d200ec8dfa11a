"""Mistakes that need no torch are found without it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from nnviz.inputs.models.sources import ZOO_NAMES
from nnviz.inputs.models.zoos import ZOOS

DATASET = '[dataset]\nkind = "folder"\npath = "pictures"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("[model\n", "is not a TOML file", id="syntax"),
        pytest.param(
            f'[model]\nsource = "resnet18"\n{DATASET}',
            "model.source is 'resnet18'; it should be",
            id="form of the source",
        ),
        pytest.param(
            f'[model]\nsource = "timm:resnet18"\n{DATASET}', "pictures", id="no folder"
        ),
        pytest.param(
            f'[model]\nsource = "timm:resnet18"\nweights = "gone.pth"\n{DATASET}',
            "there is no weights file",
            id="no weights",
        ),
        pytest.param(
            f'[model]\nsorce = "timm:resnet18"\n{DATASET}',
            "did you mean 'source'",
            id="unknown option",
        ),
    ],
)
def test_plan__finds_mistakes_without_torch(tmp_path, text, message):
    (tmp_path / "run.toml").write_text(text)
    script = (
        "import sys; from nnviz.cli.main import main\n"
        "try: main(['plan', 'run.toml'])\n"
        "finally: print('torch' in sys.modules)"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True
    )

    assert message in done.stderr
    assert done.stdout == "False\n"


def test_zoos__are_those_that_can_be_named():
    assert set(ZOO_NAMES) == set(ZOOS)
