"""What is declared of a graph's options is what command, page and Python know."""

import inspect
import subprocess
import sys
from typing import get_args, get_type_hints

import pytest

from nnviz.aggregation.relevance import SIGNALS
from nnviz.cli.main import main
from nnviz.errors import ConfigError
from nnviz.graphs import options as declared
from nnviz.graphs.options import (
    GraphChoices,
    GraphOptions,
    graph_options,
    keywords,
    options_table,
)
from nnviz.graphs.scores import RANKINGS
from nnviz.runs.config import ExtractionConfig
from nnviz_dashboards.graph.view import OPTIONS
from nnviz_dashboards.shared.selection import Selection


def test_scorings__are_those_that_have_a_function():
    assert set(declared.SCORINGS) == {"evidence", *SIGNALS, *RANKINGS}
    for function in RANKINGS.values():
        assert list(inspect.signature(function).parameters) == ["graph", "everything"]


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (declared.Preset, declared.PRESETS),
        (declared.InnerLayers, declared.INNER),
        (declared.Weight, declared.WEIGHTS),
    ],
    ids=["preset", "inner", "weight"],
)
def test_types__name_what_is_declared(kind, values):
    assert get_args(kind) == tuple(values)


@pytest.mark.parametrize(
    ("weight", "signal", "extremum", "expected"),
    [
        ("auto", "peak", "max", True),
        ("auto", "max", "max", False),
        ("auto", "peak", "min", False),
        ("sum", "max", "max", True),
        ("count", "peak", "max", False),
    ],
)
def test_weight__is_sums_where_contributions_add_up_unless_said(
    weight, signal, extremum, expected
):
    extraction = ExtractionConfig(signal=signal, extremum=extremum)

    assert GraphOptions(weight=weight).weighs_sums(extraction) is expected


def test_keywords__are_all_options_and_make_the_same():
    options = GraphOptions(scoring="specificity", share=0.2, inner="nodes")

    assert GraphOptions(**keywords(options)) == options
    assert list(get_type_hints(GraphChoices)) == list(keywords(options))


@pytest.mark.parametrize("command", ["graph", "compare"])
def test_command__has_every_option_with_its_values_and_default(command):
    found = {one.name: one for one in main.commands[command].params}

    for option in graph_options():
        parameter = found[option.name]
        assert option.help.split(".")[0] in parameter.help
        if option.values is not None:
            assert list(parameter.type.choices) == list(option.values)
            assert parameter.default == option.default


def test_page__has_every_option_with_its_values_and_default():
    chosen = Selection({"a": 1}, [0], layer="a", subset=0)
    of_page = {one["name"]: one for one in OPTIONS}

    for option in graph_options():
        names = [name for name, _ in of_page[option.name]["values"]]
        assert of_page[option.name]["label"] == option.label
        default = getattr(chosen, option.name)
        assert default in names
        if option.values is None:
            assert float(default) == GraphOptions().kept_share
        else:
            assert (names, default) == (list(option.values), option.default)


def test_table__has_a_row_for_every_option_and_value():
    rows = options_table().splitlines()

    n_values = sum(len(option.values or ()) for option in graph_options())
    assert len(rows) == 2 + len(list(graph_options())) + n_values
    assert any("`evidence`, the default" in row for row in rows)


def test_options__near_a_name__say_what_was_meant():
    with pytest.raises(ConfigError, match="did you mean 'evidence'"):
        GraphOptions(scoring="evidenc")


def test_options__load_nothing_slow():
    script = (
        "import sys, nnviz.graphs.options; "
        "print(*sorted({'numpy', 'scipy', 'zarr', 'torch'} & set(sys.modules)))"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == ""
