"""The gallery: every notebook runs from nothing, and shows what its page promises."""

import os
import sys
from pathlib import Path

import pytest

from docs.tables import FOLDER

SHOWN = {
    "own_network": "<svg",
    "class_graph": "<svg",
    "two_subsets": "heavy nines",
    "summit_file": "('mixed4c', 71, 640)",
    "induction_head": "attention patterns are held fixed, in 2 places",
    "own_reader": "the data set raised ValueError",
}


# Those that begin with the same cell, which trains and runs, go on from one run of it.
KERNELS = [
    ["class_graph", "two_subsets"],
    ["induction_head"],
    ["own_network"],
    ["own_reader"],
    ["summit_file"],
]


def test_gallery__has_no_other_notebooks():
    assert {path.stem for path in FOLDER.glob("gallery/*.md")} == set(SHOWN)
    assert sorted(name for names in KERNELS for name in names) == sorted(SHOWN)


@pytest.mark.slow
@pytest.mark.parametrize("names", KERNELS, ids="-".join)
def test_notebook__runs_and_shows(names, tmp_path, monkeypatch, forked_kernels):
    # Slow to import, and every process that runs tests imports this module.
    import nbclient
    from myst_nb.core.read import read_myst_markdown_notebook

    # As `make docs` does: notebooks call the command of this environment.
    folder = Path(sys.executable).parent
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    notebooks = []
    for name in names:
        path = FOLDER / "gallery" / f"{name}.md"
        text = path.read_text(encoding="utf-8")
        notebooks.append(read_myst_markdown_notebook(text, path=path))
    notebook, codes = notebooks[0], [_code_of(one) for one in notebooks]
    for code in codes[1:]:
        assert code[0].source == codes[0][0].source
        notebook.cells += code[1:]
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python"}
    client = nbclient.NotebookClient(
        notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}
    )

    client.execute()

    for name, code in zip(names, codes, strict=True):
        assert SHOWN[name] in _shown_by(code)


def _code_of(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _shown_by(cells):
    return "".join(
        str(output.get("text", "")) + "".join(map(str, output.get("data", {}).values()))
        for cell in cells
        for output in cell.get("outputs", [])
    )
