"""Lines of a text file, one instance each.

A line is the text, or label and text with a delimiter between them, or whatever a
pattern says: a regular expression whose named groups are ``text``, ``label`` and any
columns. Empty lines are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from numpy.typing import NDArray

from nnviz.errors import ConfigError, DatasetError, UnreadableInstanceError
from nnviz.inputs.datasets.listings import (
    check_ids,
    check_label_name,
    fingerprint_of,
    make_column,
    make_labels,
    select_columns,
    typed_column,
)
from nnviz.runs.config import DatasetConfig
from nnviz.text_files import lines_of, open_text

__all__ = ["LineDataset"]


class LineDataset:
    """The lines of a text file; see the module.

    Parameters
    ----------
    config
        Its `path`, `pattern`, `delimiter`, `encoding`, `label_column`,
        `metadata_columns` and `limit` are used.

    Raises
    ------
    ConfigError
        If no path is given, or the pattern cannot be used.
    DatasetError
        If the file cannot be read, has no lines, or a line is of another form.
    """

    def __init__(self, config: DatasetConfig) -> None:
        if config.path is None:
            msg = "dataset.path is missing; for kind 'lines' it names the text file"
            raise ConfigError(msg)
        self._config = config
        self._place = f"the file {config.path!r}"
        pattern = _pattern_of(config)
        columns: dict[str, list[str]] = {name: [] for name in pattern.groupindex}
        self.ids: list[str] = []
        for number, line in self._lines(config.path):
            found = pattern.fullmatch(line)
            if found is None:
                raise DatasetError(self._misfit(number, line))
            self.ids.append(str(number))
            for name, value in found.groupdict().items():
                columns[name].append((value or "").strip())
            if config.limit is not None and len(self.ids) == config.limit:
                break
        check_ids(self.ids, place=self._place)
        self._texts = columns.pop("text")
        check_label_name(
            config.label_column,
            columns,
            option="dataset.label_column",
            place=f"the pattern {config.pattern!r}",
        )
        labels = columns.pop(config.label_column, None)
        self.labels = None if labels is None else make_labels(labels)
        kept = select_columns(columns, config.metadata_columns)
        self.metadata: dict[str, NDArray[Any]] = {
            "text": make_column(self._texts),
            **{name: typed_column(columns[name]) for name in kept},
        }
        self.class_names: tuple[str, ...] = ()
        self.notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    def __reduce__(self) -> tuple[type[LineDataset], tuple[DatasetConfig]]:
        return type(self), (self._config,)

    def read(self, index: int) -> str:
        """Return the text of one line.

        Raises
        ------
        UnreadableInstanceError
            If it is empty.
        """
        if index < 0 or index >= len(self):
            raise IndexError(index)
        if not self._texts[index]:
            msg = "its text is empty"
            raise UnreadableInstanceError(msg)
        return self._texts[index]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of numbers, labels, columns and texts."""
        return fingerprint_of("lines", self.ids, self.labels, self.metadata)

    def _lines(self, path: str) -> Iterator[tuple[int, str]]:
        """Yield the lines that hold something, with their numbers from 1 on."""
        encoding = self._config.encoding or "utf-8-sig"
        try:
            with open_text(path, encoding=encoding) as file:
                for number, line in enumerate(lines_of(file), 1):
                    if line.strip():
                        yield number, line.rstrip("\r\n")
        except OSError as error:
            msg = f"cannot read {self._place}: {error.strerror or error}"
            raise DatasetError(msg) from error
        except LookupError as error:
            msg = (
                f"dataset.encoding is {encoding!r}, which nobody knows; 'utf-8', "
                "'latin-1' or 'cp1252' are some"
            )
            raise ConfigError(msg) from error
        except ValueError as error:
            stated = "UTF-8" if self._config.encoding is None else encoding
            msg = (
                f"{self._place} is not {stated} text ({error}); state another one as "
                "dataset.encoding: 'latin-1' and 'cp1252' read any bytes"
            )
            raise DatasetError(msg) from error

    def _misfit(self, number: int, line: str) -> str:
        config = self._config
        wanted = (
            f"the pattern {config.pattern!r}"
            if config.pattern is not None
            else f"a label, {config.delimiter!r} and a text"
        )
        return (
            f"line {number} of {self._place} is {line[:80]!r}, which is not {wanted}; "
            "correct it, or dataset.pattern and dataset.delimiter"
        )


def _pattern_of(config: DatasetConfig) -> re.Pattern[str]:
    """Return the form of a line, with a group for the text."""
    if config.pattern is None:
        if config.delimiter is None:
            return re.compile("(?P<text>.*)")
        return re.compile(f"(?P<label>.*?){re.escape(config.delimiter)}(?P<text>.*)")
    if config.delimiter is not None:
        msg = "dataset.pattern and dataset.delimiter both say where the text is"
        msg += "; state one of them"
        raise ConfigError(msg)
    try:
        pattern = re.compile(config.pattern)
    except re.error as error:
        msg = f"dataset.pattern is {config.pattern!r}: {error}"
        raise ConfigError(msg) from error
    if "text" not in pattern.groupindex:
        msg = (
            f"dataset.pattern is {config.pattern!r}, and no group in it is 'text'; "
            r"a pattern such as '(?P<label>\w+) (?P<text>.*)' has one"
        )
        raise ConfigError(msg)
    return pattern
