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
GROUPS = [
    ["class_graph", "two_subsets"],
    ["induction_head"],
    ["own_network"],
    ["own_reader"],
    ["summit_file"],
]


def test_gallery__has_no_other_notebooks():
    assert {path.stem for path in FOLDER.glob("gallery/*.md")} == set(SHOWN)
    assert sorted(name for names in GROUPS for name in names) == sorted(SHOWN)


@pytest.mark.slow
def test_notebooks__run_and_show(tmp_path, monkeypatch, forked_kernels):
    """In one kernel, which imports once, and forgets all names between them."""
    # Slow to import, and every process that runs tests imports this module.
    import nbclient
    from myst_nb.core.read import read_myst_markdown_notebook
    from nbformat.v4 import new_code_cell

    # As `make docs` does: notebooks call the command of this environment.
    folder = Path(sys.executable).parent
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    codes = {}
    for name in SHOWN:
        path = FOLDER / "gallery" / f"{name}.md"
        notebook = read_myst_markdown_notebook(path.read_text("utf-8"), path=path)
        codes[name] = [one for one in notebook.cells if one.cell_type == "code"]
    cells = []
    for first, *others in GROUPS:
        cells += [new_code_cell("%reset -f"), *codes[first]]
        for name in others:
            assert codes[name][0].source == codes[first][0].source
            cells += codes[name][1:]
    notebook.cells = cells
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python"}
    client = nbclient.NotebookClient(
        notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}
    )

    client.execute()

    for name, words in SHOWN.items():
        assert words in _shown_by(codes[name]), name


def _shown_by(cells):
    return "".join(
        str(output.get("text", "")) + "".join(map(str, output.get("data", {}).values()))
        for cell in cells
        for output in cell.get("outputs", [])
    )
