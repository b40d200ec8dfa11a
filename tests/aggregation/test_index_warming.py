"""What is read of an index before it is asked for: bounded, once, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import nnviz
from nnviz.aggregation.index import make_index
from nnviz.aggregation.index_warming import WARM_BYTES, Warming, warm_later
from nnviz.aggregation.subset_index import SubsetIndex
from nnviz.errors import ConfigError
from nnviz.store.store import Store
from nnviz.testing import PlantedRun, write_store

KINDS = np.array(["sun", "rain"] * 250, dtype=object)
RUN = PlantedRun(influence_ranks=2, metadata={"weather": KINDS})


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = str(tmp_path_factory.mktemp("warm") / "run.zarr")
    make_index(write_store(url, RUN))
    return url


def test_warming__reads_all_of_a_small_index(url: str) -> None:
    index = SubsetIndex(Store.open(url))
    warming = Warming(index, 1 << 30)
    warming.start()
    warming.wait()

    files = [f for f in Path(url, "index").rglob("*") if f.is_file()]
    largest = sum(f.stat().st_size for f in files)
    held = [f for f in files if "activations" in str(f)]
    assert sum(f.stat().st_size for f in held) < warming.n_bytes <= largest
    assert index.problems == []


def test_warming__stops_where_it_is_told(url: str) -> None:
    index = SubsetIndex(Store.open(url))
    whole = index.pieces.warm(1 << 30)
    first = SubsetIndex(Store.open(url)).pieces.warm(1)  # of the first list
    assert 0 < first < whole / 2
    assert SubsetIndex(Store.open(url)).pieces.warm(0) == 0


def test_warming__of_what_cannot_be_mapped_is_bounded_by_what_is_kept() -> None:
    url = "memory://warming/run.zarr"
    make_index(write_store(url, RUN))
    index = SubsetIndex(Store.open(url), loaded_bytes=1)
    assert index.pieces.warm(1 << 30) < SubsetIndex(Store.open(url)).pieces.warm(
        1 << 30
    )


def test_warm_later__begins_once_for_all_who_ask(url: str) -> None:
    store, asked = nnviz.open_store(url), []
    store.look("weather = sun")
    warming = store.kept[Warming]
    assert isinstance(warming, Warming)
    warm_later(store, lambda: asked.append(1))
    store.subset("weather = rain")
    warming.wait()
    assert store.kept[Warming] is warming
    assert warming.n_bytes > 0
    assert asked == []
    # The text column has been read before any answer needs it.
    assert "weather" in store._finder.columns._kept


@pytest.mark.parametrize("text", ["0", "00"])
def test_warm_later__can_be_switched_off(
    url: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(WARM_BYTES, text)
    store = nnviz.open_store(url)
    store.look("weather = sun")
    assert Warming not in store.kept


def test_warm_later__refuses_what_is_no_number_of_bytes(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(WARM_BYTES, "1 GB")
    with pytest.raises(ConfigError, match="'1 GB'; it should be a whole number"):
        nnviz.open_store(url).look("weather = sun")


def test_warm_later__without_an_index_reads_nothing(tmp_path: Path) -> None:
    write_store(str(tmp_path / "run.zarr"), PlantedRun())
    store = nnviz.open_store(tmp_path / "run.zarr")
    store.look("label = 'class 001'")
    assert Warming not in store.kept


def test_warming__of_a_damaged_index_is_left_to_who_asks(tmp_path: Path) -> None:
    store = write_store(str(tmp_path / "run.zarr"), RUN)
    make_index(store)
    file = next((tmp_path / "run.zarr" / "index").glob("*/top_channels/c/0"))
    data = bytearray(file.read_bytes())
    data[3] ^= 1
    file.write_bytes(data)

    index = SubsetIndex(Store.open(store.url))
    warming = Warming(index, 1 << 30)
    warming.start()
    warming.wait()
    assert len(index.problems) == 1
    assert "damaged" in index.problems[0]


@pytest.fixture
def in_blocks(url: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """Return how many rows are checked together here: there are three blocks."""
    n_rows = 200
    (width,) = SubsetIndex(Store.open(url)).pieces.state.layout.widths.values()
    n_bytes = width * np.dtype(np.float16).itemsize
    monkeypatch.setattr("nnviz.aggregation.index_pieces.BLOCK_BYTES", n_rows * n_bytes)
    return n_rows


@pytest.mark.usefixtures("in_blocks")
def test_warming__checks_rows__so_that_who_asks_need_not(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    whole = os.pread
    monkeypatch.setattr(os, "pread", lambda *given: read.append(1) or whole(*given))
    pieces = SubsetIndex(Store.open(url)).pieces
    pieces.warm(1 << 30)
    assert len(read) == 3

    facts = next(pieces.facts(np.arange(RUN.n_instances), "activations"))

    assert len(read) == 3
    assert len(facts.rows) == RUN.n_instances


def test_warming__of_a_damaged_row_is_left_to_who_asks(
    tmp_path: Path, in_blocks: int
) -> None:
    store = write_store(str(tmp_path / "run.zarr"), RUN)
    make_index(store)
    (file,) = (tmp_path / "run.zarr" / "index").glob("*/activations_float16/c/0/0")
    data = bytearray(file.read_bytes())
    data[len(data) // RUN.n_instances * (in_blocks + 7)] ^= 1
    file.write_bytes(data)
    pieces = SubsetIndex(Store.open(store.url)).pieces
    pieces.warm(1 << 30)

    for instance in (0, in_blocks + 6, 2 * in_blocks):
        list(pieces.facts(np.array([instance]), "activations"))
        assert pieces.problems == []

    list(pieces.facts(np.array([in_blocks + 7]), "activations"))
    (problem,) = pieces.problems
    assert "a row of activations does not fit its checksum" in problem
