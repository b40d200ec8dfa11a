"""What do the views' components have in common? Script, style, messages and files.

A component is a script beside its view. It gets plain values, puts every text that
comes from data into the page as text, and sends the visitor's intentions as small
messages; it holds no state of its own but the place of scroll bars.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import panel as pn
import param
from bokeh.document import Document
from bokeh.model import Model
from bokeh.models import InlineStyleSheet
from panel.custom import JSComponent
from param.parameterized import no_instance_params

from nnviz.results.chart_tables import ChartTable, table_formats
from nnviz.results.missing import Missing

__all__ = [
    "CHART",
    "SCRIPTS",
    "STYLE",
    "Component",
    "SentDict",
    "SentList",
    "about_chart",
    "constants",
    "missing_value",
    "script",
    "script_address",
    "sent_script",
    "style",
]

_FOLDER = Path(__file__).parent

CHART = ("picture.js", "chart_menu.js")
"""Scripts of a chart whose data and picture can be saved."""

SCRIPTS = "scripts"
"""Where the server answers with the scripts of components, relative to the page."""

STYLE = (_FOLDER / "style.css").read_text(encoding="utf-8")


_BEGIN = "export function render({model}) {"
_BEGIN_READING = (
    "export function render({model: sent}) {\n  const model = readTexts(sent)"
)


def script(module: str, *names: str) -> str:
    """Return the scripts beside a module, with what all components share before them.

    Parameters
    ----------
    module
        ``__file__`` of the view.
    *names
        Names of its scripts, or of shared ones that only some views need, in the order
        in which they are read.
    """
    files = [_FOLDER / "shared.js"]
    for name in names:
        own = Path(module).with_name(name)
        files.append(own if own.exists() else _FOLDER / name)
    text = "\n".join(file.read_text(encoding="utf-8") for file in files)
    return text.replace(_BEGIN, _BEGIN_READING)


def constants(**values: float) -> str:
    r"""Return lines of script that give numbers of Python their names.

    Examples
    --------
    >>> constants(SLOT=64)
    'const SLOT = 64\n'
    """
    return "".join(f"const {name} = {value}\n" for name, value in values.items())


def style(module: str, name: str) -> str:
    """Return a style sheet beside a module.

    Parameters
    ----------
    module
        ``__file__`` of the view.
    name
        Name of the file.
    """
    return Path(module).with_name(name).read_text(encoding="utf-8")


def script_address(kind: type[Component]) -> str:
    """Return where the server answers with a component's script.

    It names what is there: a browser that has it need not ask again.
    """
    return f"./{SCRIPTS}/{_digest(str(kind._esm))}.js"


def sent_script(name: str) -> str | None:
    """Return a component's script by the name that it has in its address."""
    scripts = (str(kind._esm) for kind in Component.__subclasses__())
    return next((text for text in scripts if _digest(text) == name), None)


@functools.cache
def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def missing_value(missing: Missing | None) -> dict[str, str] | None:
    """Return what the script's ``notice`` shows."""
    return None if missing is None else asdict(missing)


def about_chart(explanation: str, code: str) -> dict[str, object]:
    """Return what the menu of a chart offers beside its picture.

    Parameters
    ----------
    explanation
        How the chart is read.
    code
        Lines of Python that give the same numbers.
    """
    formats = list(table_formats())
    return {"explanation": explanation, "code": code, "formats": formats}


_STYLES: WeakKeyDictionary[Document, InlineStyleSheet] = WeakKeyDictionary()


def _once_in(doc: Document | None) -> InlineStyleSheet:
    """Return the style of all components; a text would be sent with each of them."""
    found = None if doc is None else _STYLES.get(doc)
    if found is None:
        found = InlineStyleSheet(css=STYLE)
        if doc is not None:
            _STYLES[doc] = found  # which Bokeh takes from the document as it ends
    return found


class SentDict(param.Dict):  # type: ignore[type-arg]  # has none at run time
    """A value that is sent as one text; see :class:`Component`."""


class SentList(param.List):  # type: ignore[type-arg]  # likewise
    """The same of a list."""


@functools.cache
def _texts_of(kind: type[Component]) -> frozenset[str]:
    """Return the names of the values that are sent as texts."""
    return frozenset(
        name for name in kind.param if isinstance(kind.param[name], SentDict | SentList)
    )


@functools.cache
def _values_of(kind: type[Component]) -> frozenset[str]:
    """Return the names of the plain values that a component's script gets."""
    return frozenset(kind.param) - frozenset(JSComponent.param)


def _written(value: object) -> object:
    """Return a value as a text; as it is where JSON has no word for what is in it."""
    if value is None or value == [] or value == {}:
        return value
    try:
        return json.dumps(
            value, ensure_ascii=False, allow_nan=False, separators=(",", ":")
        )
    except (TypeError, ValueError):
        return value


class Component(JSComponent):
    """A component whose messages are the visitor's intentions.

    What is declared as :class:`SentDict` or :class:`SentList` is sent as one text of
    JSON. Bokeh would ask each of its thousand values what it is, several times here and
    again in the browser, which takes longer than to find them. The script does not
    notice: it is ``model.name`` as that of any other.

    Parameters
    ----------
    intentions
        What to call for each type of message, with the message's other fields.
    **params
        Values of the component's parameters.
    """

    __abstract = True

    about = SentDict({}, doc="Of a chart: how to read it, and its lines of Python.")

    _style: ClassVar[str] = ""
    """What is added to the style of all components."""

    def __init__(
        self, intentions: Mapping[str, Callable[..., None]], **params: Any
    ) -> None:
        self._intentions = dict(intentions)
        # Panel looks at every parameter, and param makes a copy of each that is looked
        # at, in case it is changed for this component alone. None is.
        no_instance_params(type(self))
        styles = [STYLE, self._style] if self._style else [STYLE]
        super().__init__(sizing_mode="stretch_both", stylesheets=styles, **params)

    def send_table(
        self,
        name: str,
        make: Callable[[], ChartTable | None],
        format_: str,
        *,
        run_later: Callable[[Callable[[], Any], Callable[[Any], None]], None]
        | None = None,
    ) -> None:
        """Give the visitor the numbers of a chart.

        Parameters
        ----------
        name
            Of the file, without its ending.
        make
            Returns the table; None where there is nothing to give.
        format_
            One of :func:`nnviz.results.chart_tables.table_formats`; any other gives
            nothing.
        run_later
            Makes what takes long; None makes it at once.
        """
        known = [one for one in table_formats() if one == format_]
        if not known:
            return

        def work() -> bytes:
            table = make()
            return b"" if table is None else table.written(known[0])

        def send(content: object) -> None:
            if isinstance(content, bytes):
                self.send_file(f"{name}.{format_}", content)

        if run_later is None:
            send(work())
        else:
            run_later(work, send)

    def send_file(self, name: str, content: bytes) -> None:
        """Give the visitor a file, if there is anything in it."""
        if content:
            encoded = base64.b64encode(content).decode()
            self._send_msg({"file": {"name": name, "content": encoded}})

    def _get_properties(self, doc: Document | None) -> dict[str, Any]:
        properties = super()._get_properties(doc)
        properties["data"].esm_constants = {"texts": sorted(_texts_of(type(self)))}
        sheets = [_once_in(doc) if x is STYLE else x for x in properties["stylesheets"]]
        properties |= {"stylesheets": sheets}
        if doc is not None and doc.session_context is not None:
            # Of a visitor, to whom the server sends scripts beside the page, and once.
            return {**properties, "bundle": "url", "esm": script_address(type(self))}
        # What has no bundle, Panel takes for TypeScript, and translates in the browser.
        return {**properties, "bundle": _digest(properties["esm"])}

    @property
    def _linked_properties(self) -> tuple[str, ...]:
        return ()  # scripts change no value: they send what a visitor wants

    def _process_param_change(self, params: dict[str, Any]) -> dict[str, Any]:
        return self._sent(super()._process_param_change(params))

    def _sent(self, values: dict[str, Any]) -> dict[str, Any]:
        texts = _texts_of(type(self))
        return {x: _written(v) if x in texts else v for x, v in values.items()}

    def _update_properties(
        self, *events: param.parameterized.Event, doc: Document
    ) -> dict[str, Any]:
        if all(event.name in _values_of(type(self)) for event in events):
            # No design changes them.
            return self._sent({event.name: event.new for event in events})
        return super()._update_properties(*events, doc=doc)

    def _update_model(
        self,
        events: dict[str, param.parameterized.Event],
        msg: dict[str, Any],
        root: Model,
        model: Model,
        doc: Document,
        comm: Any,
    ) -> None:
        # Panel looks for models in all values of a component, old and new, as often as
        # one of them changes, which costs a good part of a click. There are none.
        if not msg.keys() <= _values_of(type(self)):
            super()._update_model(events, msg, root, model, doc, comm)
            return
        data: Model = getattr(model, "data")  # noqa: B009
        changed = {name: x for name, x in msg.items() if getattr(data, name) != x}
        data.update(**changed)

    def _handle_msg(self, data: Any) -> None:
        values = dict(data)
        intention = self._intentions.get(values.pop("type", ""))
        if intention is not None:
            # One answer: each message is drawn by itself, and costs both sides.
            with pn.io.hold():
                intention(**values)
