"""How is a data set prepared once, for all runs of it, and what is then the run?"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tomli_w
from numpy.typing import NDArray

from nnviz.argument_types import checked
from nnviz.engine.progress import Listener
from nnviz.errors import ConfigError
from nnviz.extraction.packing import (
    PackingSummary,
    PackOpening,
    create_pack,
    pack_pieces,
    packed_dataset,
    packed_preprocessing,
)
from nnviz.interface.given import given_run
from nnviz.interface.local_workers import local_workers
from nnviz.interface.notebook_bar import bars
from nnviz.planning.labels import join_labels
from nnviz.planning.planning import Probe, plan_run
from nnviz.planning.two_classes import has_one_output
from nnviz.runs.config import ClassesConfig, RunConfig
from nnviz.runs.json_values import to_json
from nnviz.runs.plan import Plan
from nnviz.store.places import storing

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["begin_packing", "pack"]

DATA, CLASSES, RUN = "data.zarr", "classes.csv", "run.toml"


@checked
def pack(
    run: str | os.PathLike[str] | Mapping[str, Any] | RunConfig,
    folder: str | os.PathLike[str],
    *,
    client: Client | None = None,
    workers: int = 0,
    listeners: Sequence[Listener] | None = None,
    progress: bool = True,
    trust: bool = False,
) -> PackingSummary:
    """Prepare the instances of a run once: few large files, nothing left to decode.

    A run of `folder`'s ``run.toml`` gives the same activations and influences, bit for
    bit. What is packed already stays: repeat the call after an interruption.

    Parameters
    ----------
    run
        A run file's path, a dictionary of its tables, or a RunConfig.
    folder
        Where to write: ``data.zarr``, ``classes.csv`` if labels are classes that need
        one, and ``run.toml``. All workers must reach it.
    client
        Client of a running cluster; None starts local processes.
    workers
        How many; 0 packs in this process.
    listeners, progress
        As in :func:`nnviz.extract`.
    trust
        Whether files that run code when read may be read.

    Returns
    -------
    PackingSummary
        With the pieces that failed; the others are complete.

    Raises
    ------
    ConfigError
        If data are in memory, or have several labels.
    DatasetError
        If they cannot be read.
    PlanMismatchError
        If something else is packed there.
    """
    config = given_run(run, None).config
    opening = begin_packing(config, folder, trust=trust)
    shown = bars(progress=progress) if listeners is None else listeners
    with contextlib.ExitStack() as stack:
        if client is None and workers:
            client = stack.enter_context(local_workers(workers))
        return pack_pieces(opening, client=client, listeners=shown)


def begin_packing(
    config: RunConfig, folder: str | os.PathLike[str], *, trust: bool
) -> PackOpening:
    """Plan a run, and write all of its packed data set but the instances.

    Parameters
    ----------
    config
        The run.
    folder, trust
        As in :func:`pack`.

    Returns
    -------
    PackOpening
        For :func:`nnviz.extraction.packing.pack_pieces`.

    Raises
    ------
    ConfigError
        As for :func:`pack`.
    """
    where = Path(folder).expanduser().absolute()
    if "://" in os.fspath(folder):
        msg = (
            f"{os.fspath(folder)!r} is no folder; data are packed into a folder that "
            "all workers reach, and can be copied from there"
        )
        raise ConfigError(msg)
    if config.dataset.kind == "memory":
        msg = "the data set is in memory; what is packed is read from files"
        raise ConfigError(msg)
    plan, probe = plan_run(config, trust=trust)
    if plan.has_label_sets:
        msg = (
            "the instances have several labels each, which a packed data set cannot "
            "keep; run the data set as it is"
        )
        raise ConfigError(msg)
    labels, names = _labels(plan, probe)
    place = where / DATA
    with storing(str(where)):
        where.mkdir(parents=True, exist_ok=True)
    create_pack(str(place), plan, probe.dataset, labels)
    has_map = bool(names) and not _are_beside_the_output(config, plan)
    packed = dataclasses.replace(
        config,
        dataset=packed_dataset(DATA, plan, has_classes=labels is not None),
        preprocessing=packed_preprocessing(plan.preprocessing),
        classes=dataclasses.replace(
            config.classes,
            map=CLASSES if has_map else None,
            match="label" if has_map else None,
            name="name" if has_map else None,
        ),
    )
    with storing(str(where)):
        if has_map:
            _write_classes(where / CLASSES, plan, names)
        tables = _without_defaults(packed)
        text = f"# Packed by 'nnviz pack' from {config.dataset.kind} data.\n"
        text += tomli_w.dumps(tables)
        (where / RUN).write_text(text, encoding="utf-8")
    return PackOpening(str(place), plan.fingerprint, trust)


def _labels(
    plan: Plan, probe: Probe
) -> tuple[NDArray[np.object_] | None, Sequence[str]]:
    """Return each instance's label as a text, and that of each class; none without."""
    index = probe.classes.labels
    if not (index >= 0).any():
        return None, ()
    own = {number: label for label, number in plan.class_of_label.items()}
    names = [own.get(i, name) for i, name in enumerate(plan.class_names)]
    found = join_labels(
        np.array(names, dtype=object), config=ClassesConfig(), n_outputs=None
    )
    if found.n_present < len(names):  # twice the same, or read as no label: "-1"
        names = [str(i) for i in range(len(names))]
    labels = np.array([names[i] if i >= 0 else "" for i in index], dtype=object)
    return labels, names


def _are_beside_the_output(config: RunConfig, plan: Plan) -> bool:
    """Whether a network's only output is a value, and labels are classes of their own.

    A class map would say that the output is the logit of two of them.
    """
    return (
        has_one_output(plan.architecture)
        and plan.two_outputs_of is None
        and config.classes.map is None
    )


def _write_classes(path: Path, plan: Plan, labels: Sequence[str]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["index", "label", "name"])
        rows = zip(labels, plan.class_names, strict=True)
        writer.writerows([i, label, name] for i, (label, name) in enumerate(rows))


def _without_defaults(config: RunConfig) -> dict[str, Any]:
    """Return the tables of a run file, with what differs from the defaults."""
    tables: dict[str, Any] = {}
    for table in dataclasses.fields(config):
        value = getattr(config, table.name)
        if value is None:
            continue
        defaults = {f.name: _default(f) for f in dataclasses.fields(value)}
        given = {
            name: _stated(found)
            for name, found in to_json(value).items()
            if found is not None and getattr(value, name) != defaults[name]
        }
        if given:
            tables[table.name] = given
    return tables


def _stated(value: Any) -> Any:
    """Return a value of a run file without what is None inside of it, as TOML wants."""
    if isinstance(value, Mapping):
        return {key: _stated(x) for key, x in value.items() if x is not None}
    return [_stated(x) for x in value] if isinstance(value, list | tuple) else value


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default
