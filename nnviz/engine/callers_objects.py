"""How do objects of the caller's process reach the workers of a cluster?

They are sent once to every worker, also to those that join later, and taken back at the
end. Objects travel by cloudpickle. What is defined in ``__main__``, in a notebook or in
a module that is not installed travels with its code: workers could not import it.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import io
import sys
import sysconfig
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import cloudpickle
from distributed.diagnostics.plugin import WorkerPlugin

from nnviz.engine.connection import connected
from nnviz.engine.handing_over import handed_over, hold, release
from nnviz.errors import NnvizError, TaskError

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["cannot_travel", "delivered", "packed"]

PAUSES_S = (0.5, 1.0, 2.0, 4.0)
"""Before objects are handed again to workers of which one has died meanwhile."""


def packed(keys: Iterable[str]) -> bytes:
    """Return handed over objects as bytes, for :func:`cloudpickle.loads`."""
    return _dumps({key: handed_over(key) for key in keys})


def cannot_travel(objects: Mapping[str, Any]) -> str:
    """Return why objects cannot be sent to other processes; empty if they can."""
    try:
        _dumps(objects)
    except Exception as error:  # noqa: BLE001  whatever the objects' classes raise
        return f"{type(error).__name__}: {error}"
    return ""


class _Delivery(WorkerPlugin):
    """Puts objects where tasks of a worker find them, and takes them away again."""

    def __init__(self, data: bytes, keys: list[str]) -> None:
        self.data, self.keys = data, keys
        self._added: list[str] = []

    def setup(self, worker: Any) -> None:
        del worker
        # A worker may be a thread of the process that hands over.
        if any(handed_over(key) is None for key in self.keys):
            self._added = hold(cloudpickle.loads(self.data))

    def teardown(self, worker: Any) -> None:
        del worker
        release(self._added)


@contextlib.contextmanager
def delivered(objects: Mapping[str, Any], client: Client) -> Iterator[None]:
    """Let the tasks of a cluster find objects by their keys, for a while.

    Parameters
    ----------
    objects
        By key.
    client
        Client of the cluster.

    Raises
    ------
    TaskError
        If the objects cannot be sent, or a worker cannot import what they need.
    """
    if not objects:
        yield
        return
    name = "nnviz-" + hashlib.sha256(" ".join(sorted(objects)).encode()).hexdigest()[:8]
    try:
        data = _dumps(objects)
    except Exception as error:
        msg = (
            f"{_names(objects)} cannot be sent to workers: "
            f"{type(error).__name__}: {error}; run in one process (workers=0), or name "
            "the callables that build them in a run file"
        )
        raise TaskError(msg) from error
    try:
        with connected(client):
            _register(client, _Delivery(data, list(objects)), name)
    except NnvizError:
        raise
    except Exception as error:
        msg = (
            f"the workers cannot take {_names(objects)}: {type(error).__name__}: "
            f"{error}; what its code imports has to be installed where they run"
        )
        raise TaskError(msg) from error
    try:
        yield
    finally:
        # A cluster that is lost has forgotten it.
        with contextlib.suppress(Exception):
            client.unregister_worker_plugin(name)


def _register(client: Client, delivery: _Delivery, name: str) -> None:
    """Hand a delivery to all workers, also if one dies while it gets it."""
    for pause in PAUSES_S:
        try:
            client.register_plugin(delivery, name=name)
        except OSError:
            time.sleep(pause)
        else:
            return
    client.register_plugin(delivery, name=name)


def _names(objects: Mapping[str, Any]) -> str:
    return " and ".join(key.partition("@")[0] for key in objects)


def _dumps(value: Any) -> bytes:
    """Pickle a value with the code of all modules that are not installed."""
    added: list[ModuleType] = []
    known = cloudpickle.list_registry_pickle_by_value()
    # A process that multiprocessing has spawned has its main module under two names.
    loose = {x.__name__: x for x in list(sys.modules.values()) if _is_loose(x)}
    for name, module in loose.items():
        if name not in known:
            with contextlib.suppress(ValueError):  # no module of the import system
                cloudpickle.register_pickle_by_value(module)
                added.append(module)
    file = io.BytesIO()
    try:
        _Pickler(file).dump(value)
    finally:
        for module in added:
            cloudpickle.unregister_pickle_by_value(module)
    return file.getvalue()


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc] # it has no annotations
    """Cloudpickle, which sends functions that keep their results by name only."""

    def reducer_override(self, obj: Any) -> Any:
        """Send the function inside, to be wrapped again with an empty cache."""
        if isinstance(obj, functools._lru_cache_wrapper):
            module = obj.__module__
            if module == "__main__" or module in self._by_value():
                return _cached_again, (obj.__wrapped__, obj.cache_parameters())
        is_own = isinstance(obj, ModuleType) and type(obj) is not ModuleType
        name = str(getattr(obj, "__name__", "")) if is_own else ""
        if name and sys.modules.get(name) is obj:
            # As torch.classes, which cloudpickle finds in whatever uses torch and has
            # an attribute of that name.
            return importlib.import_module, (name,)
        return super().reducer_override(obj)

    @staticmethod
    def _by_value() -> set[str]:
        return set(cloudpickle.list_registry_pickle_by_value())


def _cached_again(
    function: Callable[..., Any], parameters: Mapping[str, Any]
) -> Callable[..., Any]:
    made: Callable[..., Any] = functools.lru_cache(**parameters)(function)
    return made


def _is_loose(module: object) -> bool:
    """Whether a module is a file that was not installed, nor is nnviz's own."""
    name, file = getattr(module, "__name__", ""), getattr(module, "__file__", None)
    if not isinstance(module, ModuleType) or not file or name == "__main__":
        return False
    if name.partition(".")[0] in {"nnviz", "nnviz_cluster", "nnviz_dashboards"}:
        return False
    return not _is_installed(str(file))


@functools.cache
def _is_installed(file: str) -> bool:
    """Whether a file is one of a library, or is not Python; there are thousands."""
    path = Path(file)
    if path.suffix != ".py" or {"site-packages", "dist-packages"} & set(path.parts):
        return True
    return any(path.is_relative_to(place) for place in _INSTALLED)


_INSTALLED = tuple(
    {
        sysconfig.get_path(name)
        for name in ("stdlib", "platstdlib", "purelib", "platlib")
    }
)
