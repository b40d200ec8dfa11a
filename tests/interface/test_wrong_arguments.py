"""Every public function refuses what it cannot take, with an error of nnviz."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch

import nnviz
from nnviz.argument_types import checked
from nnviz.errors import ConfigError
from nnviz.graphs.options import GraphOptions
from nnviz.testing import PlantedRun, write_store

HOSTILE = {
    "None": None,
    "number": 3,
    "object": object(),
    "no path": "nowhere/at-all",
    "empty": "",
    "array": np.zeros(3),
    "list": [object()],
}

# Made by nnviz alone, or protocols.
NOT_CALLED = {"Architecture", "Dataset", "Layer", "NnvizError", "Plan", "Store"}

CALLED = sorted(set(nnviz.__all__) - NOT_CALLED)

FUNCTIONS = [name for name in CALLED if inspect.isfunction(getattr(nnviz, name))]

ASKING = [
    "compare",
    "graph",
    "look",
    "sample",
    "save_subset",
    "subset",
    "suggest",
    "table",
]

METHODS = [
    *ASKING,
    "activations",
    "activations_dask",
    "add_column",
    "class_index",
    "column",
    "instances",
    "layer",
    "read",
    "remove_column",
]

MESSAGE = r"\w+ .*\w"

# These are right for the first argument.
FITTING = {
    "ClassesConfig": {"None", "no path", "empty"},
    "ModelConfig": {"no path", "empty"},
    "write_demo": {"no path"},  # it is made
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    url = tmp_path_factory.mktemp("right") / "run.zarr"
    write_store(str(url), PlantedRun())
    return nnviz.open_store(url)


@pytest.fixture
def right(store, tmp_path):
    """Return what parameters of these names take."""
    red, green = store.class_names[:2]
    return {
        "batch": torch.zeros(2, 2),
        "dataset": (torch.zeros(4, 2), torch.zeros(4, dtype=torch.long)),
        "first": red,
        "folder": tmp_path / "tables",
        "fraction": 0.5,
        "model": torch.nn.Linear(2, 2).eval(),
        "n": 2,
        "layer": "late",
        "name": "label",
        "path": "instances/label",
        "source": [0] * store.n_instances,
        "second": green,
        "store": store,
        "subset": store.subset(red),
        "what": red,
    }


def required(function):
    parameters = inspect.signature(function).parameters.values()
    return [p.name for p in parameters if p.default is p.empty and p.kind != 4]


def given(function, right):
    """Return what a function needs; a store alone where it is handed nothing else."""
    needs = {name: right[name] for name in required(function) if name in right}
    if function.__name__ == "save_subset":  # no column is called so
        needs["name"] = "kept"
    is_run = function.__name__ in ("run", "plan_run")
    return needs | ({"dataset": right["dataset"]} if is_run else {})


@pytest.mark.parametrize("what", HOSTILE)
@pytest.mark.parametrize("name", CALLED)
def test_first_argument__of_the_wrong_type_is_refused(name, what, tmp_path):
    function = getattr(nnviz, name)
    names = required(function) or list(inspect.signature(function).parameters)[:1]
    if what in FITTING.get(name, ()):
        return

    with pytest.raises(nnviz.NnvizError, match=r"\w+ .*\w"):
        function(**dict.fromkeys(names, HOSTILE[what]))


@pytest.mark.parametrize("what", ["object", "array", "list"])
@pytest.mark.parametrize("name", [*FUNCTIONS, *(f"Store.{m}" for m in METHODS)])
def test_every_argument__of_the_wrong_type_is_refused(name, what, store, right):
    home, _, method = name.rpartition(".")
    function = getattr(store if home else nnviz, method)
    parameters = inspect.signature(function).parameters
    names = [n for n, p in parameters.items() if p.kind not in (2, 4)]
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        names += GraphOptions.__slots__

    for each in names:
        with pytest.raises(nnviz.NnvizError, match=rf"(?!self ){MESSAGE}"):
            function(**given(function, right) | {each: HOSTILE[what]})


# Graphs of queries need influences: test_run_store.py has them.
@pytest.mark.parametrize("name", sorted({*ASKING} - {"compare", "graph"}))
def test_methods__take_right_arguments(name, store, right):
    method = getattr(store, name)

    assert method(**given(method, right)) is not None


@pytest.mark.parametrize(
    ("value", "message"),
    [
        pytest.param(None, "is None; it should be a Store or a text or a path", id="0"),
        pytest.param(3, "store is 3, an int; it should be a Store", id="number"),
        pytest.param(nnviz.Store, "store is the class Store; it should", id="class"),
    ],
)
def test_message__says_what_was_given_and_what_would_do(value, message):
    with pytest.raises(nnviz.NnvizError, match=message):
        nnviz.serve(value)


@checked
def taken(
    number: float = 0.0,
    whole: int | None = 0,
    names: str | list[str] = "",
    *,
    flag: bool = False,
    client: NotImported | None = None,  # noqa: F821  as under TYPE_CHECKING
) -> str:
    return type(number).__name__


class NotImportedHere:
    """Stands for a class of a library."""


NotImportedHere.__name__ = "NotImported"


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param({"number": 1}, id="a whole number is a number"),
        pytest.param({"number": np.float32(1), "whole": np.int64(1)}, id="of NumPy"),
        pytest.param({"whole": None}, id="None where it may be"),
        pytest.param({"names": ["a", "b"]}, id="a list"),
        pytest.param({"client": NotImportedHere()}, id="a class that is not imported"),
        pytest.param({"client": type("Own", (NotImportedHere,), {})()}, id="its child"),
    ],
)
def test_checked__takes_what_fits(arguments):
    assert taken(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(
            {"number": True}, "number is True, a bool; .* a number", id="bool"
        ),
        pytest.param({"whole": 1.5}, "a whole number or None", id="fraction"),
        pytest.param(
            {"names": ["a", 3]}, "a text or a list, each of it a text", id="l"
        ),
        pytest.param({"flag": 1}, "True or False", id="number for a flag"),
        pytest.param({"client": 1}, "a NotImported or None", id="not imported"),
    ],
)
def test_checked__refuses_the_rest(arguments, message):
    with pytest.raises(nnviz.NnvizError, match=message):
        taken(**arguments)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        pytest.param(lambda: taken(whol=3), "did you mean 'whole'", id="near"),
        pytest.param(lambda: taken(1, 2, 3, 4, 5, 6), "too many", id="too many"),
        pytest.param(lambda: nnviz.run(), r"'model'; it is run\(model", id="none"),
        pytest.param(
            lambda: nnviz.run(1, 2, "x", trusted=True), "mean 'trust'", id="run"
        ),
    ],
)
def test_checked__says_how_a_call_would_be(call, message):
    with pytest.raises(nnviz.NnvizError, match=message):
        call()


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(["cat", "dog"], id="list"),
        pytest.param(np.array(["cat", "dog"]), id="array"),
        pytest.param(list(np.array(["cat", "dog"])), id="texts of NumPy"),
        pytest.param({0: "cat", 1: "dog"}, id="by number"),
    ],
)
def test_plan_run__takes_names_of_classes_as_users_have_them(names):
    network = torch.nn.Sequential(torch.nn.Linear(3, 2))
    data = np.eye(3, dtype=np.float32), [0, 1, 0]
    plan, _ = nnviz.plan_run(network, data, classes=names, timed=False)
    assert plan.class_names == ("cat", "dog")


@pytest.mark.parametrize(
    ("model", "data", "message"),
    [
        pytest.param(
            (np.eye(3), [0, 1, 0]), torch.nn.Linear(3, 2), "comes first", id="order"
        ),
        pytest.param(
            torch.nn.Linear(3, 2).state_dict(), np.eye(3), "weights", id="state_dict"
        ),
        pytest.param(torch.nn.Linear(3, 2, device="meta"), np.eye(3), "'meta'", id="m"),
        pytest.param(
            torch.nn.Linear(3, 2).double(), np.eye(3), r"model.float\(\)", id="double"
        ),
        pytest.param(
            torch.nn.Linear(3, 2),
            (np.eye(3), [[0], [0, 2], []]),
            "the number 2, and the network has the outputs 0 to 1",
            id="set of labels",
        ),
    ],
)
def test_plan_run__says_what_to_hand_over(model, data, message):
    with pytest.raises(nnviz.NnvizError, match=message):
        nnviz.plan_run(model, data, timed=False)


def test_listeners__are_told_apart_by_what_they_can_do(store):
    class Counting:
        n = 0

        def receive(self, event):
            self.n += 1

    counting = Counting()
    nnviz.extract(store.url, workers=0, listeners=[counting])

    assert counting.n > 0
    with pytest.raises(ConfigError, match="listeners is"):
        nnviz.extract(store.url, workers=0, listeners=["a text"])
