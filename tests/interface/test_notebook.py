"""A notebook with a network of its own is run, and what it shows is looked at."""

from __future__ import annotations

import re

import pytest

CELLS = [
    """
import numpy as np, torch, nnviz

class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.edges = torch.nn.Conv2d(1, 8, 3, padding=1)
        self.parts = torch.nn.Conv2d(8, 12, 3, padding=1)
        self.out = torch.nn.Linear(12, 3)

    def forward(self, x):
        x = torch.relu(self.parts(torch.relu(self.edges(x))))
        return self.out(x.amax((2, 3)))

class Strokes(torch.utils.data.Dataset):
    \"\"\"A bar, a column or a spot somewhere on a grey ground.\"\"\"
    classes = ("bar", "column", "spot")

    def __len__(self):
        return 90

    def __getitem__(self, index):
        image = torch.zeros(1, 16, 16)
        at = 3 + index // 3 % 10
        if index % 3 == 0: image[0, at, 2:14] = 1
        if index % 3 == 1: image[0, 2:14, at] = 1
        if index % 3 == 2: image[0, at - 1:at + 2, at - 1:at + 2] = 1
        return image, index % 3, {"place": at}

torch.manual_seed(0)
network, strokes = Network(), Strokes()
""",
    'store = nnviz.run(network, strokes, "run.zarr", subsets="place")\nstore',
    'nnviz.attribution_graph(store, "bar")',
    'nnviz.compare(store, "bar", "spot")',
    "nnviz.attribution_graph(store, 'baar')",
    'nnviz.aggregates_of(store, "label").top("parts", "bar", n=3)',
]


@pytest.mark.slow
def test_notebook__shows_store_progress_and_graph(
    tmp_path, monkeypatch, forked_kernels
):
    # Slow to import, and every process that runs tests imports this module.
    import nbformat
    from nbconvert import HTMLExporter
    from nbconvert.preprocessors import ExecutePreprocessor

    # The kernel warns that it is started where Python was not told to be debugged.
    monkeypatch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    book = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS]
    )
    book.cells[4].metadata["tags"] = ["raises-exception"]

    ExecutePreprocessor(timeout=240, kernel_name="python3").preprocess(
        book, {"metadata": {"path": str(tmp_path)}}
    )

    html = [
        "".join(o.data.get("text/html", "") for o in cell.outputs if "data" in o)
        for cell in book.cells
    ]
    assert re.findall(r"aria-label='(\w+)'></progress>", html[1]) == [
        "extract",
        "aggregate",
        "index",
        "derive",
    ]
    assert "90 instances" in html[1]
    assert "memory:Network@" in html[1]
    assert html[2].count("<svg") == 1
    assert "data:image/png;base64," in html[2]
    assert "bar" in html[3]
    (error,) = [o for o in book.cells[4].outputs if o.output_type == "error"]
    assert error.traceback == [
        "cell, line 1: nnviz.attribution_graph(store, 'baar')",
        (
            "UnknownNameError: unknown subset 'baar'; did you mean 'bar'?; 'label' "
            "has 3 subsets"
        ),
    ]
    assert html[5].count("<table") == 1
    page, _ = HTMLExporter().from_notebook_node(book)
    (tmp_path / "notebook.html").write_text(page, encoding="utf-8")
