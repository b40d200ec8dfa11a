"""Where does a task run that does not find what it needs?

A worker stands on another machine, in another folder, with other disks: what the driver
sees under a path may not be there. Errors of stores, data and code say so.
"""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distributed import get_worker

from nnviz.errors import (
    ConfigError,
    InputError,
    MissingDependencyError,
    StoreError,
    StoreNotFoundError,
)

__all__ = ["SAID_BY", "Whereabouts", "run_telling", "telling_where", "whereabouts"]

SAID_BY = " [said by "
"""Between an error and who raised it, for those who compare errors of several."""


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """A process, and where it stands."""

    machine: str
    process: int
    folder: str
    """Its current one; relative paths begin there."""

    def __str__(self) -> str:
        return f"process {self.process} on {self.machine}, in folder {self.folder!r}"


def whereabouts() -> Whereabouts:
    """Return those of this process."""
    try:
        folder = str(Path.cwd())
    except OSError:
        folder = "(removed)"
    return Whereabouts(platform.node(), os.getpid(), folder)


@contextlib.contextmanager
def telling_where(driver: Whereabouts) -> Iterator[None]:
    """Name the worker in errors of what it does not find.

    Parameters
    ----------
    driver
        Of who runs the stage; a worker that is a thread of it needs no name.

    Raises
    ------
    NnvizError
        Of the same type as the error.
    """
    try:
        yield
    except (ConfigError, InputError, MissingDependencyError, StoreError) as error:
        here = whereabouts()
        if (here.machine, here.process) == (driver.machine, driver.process):
            raise
        named = f"the worker at {_address()} ({here})"
        if isinstance(error, StoreNotFoundError):
            what = str(error).partition(";")[0]
            msg = (
                f"{named} does not see the store: {what}; the store has to be where "
                f"the driver ({driver}) and all workers reach it by the same path: on "
                "a file system that they share, or in object storage"
            )
        else:
            msg = f"{error}{SAID_BY}{named}]"
        raise type(error)(msg) from error


def run_telling(
    driver: Whereabouts, function: Callable[..., Any], *arguments: Any
) -> Any:
    """Call a function on a worker, and name the worker in its errors."""
    with telling_where(driver):
        return function(*arguments)


def _address() -> str:
    try:
        return str(get_worker().address)
    except ValueError:
        return "an unknown address"
