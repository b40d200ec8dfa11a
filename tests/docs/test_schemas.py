"""What the commands print with ``--json`` is what the schemas say, key by key."""

import json
import shlex
import shutil

import jsonschema
import pytest
from click.testing import CliRunner

from docs.tables import FOLDER
from nnviz.cli.main import main as command_line

pytestmark = pytest.mark.xdist_group("demonstration")

SCHEMAS = {path.stem: path for path in (FOLDER / "schemas").glob("*.json")}

COMMANDS = [
    "plan digits/fewer.toml --create other.zarr",
    "pack digits/run.toml packed --quiet",
    "inspect digits/digits.zarr --arrays --unreadable --provenance",
    "export digits/digits.zarr tables",
    "graph digits/digits.zarr three --preset summit --format summit --out ag-3.json",
    "graph digits/digits.zarr three --out three.json",
    "compare digits/digits.zarr three eight --out compared.csv",
    "motifs digits/digits.zarr --shuffles 0 --out parts.csv",
    "rescore ag-3.json",
    "subset digits/digits.zarr 'label = three and confidence < 0.9' --save doubtful",
    "suggest digits/digits.zarr --no-channels",
    "column digits/digits.zarr width builtins:len",
    "extract other.zarr --quiet",
    "aggregate other.zarr --subsets label --quiet",
    "derive other.zarr --no-pictures --quiet",
    "extend other.zarr",
    "verify other.zarr --recompute 1% --quiet",
    "ablate other.zarr three --instances 8 --draws 1 --quiet",
    "ablate-difference other.zarr three eight --instances 4 --draws 1 --quiet",
    "explain digits/digits.zarr 0",
]


@pytest.fixture(scope="module")
def printed(demonstration, scheduler_address, tmp_path_factory):
    """Return what every command printed, by its name; one after the other."""
    folder = tmp_path_factory.mktemp("json")
    shutil.copytree(demonstration / "digits", folder / "digits")
    text = (folder / "digits" / "run.toml").read_text(encoding="utf-8")
    fewer = text.replace('"digits.csv"', '"digits.csv"\nlimit = 300')
    (folder / "digits" / "fewer.toml").write_text(fewer, encoding="utf-8")
    printed = (demonstration / "printed.json").read_text(encoding="utf-8")
    found = {"demo": printed}
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(folder)
        for line in COMMANDS:
            words = shlex.split(line)
            if "--quiet" in words:
                words += ["--scheduler", scheduler_address]
            done = CliRunner().invoke(command_line, [*words, "--json"])
            assert done.exit_code == 0, f"{line}\n{done.output}"
            found[words[0]] = done.stdout
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
