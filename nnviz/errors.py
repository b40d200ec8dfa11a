"""Every exception that nnviz raises, grouped by what the caller can do about it.

::

    NnvizError
    ├── ConfigError            (ValueError)          correct the run file
    ├── InputError             (ValueError)          correct the model or the data
    │   ├── DatasetError
    │   │   └── UnreadableInstanceError              one instance; is recorded
    │   ├── ModelError
    │   │   └── UntrustedCodeError                   read it, then pass --trust
    │   ├── UnsupportedLayerError                    names layer and what is known
    │   └── ShapeError
    ├── UnknownNameError       (KeyError)            with near matches
    ├── QueryError             (ValueError)          correct the query; points at it
    ├── PlanError              (ValueError)          change the plan
    ├── StoreError
    │   ├── StoreNotFoundError (FileNotFoundError)
    │   ├── StoreExistsError   (FileExistsError)
    │   ├── StoreFormatError                         another version, or damaged
    │   ├── PlanMismatchError                        another plan wrote this
    │   ├── StoreInUseError                          wait for the other driver
    │   └── MissingDataError                         run the stage it names
    ├── TaskError                                    a chunk failed on a worker
    │   ├── DeviceLostError                          its worker is started again
    │   ├── OutOfTimeError                           the next run goes on
    │   ├── TaskMemoryError                          give workers more memory
    │   ├── TaskOverdueError                         it hangs, or is far too slow
    │   └── WorkersDiedError                         something ends their processes
    └── MissingDependencyError (ImportError)         install the extra it names

Exceptions cross process borders on a cluster, so every one of them takes its message as
its only required argument.
"""

from __future__ import annotations

import difflib
import traceback
from collections.abc import Iterable
from pathlib import Path

__all__ = [
    "ConfigError",
    "DatasetError",
    "DeviceLostError",
    "InputError",
    "MissingDataError",
    "MissingDependencyError",
    "ModelError",
    "NnvizError",
    "OutOfTimeError",
    "PlanError",
    "PlanMismatchError",
    "QueryError",
    "ShapeError",
    "StoreError",
    "StoreExistsError",
    "StoreFormatError",
    "StoreInUseError",
    "StoreNotFoundError",
    "TaskError",
    "TaskMemoryError",
    "TaskOverdueError",
    "UnknownNameError",
    "UnreadableInstanceError",
    "UnsupportedLayerError",
    "UntrustedCodeError",
    "WorkersDiedError",
    "did_you_mean",
]


_PACKAGE = Path(__file__).parent


class NnvizError(Exception):
    """Any error that nnviz raises on purpose; its text is made for the user."""

    def __str__(self) -> str:
        # KeyError.__str__ would put quotes around the message.
        return str(self.args[0]) if self.args else ""

    def _render_traceback_(self) -> list[str]:
        """Return what a notebook shows: the message, and where nnviz was called.

        The frames inside of nnviz and of what it uses say nothing to whoever is to act
        on the message; ``traceback.print_exception(error)`` has them.
        """
        lines = []
        for frame in traceback.extract_tb(self.__traceback__):
            if Path(frame.filename).parent.is_relative_to(_PACKAGE):
                break
            if "IPython" not in frame.filename:
                where = frame.filename
                where = "cell" if "ipykernel" in where or "<ipython" in where else where
                lines.append(f"{where}, line {frame.lineno}: {frame.line}")
        return [*lines, f"{type(self).__name__}: {self}"]


class ConfigError(NnvizError, ValueError):
    """The run file does not say what nnviz can do."""


class InputError(NnvizError, ValueError):
    """The model or the data cannot be used as they are."""


class DatasetError(InputError):
    """The data set cannot be read, listed or joined with the network's classes."""


class UnreadableInstanceError(DatasetError):
    """One instance cannot be read; the message is the reason that is recorded."""


class ModelError(InputError):
    """The network cannot be built, or its weights do not fit."""


class UntrustedCodeError(ModelError):
    """Reading this would run code that nnviz was not told to trust."""


class UnsupportedLayerError(InputError):
    """A layer's operation is not one that nnviz knows."""


class ShapeError(InputError):
    """An array has other axes than the definition needs."""


class UnknownNameError(NnvizError, KeyError):
    """No layer, channel, subset or array has this name."""


class QueryError(NnvizError, ValueError):
    """A query cannot be read, or does not fit the store; the message points at it."""


class PlanError(NnvizError, ValueError):
    """The plan cannot work: too large, misaligned or empty."""


class StoreError(NnvizError):
    """The store cannot be used as it is."""


class StoreNotFoundError(StoreError, FileNotFoundError):
    """There is no store at this place."""

    given = ""
    """How the place was named; empty where nothing better is known."""
    meant = ""
    """The store that was probably meant; empty where none or several may have been."""


class StoreExistsError(StoreError, FileExistsError):
    """There is something at this place already."""


class StoreFormatError(StoreError):
    """The store was written by another format version, or is damaged."""


class PlanMismatchError(StoreError):
    """The store was made by another plan, model or data set."""


class StoreInUseError(StoreError):
    """Another driver writes to the store; the message says which."""


class MissingDataError(StoreError):
    """The stage that writes these data has not run, or not for all chunks."""


class TaskError(NnvizError):
    """A task failed on a worker; the message names its chunk and the cause."""


class DeviceLostError(TaskError):
    """A GPU has failed under a process, which cannot use it any more."""


class TaskMemoryError(TaskError):
    """A task needs more memory than its worker or its GPU has."""


class TaskOverdueError(TaskError):
    """A task takes far longer than the others, also on another worker."""


class WorkersDiedError(TaskError):
    """Workers died while they ran a task: killed, crashed, or out of memory."""


class OutOfTimeError(TaskError):
    """The time limit was reached before all chunks were done."""


class MissingDependencyError(NnvizError, ImportError):
    """An optional library is needed and is not installed, or is broken."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'a' or 'b'?`` for the near matches, or an empty string.

    Parameters
    ----------
    name
        What the user wrote.
    known
        What would have been right.

    Examples
    --------
    >>> did_you_mean("mixed4q", ["mixed4d", "conv1"])
    "; did you mean 'mixed4d'?"
    >>> did_you_mean("TAKEN", ["taken"])
    "; did you mean 'taken'?"
    """
    names = list(dict.fromkeys(known))
    # Capitals are the nearest of all misses, and far ones for difflib.
    matches = [one for one in names if str(one).lower() == str(name).lower()]
    matches = matches or difflib.get_close_matches(str(name), names, n=3, cutoff=0.6)
    if not matches:
        return ""
    return f"; did you mean {' or '.join(repr(match) for match in matches)}?"
