"""Errors: their tree, their text, and their way between processes."""

import pickle

import pytest

from nnviz import errors
from nnviz.errors import did_you_mean

CLASSES = [
    getattr(errors, name)
    for name in errors.__all__
    if isinstance(getattr(errors, name), type)
]


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_error__between_processes__keeps_type_and_text(kind):
    error = pickle.loads(pickle.dumps(kind("what happened; what to do")))

    assert type(error) is kind
    assert str(error) == "what happened; what to do"
    assert isinstance(error, errors.NnvizError)


def test_did_you_mean__nothing_near__is_empty():
    assert did_you_mean("zzz", ["alpha", "beta"]) == ""


def test_did_you_mean__two_near__names_both():
    found = did_you_mean("mixed4", ["mixed4a", "mixed4b", "conv"])

    assert found == "; did you mean 'mixed4b' or 'mixed4a'?"
