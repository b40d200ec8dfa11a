"""``nnviz cluster-config``: a cluster file to edit, and certificates for one.

Like every command they import what they need when they run.
"""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["cluster_certificates", "cluster_config"]


@click.command()
@click.argument(
    "kind",
    type=click.Choice(["local", "cuda", "slurm", "kubernetes", "ssh", "address"]),
)
def cluster_config(*, kind: str) -> None:
    """Print a commented cluster file of a KIND, to edit."""
    from nnviz_cluster.site import template

    click.echo(template(kind), nl=False)


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def cluster_certificates(*, folder: Path) -> None:
    """Write a certificate and its key into FOLDER, for the parts of one cluster."""
    from nnviz_cluster.tls import write_certificates

    cert, key = write_certificates(folder)
    click.echo(f"certificate, also its authority: {cert}\nkey: {key}")
