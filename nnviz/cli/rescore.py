"""``nnviz rescore``: how near do our scores come to those that SUMMIT published?

Like every command it imports what it needs when it runs.
"""

from __future__ import annotations

import json

import click

from nnviz.cli.options import json_option

__all__ = ["rescore"]


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@json_option
def rescore(*, files: tuple[str, ...], as_json: bool) -> None:
    """Score the nodes of graphs that SUMMIT published anew, by their own arcs.

    For each layer: how well their order agrees with the published one, and how well
    that of the counts does.
    """
    from nnviz.interface.questions import rescore as rescored

    found = rescored(*files)
    value = found.to_json()
    click.echo(json.dumps(value, ensure_ascii=False) if as_json else repr(found))
