"""Joining labels with outputs: names, ids, indices, subsets, maps."""

from __future__ import annotations

import numpy as np
import pytest

from nnviz.errors import DatasetError
from nnviz.inputs.datasets.listings import make_labels
from nnviz.planning.labels import join_labels
from nnviz.runs.config import ClassesConfig

MAP = "index,wnid,name\n0,n01,tench\n1,n02,crane\n2,n03,crane\n3,n04,newt\n"


def join(values, n_outputs, *, class_names=(), **config):
    return join_labels(
        make_labels(values),
        config=ClassesConfig(**config),
        n_outputs=n_outputs,
        class_names=class_names,
    )


@pytest.fixture
def class_map(tmp_path):
    path = tmp_path / "classes.csv"
    path.write_text(MAP)
    return str(path)


def test_join_labels__finds_the_column_that_fits(class_map):
    joined = join(["n04", "n01", None, "n04"], 4, map=class_map)

    assert joined.labels.tolist() == [3, 0, -1, 3]
    assert joined.labels.dtype == np.int32
    assert joined.class_names == ("tench", "crane (1)", "crane (2)", "newt")
    assert (joined.n_present, joined.joined_by) == (2, "column 'wnid' of classes.csv")


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        pytest.param(["newt", "tench"], [3, 0], id="names"),
        pytest.param([3, 0, 2], [3, 0, 2], id="numbers"),
        pytest.param(["3", "0"], [3, 0], id="digits"),
    ],
)
def test_join_labels__joins_names_and_indices_by_the_map(class_map, values, labels):
    assert join(values, 4, map=class_map).labels.tolist() == labels


def test_join_labels__takes_the_stated_columns(class_map):
    joined = join(["n02"], 4, map=class_map, match="wnid", name="wnid")

    assert joined.labels.tolist() == [1]
    assert joined.class_names == ("n01", "n02", "n03", "n04")


def test_join_labels__a_map_of_some_outputs_leaves_the_others_numbered(tmp_path):
    (tmp_path / "m.csv").write_text("label,index\nx,2\n")

    joined = join(["x"], 4, map=str(tmp_path / "m.csv"))

    assert joined.class_names == ("0", "1", "x", "3")


def test_join_labels__several_labels_may_mean_one_output():
    """With digits as labels, 3 and "3" are the same class."""
    assert join([3, "3"], 5).labels.tolist() == [3, 3]


@pytest.mark.parametrize(
    ("text", "values", "config", "message"),
    [
        pytest.param(
            MAP,
            ["n01", "n99", "n98"],
            {},
            r"2 of 3 labels .*'wnid'.*'n98', 'n99'.*'n01', 'n02'",
            id="not-in-the-map",
        ),
        pytest.param(MAP, ["x"], {"match": "wind"}, "mean 'wnid'", id="match"),
        pytest.param(MAP, ["n01"], {"name": "nam"}, "mean 'name'", id="name"),
        pytest.param(MAP, ["crane"], {}, "'crane'.* more than once", id="ambiguous"),
        pytest.param("name\nx\n", ["x"], {}, "'index'", id="no-index"),
        pytest.param("", ["x"], {}, r"the columns are \[\]", id="empty-file"),
        pytest.param("index,n\n", ["x"], {}, "whole numbers", id="no-rows"),
        pytest.param("index,n\n0,a\n0,b\n", ["a"], {}, "more than once", id="twice"),
        pytest.param("index,n\n-1,a\n", ["a"], {}, "whole numbers", id="negative"),
        pytest.param("index,n\n1.5,a\n", ["a"], {}, "whole numbers", id="fraction"),
        pytest.param("index,n\n7,a\n", ["a"], {}, "has 4 outputs", id="too-large"),
        pytest.param("index,n\n1\n", ["a"], {}, "has 1 values, not 2", id="ragged"),
        pytest.param(
            "index,a,b\n0,1,2\n1,2,1\n",
            ["1", "2"],
            {},
            "equally well",
            id="two-columns-fit",
        ),
    ],
)
def test_join_labels__says_what_a_map_does_not_join(
    tmp_path, text, values, config, message
):
    (tmp_path / "m.csv").write_text(text)

    with pytest.raises(DatasetError, match=message):
        join(values, 4, map=str(tmp_path / "m.csv"), **config)


def test_join_labels__says_that_there_is_no_map(tmp_path):
    with pytest.raises(DatasetError, match="cannot read the class map"):
        join(["a"], 1, map=str(tmp_path / "absent.csv"))


@pytest.mark.parametrize(
    ("values", "n_outputs", "class_names", "labels", "names"),
    [
        pytest.param(
            ["dog", "cat"], 3, ("cat", "cow", "dog"), [2, 0], None, id="model-names"
        ),
        pytest.param([2, 0], 3, ("cat", "cow", "dog"), [2, 0], None, id="numbers"),
        pytest.param(
            ["1", "0"], 3, (), [1, 0], ("0", "1", "2"), id="digits-without-names"
        ),
        pytest.param(
            ["dog", "cat", "dog"], 2, (), [1, 0, 1], ("cat", "dog"), id="sorted"
        ),
        pytest.param(
            [2, -1, 0], 3, (), [2, -1, 0], ("0", "1", "2"), id="minus-1-is-no-label"
        ),
        pytest.param(
            ["2", "-1"], 3, (), [2, -1], ("0", "1", "2"), id="minus-1-as-text"
        ),
        pytest.param(["-1"], 2, ("-1", "1"), [0], None, id="minus-1-as-a-name"),
        pytest.param(
            ["b"], 3, ("a", "b", "a"), [1], ("a (0)", "b", "a (2)"), id="twins"
        ),
    ],
)
def test_join_labels__without_a_map(values, n_outputs, class_names, labels, names):
    joined = join(values, n_outputs, class_names=class_names)

    assert joined.labels.tolist() == labels
    assert joined.class_names == (names or class_names)


@pytest.mark.parametrize(
    ("values", "n_outputs", "class_names", "message"),
    [
        pytest.param(
            ["dog", "cat"], 10, (), r"'cat', 'dog'.*outputs 0 to 9.*class map", id="few"
        ),
        pytest.param(
            ["dog", "yak"], 2, ("cat", "dog"), r"1 of 2 labels.*'yak'.*'cat'", id="odd"
        ),
        pytest.param([0, 12], 10, (), "class map", id="index-too-large"),
        pytest.param([-2, 2], 10, (), "-2;.*class map", id="negative-index"),
        pytest.param(
            [1, 2, 3], 3, (), "1 of 3 labels.* 3; outputs are 0 to 2", id="1-k"
        ),
        pytest.param(
            ["1", "2", "3"], 3, (), "'3'; outputs are 0 to 2", id="1-k-as-text"
        ),
        pytest.param([0, 2, 9], 3, ("a", "b", "c"), "labels.* 9; outputs", id="named"),
        pytest.param([0, "cat"], 2, (), "join no output", id="numbers-and-names"),
        pytest.param(["a"], 3, ("a", "b"), "2 class names for 3", id="names"),
    ],
)
def test_join_labels__shows_both_sides_of_what_does_not_join(
    values, n_outputs, class_names, message
):
    with pytest.raises(DatasetError, match=message):
        join(values, n_outputs, class_names=class_names)


@pytest.mark.parametrize(
    ("values", "n_outputs", "class_names", "label_names", "labels", "names"),
    [
        pytest.param(
            [1, 0], 2, (), ("dog", "cat"), [1, 0], ("dog", "cat"), id="as-many"
        ),
        pytest.param(
            [1, 0], 3, ("cat", "cow", "dog"), ("dog", "cat"), [0, 2], None, id="by-name"
        ),
        pytest.param(
            [1, 0], 2, ("x", "x"), ("x", "x"), [1, 0], ("x (0)", "x (1)"), id="alike"
        ),
        pytest.param(
            ["a"], 3, (), ("a", "b", "c"), [0], ("a", "b", "c"), id="limited-folder"
        ),
        pytest.param(
            [1, 1], None, (), ("dog", "cat"), [0, 0], ("cat",), id="no-classes"
        ),
    ],
)
def test_join_labels__knows_the_data_sets_own_classes(
    values, n_outputs, class_names, label_names, labels, names
):
    joined = join_labels(
        make_labels(values),
        config=ClassesConfig(),
        n_outputs=n_outputs,
        class_names=class_names,
        label_names=label_names,
    )

    assert joined.labels.tolist() == labels
    assert joined.class_names == (names or class_names)


@pytest.mark.parametrize(
    ("config", "labels"),
    [
        pytest.param({}, [3, 0], id="names-of-the-numbers"),
        pytest.param({"match": "index"}, [0, 1], id="numbers-if-stated"),
    ],
)
def test_join_labels__joins_numbered_classes_by_the_map(class_map, config, labels):
    joined = join_labels(
        make_labels([0, 1]),
        config=ClassesConfig(map=class_map, **config),
        n_outputs=4,
        label_names=("n04", "n01"),
    )

    assert joined.labels.tolist() == labels


def test_join_labels__does_not_take_a_data_sets_numbers_for_outputs():
    with pytest.raises(DatasetError, match=r"'cat', 'dog'.*class map"):
        join_labels(
            make_labels([0, 1]),
            config=ClassesConfig(),
            n_outputs=1000,
            label_names=("dog", "cat"),
        )


def test_join_labels__without_labels_marks_all_as_missing():
    joined = join_labels(
        None,
        config=ClassesConfig(),
        n_outputs=3,
        class_names=("a", "b", "c"),
        n_instances=4,
    )

    assert joined.labels.tolist() == [-1] * 4
    assert (joined.class_names, joined.n_present) == (("a", "b", "c"), 0)
    assert joined.joined_by == ""


def test_join_labels__gives_labels_of_their_own_to_what_is_no_classifier():
    joined = join(["b", "a", None, 7], None)

    assert joined.labels.tolist() == [2, 1, -1, 0]
    assert joined.class_names == ("7", "a", "b")


def test_join_labels__joins_tiny_imagenet_with_1000_classes(shared):
    labels = sorted(path.name for path in (shared / "data/tiny-imagenet-val").iterdir())

    joined = join(labels, 1000, map=str(shared / "data/imagenet-classes.csv"))

    assert (joined.n_present, len(set(joined.labels.tolist()))) == (200, 200)
    assert joined.class_names[joined.labels[0]] == "goldfish"
    assert len(set(joined.class_names)) == 1000


SPELLINGS = [
    pytest.param("{}.0", id="pandas"),
    pytest.param(" {} ", id="blanks"),
    pytest.param("{}.00000e+00", id="savetxt"),
    pytest.param("+{}", id="sign"),
    pytest.param("{},0", id="decimal-comma"),
    pytest.param("0{}", id="leading-zero"),
    pytest.param("{}.", id="point"),
]


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("class_names", [(), tuple("abcdefghijkl")])
def test_join_labels__takes_whole_numbers_in_any_spelling(spelling, class_names):
    numbers = [10, 2, 0, 11, 2]

    joined = join([spelling.format(n) for n in numbers], 12, class_names=class_names)

    assert joined.labels.tolist() == numbers


@pytest.mark.parametrize("missing", ["nan", "None", "<NA>", "-1.0", "", " "])
def test_join_labels__knows_how_a_missing_number_is_written(missing):
    assert join(["1.0", missing, "0.0"], 2).labels.tolist() == [1, -1, 0]


@pytest.mark.parametrize("value", ["10.5", 10.5, "1e-1", "0,5"])
@pytest.mark.parametrize("class_names", [(), ("a", "b", "c")])
def test_join_labels__refuses_numbers_that_are_not_whole(value, class_names):
    with pytest.raises(DatasetError, match="not whole"):
        join([value, 0, 1], 3, class_names=class_names)


def folder(names, n_outputs, *, folders=None, class_names=()):
    """Join a folder's labels: texts, beside the sorted names of all folders."""
    return join_labels(
        make_labels(names),
        config=ClassesConfig(),
        n_outputs=n_outputs,
        class_names=class_names,
        label_names=sorted(folders or set(names)),
    )


def test_join_labels__numbered_folders_mean_outputs_whoever_is_there():
    """A label's output does not depend on which other labels happen to be there."""
    names = [str(n) for n in range(12)]
    everyone = folder(names, 12)

    for gone in names[1:]:
        some = [name for name in names if name != gone]
        joined = folder(some, 12)
        assert joined.labels.tolist() == [int(name) for name in some]
    assert everyone.labels.tolist() == list(range(12))
    assert everyone.class_names == tuple(names)


def test_join_labels__tells_where_sorted_names_would_be_elsewhere():
    names = [str(n) for n in range(12)]

    taken_as_numbers = folder(names, 12)
    taken_by_name = folder(names, 12, class_names=tuple(sorted(names)))

    assert "'10' is output 10" in taken_as_numbers.notes[0]
    assert "at place 2" in taken_as_numbers.notes[0]
    assert "model.class_names" in taken_as_numbers.notes[0]
    assert taken_by_name.labels.tolist() == [sorted(names).index(n) for n in names]
    assert "is output 2" in taken_by_name.notes[0]
    assert folder(list("012"), 3).notes == ()


@pytest.mark.parametrize("n_outputs", [3, 12])
def test_join_labels__refuses_folders_that_count_from_1(n_outputs):
    with pytest.raises(DatasetError, match=r"seem to count from 1; give a class map"):
        folder([str(n + 1) for n in range(n_outputs)], n_outputs)


def test_join_labels__tells_that_no_label_is_0():
    assert "no label is 0" in folder(["1", "2"], 3, folders=["1", "2", "3"]).notes[0]


def test_join_labels__refuses_names_and_numbers_in_one():
    with pytest.raises(DatasetError, match="some labels are names and others numbers"):
        folder(["1", "2", "dog"], 3)


def test_join_labels__indices_of_named_classes_stay_so_where_names_are_numbers():
    """A data set of classes "1" to "3" numbers them 0 to 2; 1 is then not "1"."""
    joined = join_labels(
        make_labels([1, 2]),
        config=ClassesConfig(),
        n_outputs=3,
        label_names=("1", "2", "3"),
    )

    assert joined.labels.tolist() == [1, 2]
    assert joined.class_names == ("1", "2", "3")


def test_join_labels__compares_numbers_with_a_map_by_value(tmp_path):
    (tmp_path / "m.csv").write_text("index;label\n0.0;1\n1.0;2\n2.0;3\n")

    joined = join(["3.0", " 1", "2,0"], 3, map=str(tmp_path / "m.csv"), match="label")

    assert joined.labels.tolist() == [2, 0, 1]


def test_join_labels__numbers_are_one_class_each_of_what_is_no_classifier():
    joined = join(["10.0", "2", "10"], None)

    assert joined.labels.tolist() == [1, 0, 1]
    assert joined.class_names == ("2", "10")


def test_join_labels__knows_the_labels_that_are_not_the_names(class_map):
    by_map = join(["n04", "n01", None, "n04"], 4, map=class_map)
    numbered = join_labels(
        np.array([1, 0, 1], dtype=object),
        config=ClassesConfig(map=class_map, match="wnid"),
        n_outputs=4,
        label_names=("n02", "n03"),
    )
    by_name = join(["a", "b"], 2)

    assert by_map.class_of_label == {"n01": 0, "n04": 3}
    assert numbered.class_of_label == {"n02": 1, "n03": 2}
    assert by_name.class_of_label == {}
    assert join([3, "2"], 4, map=class_map).class_of_label == {}


@pytest.mark.parametrize(
    ("values", "n_outputs"),
    [
        pytest.param(["Cat", "dog"], 2, id="another-spelling"),
        pytest.param(["cat", "dog"], 3, id="another-number-of-outputs"),
    ],
)
def test_join_labels__says_where_class_names_are_corrected(values, n_outputs):
    with pytest.raises(DatasetError) as caught:
        join(values, n_outputs, class_names=["cat", "dog"])

    assert "model.class_names (from Python: classes=[...])" in str(caught.value)
