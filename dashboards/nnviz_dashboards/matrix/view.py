"""How is the neuron matrix drawn? Values for its scripts, and cells as bytes."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np
import param
from numpy.typing import NDArray
from panel.viewable import Viewable, Viewer

from nnviz.formatting import said_p_value
from nnviz.results.neuron_matrix import PAIRED, Measure
from nnviz_dashboards.matrix.model import TILE_COLUMNS, TILE_ROWS, MatrixModel
from nnviz_dashboards.matrix.rows import MatrixRow
from nnviz_dashboards.matrix.shown_layer import Cell, MatrixState
from nnviz_dashboards.matrix.stack import MatrixStack
from nnviz_dashboards.shared.component import (
    CHART,
    Component,
    SentDict,
    SentList,
    about_chart,
    missing_value,
    script,
    style,
)
from nnviz_dashboards.shared.python_lines import look_lines
from nnviz_dashboards.shared.selection import (
    BY_CLUSTER,
    BY_DIFFERENCE,
    BY_NUMBER,
    MAX_BESIDE,
)
from nnviz_dashboards.shared.theme import format_count, format_value

__all__ = ["MatrixView"]

WORDS: Mapping[Measure, str] = {
    "mean": "mean activation",
    "share": "share on top",
    "maximum": "maximum",
    "relevance": "mean relevance for the explained output",
    "gradient": "mean gradient of the explained output",
    "gradient_norm": "mean norm of the gradient over positions",
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
    "gradient_norm": "d",
}
WELCH = "Welch's test of the means, adjusted for the channels of the layer"
TESTS: Mapping[Measure, str] = {
    "mean": WELCH,
    "relevance": WELCH,
    "gradient": WELCH,
    "gradient_norm": WELCH,
    "share": "Fisher's exact test of the counts, adjusted for all shown channels",
    "maximum": "no test is made of maxima",
}


class NeuronMatrixPanel(Component):
    """The matrices of the open layers, and all that changes them."""

    table = SentDict({}, doc="What does not change: names and sizes of classes.")
    # One parameter each, so that only what changes is sent.
    layer_0 = SentDict(None, allow_None=True, doc="Rows and columns in order.")
    layer_1 = SentDict(None, allow_None=True)
    layer_2 = SentDict(None, allow_None=True)
    layer_3 = SentDict(None, allow_None=True)
    passing = SentList([], doc="An instance's row in each layer.")
    chosen = SentDict({}, doc="Measure, shading and order.")
    channels = SentList([], doc="That is looked at in each layer; -1 for none.")
    can_open = SentList([], doc="Name and short name of layers that are closed.")
    room = param.String(doc="One of `PANELS`.")
    is_loading = param.Boolean(default=False)

    _esm = script(
        __file__, *CHART, "matrix_picture.js", "matrix_cells.js", "matrix_heads.js",
        "matrix_tools.js", "matrix_layer.js", "matrix.js",
    )  # fmt: skip
    _style = style(__file__, "matrix.css")


class MatrixView(Viewer):
    """The neuron matrices.

    Parameters
    ----------
    stack
        What is open, and intentions.
    layers
        Short name of each shown layer by its name.
    run_later
        Runs a function, some time, and gives what it returns to another.
    """

    def __init__(
        self,
        stack: MatrixStack,
        layers: Mapping[str, str],
        *,
        run_later: Callable[[Callable[[], Any], Callable[[Any], None]], None],
    ) -> None:
        super().__init__()
        self._stack = stack
        self._layers = layers
        self._run_later = run_later
        self._seen: tuple[MatrixModel, ...] = ()
        model, selection = stack.chosen, stack.selection
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
                "enlarge": model.enlarge,
                "toggle_layer": lambda name: stack.toggle(name),
                "look_at_layer": lambda name: stack.look_at_layer(name),
                "look_at": lambda place, channel: self._at(place).look_at(channel),
                "tile": self._send_tile,
                "point": self._send_cell,
                "data": self._send_data,
            },
            table=self._table(),
        )
        self._update_layers()
        stack.param.watch(self._update_layers, "beside")
        selection.param.watch(
            self._update_chosen,
            ["measure", "shade", "sorted_by", "layer", "channel", "node", "matrix"],
        )

    def _at(self, place: int) -> MatrixModel:
        """Return a matrix by its place; the chosen layer's where it was closed."""
        matrices = self._stack.matrices
        return matrices[place] if 0 <= place < len(matrices) else matrices[0]

    def _update_layers(self, *_: param.parameterized.Event) -> None:
        """Show the matrices that are open, from top to bottom."""
        before, self._seen = self._seen, self._stack.matrices
        for matrix in self._seen:
            if matrix not in before:
                self._follow(matrix)
        changes: dict[str, object] = {}
        for place in range(MAX_BESIDE + 1):
            now = self._seen[place : place + 1]
            if not now or now != before[place : place + 1]:
                layer = self._layer(now[0]) if now else None
                changes |= {f"layer_{place}": layer}
        self._panel.param.update(
            **changes, **self._chosen(), **self._passing(), **self._loading()
        )

    def _follow(self, matrix: MatrixModel) -> None:
        """Show what becomes of a matrix, as long as it is open."""

        def changed(*events: param.parameterized.Event) -> None:
            if matrix not in self._seen:
                return
            names = {event.name for event in events}
            changes: dict[str, object] = {}
            if names & {"state", "missing"}:
                place = self._seen.index(matrix)
                changes = {f"layer_{place}": self._layer(matrix), **self._chosen()}
            if "passing" in names:
                changes |= self._passing()
            self._panel.param.update(**changes, **self._loading())

        matrix.param.watch(changed, ["state", "missing", "passing", "is_loading"])

    def _update_chosen(self, *_: param.parameterized.Event) -> None:
        self._panel.param.update(**self._chosen())

    def _table(self) -> dict[str, object]:
        classes = self._stack.chosen.classes
        names = zip(classes.names, classes.marks, strict=True)
        return {
            "names": [f"{name} {mark}".strip() for name, mark in names],
            "n_instances": classes.n_instances.tolist(),
            "tile": [TILE_ROWS, TILE_COLUMNS],
        }

    def _layer(self, matrix: MatrixModel) -> dict[str, object]:
        state = matrix.state
        name = matrix.layer if state is None else state.layer
        return {
            "name": name,
            "label": self._layers.get(name, name),
            "state": None if state is None else self._drawn(matrix, state),
            "missing": missing_value(matrix.missing),
        }

    def _loading(self) -> dict[str, object]:
        return {"is_loading": any(matrix.is_loading for matrix in self._seen)}

    def _drawn(self, matrix: MatrixModel, state: MatrixState) -> dict[str, object]:
        contrast = state.contrast
        effect = np.zeros(len(state.columns))
        if contrast is not None:
            effect = np.nan_to_num(contrast.effect)
        largest = max(float(np.abs(effect).max(initial=0.0)), 1e-12)
        bars = np.round(effect / largest * 127)[state.columns].astype(np.int8)
        marks = state.dead.astype(np.uint8) + 2 * state.is_significant.astype(np.uint8)
        low, high = state.bounds
        darkest = f"{format_value(high)} or more"
        if matrix.selection.shade == "channel":
            darkest = "each channel's own largest class"
        elif state.dead.all() and low == 0:  # else there are values below 0
            darkest = "no channel is above 0"
        return {
            "version": state.version,
            "rows": [_row(row) for row in state.rows],
            "classes": state.classes.tolist(),
            "columns": state.columns.tolist(),
            "names": list(matrix.channel_names),
            "is_compared": contrast is not None,
            "bars": _encoded(bars.view(np.uint8)),
            "marks": _encoded(marks[state.columns]),
            "first": _tile(matrix.tile(0, 0), 0, 0),
            "sorted_by": state.sorted_by,
            "note": self._note(state),
            "low": format_value(low),
            "high": darkest,
            "what": WORDS[state.measure],
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
            f"The stronger a cell, the larger the {WORDS[state.measure]}; an instance "
            "is drawn as it is. Bars above the columns: blue where A has more, purple "
            "where B has more; pale where that may be chance (adjusted p of 0.05 or "
            f"more: {TESTS[state.measure]}). A cross: no instance excites the channel. "
            "Click a row's name to sort by it, a column to look at its channel; drag "
            "rows that you keep."
        )

    def _chosen(self) -> dict[str, object]:
        selection, pinned = self._stack.selection, self._stack.selection.pinned
        state = self._stack.chosen.state
        return {
            "chosen": {
                "measure": selection.measure,
                "measures": list(self._stack.chosen.results.neurons.measures),
                "shade": selection.shade,
                "sorted_by": selection.sorted_by if state is None else state.sorted_by,
                "orders": [[key, word] for key, word in SORTED.items()],
            },
            "channels": [
                pinned[1] if pinned is not None and pinned[0] == matrix.layer else -1
                for matrix in self._seen
            ],
            "can_open": [
                [name, self._layers.get(name, name)] for name in self._stack.can_open
            ],
            "room": selection.matrix,
            "about": self._about(state),
        }

    def _passing(self) -> dict[str, object]:
        passing = []
        for matrix in self._seen:
            row = matrix.passing
            shades = None if row is None else _encoded(matrix.passing_shades())
            passing.append(None if row is None else {**_row(row), "shades": shades})
        return {"passing": passing}

    def _send_tile(self, place: int, row: int, column: int, version: int) -> None:
        matrix = self._at(place)
        state = matrix.state
        if state is not None and state.version == version:
            shades = matrix.tile(int(row), int(column))
            tile = {**_tile(shades, int(row), int(column)), "version": version}
            self._panel._send_msg({"tile": tile, "place": place})

    def _send_cell(self, place: int, row: int, column: int, turn: int) -> None:
        cell = self._at(place).cell(int(row), int(column))
        if cell is not None:
            said = {"cell": self._said(cell), "turn": turn, "place": place}
            self._panel._send_msg(said)

    def _said(self, cell: Cell) -> str:
        measure = cast("Measure", self._stack.selection.measure)
        size = f" ({format_count(cell.n_instances)})" if cell.n_instances != 1 else ""
        text = (
            f"{cell.row}{size}, channel {cell.called}: {WORDS[measure]} "
            f"{format_value(cell.value)}"
        )
        if cell.a == cell.a and cell.b == cell.b:
            text += f" · A {format_value(cell.a)}, B {format_value(cell.b)}"
            text += f", {EFFECTS[measure]} = {format_value(cell.effect)}"
        if cell.p_value == cell.p_value:
            text += f", adjusted {said_p_value(cell.p_value)}"
        return text + (" · dead" if cell.is_dead else "")

    def _send_data(self, kind: str, place: int = 0) -> None:
        matrix = self._at(place)
        state = matrix.state
        if state is None:
            return
        name = f"neurons-{state.layer}-{state.measure}"
        self._panel.send_table(name, matrix.table, kind, run_later=self._run_later)

    def _about(self, state: MatrixState | None) -> dict[str, object]:
        if state is None:
            return {}
        results = self._stack.chosen.results
        of = f"store, {results.kind!r}"
        code = look_lines(
            results.store.url,
            *self._stack.chosen.queries,
            f"a, b = found.{PAIRED.get(state.measure, 'means')}({state.layer!r})",
            f"classes = nnviz.aggregates_of({of}).{state.measure}({state.layer!r})",
        )
        return about_chart(self._explanation(state), code)

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
