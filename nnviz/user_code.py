"""What has the user's own code raised, and where in it?

A network, a data set and a callable are the user's code, and may raise anything: an
``assert``, a KeyError, ``sys.exit()``. Each becomes one message here: the kind of the
exception, its text, and the place in the user's code.
"""

from __future__ import annotations

import contextlib
import linecache
import sysconfig
import traceback
from collections.abc import Iterator
from pathlib import Path

from nnviz.errors import NnvizError

__all__ = ["raised_text", "telling_user_errors"]

_LIBRARIES = tuple(
    str(Path(sysconfig.get_path(name)).resolve())
    for name in ("stdlib", "platstdlib", "purelib", "platlib")
)
_OURS = str(Path(__file__).resolve().parent)

_KEPT = (NnvizError, KeyboardInterrupt, GeneratorExit, MemoryError)
_FAULT_SIGNS = ("CUDA error", "device-side assert", "can't allocate memory")

_MAX_CHARACTERS = 400
"""Of an exception's text: some bring a traceback of their own along."""


@contextlib.contextmanager
def telling_user_errors(
    what: str,
    *,
    advice: str,
    error_type: type[NnvizError],
) -> Iterator[None]:
    """Make whatever the user's code raises an error of nnviz.

    Parameters
    ----------
    what
        What was called, for the message: ``the network``.
    advice
        What to try.
    error_type
        The exception to raise instead.

    Raises
    ------
    NnvizError
        Of the given type; errors of nnviz, a user's interrupt, and faults of memory
        and of devices stay what they are.
    """
    try:
        yield
    except BaseException as error:
        if isinstance(error, _KEPT) or _is_fault(error):
            raise
        # SystemExit and its like too: the user's code must not end a worker.
        msg = f"{what} raised {raised_text(error)}; {advice}"
        raise error_type(msg) from error


def _is_fault(error: BaseException) -> bool:
    """Whether torch says that memory or a device has failed, not the user's code."""
    return isinstance(error, RuntimeError) and (
        type(error).__name__ in ("OutOfMemoryError", "AcceleratorError")
        or any(sign in str(error) for sign in _FAULT_SIGNS)
    )


def raised_text(error: BaseException) -> str:
    """Return kind, text and place of an exception, in one line.

    Parameters
    ----------
    error
        As it was caught.
    """
    text = " ".join(str(error).split())
    if len(text) > _MAX_CHARACTERS:
        text = f"{text[:_MAX_CHARACTERS]}..."
    named = f"{type(error).__name__}: {text}" if text else type(error).__name__
    place = _place_of(error)
    return f"{named} ({place})" if place else named


def _place_of(error: BaseException) -> str:
    """Return where the user's code was: the innermost frame in no library."""
    frames = [
        (str(Path(frame.f_code.co_filename).resolve()), line, frame.f_code.co_name)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if not frame.f_code.co_filename.startswith("<")
    ]
    others = [frame for frame in frames if not frame[0].startswith(_OURS)]
    own = [frame for frame in others if not frame[0].startswith(_LIBRARIES)]
    if not frames:
        return ""
    file, line, function = (own or others or frames)[-1]
    source = linecache.getline(file, line).strip()
    shown = f": {source[:80]}" if source else ""
    return f"{file}, line {line}, in {function}{shown}"
