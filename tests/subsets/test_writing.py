"""Queries that are written for a person, and words for those that a person wrote."""

import pytest

from nnviz.subsets.expressions import parse_query
from nnviz.subsets.writing import class_word, confusion_of, quoted, words_of

NAMES = ["x y", 'with "quotes"', "back\\slash", "and", "7up", "layer3.2", "<b>", ""]


@pytest.mark.parametrize("name", NAMES)
def test_quoted__is_read_back(name):
    assert parse_query(f"x = {quoted(name)}").value.text == name


def test_class_word__of_a_name_that_comes_twice__is_its_index():
    names = ["crane", "wolf", "crane"]

    assert [class_word(names, i) for i in range(3)] == ["crane", "wolf", "2"]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        pytest.param("label = horse", "horse", id="class"),
        pytest.param("label = 'great white'", "great white", id="quoted"),
        pytest.param("prediction = dog", "predicted as dog", id="predicted"),
        pytest.param("label = horse and correct", "horse, predicted right", id="right"),
        pytest.param("label = a and prediction = b", "a taken for b", id="confusion"),
        pytest.param("label = a and prediction = a", "a, predicted right",
                     id="itself"),
        pytest.param("label = a and confidence > 1", "label = a and confidence > 1",
                     id="more"),
        pytest.param("label != a", "label != a", id="other-operator"),
        pytest.param("not a query (", "not a query (", id="no-query"),
    ],
)  # fmt: skip
def test_words__of_a_query(query, words):
    assert words_of(query) == words


def test_words__of_an_index__name_the_class():
    assert words_of("label = 2 and prediction = 1", ["a", "b", "a"]) == "a taken for b"
    assert words_of("label = 7", ["a"]) == "7"


@pytest.mark.parametrize(
    ("query", "of"),
    [
        pytest.param("label = a and prediction = b", "label = a", id="plain"),
        pytest.param("(label = 'a b') and prediction=c", "label = 'a b'", id="quoted"),
    ],
)
def test_confusion__knows_the_query_of_its_class(query, of):
    assert parse_query(confusion_of(query).of) == parse_query(of)


@pytest.mark.parametrize(
    "query",
    ["label = a", "label = a and prediction = a", "label = a and correct", "(", "x"],
)
def test_confusion__anything_else_is_none(query):
    assert confusion_of(query) is None
