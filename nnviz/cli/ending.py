"""How do commands end? With a code that says why, and by signals before their end.

The first signal raises :class:`Interrupted` in the main thread, wherever it is; what is
complete stays in the store. Where Python drops what is raised, in destructors and
callbacks of weak references, it is raised again right after. A second signal ends the
process at once. If the main thread is inside compiled code and does not answer, a
watching thread ends the process after a few seconds: no file is ever half written, so
nothing is lost by that.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any, NoReturn

import click

from nnviz.errors import NnvizError, StoreNotFoundError
from nnviz.store.places import absolute_url, is_of_connection, trouble_text
from nnviz.undoing import undo_all
from nnviz.user_code import raised_text

__all__ = ["OUT_OF_TIME", "Interrupted", "OrderedCommands", "heeding_signals", "leave"]

SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")
    if hasattr(signal, name)  # not all of them on every platform
)
"""Of a terminal, of batch systems before they kill, and of a closed connection."""


GRACE_S = 20.0
"""For stopping workers; batch systems kill 30 s after the first signal."""


UNDOING_S = 3.0
"""For removing the record of who writes, where the process ends at once."""


AGAIN_S = 0.05
"""After which a signal that fell into a destructor is raised again."""


ECHO_S = 0.5
"""A terminal and a wrapper may both send what was one key stroke."""


class Interrupted(KeyboardInterrupt):
    """A signal asked the command to end.

    Parameters
    ----------
    number
        Number of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    @property
    def exit_code(self) -> int:
        """128 and the signal's number, as shells have it."""
        return 128 + self.number


@contextlib.contextmanager
def heeding_signals() -> Iterator[None]:
    """Raise :class:`Interrupted` in the main thread when a signal comes.

    Signals that are ignored already (``nohup``) stay so. Outside of the main thread
    nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    wanted = [n for n in SIGNALS if signal.getsignal(n) != signal.SIG_IGN]
    before = {number: signal.signal(number, _raise) for number in wanted}
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    old_writer = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    watcher = threading.Thread(
        target=_watch, args=(reader,), name="nnviz-signals", daemon=True
    )
    watcher.start()
    hook = sys.unraisablehook
    sys.unraisablehook = functools.partial(_dropped, hook)
    try:
        yield
    finally:
        sys.unraisablehook = hook
        signal.set_wakeup_fd(old_writer)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(writer)


def _raise(number: int, frame: FrameType | None) -> None:
    # Once: what closes workers must not be interrupted; the watcher counts the others.
    for known in SIGNALS:
        if signal.getsignal(known) is _raise:
            signal.signal(known, _ignore)
    raise Interrupted(number)


def _dropped(hook: Callable[[Any], object], dropped: Any) -> None:
    """Raise a signal again that Python has dropped; all else is for the old hook."""
    if not isinstance(dropped.exc_value, Interrupted):
        hook(dropped)
        return
    for known in SIGNALS:
        if signal.getsignal(known) is _ignore:
            signal.signal(known, _raise)
    # Not from here, where it would be dropped, too.
    number, main = dropped.exc_value.number, threading.main_thread().ident
    assert main is not None
    again = threading.Timer(AGAIN_S, signal.pthread_kill, args=(main, number))
    again.daemon = True
    again.start()


def _ignore(number: int, frame: FrameType | None) -> None:
    """Stay a handler, so that the watcher still hears of the signal."""


def _watch(reader: int) -> None:
    """End the process at the second signal, or when the first one has no effect."""
    first: float | None = None
    while numbers := os.read(reader, 1):
        number = numbers[0]
        if number not in SIGNALS:
            continue
        if first is None:
            first = time.monotonic()
            overdue = threading.Timer(GRACE_S, _end, args=(number,))
            overdue.daemon = True
            overdue.start()
        elif time.monotonic() - first > ECHO_S:
            _end(number)
    os.close(reader)


def _end(number: int) -> None:
    _say_interrupted()
    leave(128 + number)


def _say_interrupted() -> None:
    with contextlib.suppress(OSError, ValueError):
        text = "interrupted; what is complete is kept: repeat the command to go on"
        click.echo(f"\n{text}", err=True)


def leave(code: int) -> NoReturn:
    """End the process now: no thread or library has a last word.

    What others would stumble over is removed. Worker processes of this one end when
    they lose it.
    """
    undo_all(UNDOING_S)
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _outside_text(error: OSError) -> str:
    """Return what is to be said of something outside that fails."""
    if not type(error).__module__.startswith("distributed."):
        return trouble_text(error)
    # Slow to import, but for one that has raised something.
    from nnviz.engine.connection import LOST

    return LOST


OUT_OF_TIME = 75
"""Exit code where the time limit was reached: try again later, says sysexits.h."""


WORDS = f"{__name__}.words"
"""Under which a context keeps the words of the command."""


def _corrected(error: NnvizError, words: Sequence[str]) -> str:
    """Return the command with the store that was probably meant; else nothing."""
    if not isinstance(error, StoreNotFoundError) or not error.meant:
        return ""
    wrong = absolute_url(error.given)
    right = [
        error.meant if word.strip("\0 ") and absolute_url(word) == wrong else word
        for word in words
    ]
    return "" if right == list(words) else f" Try: {shlex.join(['nnviz', *right])}"


class OrderedCommands(click.Group):
    """Commands in pipeline order; an nnviz error is a message and exit code 1.

    A signal is a message and, as shells have it, exit code 128 and its number.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order in which commands were added."""
        return list(self.commands)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep the words of the command, which are repeated where one was wrong."""
        ctx.meta[WORDS] = list(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command, and tell how it ended."""
        try:
            with heeding_signals():
                return super().invoke(ctx)
        except NnvizError as error:
            text = f"{error}{_corrected(error, ctx.meta[WORDS])}"
            raise click.ClickException(text) from error
        except (click.ClickException, click.Abort, click.exceptions.Exit):
            raise
        except BrokenPipeError:
            raise  # whoever reads what is printed has enough of it
        except OSError as error:
            # A disk that fails, an address that nobody answers: no fault of nnviz.
            raise click.ClickException(_outside_text(error)) from error
        except RecursionError as error:
            raise click.ClickException(raised_text(error)) from error
        except KeyboardInterrupt as error:
            _say_interrupted()
            leave(error.exit_code if isinstance(error, Interrupted) else 130)
        except Exception as error:
            if not is_of_connection(error):
                raise
            # Libraries of object stores have errors of their own.
            text = f"{raised_text(error)}; check the connection and the credentials"
            msg = f"{text}, and repeat the command"
            raise click.ClickException(msg) from error
