"""What the commands print with ``--json`` is what the schemas say, key by key."""

import json
import shlex
import subprocess
import sys

import jsonschema
import pytest

from docs.tables import FOLDER
from nnviz.cli.main import main as command_line

# Its commands run once, in one process.
pytestmark = pytest.mark.xdist_group("json")

SCHEMAS = {path.stem: path for path in (FOLDER / "schemas").glob("*.json")}

COMMANDS = [
    "plan digits/run.toml --create other.zarr",
    "inspect digits/digits.zarr --arrays --unreadable --provenance",
    "export digits/digits.zarr tables",
    "graph digits/digits.zarr three --out three.json",
    "compare digits/digits.zarr three eight --out compared.csv",
    "subset digits/digits.zarr 'label = three and confidence < 0.9' --save doubtful",
    "suggest digits/digits.zarr --no-channels",
    "extract other.zarr --workers 1 --quiet",
    "aggregate other.zarr --subsets label --workers 1 --quiet",
    "derive other.zarr --no-pictures --workers 1 --quiet",
    "extend other.zarr",
    "verify other.zarr --recompute 1% --quiet",
    "ablate other.zarr three --instances 8 --draws 1 --workers 1 --quiet",
]


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    """Return what every command printed, by its name; one after the other."""
    folder = tmp_path_factory.mktemp("json")
    found = {}
    for line in ["demo --no-serve --out digits", *COMMANDS]:
        done = subprocess.run(
            [sys.executable, "-m", "nnviz", *shlex.split(line), "--json"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stderr}"
        found[line.split()[0]] = done.stdout
    return found


def test_schemas__are_there_for_every_command_with_json():
    with_json = {
        name
        for name, command in command_line.commands.items()
        if any("--json" in option.opts for option in command.params)
    }

    assert set(SCHEMAS) == with_json


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_schema__is_one(name):
    schema = json.loads(SCHEMAS[name].read_text(encoding="utf-8"))

    jsonschema.Draft202012Validator.check_schema(schema)


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({"demo", *(c.split()[0] for c in COMMANDS)}))
def test_output__is_one_line_that_fits_its_schema(printed, name):
    schema = json.loads(SCHEMAS[name].read_text(encoding="utf-8"))
    (line,) = printed[name].splitlines()

    jsonschema.validate(json.loads(line), schema, jsonschema.Draft202012Validator)
