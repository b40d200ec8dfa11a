"""``nnviz``: one command for each stage, in pipeline order.

A command parses, calls a stage, and prints. Stages are imported inside the commands, so
that ``nnviz --help`` answers at once.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nnviz import __version__
from nnviz.cli.ablate import ablate
from nnviz.cli.cluster import cluster_certificates, cluster_config
from nnviz.cli.command_group import OrderedCommands
from nnviz.cli.extend_command import extend
from nnviz.cli.extract import extract
from nnviz.cli.graph import compare, graph
from nnviz.cli.options import cluster_options, json_option, trust_option
from nnviz.cli.running import client_of, stage_of
from nnviz.cli.verify_command import verify

if TYPE_CHECKING:
    from nnviz.export.tables import BundleFormat

__all__ = ["main"]


@click.group(
    cls=OrderedCommands, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(__version__, prog_name="nnviz")
def main() -> None:
    """Ask what a network has learned, over all of its data.

    nnviz runs a network once over a data set, stores what every channel did for every
    instance, and answers questions about any set of instances from there.
    """


@main.command()
@click.argument("run_file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--create", metavar="STORE", help="Write the empty store.")
@click.option("--time", "timed", is_flag=True, help="Time a batch; estimate the run.")
@trust_option
@json_option
def plan(
    *, run_file: Path, create: str | None, timed: bool, trust: bool, as_json: bool
) -> None:
    """Print what a run would do and cost; create its store."""
    from nnviz.planning.planning import plan_run, prepare_store
    from nnviz.runs.config import load_config

    plan, probe = plan_run(load_config(run_file), trust=trust, timed=timed)
    if create is not None:
        prepare_store(plan, create, probe=probe)
    value = {"plan": plan.to_json(), "bytes": plan.n_bytes, "store": create}
    text = str(plan)
    if create is not None:
        text += f"\ncreated {create}; next: nnviz extract {create}"
    _print(value if as_json else text)


main.add_command(extract)
main.add_command(extend)


@main.command()
@click.argument("store")
@click.option(
    "--subsets",
    help="Comma-separated: label, prediction, outcome (by default all of them for "
    "which there are instances), or files (CSV, JSON).",
)
@cluster_options
@json_option
def aggregate(
    *,
    store: str,
    subsets: str | None,
    cluster: str | None,
    workers: int | None,
    log: Path | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Sum what was extracted over classes and other subsets."""
    from nnviz.aggregation.aggregation import aggregate, default_subsets
    from nnviz.store.store import Store
    from nnviz.subsets.naming import named_subsets

    opened = Store.open(store, writable=True)
    names = default_subsets(opened) if subsets is None else subsets.split(",")
    collections = [named_subsets(opened, name.strip()) for name in names]
    with stage_of(
        opened, "aggregate", cluster=cluster, workers=workers, log=log, quiet=quiet
    ) as (client, all_):
        aggregate(opened, collections, client=client, listeners=all_)
    written = {c.name: len(c.names) for c in collections}
    lines = [f"{name}: {n:,} subsets" for name, n in written.items()]
    _print({"subsets": written} if as_json else "\n".join(lines))


@main.command()
@click.argument("store")
@click.option("--pictures/--no-pictures", default=True, help="Cut example pictures.")
@cluster_options
@trust_option
@json_option
def derive(
    *,
    store: str,
    pictures: bool,
    cluster: str | None,
    workers: int | None,
    log: Path | None,
    quiet: bool,
    trust: bool,
    as_json: bool,
) -> None:
    """Derive similarity, embeddings and examples."""
    from nnviz.derivation.derivation import derive
    from nnviz.store.store import Store

    opened = Store.open(store, writable=True)
    with stage_of(
        opened, "derive", cluster=cluster, workers=workers, log=log, quiet=quiet
    ) as (client, all_):
        summary = derive(
            opened, client=client, pictures=pictures, trust=trust, listeners=all_
        )
    _print(summary.to_json() if as_json else str(summary))


@main.command()
@click.argument("store")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--format",
    "format_",
    type=click.Choice(["csv", "json", "parquet"]),
    default="csv",
    show_default=True,
)
@json_option
def export(*, store: str, folder: Path, format_: BundleFormat, as_json: bool) -> None:
    """Write STORE's tables as files into FOLDER."""
    from nnviz.export.tables import write_bundle
    from nnviz.store.store import Store

    files = write_bundle(Store.open(store), folder, format=format_)
    names = [str(file) for file in files]
    _print({"files": names} if as_json else "\n".join(names))


main.add_command(graph)
main.add_command(compare)
main.add_command(ablate)
main.add_command(verify)


@main.command()
@click.argument("store")
@click.option("--arrays", is_flag=True, help="List every array of the run.")
@click.option("--unreadable", is_flag=True, help="List instances that do not count.")
@click.option("--provenance", is_flag=True, help="Say what STORE was made of.")
@json_option
def inspect(
    *, store: str, arrays: bool, unreadable: bool, provenance: bool, as_json: bool
) -> None:
    """Print what STORE holds, and what is missing."""
    from nnviz.store.store import Store
    from nnviz.upkeep.inspection import describe_store

    report = describe_store(
        Store.open(store), arrays=arrays, unreadable=unreadable, provenance=provenance
    )
    _print(report.to_json() if as_json else str(report))


@main.command()
@click.argument("store")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=5006, show_default=True, help="0 takes a free one.")
@click.option(
    "--allow-origin",
    multiple=True,
    metavar="HOST:PORT",
    help="A page's address through which other machines connect; may be repeated.",
)
@click.option(
    "--basic-auth",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File with a password, or JSON of users and passwords.",
)
@click.option(
    "--oauth", metavar="PROVIDER", help="Log in with one of Panel's OAuth providers."
)
@click.option(
    "--oauth-user", multiple=True, metavar="NAME", help="Who may enter; repeatable."
)
@click.option(
    "--token/--no-token",
    default=True,
    show_default=True,
    help="Ask for a random token, which is part of the printed address.",
)
@click.option("--open", "open_browser", is_flag=True, help="Open a browser.")
@json_option
def serve(
    *,
    store: str,
    host: str,
    port: int,
    allow_origin: Sequence[str],
    basic_auth: Path | None,
    oauth: str | None,
    oauth_user: Sequence[str],
    token: bool,
    open_browser: bool,
    as_json: bool,
) -> None:
    """Serve the dashboard of STORE, on loopback."""
    from nnviz_dashboards.serving.server import serve as serve_dashboard

    def announce(address: str) -> None:
        _print({"address": address} if as_json else f"dashboard: {address}")

    serve_dashboard(
        store,
        host=host,
        port=port,
        allow_origin=allow_origin,
        basic_auth=basic_auth,
        oauth=oauth,
        oauth_users=oauth_user,
        with_token=token,
        open_browser=open_browser,
        announce=announce,
    )


@main.command()
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("nnviz-demo"),
    show_default=True,
    help="Folder for data, run file and store.",
)
@click.option("--serve/--no-serve", "serving", default=True, help="Serve at the end.")
@click.option("--port", default=5006, show_default=True, help="0 takes a free one.")
@json_option
def demo(*, out: Path, serving: bool, port: int, as_json: bool) -> None:
    """Run the whole pipeline on handwritten digits."""
    from nnviz.demo import write_demo

    def say(text: str) -> None:
        click.echo(text, err=as_json)

    say(f"[1/6] training a small network on scikit-learn's digits -> {out}")
    run_file = write_demo(out)
    store = out / "digits.zarr"
    stages = {"extract": extract, "aggregate": aggregate, "derive": derive}
    output = sys.stderr if as_json else sys.stdout
    with contextlib.redirect_stdout(output), client_of("local", 2) as client:
        planned = [str(run_file), "--create", str(store), "--time"]
        say(f"[2/6] nnviz plan {' '.join(planned)}")
        plan.main(planned, standalone_mode=False)
        # The commands start workers of their own; here they share what is running.
        shared = ["--cluster", str(client.scheduler_info(n_workers=0)["address"])]
        for number, (name, command) in enumerate(stages.items(), start=3):
            say(f"[{number}/6] nnviz {name} {store}")
            command.main([str(store), *shared], standalone_mode=False)
    if not serving:
        _print({"store": str(store)} if as_json else f"[6/6] store: {store}")
        return
    say(f"[6/6] nnviz serve {store}")
    arguments = [str(store), "--port", str(port), *(["--json"] if as_json else [])]
    serve.main(arguments, standalone_mode=False)


main.add_command(cluster_config)
main.add_command(cluster_certificates)


def _print(value: dict[str, Any] | str) -> None:
    if isinstance(value, str):
        click.echo(value)
    else:
        click.echo(json.dumps(value, ensure_ascii=False, allow_nan=False))


if __name__ == "__main__":
    main()
