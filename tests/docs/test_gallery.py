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


def test_gallery__has_no_other_notebooks():
    assert {path.stem for path in FOLDER.glob("gallery/*.md")} == set(SHOWN)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SHOWN))
def test_notebook__runs_and_shows(name, tmp_path, monkeypatch, forked_kernels):
    # Slow to import, and every process that runs tests imports this module.
    import nbclient
    from myst_nb.core.read import read_myst_markdown_notebook

    # As `make docs` does: notebooks call the command of this environment.
    folder = Path(sys.executable).parent
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    path = FOLDER / "gallery" / f"{name}.md"
    notebook = read_myst_markdown_notebook(path.read_text(encoding="utf-8"), path=path)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python"}
    client = nbclient.NotebookClient(
        notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}
    )

    client.execute()

    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    shown = "".join(
        str(o.get("text", "")) + "".join(map(str, o.get("data", {}).values()))
        for o in outputs
    )
    assert SHOWN[name] in shown
