"""Subsets that are kept in a store."""

import numpy as np
import pytest

from nnviz.errors import DatasetError, QueryError, UnknownNameError
from nnviz.store.store import open_store
from nnviz.subsets.saved import SavedSubset, remove_subset, save_subset, saved_subsets
from nnviz.testing import PlantedRun, write_store


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
