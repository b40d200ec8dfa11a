"""What is built is what is used: the wheel, the editable wheel and the command."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import nnviz

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {"nnviz", "nnviz_cluster", "nnviz_dashboards"}


def run(*command: str | Path, folder: Path, **environment: str) -> str:
    """Run a command in a folder, and return what it printed; fail if it failed."""
    outcome = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    return outcome.stdout


def build(target: str, folder: Path) -> zipfile.ZipFile:
    """Build a wheel of the working tree without an index, and open it."""
    if importlib.util.find_spec("hatchling") is None:
        pytest.skip("hatchling is not installed; it is part of the test group")
    run(
        sys.executable,
        "-m",
        "hatchling",
        "build",
        "-t",
        target,
        "-d",
        folder,
        folder=ROOT,
    )
    (wheel,) = folder.glob("*.whl")
    return zipfile.ZipFile(wheel)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    return build("wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: zipfile.ZipFile, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder into which the wheel is installed, without its dependencies."""
    folder = tmp_path_factory.mktemp("installed")
    options = ["--no-deps", "--no-index", "--no-compile", "--quiet", "--target", folder]
    run(sys.executable, "-m", "pip", "install", *options, wheel.filename, folder=folder)
    return folder


@pytest.mark.slow
def test_wheel__holds_the_packages_and_nothing_else(wheel):
    places = {name.split("/")[0] for name in wheel.namelist()}

    assert places == PACKAGES | {f"nnviz-{nnviz.__version__}.dist-info"}


@pytest.mark.slow
def test_wheel__holds_every_file_of_the_packages(wheel):
    folders = [ROOT / "nnviz", *(ROOT / "dashboards").glob("nnviz_*")]
    folders += (ROOT / "cluster").glob("nnviz_*")

    missing = [
        path
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
        if path.relative_to(folder.parent).as_posix() not in wheel.namelist()
    ]

    assert missing == []


@pytest.mark.slow
def test_wheel__imports_from_where_it_is_installed(installed):
    script = f"for name in {sorted(PACKAGES)!r}: print(__import__(name).__file__)"

    places = run(
        sys.executable, "-c", script, folder=installed, PYTHONPATH=str(installed)
    )

    assert places.split() == [
        str(installed / name / "__init__.py") for name in sorted(PACKAGES)
    ]


@pytest.mark.slow
def test_wheel__has_a_command_that_names_every_stage(installed):
    text = run(
        sys.executable,
        installed / "bin" / "nnviz",
        "--help",
        folder=installed,
        PYTHONPATH=str(installed),
    )

    stages = ["plan", "extract", "aggregate", "derive", "export", "inspect", "serve"]
    missing = [s for s in [*stages, "demo"] if not re.search(rf"^ +{s}\b", text, re.M)]
    assert missing == []


@pytest.mark.slow
def test_editable_wheel__points_at_the_three_places(tmp_path):
    wheel = build("wheel:editable", tmp_path)

    (name,) = [name for name in wheel.namelist() if name.endswith(".pth")]
    places = {Path(line) for line in wheel.read(name).decode().split()}

    assert places == {ROOT, ROOT / "cluster", ROOT / "dashboards"}


def test_module__runs_as_the_command():
    text = run(sys.executable, "-m", "nnviz", "--help", folder=ROOT)

    assert text.startswith("Usage: ")


def test_constraints__pin_every_requirement_and_name_no_index():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = project["dependency-groups"]
    wanted = [
        *project["project"]["dependencies"],
        *(item for group in groups.values() for item in group if isinstance(item, str)),
    ]
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]

    assert [line for line in pins if not re.fullmatch(r"[\w.-]+==[\w.]+", line)] == []
    pinned = {normalized(line) for line in pins}
    assert {normalized(name) for name in wanted} - pinned == {"nnviz"}


def test_extras__that_are_named_are_there():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    folders = ("nnviz", "cluster", "dashboards", "docs")
    files = [path for name in folders for path in (ROOT / name).rglob("*.*")]
    files = [
        path for path in files if path.suffix in {".py", ".toml", ".md", ".sbatch"}
    ]
    texts = [path.read_text() for path in [*files, *ROOT.glob("*.[mt][do]*")]]
    named = re.findall(r"nnviz\[([a-z0-9,]+)\]", "\n".join(texts))

    extras = {extra for names in named for extra in names.split(",")}

    assert "huggingface" in extras
    assert extras - set(project["optional-dependencies"]) == set()


@pytest.mark.parametrize(
    ("name", "floor"),
    [
        pytest.param("bokeh", "3.8.2", id="bokeh"),  # CVE-2026-21883
        pytest.param("distributed", "2026.1", id="distributed"),  # CVE-2026-23528
        pytest.param("panel", "1.9", id="panel"),  # CVE-2024-58389
        pytest.param("pillow", "13", id="pillow"),  # GHSA-5x8w-8jj5-q52h
        pytest.param("torch", "2.10", id="torch"),  # CVE-2026-24747
    ],
)
def test_requirements__leave_out_versions_with_known_holes(name, floor):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {r.name: r.specifier for r in map(Requirement, project["dependencies"])}
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if "==" in line)

    lowest = min(Version(s.version) for s in wanted[name] if s.operator == ">=")

    assert lowest >= Version(floor)
    assert Version(pins[name]) >= lowest


def normalized(requirement: str) -> str:
    """Return the name in a requirement as package indices compare it."""
    (name,) = re.findall(r"^[\w.-]+", requirement)
    return re.sub(r"[-_.]+", "-", name).lower()
