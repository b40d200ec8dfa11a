"""What is offered while a query is written, and that what is taken can be asked."""

import numpy as np
import pytest

from nnviz.subsets.lookup import SubsetFinder
from nnviz.subsets.query_completion import complete_query
from nnviz.subsets.saved import SavedSubset, save_subset
from nnviz.testing import PlantedRun, write_store

NAMES = ("horse", "hound", "great white", "horse", "and")
RUN = PlantedRun(
    n_instances=40,
    class_names=NAMES,
    metadata={
        "camera": np.array(["left side", "rear"] * 20, dtype=object),
        "night": np.array([True, False] * 20),
    },
)


@pytest.fixture(scope="module")
def finder(tmp_path_factory):
    store = write_store(tmp_path_factory.mktemp("completion") / "run.zarr", RUN)
    save_subset(store, SavedSubset("blurry ones", "confidence < 0.5"))
    return SubsetFinder(store)


def offered(finder, text, n=100):
    return [one.text for one in complete_query(text, len(text), finder, n=n)]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        pytest.param("lab", ["label"], id="column"),
        pytest.param("blu", ['"blurry ones"'], id="saved"),
        pytest.param("hor", ["label = horse", "label = 3"], id="class-alone"),
        pytest.param("label ", ["=", "!=", "in (", "not in ("], id="operator"),
        pytest.param("label = h", ["horse", "hound", "3"], id="class"),
        pytest.param("label = an", ['"and"'], id="reserved"),
        pytest.param("label in (horse, gr", ['"great white"'], id="list"),
        pytest.param('camera = "le', ['"left side"'], id="quoted"),
        pytest.param("camera st", ["starts with"], id="two-words"),
        pytest.param("camera starts ", ["with"], id="second-word"),
        pytest.param("camera starts with r", ["rear"], id="text"),
        pytest.param("night ", ["and", "or", "except"], id="truth"),
        pytest.param("confidence between 0.1 ", ["and"], id="between"),
        pytest.param("label = horse ", ["and", "or", "except"], id="joiner"),
        pytest.param("label in (horse) a", ["and"], id="after-list"),
        pytest.param("top(la", ["late"], id="layer"),
        pytest.param("top(late, 3) and activation(mi", ["middle"], id="call"),
        pytest.param("activation(late, 3) b", ["between"], id="number"),
        pytest.param("not (cor", ["correct"], id="inside"),
    ],
)  # fmt: skip
def test_complete__offers_what_fits(finder, text, wanted):
    found = offered(finder, text)

    assert found[: len(wanted)] == wanted


@pytest.mark.parametrize("text", ["top(late, ", "label = 'a", "x y z ", ")))", "'"])
def test_complete__of_what_is_no_query__breaks_nothing(finder, text):
    assert isinstance(offered(finder, text), list)


def test_complete__replaces_the_word_before_the_cursor(finder):
    text = "not lab = horse"

    first = complete_query(text, 7, finder)[0]

    assert text[: first.start] + first.text + text[first.stop :] == (
        "not label = horse"
    )


@pytest.mark.parametrize("text", ["label = ", "camera = "])
def test_complete__values__can_be_asked(finder, text):
    for value in offered(finder, text):
        assert len(finder.find(text + value)) >= 0


def test_complete__many__are_cut(finder):
    assert len(offered(finder, "", n=3)) == 3
