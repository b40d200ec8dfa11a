"""What holds for every module, whatever it does? Names, docstrings, length, libraries.

Who may import whom is in ``pyproject.toml``, which ``lint-imports`` reads.
"""

from __future__ import annotations

import ast
import itertools
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import nnviz

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("nnviz", "dashboards/nnviz_dashboards", "cluster/nnviz_cluster")
MODULES = {
    path.relative_to(ROOT).as_posix(): path
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
}
MAX_LINES = 500
FORBIDDEN_NAMES = {
    "base",
    "common",
    "constants",
    "core",
    "helpers",
    "manager",
    "misc",
    "types",
    "utils",
}


def test_names__say_something_and_differ_by_more_than_a_plural():
    stems = {path.stem for path in MODULES.values()}
    folders = {part for name in MODULES for part in Path(name).parent.parts}

    assert (stems | folders) & FORBIDDEN_NAMES == set()
    for path in MODULES.values():
        assert not path.with_stem(f"{path.stem}s").is_file(), path


@pytest.mark.parametrize("name", MODULES)
def test_module__has_one_concept_and_says_what_it_offers(name):
    text = MODULES[name].read_text(encoding="utf-8")
    tree = ast.parse(text)

    assert ast.get_docstring(tree), "no docstring"
    assert text.count("\n") <= MAX_LINES, "two concepts?"
    if (
        MODULES[name].stem == "__init__"
        and Path(name).parent.as_posix() not in PACKAGES
    ):
        assert len(tree.body) == 1, (
            "a folder's __init__ holds a docstring, nothing else"
        )
    if public_names(tree) and not MODULES[name].stem.startswith("__"):
        assert "__all__" in text, f"no __all__, but {public_names(tree)}"


def test_libraries__are_declared_requirements():
    distributions = {"PIL": "pillow", "sklearn": "scikit-learn", "umap": "umap-learn"}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = project["optional-dependencies"].values()
    declared = [*project["dependencies"], *itertools.chain.from_iterable(optional)]
    names = {re.split(r"[<>=\[]", item)[0].replace("_", "-") for item in declared}

    libraries = {top for path in MODULES.values() for top in imported(path)}
    libraries -= {*sys.stdlib_module_names, "nnviz", "nnviz_cluster"}
    libraries -= {"nnviz_dashboards"}
    needed = {distributions.get(name, name.replace("_", "-")) for name in libraries}

    assert needed - names == set()


def test_public_names__are_sorted_and_all_there():
    names = nnviz.__all__

    assert names == sorted(names)
    assert [name for name in names if getattr(nnviz, name, None) is None] == []


@pytest.mark.parametrize("module", ["nnviz", "nnviz.cli.main", "nnviz.runs.config"])
def test_import__loads_no_slow_library(module):
    slow = {"bokeh", "dask", "distributed", "numba", "pandas", "panel"}
    slow |= {"scipy", "sklearn", "torch", "umap", "zarr"}
    script = f"import sys, {module}; print(*sorted({slow!r} & set(sys.modules)))"

    loaded = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True
    )

    assert (loaded.stdout.split(), loaded.stderr) == ([], "")


@pytest.mark.slow
def test_import__of_the_views_models_loads_no_screen():
    models = sorted((ROOT / "dashboards/nnviz_dashboards").glob("*/model.py"))
    names = ", ".join(f"nnviz_dashboards.{path.parent.name}.model" for path in models)
    script = (
        f"import sys, {names}; "
        "print(*sorted({'panel', 'bokeh', 'torch', 'tornado'} & set(sys.modules)))"
    )

    loaded = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True
    )

    assert len(models) >= 4
    assert (loaded.stdout.split(), loaded.stderr) == ([], "")


def public_names(tree: ast.Module) -> list[str]:
    """Return the functions and classes of a module that others may use."""
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    defined = [node.name for node in tree.body if isinstance(node, kinds)]
    return [name for name in defined if not name.startswith("_")]


def imported(path: Path) -> set[str]:
    """Return the top names of all that a module imports."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    plain = [a.name for n in nodes if isinstance(n, ast.Import) for a in n.names]
    of = [n.module or "" for n in nodes if isinstance(n, ast.ImportFrom)]
    return {name.partition(".")[0] for name in [*plain, *of]}
