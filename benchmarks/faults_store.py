"""What does the campaign of faults damage? A small planted store, and its stages."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnviz.ablation.causal_check import CausalCheck
from nnviz.ablation.results import write_causal_check
from nnviz.ablation.treatments import Channels, SetName, make_treatments
from nnviz.aggregation.aggregation import aggregate
from nnviz.aggregation.index import make_index
from nnviz.derivation.derivation import derive
from nnviz.export.tables import write_bundle
from nnviz.store.lock import writing
from nnviz.store.store import Store
from nnviz.subsets.naming import named_subsets
from nnviz.subsets.saved import SavedSubset, save_subset
from nnviz.testing import PlantedDataset, PlantedRun, write_store
from nnviz.upkeep.verification import verify

__all__ = [
    "RUN",
    "STAGES",
    "do_stage",
    "extract",
    "later_stages",
    "remove_drafts",
    "write_all",
]

RUN = PlantedRun(
    n_classes=2,
    n_instances=48,
    layers=(("early", 8, (6, 6)), ("late", 10, (3, 3))),
    instances_per_chunk=16,
    examples_per_channel=2,
    influence_ranks=3,
    n_unreadable=2,
)
COLLECTIONS = ("label", "prediction", "outcome")
DERIVED = tuple(
    f"artifacts/{name}"
    for name in ("attribution_graphs", "classes", "examples", *COLLECTIONS)
)
N_SAMPLED = 3


def write_all(url: Path, run: PlantedRun) -> None:
    """Write a store with all its stages, pictures and saved subsets included."""
    write_store(url, run)
    store = Store.open(url, writable=True)
    save_subset(store, SavedSubset("wrong", "not correct", note="a query"))
    save_subset(store, SavedSubset("some", instances=np.array([3, 5, 8])))
    later_stages(str(url), run)


def later_stages(url: str, run: PlantedRun = RUN) -> None:
    """Do all that follows from a complete extraction, as far as it is not there."""
    aggregate_all(url)
    make_index(Store.open(url, writable=True))
    derive_all(url, run)
    ablate(url)


def remove_drafts(url: Path) -> None:
    """Remove what a killed process has left half written, and that it was there."""
    for path in url.rglob("*.partial"):
        path.unlink(missing_ok=True)
    shutil.rmtree(url / "writer", ignore_errors=True)


def extract(url: str, clean: str) -> None:
    """Write the chunks that are missing, and what the data set would restore."""
    source, store = Store.open(clean), Store.open(url, writable=True)
    for damage in store.integrity().static_pieces():
        store.write_static(damage.array, 0, source.read(damage.array))
    marks = source.chunks.marks()
    for index in store.chunks.missing():
        start, stop = source.chunks.spans[index]
        arrays = {
            path: source.read(path, index, index + 1)
            if path.startswith("peaks/")
            else source.read(path, start, stop)
            for path in source.chunks.arrays
        }
        counts = {name: int(values[index]) for name, values in marks.items()}
        store.chunks.write(index, arrays, counts)


def aggregate_all(url: str) -> None:
    """Aggregate all collections."""
    store = Store.open(url, writable=True)
    aggregate(store, [named_subsets(store, name) for name in COLLECTIONS])


def derive_all(url: str, run: PlantedRun = RUN) -> None:
    """Derive everything, with pictures."""
    derive(Store.open(url, writable=True), dataset=PlantedDataset(run))


def ablate(url: str) -> None:
    """Write what ``ablate`` would: a planted run has no network to be ablated."""
    store = Store.open(url, writable=True)
    layers = {layer.name: layer.n_channels for layer in store.shown_layers}
    treatments = make_treatments(layers, draws=1, by_layer=False)
    names = store.class_names
    rng = np.random.default_rng(0)
    shape = (len(names), len(treatments), N_SAMPLED)
    sample = np.arange(len(names) * N_SAMPLED).reshape(len(names), N_SAMPLED)
    check = CausalCheck(
        subsets="label",
        names=names,
        graph={"preset": "directed"},
        options={"seed": 0, "draws": 1},
        n_channels=layers,
        n_kept=np.full((len(names), len(layers)), 2),
        treatments=treatments,
        instance=sample,
        wanted=(sample % len(names)).astype(np.int32),
        logit=rng.random(shape, dtype=np.float32),
        probability=rng.random(shape, dtype=np.float32),
        prediction=np.zeros(shape, dtype=np.int32),
    )
    of_all: Channels = {name: np.array([0, 1]) for name in layers}
    sets: dict[tuple[SetName, int], Channels] = {("graph", 0): of_all}
    with writing(url, "ablate"):
        write_causal_check(store, "directed", check, [sets] * len(names))


@dataclass(frozen=True, slots=True)
class _Stage:
    work: Callable[[str, str], Any]
    """From the store, and one that is as it should be."""
    removes: tuple[str, ...] = ()
    """What is not there before it."""


STAGES = {
    "extract": _Stage(extract, ("extraction_done/c/*",)),
    "aggregate": _Stage(lambda url, _: aggregate_all(url), ("aggregates",)),
    "index": _Stage(
        lambda url, _: make_index(Store.open(url, writable=True)), ("index",)
    ),
    "derive": _Stage(lambda url, _: derive_all(url), DERIVED),
    "ablate": _Stage(lambda url, _: ablate(url), ("artifacts/ablation",)),
    "verify": _Stage(lambda url, _: verify(url, contents=False)),
    "export": _Stage(lambda url, _: write_bundle(Store.open(url), f"{url}.tables")),
}
"""What may be killed or stopped."""


def do_stage(line: Any, stage: str, url: str, clean: str) -> None:
    """Do a stage, in a process that is going to be killed; it says when it begins."""
    shutil.rmtree(f"{url}.tables", ignore_errors=True)
    line.send("begun")
    STAGES[stage].work(url, clean)
