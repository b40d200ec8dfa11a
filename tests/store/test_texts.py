"""Texts that are unpacked at once are those that Zarr reads, and damage is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zarr

from nnviz.errors import StoreFormatError
from nnviz.store.store import Store
from nnviz.testing import PlantedRun, write_store

TEXTS = np.array(
    ["", "é", "a" * 300, "\N{MAN} with\nline", "null\0"] * 100, dtype=object
)


@pytest.fixture
def url(tmp_path: Path) -> str:
    url = str(tmp_path / "run.zarr")
    write_store(url, PlantedRun(metadata={"note": TEXTS}))
    return url


def test_column__of_texts_is_what_zarr_reads(url: str) -> None:
    found = Store.open(url).column("note")

    assert found.dtype == object
    assert found.tolist() == TEXTS.tolist()
    assert found.tolist() == zarr.open_array(f"{url}/instances/note")[:].tolist()


def test_column__of_several_pieces_with_a_rest(tmp_path: Path) -> None:
    url, n = str(tmp_path / "long.zarr"), 70_000
    texts = np.array([f"note {i % 7}" for i in range(n)], dtype=object)
    layers = (("late", 30, (1, 1)),)
    run = PlantedRun(
        n_instances=n,
        layers=layers,
        instances_per_chunk=70_000,
        examples_per_channel=0,
        metadata={"note": texts},
    )
    write_store(url, run)

    pieces = [f for f in Path(url, "instances", "note", "c").iterdir() if f.is_file()]
    assert len(pieces) == 2
    assert (Store.open(url).column("note") == texts).all()


@pytest.mark.parametrize("how", ["flipped", "cut off", "missing"])
def test_column__that_is_damaged_is_named(url: str, how: str) -> None:
    file = Path(url, "instances", "note", "c", "0")
    data = bytearray(file.read_bytes())
    if how == "missing":
        file.unlink()
    elif how == "cut off":
        file.write_bytes(data[:-9])
    else:
        data[len(data) // 2] ^= 4
        file.write_bytes(data)

    with pytest.raises(StoreFormatError, match="instances/note"):
        Store.open(url).column("note")
