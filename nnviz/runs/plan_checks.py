"""Which options and columns cannot work, whatever the network and the data are?"""

from __future__ import annotations

from collections.abc import Iterable

from nnviz.errors import PlanError
from nnviz.runs.arrays import RESERVED_COLUMNS
from nnviz.runs.config import ExtractionConfig

__all__ = ["check_columns", "check_extraction"]


def check_extraction(extraction: ExtractionConfig) -> None:
    """Refuse options of the extraction that cannot work.

    Raises
    ------
    PlanError
        With the option, its value, and what it can be.
    """
    positive = {
        "instances_per_chunk": extraction.instances_per_chunk,
        "batch_size": extraction.batch_size,
        "threads_per_worker": extraction.threads_per_worker,
        "reader_threads": extraction.reader_threads,
        "ranks": extraction.ranks,
    }
    for name, number in positive.items():
        if number < 1:
            msg = f"extraction.{name} is {number}; it must be at least 1"
            raise PlanError(msg)
    if not 0.0 < extraction.share <= 1.0:
        msg = f"extraction.share is {extraction.share}; it must be in (0, 1]"
        raise PlanError(msg)
    if extraction.top_count is not None and extraction.top_count < 1:
        msg = f"extraction.top_count is {extraction.top_count}; it must be at least 1"
        raise PlanError(msg)
    if not 0.0 <= extraction.max_unreadable_fraction <= 1.0:
        msg = (
            f"extraction.max_unreadable_fraction is "
            f"{extraction.max_unreadable_fraction}; it must be in [0, 1]"
        )
        raise PlanError(msg)
    if extraction.examples_per_channel < 0:
        msg = (
            f"extraction.examples_per_channel is {extraction.examples_per_channel}; "
            "it must be 0 or more"
        )
        raise PlanError(msg)


def check_columns(names: Iterable[str]) -> None:
    """Refuse metadata columns that cannot be stored under their name.

    Raises
    ------
    PlanError
        With the first of them, and how it can be left out.
    """
    for name in names:
        is_odd = not name or not name.isprintable() or len(name.encode()) > 200
        if name in RESERVED_COLUMNS or "/" in name or name.startswith(".") or is_odd:
            # A column of labels arrives here if the run file names another one.
            source = (
                "if it holds the labels, name it as dataset.label_column "
                "(dataset.label_array for arrays); else "
                if name == "label"
                else ""
            )
            msg = (
                f"the metadata column {name!r} cannot be stored: the name must not be "
                f"empty, hold '/' or unprintable characters, be longer than 200 "
                f"bytes, start with '.' or be one of "
                f"{', '.join(RESERVED_COLUMNS)}, which nnviz writes itself; {source}"
                f"rename it, or leave it out with dataset.metadata_columns = "
                f"['*', '!{name}']"
            )
            raise PlanError(msg)
