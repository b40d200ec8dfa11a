"""Whatever the user's code raises is one message: kind, text, place, what to try."""

from __future__ import annotations

import os
import re

import numpy as np
import pytest

from nnviz.errors import DatasetError, ModelError, UnreadableInstanceError
from nnviz.importing import import_callable
from nnviz.inputs.datasets.opening import open_dataset
from nnviz.inputs.models.loading import load_model
from nnviz.network.tracing import trace_network
from nnviz.runs.config import DatasetConfig, ModelConfig, PreprocessingConfig
from nnviz.user_code import telling_user_errors

RAISING = [
    pytest.param("assert x is None, 'no input'", "AssertionError: no input", id="a"),
    pytest.param("{}['absent']", "KeyError: 'absent'", id="key"),
    pytest.param("raise SystemExit(3)", "SystemExit: 3", id="exit"),
    pytest.param("self.forward(x)", "RecursionError: ", id="recursion"),
    pytest.param("raise OSError(5, 'failed')", "OSError: [Errno 5] failed", id="io"),
    pytest.param("raise StopIteration", "StopIteration (", id="no-text"),
    pytest.param("x.absent", "AttributeError: ", id="attribute"),
    pytest.param("x.view(7, 7, 7)", "RuntimeError: shape", id="torch"),
    pytest.param("raise BaseException('odd')", "BaseException: odd", id="base"),
    pytest.param("import absent_module", "ModuleNotFoundError: ", id="import"),
]

NETWORK = """from torch import nn
class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
    def forward(self, x):
        {line}
        return self.conv(x).mean((2, 3))
"""


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize(("line", "message"), RAISING)
def test_network__whatever_its_forward_raises_is_told(tmp_path, line, message):
    path = write(tmp_path / "n.py", NETWORK.format(line=line))
    module = load_model(ModelConfig(f"{path}:Network")).module
    values = np.zeros((2, 8, 8, 3), np.uint8)

    with pytest.raises(ModelError, match=re.escape(message)) as caught:
        trace_network(module, values, PreprocessingConfig())

    assert f"{path}, line 7, in forward" in str(caught.value)
    assert str(caught.value).endswith("check preprocessing and the model's source")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        pytest.param("raise SystemExit(3)", "SystemExit: 3", id="exit"),
        pytest.param("assert False", "AssertionError (", id="assert"),
    ],
)
def test_callable__and_data_set_are_told_alike(tmp_path, line, message):
    path = write(tmp_path / "c.py", f"def build():\n    {line}\n")
    config = DatasetConfig(kind="torch", source=f"{path}:build")

    for error, call in (
        (ModelError, lambda: load_model(ModelConfig(f"{path}:build"))),
        (DatasetError, lambda: open_dataset(config)),
    ):
        with pytest.raises(error, match=re.escape(message)) as caught:
            call()
        assert f"{path}, line 2, in build" in str(caught.value)


@pytest.mark.parametrize("line", ["raise SystemExit(3)", "{}['absent']"])
def test_data_set__an_item_that_raises_is_that_instances_trouble(tmp_path, line):
    text = (
        "class Data:\n    targets = [0, 1]\n    def __len__(self): return 2\n"
        f"    def __getitem__(self, i):\n        {line}\n"
    )
    path = write(tmp_path / "d.py", text)
    dataset = open_dataset(DatasetConfig(kind="torch", source=f"{path}:Data"))

    with pytest.raises(UnreadableInstanceError, match=r"d\.py, line 5, in __getitem__"):
        dataset.read(0)


def test_data_set__a_length_that_raises_is_told(tmp_path):
    text = "class Data:\n    def __len__(self): return {}['n']\n    __getitem__ = 0\n"
    path = write(tmp_path / "d.py", text)

    with pytest.raises(DatasetError, match=r"__len__ of .*KeyError: 'n' .*line 2"):
        open_dataset(DatasetConfig(kind="torch", source=f"{path}:Data"))


def test_module__one_that_raises_is_told(tmp_path):
    path = write(tmp_path / "m.py", "x = 1\nraise SystemExit('no')\n")

    with pytest.raises(ModelError, match=r"SystemExit: no .*m\.py, line 2"):
        import_callable(f"{path}:build")


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, ModelError])
def test_telling_user_errors__lets_these_pass(error):
    with (
        pytest.raises(error) as caught,
        telling_user_errors("it", advice="", error_type=DatasetError),
    ):
        raise error("as it was")

    assert str(caught.value) == "as it was"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param("torch.jit.script(nn.ReLU())", "TorchScript", id="scripted"),
        pytest.param("nn.LazyConv2d(8, 3)", "no values yet", id="lazy"),
        pytest.param("nn.Conv2d(3, 4, 3, device='meta')", "device 'meta'", id="meta"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_network__without_code_or_values_is_refused(tmp_path, body, message):
    text = f"import torch\nfrom torch import nn\ndef build(): return {body}\n"
    path = write(tmp_path / "b.py", text)

    with pytest.raises(ModelError, match=message):
        load_model(ModelConfig(f"{path}:build"))


def test_callable__its_file_may_import_the_file_beside_it(tmp_path):
    write(tmp_path / "code/blocks_beside.py", "def thing(): return 42\n")
    text = "from blocks_beside import thing\ndef build(): return thing()\n"
    path = write(tmp_path / "code/model.py", text)

    assert import_callable(f"{path}:build")() == 42


def beside(folder, value):
    write(folder / "value_beside.py", f"VALUE = {value}\n")
    text = "from value_beside import VALUE\ndef build(): return VALUE\n"
    return f"{write(folder / 'model.py', text)}:build"


def test_callable__files_of_one_name_in_two_folders__are_each_their_own(tmp_path):
    """A worker outlives a run, and the next one brings other files of these names."""
    one, other = beside(tmp_path / "one", 1), beside(tmp_path / "other", 2)

    found = [import_callable(source)() for source in (one, other, one)]

    assert found == [1, 2, 1]


@pytest.mark.parametrize("name", ["model.py", "value_beside.py"])
def test_callable__file_that_has_changed__is_imported_again(tmp_path, name):
    source = beside(tmp_path, 1)
    before = import_callable(source)()
    path = tmp_path / name
    text = path.read_text().replace("return VALUE", "return 30").replace("= 1", "= 30")
    path.write_text(text)
    os.utime(path, ns=(1, 1))

    assert (before, import_callable(source)()) == (1, 30)


def test_callable__file_that_has_not_changed__is_imported_once(tmp_path):
    source = beside(tmp_path, 1)

    assert import_callable(source) is import_callable(source)
