"""How are loops compiled? By numba, at their first call, and kept between processes.

The machine code is kept beside the file or in the user's cache folder, where one of
them can be written. In a sealed container none can: then every process has a folder of
its own for it, which goes with the process, also for libraries that are imported after
this module and insist on one.
"""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from collections.abc import Callable
from typing import Any, TypeVar

import numba
from numba.core import config

__all__ = ["compiled", "compiled_with", "ensure_place"]

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """Compile a function at its first call, without the interpreter's lock.

    Numba looks for changes in the function's own file only: whoever changes a function
    that is called from another file removes what is kept of that one.
    """
    return compiled_with()(function)


def compiled_with(**options: Any) -> Callable[[Function], Function]:
    """Return :func:`compiled` with further options of ``numba.njit``.

    Parameters
    ----------
    options
        Of numba, for instance ``inline="always"``.
    """
    ensure_place()
    decorator: Callable[[Function], Function] = numba.njit(
        nogil=True, cache=True, error_model="numpy", **options
    )
    return decorator


@functools.cache
def ensure_place() -> None:
    """Give compiled code a folder where numba finds none that can be written.

    To be called before a library is imported that keeps what it compiles.
    """
    try:
        numba.njit(cache=True)(_nothing)
    except RuntimeError:  # its "no locator available"
        config.CACHE_DIR = tempfile.mkdtemp(prefix="nnviz-compiled-")
        atexit.register(shutil.rmtree, config.CACHE_DIR, ignore_errors=True)


def _nothing() -> None:
    return
