"""Subsets that are kept in a store."""

import contextlib
from pathlib import Path

import numpy as np
import pytest

from nnviz.errors import DatasetError, QueryError, UnknownNameError
from nnviz.store.files import Files
from nnviz.store.store import open_store
from nnviz.subsets.saved import SavedSubset, remove_subset, save_subset, saved_subsets
from nnviz.testing import PlantedRun, write_store
from nnviz.upkeep.verification import verify


@pytest.fixture
def store(tmp_path):
    return write_store(tmp_path / "run.zarr", PlantedRun(n_instances=60))


def test_saved__come_back_with_all_that_was_said(store):
    save_subset(store, SavedSubset("blurry / 'horses'", "not correct", note="a note"))
    save_subset(store, SavedSubset("mine", instances=np.array([3, 5]), author="me"))

    found = saved_subsets(open_store(store.url))

    assert list(found) == ["blurry / 'horses'", "mine"]
    assert found["blurry / 'horses'"].query == "not correct"
    assert found["blurry / 'horses'"].note == "a note"
    assert found["blurry / 'horses'"].instances is None
    assert found["mine"].instances.tolist() == [3, 5]
    assert found["mine"].author == "me"
    assert found["mine"].saved.endswith("+00:00")


def test_saved__of_the_same_name__is_replaced(store):
    save_subset(store, SavedSubset("a", "correct"))
    save_subset(store, SavedSubset("a", instances=np.array([1])))

    assert saved_subsets(store)["a"].query == ""


def test_saved__killed_at_any_write_of_the_next__the_older_or_the_newer_is_there(
    store, monkeypatch
):
    """Nobody could make it again. A write that never happens stands for the kill."""
    write, seen, n_writes = Files.put, [], 0
    while not seen or seen[-1] == "correct":
        save_subset(store, SavedSubset("a", "correct"))
        left = n_writes = n_writes + 1

        def put(files, key, data, **options):
            nonlocal left
            left -= "saved_subsets" in key
            if left < 0:
                raise KeyboardInterrupt
            write(files, key, data, **options)

        monkeypatch.setattr(Files, "put", put)
        with contextlib.suppress(KeyboardInterrupt):
            save_subset(store, SavedSubset("a", "not correct"))
        monkeypatch.setattr(Files, "put", write)
        seen.append(saved_subsets(open_store(store.url))["a"].query)

    assert seen[-1] == "not correct"
    save_subset(store, SavedSubset("a", "correct"))
    assert saved_subsets(store)["a"].query == "correct"


def test_saved__stay_where_what_they_were_made_from_is_damaged(store):
    """What stages make is taken back with it; this no stage would make again."""
    save_subset(store, SavedSubset("mine", instances=np.array([3, 5])))
    place = Path(store.url)
    for name in ("activations/float16", "outcomes/int32"):
        piece = max(path for path in (place / name / "c").rglob("*") if path.is_file())
        piece.write_bytes(b"damaged" + piece.read_bytes()[7:])

    report = verify(store.url, contents=False)

    assert report.damages
    assert report.taken_back == []
    assert saved_subsets(open_store(store.url))["mine"].instances.tolist() == [3, 5]


def test_saved__damaged__says_that_no_stage_makes_it_again(store):
    save_subset(store, SavedSubset("mine", instances=np.array([3, 5])))
    save_subset(store, SavedSubset("yours", "correct"))
    (piece,) = (Path(store.url) / "artifacts/saved_subsets").rglob("instance/c/0")
    piece.write_bytes(b"damaged" + piece.read_bytes()[7:])

    report = verify(store.url, contents=False)

    assert "QUERY --save NAME' saves it again" in str(report)
    assert list(saved_subsets(open_store(store.url))) == ["yours"]


def test_saved__removed__is_no_longer_there(store):
    save_subset(store, SavedSubset("a", "correct"))

    remove_subset(store, "a")

    assert saved_subsets(store) == {}
    with pytest.raises(UnknownNameError, match="saved are none"):
        remove_subset(store, "a")


def test_saved__what_cannot_be_read__is_refused(store):
    with pytest.raises(QueryError, match="ends here"):
        save_subset(store, SavedSubset("a", "label ="))
    with pytest.raises(DatasetError, match="1 to 200 characters"):
        SavedSubset(" ", "correct")
    with pytest.raises(DatasetError, match="either a query or instances"):
        SavedSubset("a")
