"""``nnviz plan``: what would a run do and cost?"""

from __future__ import annotations

from pathlib import Path

import click

from nnviz.cli.options import json_option, trust_option
from nnviz.cli.running import print_result

__all__ = ["plan"]


@click.command()
@click.argument("run_file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--create", metavar="STORE", help="Write the empty store.")
@click.option("--time", "timed", is_flag=True, help="Time a batch; estimate the run.")
@trust_option
@json_option
def plan(
    *, run_file: Path, create: str | None, timed: bool, trust: bool, as_json: bool
) -> None:
    """Print what a run would do and cost; create its store."""
    from nnviz.planning.early_checks import check_early
    from nnviz.runs.config import load_config

    config = load_config(run_file)
    check_early(config)
    # These import torch, which takes seconds.
    from nnviz.planning.planning import plan_run
    from nnviz.planning.store_creation import prepare_store

    plan, probe = plan_run(config, trust=trust, timed=timed)
    if create is not None:
        prepare_store(plan, create, probe=probe)
    value = {"plan": plan.to_json(), "bytes": plan.n_bytes, "store": create}
    text = str(plan)
    if create is not None:
        text += f"\ncreated {create}; next: nnviz extract {create}"
    print_result(value if as_json else text)
