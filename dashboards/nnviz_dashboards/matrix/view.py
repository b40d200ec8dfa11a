"""How is the neuron matrix drawn? Values for its scripts, and cells as bytes."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np
import param
from numpy.typing import NDArray
from panel.viewable import Viewable, Viewer

from nnviz.results.neuron_matrix import Measure
from nnviz_dashboards.matrix.model import (
    TILE_COLUMNS,
    TILE_ROWS,
    Cell,
    MatrixModel,
    MatrixState,
)
from nnviz_dashboards.matrix.rows import MatrixRow
from nnviz_dashboards.shared.component import Component, missing_value, script, style
from nnviz_dashboards.shared.selection import (
    BY_CLUSTER,
    BY_DIFFERENCE,
    BY_NUMBER,
)
from nnviz_dashboards.shared.theme import format_count, format_p, format_value

__all__ = ["MatrixView"]

WORDS: Mapping[Measure, str] = {
    "mean": "mean activation",
    "share": "share on top",
    "maximum": "maximum",
    "relevance": "mean relevance for the explained output",
    "gradient": "mean gradient of the explained output",
}
SORTED = {
    BY_DIFFERENCE: "A − B",
    BY_NUMBER: "number",
    BY_CLUSTER: "likeness",
}
EFFECTS: Mapping[Measure, str] = {
    "mean": "d",
    "share": "h",
    "maximum": "difference",
    "relevance": "d",
    "gradient": "d",
}
WELCH = "Welch's test of the means, adjusted for the channels of the layer"
TESTS: Mapping[Measure, str] = {
    "mean": WELCH,
    "relevance": WELCH,
    "gradient": WELCH,
    "share": "Fisher's exact test of the counts, adjusted for all shown channels",
    "maximum": "no test is made of maxima",
}


PAIRS: Mapping[Measure, str] = {
    "share": "shares",
    "relevance": "relevance().means",
    "gradient": "relevance().gradients",
}
"""What tells A and B in Python, where it is not their means."""


class NeuronMatrixPanel(Component):
    """The matrix, and all that changes it."""

    table = param.Dict({}, doc="What does not change: names and sizes of classes.")
    state = param.Dict(None, allow_None=True, doc="Rows and columns in order.")
    passing = param.Dict(None, allow_None=True, doc="An instance's row.")
    chosen = param.Dict({}, doc="Measure, shading and order.")
    channel = param.Integer(-1, doc="That is looked at in this layer.")
    is_open = param.Boolean(default=False)
    is_loading = param.Boolean(default=False)
    missing = param.Dict(None, allow_None=True)
    code = param.String()

    _esm = script(__file__, "matrix_cells.js", "matrix_heads.js", "matrix_tools.js",
                  "matrix.js")  # fmt: skip
    _style = style(__file__, "matrix.css")


class MatrixView(Viewer):
    """The neuron matrix.

    Parameters
    ----------
    model
        What is shown, and intentions.
    layers
        Short name of each shown layer by its name.
    run_later
        Runs a function, some time, and gives what it returns to another.
    """

    def __init__(
        self,
        model: MatrixModel,
        layers: Mapping[str, str],
        *,
        run_later: Callable[[Callable[[], Any], Callable[[Any], None]], None],
    ) -> None:
        super().__init__()
        self._model = model
        self._layers = layers
        self._run_later = run_later
        selection = model.selection
        self._panel = NeuronMatrixPanel(
            {
                "measure": lambda name: model.measure(name),
                "shade": lambda name: model.shade(name),
                "sort": lambda key: model.sort(key),
                "keep": model.keep,
                "remove": model.remove,
                "rename": lambda key, name: model.rename(key, name),
                "move": lambda key, place: model.move(key, place),
                "toggle": model.toggle,
                "look_at": model.look_at,
                "tile": self._send_tile,
                "point": self._send_cell,
                "csv": self._send_csv,
            },
            table=self._table(),
            is_loading=model.param.is_loading,
            **self._state(),
            **self._chosen(),
            **self._passing(),
        )
        model.param.watch(self._update_state, ["state", "missing"])
        model.param.watch(self._update_passing, "passing")
        selection.param.watch(
            self._update_chosen,
            ["measure", "shade", "sorted_by", "layer", "channel", "node", "matrix"],
        )

    def _update_state(self, *_: param.parameterized.Event) -> None:
        self._panel.param.update(**self._state(), **self._chosen())

    def _update_passing(self, *_: param.parameterized.Event) -> None:
        self._panel.param.update(**self._passing())

    def _update_chosen(self, *_: param.parameterized.Event) -> None:
        self._panel.param.update(**self._chosen())

    def _table(self) -> dict[str, object]:
        classes = self._model.classes
        names = zip(classes.names, classes.marks, strict=True)
        return {
            "names": [f"{name} {mark}".strip() for name, mark in names],
            "n_instances": classes.n_instances.tolist(),
            "tile": [TILE_ROWS, TILE_COLUMNS],
        }

    def _state(self) -> dict[str, object]:
        state = self._model.state
        return {
            "state": None if state is None else self._drawn(state),
            "missing": missing_value(self._model.missing),
            "code": self._code(state),
        }

    def _drawn(self, state: MatrixState) -> dict[str, object]:
        contrast = state.contrast
        effect = np.zeros(len(state.columns))
        if contrast is not None:
            effect = np.nan_to_num(contrast.effect)
        largest = max(float(np.abs(effect).max(initial=0.0)), 1e-12)
        bars = np.round(effect / largest * 127)[state.columns].astype(np.int8)
        marks = state.dead.astype(np.uint8) + 2 * state.is_significant.astype(np.uint8)
        low, high = state.bounds
        layer = self._layers.get(state.layer, state.layer)
        own = "each channel's own largest class"
        is_own = self._model.selection.shade == "channel"
        return {
            "version": state.version,
            "layer": layer,
            "rows": [_row(row) for row in state.rows],
            "classes": state.classes.tolist(),
            "columns": state.columns.tolist(),
            "bars": _encoded(bars.view(np.uint8)),
            "marks": _encoded(marks[state.columns]),
            "first": _tile(self._model.tile(0, 0), 0, 0),
            "sorted_by": state.sorted_by,
            "note": self._note(state),
            "low": format_value(low),
            "high": own if is_own else f"{format_value(high)} or more",
            "what": WORDS[state.measure],
            "explanation": self._explanation(state),
        }

    def _note(self, state: MatrixState) -> str:
        n = len(state.columns)
        parts = [f"{format_count(n)} {'channel' if n == 1 else 'channels'}"]
        n_dead = int(state.dead.sum())
        if n_dead:
            parts.append(f"{format_count(n_dead)} dead")
        if state.contrast is not None and state.measure != "maximum":
            n_different = int(state.is_significant.sum())
            parts.append(f"{format_count(n_different)} differ between A and B")
        return ", ".join(parts)

    def _explanation(self, state: MatrixState) -> str:
        return (
            "A row is A, B, an instance, a subset or a class; a column is a channel. "
            f"The darker a cell, the larger the {WORDS[state.measure]}; an instance is "
            "drawn as it is. Bars above the columns: blue where A has more, purple "
            "where B has more; pale where that may be chance (adjusted p of 0.05 or "
            f"more: {TESTS[state.measure]}). A cross: no instance excites the channel. "
            "Click a row's name to sort by it, a column to look at its channel; drag "
            "rows that you keep."
        )

    def _chosen(self) -> dict[str, object]:
        selection = self._model.selection
        pinned = selection.pinned
        is_here = pinned is not None and pinned[0] == selection.layer
        state = self._model.state
        return {
            "chosen": {
                "measure": selection.measure,
                "measures": list(self._model.results.neurons.measures),
                "shade": selection.shade,
                "sorted_by": selection.sorted_by if state is None else state.sorted_by,
                "orders": [[key, word] for key, word in SORTED.items()],
            },
            "channel": pinned[1] if pinned is not None and is_here else -1,
            "is_open": self._model.is_open,
        }

    def _passing(self) -> dict[str, object]:
        row = self._model.passing
        if row is None:
            return {"passing": None}
        shades = _encoded(self._model.passing_shades())
        return {"passing": {**_row(row), "shades": shades}}

    def _send_tile(self, row: int, column: int, version: int) -> None:
        state = self._model.state
        if state is not None and state.version == version:
            shades = self._model.tile(int(row), int(column))
            tile = {**_tile(shades, int(row), int(column)), "version": version}
            self._panel._send_msg({"tile": tile})

    def _send_cell(self, row: int, column: int, turn: int) -> None:
        cell = self._model.cell(int(row), int(column))
        if cell is not None:
            self._panel._send_msg({"cell": self._said(cell), "turn": turn})

    def _said(self, cell: Cell) -> str:
        measure = cast("Measure", self._model.selection.measure)
        size = f" ({format_count(cell.n_instances)})" if cell.n_instances != 1 else ""
        text = (
            f"{cell.row}{size}, channel {cell.channel}: {WORDS[measure]} "
            f"{format_value(cell.value)}"
        )
        if cell.a == cell.a and cell.b == cell.b:
            text += f" · A {format_value(cell.a)}, B {format_value(cell.b)}"
            text += f", {EFFECTS[measure]} = {format_value(cell.effect)}"
        if cell.p_value == cell.p_value:
            text += f", adjusted p = {format_p(cell.p_value)}"
        return text + (" · dead" if cell.is_dead else "")

    def _send_csv(self) -> None:
        state = self._model.state
        if state is None:
            return
        name = f"neurons-{state.layer}-{state.measure}.csv"

        def send(content: object) -> None:
            if isinstance(content, bytes):
                encoded = base64.b64encode(content).decode()
                self._panel._send_msg({"file": {"name": name, "content": encoded}})

        self._run_later(self._model.csv, send)

    def _code(self, state: MatrixState | None) -> str:
        if state is None:
            return ""
        results = self._model.results
        a, b = self._model.queries
        arguments = repr(a) if not b else f"{a!r}, {b!r}"
        of = f"store, {results.kind!r}"
        pair = PAIRS.get(state.measure, "means")
        return "\n".join(
            [
                "import nnviz",
                f"store = nnviz.open_store({results.store.url!r})",
                f"classes = nnviz.aggregates_of({of}).{state.measure}({state.layer!r})",
                f"a, b = store.look({arguments}).{pair}({state.layer!r})",
            ]
        )

    def __panel__(self) -> Viewable:
        return self._panel


def _row(row: MatrixRow) -> dict[str, object]:
    return {
        "key": row.key,
        "kind": row.kind,
        "name": row.name,
        "count": format_count(row.n_instances),
    }


def _tile(shades: NDArray[np.uint8], row: int, column: int) -> dict[str, object]:
    return {
        "row": row,
        "column": column,
        "n_rows": shades.shape[0],
        "n_columns": shades.shape[1],
        "data": _encoded(shades),
    }


def _encoded(values: NDArray[np.uint8]) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()
