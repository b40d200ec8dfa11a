"""Pages that say what the code says, and pages that have to name everything."""

import dataclasses
import json
import re
import zlib
from pathlib import Path

import pytest

import nnviz
from benchmarks.report import with_sections
from docs.tables import FOLDER, documents, field_texts, run_file_tables
from nnviz.cli.main import main as command_line
from nnviz.graphs.options import SCORINGS
from nnviz.testing import PlantedRun, write_store


@pytest.mark.parametrize("name", sorted(path.name for path in documents()))
def test_sections__are_those_of_the_code(name):
    path = FOLDER / name
    text = path.read_text(encoding="utf-8")

    assert with_sections(text, documents()[path]) == text, "run: python -m docs.tables"


def test_run_file__has_a_table_for_every_class_and_a_row_for_every_option():
    text = (FOLDER / "run-file.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## \[(\w+)\]\n(.*?)(?=^## |\Z)", text, re.M | re.S))

    assert set(sections) == {f.name for f in dataclasses.fields(nnviz.RunConfig)}
    for name, kind in run_file_tables().items():
        rows = re.findall(r"^\| `(\w+)` \|", sections[name], re.M)
        assert rows == [f.name for f in dataclasses.fields(kind)]


def test_field_texts__are_what_stands_under_a_field():
    texts = field_texts(nnviz.ClassesConfig)

    assert texts["map"] == (
        "CSV with a column `index` (the network's output) and any columns of names."
    )


def test_api__documents_every_public_name():
    text = (FOLDER / "api.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^\.\. auto\w+:: nnviz\.(\w+)$", text, re.M))

    assert named - {"errors"} == set(nnviz.__all__)


def test_graphs__name_every_scoring():
    text = (FOLDER / "graphs.md").read_text(encoding="utf-8")

    assert [name for name in SCORINGS if f"`{name}`" not in text] == []


def test_commands__are_all_there():
    text = (FOLDER / "commands.md").read_text(encoding="utf-8")

    assert re.findall(r"^## nnviz ([\w-]+)$", text, re.M) == list(command_line.commands)


def test_pages__are_all_in_the_table_of_contents():
    text = (FOLDER / "index.md").read_text(encoding="utf-8")
    pages = {
        path.relative_to(FOLDER).with_suffix("").as_posix()
        for path in [*FOLDER.glob("*.md"), *FOLDER.glob("gallery/*.md")]
    }

    assert {page for page in pages if page not in text.split()} == {"index"}


@pytest.fixture
def planted_store(tmp_path):
    """Return a complete store, its folder being what the page calls it."""
    return write_store(str(tmp_path / "run.zarr"), PlantedRun())


def test_store__is_checked_by_the_lines_that_the_page_prints(planted_store):
    (code,) = re.findall(r"```python\n(.*?)```", store_page(), flags=re.DOTALL)
    code = code.replace("digits/digits.zarr", planted_store.url)

    exec(compile(code, "store.md", "exec"), {})


def test_store__lines_of_the_page_notice_damage(planted_store, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", store_page(), flags=re.DOTALL)
    code = code.replace("digits/digits.zarr", planted_store.url)
    crc32 = zlib.crc32
    monkeypatch.setattr(zlib, "crc32", lambda data: crc32(data[:-1]))

    with pytest.raises(AssertionError, match="is damaged"):
        exec(compile(code, "store.md", "exec"), {})


def test_store__attributes_of_the_root_are_those_of_the_page(planted_store):
    document = (Path(planted_store.url) / "zarr.json").read_bytes()
    attributes = json.loads(document)["attributes"]
    (table,) = re.findall(r"## Attributes of the root\n(.*?)\n## ", store_page(), re.S)
    stated = set(re.findall(r"^\| `(\w+)` \|", table, re.M))

    # What prepares a run adds with which software.
    assert set(attributes) == stated - {"software"}
    digits = attributes["document_crc32"]
    zeroed = document.replace(digits.encode(), b"00000000")
    assert f"{zlib.crc32(zeroed):08x}" == digits


def store_page():
    return (FOLDER / "store.md").read_text(encoding="utf-8")
