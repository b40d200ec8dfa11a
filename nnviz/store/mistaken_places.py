"""What was named in place of a store, and which store was probably meant?

Asked where there is no store: of what nnviz knows, a run file, a folder around a run, a
part of a store, or what SUMMIT published may have been named, or a store's name was
mistyped. Only names of this machine are looked at, and few of them.
"""

from __future__ import annotations

import contextlib
import difflib
import itertools
import json
import os
import shlex
import tomllib
from dataclasses import dataclass
from pathlib import Path

from nnviz.errors import NnvizError, StoreNotFoundError
from nnviz.store.documents import DOCUMENT
from nnviz.store.files import MAX_DOCUMENT_BYTES, read_plain
from nnviz.store.places import absolute_url, shortened

__all__ = ["is_inside_store", "not_found"]

MOST_ENTRIES = 1_000
"""Of a folder: one with more is of data, and a network's file system is slow."""

MOST_NAMED = 3

RUN_FILE_BYTES = 1 << 20
"""A longer file is not one that anybody wrote."""

MAKING_ONE = "'nnviz plan run.toml --create STORE' makes one"


@dataclass(frozen=True, slots=True)
class _Found:
    """What is at a place instead of a store."""

    what: str = ""
    """Empty where nothing is known of it."""
    stores: tuple[Path, ...] = ()
    """Of which one was probably meant, the likeliest first."""
    remedy: str = ""
    """What to do where there are none."""


def not_found(given: str | os.PathLike[str]) -> StoreNotFoundError:
    """Return the error of a place without a store.

    Parameters
    ----------
    given
        How it was named; what was probably meant is named likewise.

    Returns
    -------
    StoreNotFoundError
        It has `given` and `meant` where one store was probably meant.
    """
    named, url = os.fspath(given), absolute_url(given)
    found = _Found()
    if "://" not in url:
        # What cannot be looked at is not known.
        with contextlib.suppress(OSError, RuntimeError, ValueError):
            found = _found(Path(named).expanduser())
    text = f"there is no store at {shortened(url)!r}"
    if found.what:
        text += f": it is {found.what}"
    if not found.stores:
        return StoreNotFoundError(f"{text}; {found.remedy or MAKING_ONE}")
    stores = [shortened(str(store)) for store in found.stores]
    meant = " or ".join(repr(store) for store in stores[:MOST_NAMED])
    error = StoreNotFoundError(f"{text}; did you mean {meant}?")
    if len(stores) == 1:
        error.given, error.meant = named, str(found.stores[0])
    return error


def is_inside_store(url: str) -> bool:
    """Whether a place of this machine is a part of a store."""
    return "://" not in url and _store_around(Path(url)) is not None


def _store_around(path: Path) -> Path | None:
    return next((folder for folder in path.parents if _is_store(folder)), None)


def _found(path: Path) -> _Found:
    if ".." in path.parts:
        path = path.resolve()  # what is above is then named, too
    whole = _store_around(path.absolute())
    if whole is not None:
        above = path
        for _ in path.absolute().relative_to(whole).parts:
            above = above.parent
        is_named = above.absolute() == whole  # not where one stands inside
        return _Found("a part of a store", (above if is_named else whole,))
    if path.is_file():
        return _found_file(path)
    if path.is_dir():
        return _found_folder(path)
    stores = {store.name: store for store in _stores_in(path.parent)}
    # Capitals are the nearest of all misses, and far ones for difflib.
    near = [name for name in stores if name.lower() == path.name.lower()]
    near = near or difflib.get_close_matches(path.name, stores, MOST_NAMED)
    return _Found(stores=tuple(stores[name] for name in near))


def _found_file(path: Path) -> _Found:
    if _is_run_file(path):
        stores = _stores_in(path.parent)
        stores = tuple(s for s in stores if s.stem == path.stem) or stores
        what = "a run file, which says how a store is made"
        return _Found(what, stores, _how_to_make(path))
    if _is_of_summit(path):
        return _Found(
            "a graph that SUMMIT published", remedy=_how_to_see_summit(path.parent)
        )
    return _Found("a file, and a store is a folder")


def _found_folder(path: Path) -> _Found:
    entries = _entries(path)
    stores = _stores_in(path)
    if stores:
        return _Found("a folder with a store inside", stores)
    if any(_is_of_summit(entry) for entry in entries):
        return _Found(
            "a folder of graphs that SUMMIT published", remedy=_how_to_see_summit(path)
        )
    run_file = next((entry for entry in entries if _is_run_file(entry)), None)
    if run_file is not None:
        what = "a folder with a run file, and without a store"
        return _Found(what, remedy=_how_to_make(run_file))
    return _Found("a folder without a store, or graphs of SUMMIT (ag-N.json), in it")


def _how_to_make(run_file: Path) -> str:
    words = [str(run_file), "--create", str(run_file.with_suffix(".zarr"))]
    return f"'nnviz plan {shlex.join(words)}' makes one"


def _how_to_see_summit(folder: Path) -> str:
    place = shlex.quote(str(folder))
    return (
        f"'nnviz serve {place}' shows it without a run, and 'nnviz serve STORE "
        f"--published {place}' beside one"
    )


def _is_of_summit(path: Path) -> bool:
    return path.match("ag-*.json")


def _is_run_file(path: Path) -> bool:
    if path.suffix != ".toml":
        return False
    try:
        content = read_plain(path, limit=RUN_FILE_BYTES) or b""
        said = tomllib.loads(content.decode())
    except (NnvizError, OSError, ValueError):
        return False
    return "model" in said and "dataset" in said


def _is_store(folder: Path) -> bool:
    try:
        content = read_plain(folder / DOCUMENT, limit=MAX_DOCUMENT_BYTES)
        said = json.loads(content or b"{}")
        return "format_version" in said.get("attributes", {})
    except (AttributeError, NnvizError, OSError, RecursionError, TypeError, ValueError):
        return False


def _stores_in(folder: Path) -> tuple[Path, ...]:
    return tuple(entry for entry in _entries(folder) if _is_store(entry))


def _entries(folder: Path) -> list[Path]:
    """Return what is in a folder, not more than a person has put there."""
    try:
        with os.scandir(folder) as found:
            names = [entry.name for entry in itertools.islice(found, MOST_ENTRIES)]
    except OSError:
        return []
    return [folder / name for name in sorted(names)]
