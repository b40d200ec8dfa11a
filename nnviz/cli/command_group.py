"""How do commands end? In order, with a message, and with a code that says why."""

from __future__ import annotations

from typing import Any

import click

from nnviz.cli.ending import Interrupted, heeding_signals, leave
from nnviz.errors import NnvizError

__all__ = ["OUT_OF_TIME", "OrderedCommands"]

OUT_OF_TIME = 75
"""Exit code where the time limit was reached: try again later, says sysexits.h."""


class OrderedCommands(click.Group):
    """Commands in pipeline order; an nnviz error is a message and exit code 1.

    A signal is a message and, as shells have it, exit code 128 and its number.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order in which commands were added."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command, and tell how it ended."""
        try:
            with heeding_signals():
                return super().invoke(ctx)
        except NnvizError as error:
            raise click.ClickException(str(error)) from error
        except KeyboardInterrupt as error:
            click.echo(
                "\ninterrupted; what is complete is kept: repeat the command to go on",
                err=True,
            )
            leave(error.exit_code if isinstance(error, Interrupted) else 130)
