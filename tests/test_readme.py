"""The README: what it shows runs, and what it says of the store is so."""

import json
import re
import shlex
import shutil
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from nnviz.cli.main import main as command_line
from nnviz.runs.config import RunConfig
from nnviz.runs.json_values import from_json
from tests.conftest import DEMONSTRATION

pytestmark = pytest.mark.xdist_group("demonstration")

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language, text=TEXT):
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def run(line):
    """Run a line of a console block in this process; return what it printed."""
    command = shlex.split(line)
    assert command[0] == "nnviz", line
    done = CliRunner().invoke(command_line, command[1:])
    assert done.exit_code == 0, f"{line}\n{done.output}"
    return done.stdout


@pytest.fixture(scope="module")
def folder(demonstration, tmp_path_factory):
    """Return a folder in which the README's commands have been run."""
    folder = tmp_path_factory.mktemp("readme")
    shutil.copytree(demonstration / "digits", folder / "digits")
    first, *lines = [
        line.removeprefix("$ ")
        for block in blocks("console")
        for line in block.splitlines()
    ]
    assert first == f"nnviz {DEMONSTRATION}"
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(folder)
        for line in lines:
            run(line)
    return folder


@pytest.mark.cluster
def test_readme__commands__run_and_leave_a_store(folder):
    assert (folder / "digits" / "digits.zarr" / "zarr.json").exists()
    assert list((folder / "digits" / "tables").iterdir())


@pytest.mark.cluster
def test_readme__the_question__is_answered_by_the_same_commands_of_another_run(
    folder, monkeypatch
):
    monkeypatch.chdir(folder)
    (block,) = blocks("sh", TEXT.split("### Which horses")[1].split("\n## ")[0])
    words = {"cifar.zarr": "digits/digits.zarr", "horse": "three", "dog": "eight"}
    said = []
    for line in block.splitlines():
        for ours, theirs in words.items():
            line = line.replace(ours, theirs)
        said.append(run(line))

    assert "three for eight" in said[1]
    assert "nnviz.AttributionGraph 'taken'" in said[2]
    assert "nnviz.GraphComparison 'taken' 'three'" in said[3]


@pytest.mark.cluster
@pytest.mark.parametrize("page", ["README.md", "docs/subsets.md", "docs/store.md"])
def test_python__runs_on_what_the_commands_left(folder, monkeypatch, page):
    monkeypatch.chdir(folder)
    text = (ROOT / page).read_text(encoding="utf-8")

    names: dict[str, object] = {}  # a page is read from its beginning
    for block in blocks("python", text):
        exec(compile(block, page, "exec"), names)


def test_run_file__of_the_documents_is_one_that_nnviz_reads():
    (block,) = blocks("toml", (ROOT / "docs" / "data.md").read_text(encoding="utf-8"))

    config = from_json(RunConfig, tomllib.loads(block))

    assert config.preprocessing.crop == 224


def test_readme__speeds_are_those_that_were_measured():
    measured = sorted(
        json.loads(path.read_text())["recording_against_forward"][
            "maxima_throughput_ratio"
        ]
        for path in (ROOT / "benchmarks" / "results").glob("extraction-*.json")
    )
    reactions = json.loads(
        (ROOT / "benchmarks" / "results" / "dashboard.json").read_text()
    )

    assert f"at {measured[0]:.2f} to {measured[-1]:.2f} of the speed" in TEXT
    assert f"within its {reactions['goal_ms']} ms" in TEXT


def test_subsets__times_are_those_that_were_measured():
    folder = ROOT / "benchmarks" / "results"
    seconds = json.loads((folder / "subsets.json").read_text())["seconds"]
    made = json.loads((folder / "indexing.json").read_text())
    text = (ROOT / "docs/subsets.md").read_text(encoding="utf-8")

    counts, means, graph = (
        f"{1000 * seconds[f'{name} of 10 %']:.0f} ms"
        for name in ("counts", "means and variances", "attribution graph")
    )
    assert f"counts in {counts}, means in {means}, a graph in {graph}" in TEXT
    assert f"{made['share_of_processor_time']:.1%}".replace("%", " %") in text


@pytest.mark.parametrize("page", ["README.md", "CHANGELOG.md"])
def test_document__names_no_place_of_one_machine(page):
    assert re.findall(r"/(?:work|tmp|home|root)/", (ROOT / page).read_text()) == []


def test_readme__links_to_files__lead_somewhere():
    links = re.findall(r"\]\(((?!http)[^)#]+)\)", TEXT)

    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
