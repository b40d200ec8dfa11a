"""How is the user's own code found that a run file names?

``package.module:callable`` is imported as Python imports it, and
``path/to/file.py:callable`` is read from that file. Both are code that the user named
in the run file, so they need no ``--trust``; nothing that a store or a data file names
is ever imported.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from nnviz.errors import (
    ConfigError,
    MissingDependencyError,
    ModelError,
    NnvizError,
    did_you_mean,
)
from nnviz.user_code import raised_text

__all__ = ["IN_RUN_FOLDER", "import_callable", "import_library", "is_callable_source"]


IN_RUN_FOLDER = "/./"
"""Between a run file's folder and a module in it, which is imported by its name."""


def is_callable_source(source: str) -> bool:
    """Whether a source has the form ``module:callable`` or ``file.py:callable``."""
    place, _, name = source.rpartition(":")
    return bool(place) and all(part.isidentifier() for part in name.split("."))


def import_callable(
    source: str, *, error_type: type[NnvizError] = ModelError
) -> Callable[..., Any]:
    """Import what a source names.

    Parameters
    ----------
    source
        ``package.module:callable`` or ``path/to/file.py:callable``.
    error_type
        The exception to raise: ModelError or DatasetError.

    Raises
    ------
    NnvizError
        Error of the given type, if the module cannot be imported or has no such
        callable.
    ConfigError
        If the source has another form.
    """
    place, _, name = source.rpartition(":")
    if not is_callable_source(source):
        msg = (
            f"source {source!r} is not 'package.module:callable' or "
            f"'path/to/file.py:callable'"
        )
        raise ConfigError(msg)
    try:
        module = _import_file(place) if place.endswith(".py") else _import_module(place)
    except (FileNotFoundError, ModuleNotFoundError) as error:
        msg = (
            f"cannot import {place!r} of source {source!r}: {error}; it should be an "
            f"installed module, one beside the run file, or a file as "
            f"'path/to/file.py:callable', which may import the files beside it"
        )
        raise error_type(msg) from error
    except (Exception, SystemExit) as error:  # the user's module may raise anything
        msg = f"importing {place!r} failed: {raised_text(error)}"
        raise error_type(msg) from error
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            known = [each for each in vars(found) if not each.startswith("_")]
            msg = f"{place!r} has no {part!r}{did_you_mean(part, known)}"
            raise error_type(msg)
        found = getattr(found, part)
    if not callable(found):
        msg = f"{source!r} is {type(found).__name__}, and cannot be called"
        raise error_type(msg)
    return found  # type: ignore[no-any-return] # narrowed from Any by callable()


def import_library(name: str, *, extra: str) -> ModuleType:
    """Import an optional library.

    Parameters
    ----------
    name
        Module to import.
    extra
        nnviz's extra that installs it.

    Raises
    ------
    MissingDependencyError
        If it is not installed, or broken.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        msg = f"{name} is needed here: pip install 'nnviz[{extra}]' ({error})"
        raise MissingDependencyError(msg) from error
    except (RuntimeError, OSError, AttributeError) as error:
        # A torchvision built for another torch raises RuntimeError on import.
        msg = (
            f"{name} is installed but cannot be imported: {error}; reinstall what it "
            "names in the version that fits the others (each torchvision belongs to "
            "one torch, and is for CPUs or CUDA as that one is: install both from the "
            "same index)"
        )
        raise MissingDependencyError(msg) from error


def _import_module(place: str) -> ModuleType:
    return importlib.import_module(place)


def _import_file(place: str) -> ModuleType:
    root, mark, inner = place.rpartition(IN_RUN_FOLDER)
    if mark:
        # A package beside the run file: its modules import each other by name.
        name = inner.removesuffix(".py").replace("/", ".")
        with _found_in(Path(root)):
            return _import_module(name)
    path = Path(place).expanduser().resolve()
    if not path.is_file():
        msg = f"there is no file {str(path)!r}"
        raise FileNotFoundError(msg)
    name = f"nnviz_user_{hashlib.sha256(str(path).encode()).hexdigest()[:16]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        msg = f"{str(path)!r} is not a Python file"
        raise FileNotFoundError(msg)
    with _found_in(path.parent):
        if name in sys.modules:
            return sys.modules[name]
        module = importlib.util.module_from_spec(spec)
        # Registered as Python does it, so that dataclasses and pickle find the module.
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
        return module


@dataclass(frozen=True, slots=True)
class _Imported:
    """A module of the user's, as it was imported."""

    folder: str
    file: Path
    changed: int
    """When its file was written last, in ns."""


_imported: dict[str, _Imported] = {}
_folders: list[str] = []
"""Those in which modules were looked for, the latest first."""


@contextlib.contextmanager
def _found_in(folder: Path) -> Iterator[None]:
    """Let a file import those beside it, after everything that is installed.

    It stays so in this process: files import each other also while they run. A worker
    outlives a run, and the next one may bring other files of the same names, or the
    same ones after they were changed: what was imported of those is forgotten.
    """
    for name in _outdated(folder):
        _imported.pop(name)
        sys.modules.pop(name, None)
    text = str(folder)
    if text in _folders or text not in sys.path:
        if text in _folders:
            _folders.remove(text)
            sys.path.remove(text)
        place = sys.path.index(_folders[0]) if _folders else len(sys.path)
        sys.path.insert(place, text)
        _folders.insert(0, text)
    importlib.invalidate_caches()
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        file = Path(getattr(sys.modules[name], "__file__", None) or "/")
        if file.is_relative_to(folder) and file.is_file():
            _imported[name] = _Imported(text, file, _changed(file))


def _outdated(folder: Path) -> list[str]:
    """Return the names of modules that are not those which `folder` means."""
    # Modules of one folder know each other: where one has changed, all are outdated.
    changed = {m.folder for m in _imported.values() if _changed(m.file) != m.changed}
    return [
        name
        for name, module in _imported.items()
        if module.folder in changed
        or (module.folder != str(folder) and _has_module(folder, name.split(".")[0]))
    ]


def _has_module(folder: Path, name: str) -> bool:
    return (folder / f"{name}.py").is_file() or (folder / name).is_dir()


def _changed(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0
