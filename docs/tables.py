"""Which tables of the documents say what the code says? They are made from it.

Usage: ``python -m docs.tables``. Options of the run file and their explanations come
from the configuration classes, options of graphs and of commands and the arrays of a
store from where they are declared. What was measured is written by
``python -m benchmarks.report``.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_type_hints

import click

from benchmarks.report import with_sections
from nnviz.cli.main import main as command_line
from nnviz.graphs.options import options_table
from nnviz.runs import config
from nnviz.runs.declarations import markdown_table
from nnviz.runs.table_columns import ColumnConfig

__all__ = ["documents"]

FOLDER = Path(__file__).resolve().parent


def main() -> None:
    """Renew the sections of all documents."""
    for path, sections in documents().items():
        text = path.read_text(encoding="utf-8")
        path.write_text(with_sections(text, sections), encoding="utf-8")


def documents() -> dict[Path, dict[str, str]]:
    """Return the text of every section that is made from the code."""
    return {
        FOLDER / "run-file.md": {
            **{table: options_of(kind) for table, kind in run_file_tables().items()},
            "columns": options_of(ColumnConfig),
        },
        FOLDER / "graphs.md": {"options": options_table()},
        FOLDER / "commands.md": {"commands": commands_section()},
        FOLDER / "json.md": {"schemas": schemas_section()},
        FOLDER / "store.md": {"store": markdown_table()},
    }


def run_file_tables() -> dict[str, type]:
    """Return the class behind each table of a run file."""
    names = {field.name: field.type for field in dataclasses.fields(config.RunConfig)}
    return {
        table: next(
            kind
            for kind in vars(config).values()
            if isinstance(kind, type)
            and kind.__name__ in str(text)
            and kind is not config.RunConfig
            and dataclasses.is_dataclass(kind)
        )
        for table, text in names.items()
    }


def options_of(kind: type) -> str:
    """Return the table of a configuration's options."""
    texts, hints = field_texts(kind), get_type_hints(kind)
    lines = ["| option | values | default | meaning |", "|---|---|---|---|"]
    for field in dataclasses.fields(kind):
        values = values_text(str(hints[field.name]), kind, field.name)
        meaning = texts[field.name]
        if not meaning:
            msg = f"{kind.__name__}.{field.name} has no text under it; write one"
            raise ValueError(msg)
        lines.append(
            f"| `{field.name}` | {values} | {default_text(field)} | {meaning} |"
        )
    return "\n".join(lines)


def field_texts(kind: type) -> dict[str, str]:
    """Return what is written under each field of a class, on one line, in Markdown."""
    (tree,) = ast.parse(inspect.getsource(kind)).body
    assert isinstance(tree, ast.ClassDef)
    texts: dict[str, str] = {}
    for node, follower in zip(tree.body, [*tree.body[1:], None], strict=True):
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        text = ""
        if isinstance(follower, ast.Expr) and isinstance(follower.value, ast.Constant):
            text = str(follower.value.value)
        texts[node.target.id] = markdown_of(text)
    return texts


def markdown_of(text: str) -> str:
    """Return a docstring's text as a cell of a table."""
    text = re.sub(r":func:`([^`]+)`", r"`\1`", " ".join(text.split()))
    text = re.sub(r"(?<=\. )None\b", "Not set", text)
    text = re.sub(r"\bNone\b", "not set", text)
    return text.replace("``", "`").replace("|", "\\|")


def values_text(hint: str, kind: type, name: str) -> str:
    """Return what an option can be, in the words of TOML."""
    if "Literal" in hint:
        values = re.findall(r"'([^']+)'", hint)
        hidden = {"memory"} if (kind, name) == (config.DatasetConfig, "kind") else set()
        also = ", or a whole number" if hint.endswith(("| int", ", int]")) else ""
        return ", ".join(f'`"{v}"`' for v in values if v not in hidden) + also
    plain = re.sub(r" \| None$", "", hint).replace("typing.", "")
    words = {
        "<class 'str'>": "text",
        "<class 'int'>": "whole number",
        "<class 'float'>": "number",
        "<class 'bool'>": "`true`, `false`",
        "str": "text",
        "int": "whole number",
        "float": "number",
        "tuple[str, ...]": "list of texts",
        "tuple[float, ...]": "list of numbers",
        "int | tuple[int, int]": "whole number, or list of two",
        "tuple[nnviz.runs.table_columns.ColumnConfig, ...]": "list of tables",
        "tuple[str | int | float | bool, ...]": "list of texts or numbers",
        "float | str | bool": "number, text, `true` or `false`",
    }
    if plain in words:
        return words[plain]
    if "Mapping" in plain:
        return "table of lists of whole numbers" if "tuple" in plain else "table"
    msg = (
        f"{kind.__name__}.{name} is {hint}; say in docs/tables.py what that is in TOML"
    )
    raise ValueError(msg)


def default_text(field: dataclasses.Field[Any]) -> str:
    """Return an option's default as a run file would state it."""
    if field.default_factory is not dataclasses.MISSING:
        return ""
    if field.default is dataclasses.MISSING:
        return "needed"
    if field.default is None:
        return ""
    value = list(field.default) if isinstance(field.default, tuple) else field.default
    return f"`{json.dumps(value)}`"


def commands_section() -> str:
    """Return every command with its arguments and options."""
    parts = []
    for name, command in command_line.commands.items():
        context = click.Context(command, info_name=f"nnviz {name}")
        usage = " ".join(command.collect_usage_pieces(context))
        text = " ".join(paragraph for paragraph in paragraphs(command.help or ""))
        parts.append(f"## nnviz {name}\n\n```\nnnviz {name} {usage}\n```\n\n{text}")
        rows = list(option_rows(command, context))
        if rows:
            parts.append("\n".join(["| option | what it does |", "|---|---|", *rows]))
    return "\n\n".join(parts)


def paragraphs(text: str) -> Iterator[str]:
    """Yield the paragraphs of a help text, each on one line."""
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        yield " ".join(paragraph.split())


def option_rows(command: click.Command, context: click.Context) -> Iterator[str]:
    """Yield a row of a table for each option of a command."""
    options = (one for one in command.params if isinstance(one, click.Option))
    for parameter in options:
        record = parameter.get_help_record(context)
        if record is not None:
            names, text = (part.replace("|", "\\|") for part in record)
            yield f"| `{names}` | {' '.join(text.split())} |"


def schemas_section() -> str:
    """Return what each command prints with ``--json``, from the schemas."""
    parts = []
    for path in sorted((FOLDER / "schemas").glob("*.json")):
        schema = json.loads(path.read_text(encoding="utf-8"))
        lines = ["| key | type | meaning |", "|---|---|---|", *schema_rows(schema)]
        link = f"[JSON Schema](schemas/{path.name})"
        text = f"{schema['description']} {link}."
        parts.append("\n".join([f"## nnviz {path.stem}", "", text, "", *lines]))
    return "\n\n".join(parts)


def schema_rows(schema: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield a row for each key, those of inner objects after their own."""
    required = [
        *schema.get("required", ()),
        *schema.get("oneOf", [{}])[0].get("required", ()),
    ]
    for key, of in schema["properties"].items():
        kinds = of.get("type", "any")
        kind = kinds if isinstance(kinds, str) else " or ".join(kinds)
        if inner := of.get("items", {}).get("type"):
            each = inner if isinstance(inner, str) else " or ".join(inner)
            kind = f"{kind} of {each}"
        always = "" if key in required else " Not always there."
        yield f"| `{prefix}{key}` | {kind} | {of['description']}{always} |"
        if "properties" in of:
            yield from schema_rows(of, f"{prefix}{key}.")
        elif "properties" in of.get("items", {}):
            yield from schema_rows(of["items"], f"{prefix}{key}[].")


if __name__ == "__main__":
    main()
