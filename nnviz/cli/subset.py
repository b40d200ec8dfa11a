"""``nnviz subset`` and ``nnviz suggest``: any set of instances; which to look at."""

from __future__ import annotations

import contextlib
import getpass
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nnviz.background import in_background
from nnviz.cli.options import json_option
from nnviz.cli.running import draw_chunks, print_result
from nnviz.errors import ConfigError, NnvizError
from nnviz.formatting import instances_text

if TYPE_CHECKING:
    from nnviz.results.subset_results import SubsetResults
    from nnviz.store.store import Store
    from nnviz.subsets.subsets import Subset

__all__ = ["subset", "suggest"]

ESTIMATED_AFTER_S = 0.5


@click.command()
@click.argument("store")
@click.argument("query", required=False)
@click.option("--against", metavar="QUERY", help="Compare with this; else all others.")
@click.option("--save", metavar="NAME", help="Keep the query in STORE under this name.")
@click.option("--note", default="", help="What to remember about what is saved.")
@click.option("--remove", metavar="NAME", help="Remove a saved subset.")
@click.option(
    "--export",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the ids of the instances to a CSV file.",
)
@click.option(
    "--relevance",
    "reference",
    metavar="REFERENCE",
    help="Tell the channels by relevance, against 'mean' (of all instances), 'zero', "
    "'against' (what is compared with) or a QUERY.",
)
@click.option(
    "--signal",
    type=click.Choice(["relevance", "gradient", "gradient_norm"]),
    help="Tell the channels by relevance, or by the gradient of the explained output "
    "or its norm; without --relevance, against 'mean'.",
)
@click.option("--list", "listing", is_flag=True, help="List the saved subsets.")
@json_option
def subset(
    *,
    store: str,
    query: str | None,
    against: str | None,
    save: str | None,
    note: str,
    remove: str | None,
    file: Path | None,
    reference: str | None,
    signal: str | None,
    listing: bool,
    as_json: bool,
) -> None:
    """Say what is in the instances of STORE for which QUERY is true.

    For instance: "label = horse and prediction = dog and confidence > 0.5"
    """
    from nnviz.store.store import Store
    from nnviz.subsets.saved import remove_subset

    opened = Store.open(store)
    if remove is not None:
        remove_subset(opened, remove)
    if listing or (remove is not None and query is None):
        print_result(_saved(opened, as_json=as_json))
        return
    if query is None:
        msg = "give a QUERY, --list or --remove NAME"
        raise click.UsageError(msg)
    if signal is not None:
        reference = reference or "mean"
    value, lines = _looked_at(opened, query, against, file, reference, signal)
    if save is not None:
        lines.append(_save(opened, save, query, note))
    print_result({**value, "saved": save} if as_json else "\n".join(lines))


def _looked_at(
    store: Store,
    query: str,
    against: str | None,
    file: Path | None,
    reference: str | None,
    signal: str | None,
) -> tuple[dict[str, Any], list[str]]:
    from nnviz.results.subset_results import SubsetResults

    results = SubsetResults(store, query, against)
    draw_chunks(store)
    with _estimated_meanwhile(results):
        value, lines = results.to_json(), results.lines()
    if reference is not None:
        relevance = results.relevance(reference, signal=signal or "relevance")
        value["relevance"] = relevance.to_json()
        lines += relevance.lines()
    if file is not None:
        _write_ids(store, results.subset, file)
        lines.append(f"wrote {len(results.subset):,} ids to {file}")
        value["file"] = str(file)
    return value, lines


@contextlib.contextmanager
def _estimated_meanwhile(results: SubsetResults) -> Iterator[None]:
    """Say on standard error what a sample says, if the exact numbers take longer."""
    from tqdm import tqdm

    from nnviz.results.estimate_lines import estimate_lines

    is_exact = threading.Event()

    def tell() -> None:
        if not results.is_large or is_exact.wait(ESTIMATED_AFTER_S):
            return
        # Whatever is wrong with the store, the exact answer says it.
        with contextlib.suppress(NnvizError):
            lines = [results.advice, *estimate_lines(*results.estimate())]
            if not is_exact.is_set():
                # Above a bar, where there is one.
                tqdm.write("\n".join(filter(None, lines)), file=sys.stderr)

    in_background(tell, "nnviz-estimate").start()
    try:
        yield
    finally:
        is_exact.set()


def _save(store: Store, name: str, query: str, note: str) -> str:
    from nnviz.subsets.saved import SavedSubset, save_subset

    kept = SavedSubset(name, query, note=note, author=_author())
    save_subset(store, kept)
    return f"saved as {name!r}; use the name wherever a subset is asked for"


def _author() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no name for the user, as in some containers
        return ""


def _saved(store: Store, *, as_json: bool) -> dict[str, Any] | str:
    from nnviz.subsets.saved import saved_subsets

    saved = saved_subsets(store).values()
    if as_json:
        names = ("name", "query", "note", "author", "saved")
        rows = [{name: getattr(one, name) for name in names} for one in saved]
        return {"subsets": rows}
    lines = []
    for one in saved:
        n = 0 if one.instances is None else len(one.instances)
        what = one.query or instances_text(n)
        note = f"  ({one.note})" if one.note else ""
        lines.append(f"{one.name}: {what}{note}")
    return "\n".join(lines) or "no subset has been saved; --save NAME keeps one"


def _write_ids(store: Store, subset: Subset, file: Path) -> None:
    import csv

    from nnviz.spreadsheets import defused

    ids = store.column("id")[subset.instances]
    try:
        with file.open("w", encoding="utf-8", newline="") as opened:
            writer = csv.writer(opened)
            writer.writerow(["id", "subset"])
            name = defused(subset.name)
            writer.writerows((defused(str(each)), name) for each in ids)
    except OSError as error:
        msg = f"cannot write {str(file)!r}: {error.strerror}; name another --export"
        raise ConfigError(msg) from error


@click.command()
@click.argument("store")
@click.option("-n", "n", default=10, show_default=True, help="How many at most.")
@click.option(
    "--channels/--no-channels",
    default=True,
    help="Look among top channels and activations too, not only in columns.",
)
@click.option("--seed", default=0, show_default=True, help="Of the held-out half.")
@json_option
def suggest(*, store: str, n: int, channels: bool, seed: int, as_json: bool) -> None:
    """Find subsets of STORE in which the network errs more than elsewhere."""
    from nnviz.aggregation.index_channels import IndexedChannels
    from nnviz.store.store import Store
    from nnviz.subsets.lookup import SubsetFinder
    from nnviz.subsets.suggestions import searched_layers, suggest_subsets

    opened = Store.open(store)
    layers = searched_layers(opened) if channels else ()
    finder = SubsetFinder(opened, IndexedChannels(opened))
    found = suggest_subsets(finder.columns, n=n, layers=layers, seed=seed)
    if as_json:
        print_result({"suggestions": [one.to_json() for one in found]})
        return
    lines = [f"{i}. {one.sentence}" for i, one in enumerate(found, start=1)]
    print_result("\n".join(lines) or "nothing stands out")
