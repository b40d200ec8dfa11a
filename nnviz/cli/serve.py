"""``nnviz serve`` and ``nnviz demo``: the dashboard."""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nnviz.cli.aggregate import aggregate
from nnviz.cli.derive import derive
from nnviz.cli.extract import extract
from nnviz.cli.options import json_option
from nnviz.cli.plan import plan
from nnviz.cli.running import client_of, print_result

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["demo", "serve"]


@click.command()
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
@click.option(
    "--token-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Keep the token in this file, so that links outlive the server.",
)
@click.option(
    "--network-on",
    metavar="KIND|FILE|ADDRESS",
    help="Let visitors run the network there, to check graphs and to explain single "
    "instances: local, or a cluster, as 'nnviz ablate' has --cluster. The results are "
    "stored.",
)
@click.option(
    "--other-store",
    help="Store of another network with the same layers over the same instances: its "
    "graph of a class, or of a query, can be drawn beside the run's.",
)
@click.option(
    "--published",
    type=click.Path(),
    help="Graph that SUMMIT published (ag-N.json, of class N), or a folder of them, to "
    "be drawn beside the run's.",
)
@click.option(
    "--classes",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="CSV with the columns index and name: what the classes of SUMMIT's files are "
    "called, which have numbers only.",
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
    token_file: Path | None,
    network_on: str | None,
    other_store: str | None,
    published: str | None,
    classes: Path | None,
    open_browser: bool,
    as_json: bool,
) -> None:
    """Serve the dashboard of STORE, on loopback.

    STORE may also be a folder of graphs that SUMMIT published (ag-N.json), or one of
    them: they are then shown without a run.
    """
    from nnviz_dashboards.serving.server import serve as serve_dashboard

    def announce(address: str) -> None:
        print_result({"address": address} if as_json else f"dashboard: {address}")

    serve_dashboard(
        store,
        host=host,
        port=port,
        allow_origin=allow_origin,
        basic_auth=basic_auth,
        oauth=oauth,
        oauth_users=oauth_user,
        with_token=token,
        token_file=token_file,
        network_on=network_on,
        other_store=other_store,
        published=published,
        classes=classes,
        open_browser=open_browser,
        announce=announce,
    )


@click.command()
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
    with (
        contextlib.redirect_stdout(output),
        tempfile.TemporaryDirectory(prefix="nnviz-demo-") as scratch,
        client_of("local", 2) as client,
    ):
        planned = [str(run_file), "--create", str(store), "--time"]
        say(f"[2/6] nnviz plan {' '.join(planned)}")
        plan.main(planned, standalone_mode=False)
        # The commands start workers of their own; here they share what is running.
        shared = ["--cluster", str(_site_of(client, scratch))]
        for number, (name, command) in enumerate(stages.items(), start=3):
            say(f"[{number}/6] nnviz {name} {store}")
            command.main([str(store), *shared], standalone_mode=False)
    if not serving:
        print_result({"store": str(store)} if as_json else f"[6/6] store: {store}")
        return
    say(f"[6/6] nnviz serve {store}")
    arguments = [str(store), "--port", str(port), *(["--json"] if as_json else [])]
    serve.main(arguments, standalone_mode=False)


def _site_of(client: Client, folder: str) -> Path:
    """Write the cluster file of workers that are running, and return its path."""
    tls = client.security.get_tls_config_for_role("client")
    files = {"ca": tls["ca_file"], "cert": tls["cert"], "key": tls["key"]}
    address = client.scheduler_info(n_workers=0)["address"]
    lines = ['kind = "address"', f"address = {json.dumps(address)}", "[tls]"]
    lines += [f"{name} = {json.dumps(str(file))}" for name, file in files.items()]
    site = Path(folder) / "cluster.toml"
    site.write_text("\n".join(lines), encoding="utf-8")
    return site
