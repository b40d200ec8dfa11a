"""Stage 5: how do results leave the store? As tables that other tools read.

::

    FOLDER/
    ├── manifest.json                      what made it, and every file
    ├── instances.csv                      the instance table
    ├── classes.csv                        instances, accuracy, confidence histogram
    ├── aggregates/<subsets>/<layer>.csv   one row for each subset and channel
    ├── similarity/<subsets>/<layer>.csv   one row and one column for each subset
    ├── embedding/<subsets>/<layer>.csv    x and y of each subset
    ├── instance_places/<layer>.csv       x and y of each instance
    └── examples/<layer>.csv               the strongest instances of each channel

What a stage has not written yet is left out, and the manifest says so.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from nnviz.aggregation.aggregates import Aggregates, aggregates_of
from nnviz.argument_types import checked
from nnviz.derivation.class_table import read_class_table
from nnviz.derivation.embedding import read_embedding, read_similarity
from nnviz.derivation.examples import read_examples
from nnviz.derivation.instance_map import PLACES
from nnviz.errors import (
    MissingDataError,
    MissingDependencyError,
    NnvizError,
    StoreError,
    StoreExistsError,
)
from nnviz.spreadsheets import LINE_END, defused
from nnviz.store.places import shortened, trouble_text
from nnviz.store.store import Store, opened

__all__ = ["BundleFormat", "write_bundle"]

BundleFormat = Literal["csv", "json", "parquet"]

JSON_ROWS_AT_A_TIME = 10_000

NOTES = {
    "csv": (
        "A text that begins with = + - @, a tab or a line break has an apostrophe in "
        "front, so that spreadsheets do not run it. Empty cells are missing values."
    ),
    "json": "Tables are lists of rows. null is a missing value.",
    "parquet": "Texts are as they are stored. Null and NaN are missing values.",
}


@checked
def write_bundle(
    store: Store | str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    format: BundleFormat = "csv",  # noqa: A002  the word that users know
) -> list[Path]:
    """Write instances, aggregates and artifacts as files.

    Parameters
    ----------
    store
        The store, or its path, with a complete extraction.
    folder
        Is made; if it exists, it must be empty.
    format
        ``csv``, ``json`` or ``parquet``. Of 1,000 classes and 1,024 channels a table
        of aggregates has a million rows, for which Parquet is made.

    Returns
    -------
    list of Path
        The files, the manifest first.

    Raises
    ------
    ConfigError
        If there is no such format.
    StoreExistsError
        If the folder has something in it.
    StoreError
        If it cannot be written; then nothing is left there.
    MissingDataError
        If extraction is not complete.
    MissingDependencyError
        If the format needs a library that is not installed.
    """
    store = opened(store)
    _check_format(format)
    folder = Path(folder)
    partial = folder.with_name(f"{folder.name}.nnviz-partial")
    try:
        _check_empty(folder)
        shutil.rmtree(partial, ignore_errors=True)
        files = _write_all(store, partial, format)
        if folder.exists():
            folder.rmdir()
        partial.rename(folder)
    except NnvizError:
        raise
    except OSError as error:
        where = shortened(str(folder))
        msg = f"cannot export to {where!r}: {trouble_text(error)}"
        raise StoreError(msg) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return [folder / "manifest.json", *(folder / file for file in files)]


def _check_empty(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        msg = f"{str(folder)!r} is not empty; choose another folder, or remove it first"
        raise StoreExistsError(msg)


def _check_format(format_: str) -> None:
    if format_ == "parquet" and importlib.util.find_spec("pyarrow") is None:
        msg = "Parquet files need pyarrow; pip install 'nnviz[table]'"
        raise MissingDependencyError(msg)


def _write_all(store: Store, partial: Path, format_: BundleFormat) -> list[str]:
    """Write all files into a folder; return their paths in it, but the manifest's."""
    files: list[dict[str, Any]] = []
    for name, table in _tables(store):
        path = partial / f"{name}.{format_}"
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_table(table, path, format_)
        files.append({"path": path.relative_to(partial).as_posix(), "rows": len(table)})
    manifest = {
        "format": format_,
        "notes": NOTES[format_],
        "plan_fingerprint": store.fingerprint,
        "model": store.plan.model.source,
        "layers": [layer.name for layer in store.layers],
        "class_names": list(store.class_names),
        "aggregated": store.groups.names("aggregates"),
        "derived": store.groups.names("artifacts"),
        "files": files,
    }
    text = _json_text(manifest, indent=2)
    (partial / "manifest.json").write_text(text + "\n", encoding="ascii")
    return [str(file["path"]) for file in files]


def _tables(store: Store) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield every table with its path; one is in memory at a time."""
    yield "instances", _instance_table(store)
    if store.groups.is_complete("artifacts/classes"):
        yield "classes", _class_table(store)
    for name in store.groups.names("aggregates"):
        if not store.groups.is_complete(f"aggregates/{name}"):
            continue
        aggregates = aggregates_of(store, name)
        for layer in store.layers:
            table = _aggregate_table(aggregates, layer.name, layer.channel_names)
            yield f"aggregates/{name}/{layer.name}", table
        if not store.groups.is_complete(f"artifacts/{name}"):
            continue
        for layer_name in store.groups.names(f"artifacts/{name}/similarity"):
            names = list(aggregates.names)
            values = read_similarity(store, name, layer_name)
            table = pd.DataFrame(values, columns=names)
            # A subset may have any name, also that of the column.
            heading = "subset"
            while heading in names:
                heading += "_"
            table.insert(0, heading, names)
            yield f"similarity/{name}/{layer_name}", table
            x, y = read_embedding(store, name, layer_name).T
            table = pd.DataFrame({"subset": names, "x": x, "y": y})
            yield f"embedding/{name}/{layer_name}", table
    if store.groups.is_complete(PLACES):
        for layer_name in store.groups.attributes(PLACES)["kept"]:
            x, y = store.groups.read(f"{PLACES}/place/{layer_name}").T
            table = pd.DataFrame({"instance": np.arange(len(x)), "x": x, "y": y})
            yield f"instance_places/{layer_name}", table
    if store.groups.is_complete("artifacts/examples"):
        ids = store.column("id")
        for layer_name in store.groups.attributes("artifacts/examples")["layers"]:
            yield f"examples/{layer_name}", _example_table(store, layer_name, ids)


def _instance_table(store: Store) -> pd.DataFrame:
    """Return the instance table, with names beside the numbers of classes."""
    table = store.instances()
    names = np.array([*store.class_names, ""], dtype=object)  # -1 is no class
    for column in ("label", "prediction"):
        heading = f"{column}_name"
        while heading in table:
            heading += "_"
        place = list(table.columns).index(column) + 1
        table.insert(place, heading, names[table[column].to_numpy()])
    return table


def _class_table(store: Store) -> pd.DataFrame:
    table = read_class_table(store)
    frame = table.to_frame()
    frame["n_correct"] = table.n_correct
    n_bins = table.confidence_histogram.shape[1]
    for index in range(n_bins):
        start, stop = index / n_bins, (index + 1) / n_bins
        frame[f"confidence_{start:.2f}_to_{stop:.2f}"] = table.confidence_histogram[
            :, index
        ]
    return frame


def _aggregate_table(
    aggregates: Aggregates, layer: str, names: Sequence[str]
) -> pd.DataFrame:
    counts = aggregates.counts(layer).toarray()
    n_subsets, n_channels = counts.shape
    return pd.DataFrame(
        {
            "subset": np.repeat(np.array(aggregates.names, dtype=object), n_channels),
            "n_instances": np.repeat(aggregates.n_instances, n_channels),
            "channel": np.tile(np.arange(n_channels), n_subsets),
            **({"name": list(names) * n_subsets} if names else {}),
            "count": counts.ravel(),
            "base_rate": np.tile(aggregates.base_rate(layer), n_subsets),
            "lift": aggregates.lift(layer).ravel(),
            "mean": aggregates.mean(layer).ravel(),
            **_relevance(aggregates, layer),
            "variance": aggregates.variance(layer).ravel(),
            "maximum": aggregates.maximum(layer).ravel(),
        }
    )


def _relevance(aggregates: Aggregates, layer: str) -> dict[str, Any]:
    """Return the columns of relevance, where a run has recorded it of the layer."""
    try:
        relevance = aggregates.relevance(layer)
    except MissingDataError:
        return {}
    found = {
        "relevance": relevance.ravel(),
        "gradient": aggregates.gradient(layer).ravel(),
    }
    if aggregates.relevance_sums(layer).has_norms:
        found["gradient_norm"] = aggregates.gradient_norm(layer).ravel()
    return found


def _example_table(store: Store, layer: str, ids: Any) -> pd.DataFrame:
    examples = read_examples(store, layer)
    names = store.layer(layer).channel_names
    channel, rank = np.nonzero(examples.instance >= 0)
    instance = examples.instance[channel, rank]
    table = pd.DataFrame(
        {
            "channel": channel,
            **({"name": [names[c] for c in channel]} if names else {}),
            "rank": rank,
            "instance": instance,
            "id": ids[instance],
            "value": examples.value[channel, rank],
            "position": examples.position[channel, rank],
        }
    )
    for index, edge in enumerate(("left", "top", "right", "bottom")):
        table[edge] = examples.box[channel, rank, index]
    return table


def _write_table(table: pd.DataFrame, path: Path, format_: BundleFormat) -> None:
    if format_ == "parquet":
        table.to_parquet(path, index=False)
    elif format_ == "json":
        _write_json(table, path)
    else:
        safe = table.rename(columns=defused)
        for index, dtype in enumerate(safe.dtypes):
            if not pd.api.types.is_numeric_dtype(dtype):
                column = [defused(value) for value in safe.iloc[:, index]]
                safe.isetitem(index, np.array(column, dtype=object))
        safe.to_csv(path, index=False, lineterminator=LINE_END)


def _write_json(table: pd.DataFrame, path: Path) -> None:
    """Write a list of rows; pandas itself would round numbers to 15 decimals."""
    with path.open("w", encoding="ascii") as file:
        file.write("[")
        for start in range(0, len(table), JSON_ROWS_AT_A_TIME):
            rows = table.iloc[start : start + JSON_ROWS_AT_A_TIME].astype(object)
            records = rows.where(rows.notna(), None).to_dict(orient="records")
            lines = ",\n".join(map(_json_text, records))
            file.write((",\n" if start else "\n") + lines)
        file.write("\n]\n")


def _json_text(value: Any, indent: int | None = None) -> str:
    """Return ASCII text that may stand inside of HTML: no tag can be closed by it."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, indent=indent)
    return text.replace("</", "<\\/")
