"""Queries on a store's instances, against plain Python with three truth values."""

import datetime as dt
import operator
import random

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnviz.aggregation.index import make_index
from nnviz.aggregation.index_channels import IndexedChannels
from nnviz.errors import QueryError
from nnviz.store.store import Store
from nnviz.subsets.columns import InstanceColumns, StoredChannels
from nnviz.subsets.evaluation import matching_instances
from nnviz.testing import PlantedRun, write_store

N = 300
rng = np.random.default_rng(0)
CAMERAS = np.array(["front", "rear left", "", "night"], dtype=object)[
    rng.integers(0, 4, N)
]
BRIGHTNESS = np.where(rng.random(N) < 0.2, np.nan, rng.normal(size=N).round(1))
DAYS = np.array(
    [
        str(np.datetime64("2024-01-01T12:00") + int(h))
        for h in rng.integers(0, 99_999, N)
    ],
    dtype=object,
)
FLIPPED = rng.random(N) < 0.5
RUN = PlantedRun(
    n_classes=4,
    n_instances=N,
    class_names=("horse", "dog", "great white", "owl"),
    n_unreadable=7,
    metadata={
        "camera": CAMERAS,
        "brightness": BRIGHTNESS,
        "taken": DAYS,
        "flipped": FLIPPED,
    },
)
BLURRY = np.arange(0, N, 7)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return write_store(tmp_path_factory.mktemp("query") / "run.zarr", RUN)


@pytest.fixture(scope="module")
def ask(store):
    columns = InstanceColumns(store, StoredChannels(store))
    subsets = {"blurry": BLURRY}

    def ask(query):
        return matching_instances(
            query, columns, subsets=subsets.get, subset_names=subsets
        )

    return ask


@pytest.fixture(scope="module")
def rows(store):
    """Return each instance as a dictionary, None where it has no value."""
    table = store.instances().to_dict("records")
    channel = store.activations("late")[:, 5]
    for row, values in enumerate(table):
        for name in ("label", "prediction"):
            values[name] = None if values[name] < 0 else RUN.names[values[name]]
        for name in ("brightness", "confidence", "probability"):
            values[name] = None if np.isnan(values[name]) else float(values[name])
        values["camera"] = values["camera"] or None
        values["taken"] = dt.date.fromisoformat(values["taken"][:10])
        known = None not in (values["label"], values["prediction"])
        values["correct"] = values["label"] == values["prediction"] if known else None
        values["late5"] = None if np.isnan(channel[row]) else float(channel[row])
        values["blurry"] = row % 7 == 0
    return table


def unknown_or(function):
    return lambda value: None if value is None else function(value)


LEAVES = {
    "label = horse": ("label", lambda v: v == "horse"),
    "prediction != 'great white'": ("prediction", lambda v: v != "great white"),
    "label = 1": ("label", lambda v: v == "dog"),
    "prediction in (dog, owl)": ("prediction", lambda v: v in ("dog", "owl")),
    "label contains o": ("label", lambda v: "o" in v),
    "camera = 'rear left'": ("camera", lambda v: v == "rear left"),
    "camera != front": ("camera", lambda v: v != "front"),
    "camera not in (front, nowhere)": ("camera", lambda v: v != "front"),
    "camera ends with t": ("camera", lambda v: v.endswith("t")),
    "camera > front": ("camera", lambda v: v > "front"),
    "brightness > 0.3": ("brightness", lambda v: v > 0.3),
    "brightness between -0.5 and 0.5": ("brightness", lambda v: -0.5 <= v <= 0.5),
    "brightness in (0.1, -0.2)": ("brightness", lambda v: v in (0.1, -0.2)),
    "confidence <= 0.8": ("confidence", lambda v: v <= 0.8),
    "activation(late, 5) > 1.1": ("late5", lambda v: v > 1.1),
    "correct": ("correct", lambda v: v),
    "correct = false": ("correct", lambda v: not v),
    "flipped": ("flipped", lambda v: v),
    "taken = 2024-02-01": ("taken", lambda v: v == dt.date(2024, 2, 1)),
    "taken > 2024-02-01": ("taken", lambda v: v > dt.date(2024, 2, 1)),
    "taken <= 2024-02-01": ("taken", lambda v: v <= dt.date(2024, 2, 1)),
    "blurry": ("blurry", lambda v: v),
}


def test_leaf__is_what_plain_python_says(ask, rows):
    for text, (name, test) in LEAVES.items():
        expected = [i for i, row in enumerate(rows) if unknown_or(test)(row[name])]

        assert ask(text).tolist() == expected, text
        assert 0 < len(expected) < N, text


def test_null__is_asked_for_by_name(ask, rows):
    for name in ("camera", "brightness", "label", "prediction", "correct"):
        expected = [i for i, row in enumerate(rows) if row[name] is None]

        assert ask(f"{name} is null").tolist() == expected
        assert len(ask(f"{name} is not null")) == N - len(expected)


def conjunction(a, b):
    if a is False or b is False:
        return False
    return None if a is None or b is None else True


def opposite(a):
    return None if a is None else not a


def made_up(generator, depth):
    """Return the text of a random query, and what it means for a row."""
    kind = generator.choice(["leaf", "and", "or", "not", "except"]) if depth else "leaf"
    if kind == "leaf":
        text = generator.choice(list(LEAVES))
        name, test = LEAVES[text]
        return text, lambda row: unknown_or(test)(row[name])
    a, mean_a = made_up(generator, depth - 1)
    if kind == "not":
        return f"not ({a})", lambda row: opposite(mean_a(row))
    b, mean_b = made_up(generator, depth - 1)
    text = f"({a}) {kind} ({b})"
    if kind == "and":
        return text, lambda row: conjunction(mean_a(row), mean_b(row))
    if kind == "or":
        return text, lambda row: opposite(
            conjunction(opposite(mean_a(row)), opposite(mean_b(row)))
        )
    return text, lambda row: False if mean_b(row) is True else mean_a(row)


@pytest.mark.parametrize("seed", range(200))
def test_query__random_trees__are_what_three_valued_logic_says(ask, rows, seed):
    text, meaning = made_up(random.Random(seed), 4)

    expected = [index for index, row in enumerate(rows) if meaning(row) is True]

    assert ask(text).tolist() == expected, text


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        pytest.param("labell = horse", "did you mean 'label'", id="column"),
        pytest.param(
            "label = hors", "no class 'hors'; did you mean 'horse'", id="class"
        ),
        pytest.param("label = 17", "no class '17'", id="index"),
        pytest.param("label > horse", "classes have no order", id="order"),
        pytest.param("brightness = front", "'front' is none", id="number"),
        pytest.param("brightness contains 1", "only texts and classes", id="contains"),
        pytest.param("blury", "did you mean 'blurry'", id="subset"),
        pytest.param("camera", "'camera' is a column of texts; compare it", id="alone"),
        pytest.param("flipped > 3", "flipped is true or false", id="truth"),
        pytest.param("activation(lat, 1) > 0", "did you mean 'late'", id="layer"),
        pytest.param("top(late, 96)", "has 96 channels", id="channel"),
        pytest.param("taken > 2024-13-01", "not a date", id="date"),
        pytest.param("label = confidence", "cannot be compared", id="kinds"),
    ],
)
def test_query__what_does_not_fit_the_store__is_an_error_that_points(
    ask, query, problem
):
    with pytest.raises(QueryError) as caught:
        ask(query)

    assert problem in str(caught.value)
    assert "^" in str(caught.value).split("\n")[-1]


def test_query__two_columns_are_compared(ask, rows):
    expected = [
        i for i, r in enumerate(rows) if r["correct"] is not None and not r["correct"]
    ]

    assert ask("label != prediction").tolist() == expected


def test_query__out_of_time__is_an_error(store):
    columns = InstanceColumns(store, StoredChannels(store))

    with pytest.raises(QueryError, match="takes too long"):
        matching_instances("correct and flipped", columns, time_limit_s=-1)


COLUMN_TEXTS = [*sorted(set(CAMERAS)), "rear", "t", "", "Night"]
CLASSES = st.sampled_from(RUN.class_names)
NUMBERS = st.one_of(
    st.sampled_from(BRIGHTNESS[np.isfinite(BRIGHTNESS)][:9].tolist()), st.floats(-3, 3)
)
COMPARED = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@pytest.fixture(scope="module")
def table(store):
    """Return the table in pandas' own types, which know three truth values."""
    table = store.instances()
    names = dict(enumerate(RUN.class_names))
    text = pd.StringDtype("python", na_value=pd.NA)
    found = pd.DataFrame(index=table.index)
    for name in ("label", "prediction"):
        found[name] = table[name].map(names).astype(text)
    for name in ("brightness", "confidence"):
        found[name] = pd.array(table[name].astype(float), dtype="Float64")
    found["camera"] = table["camera"].replace("", None).astype(text)
    found["flipped"] = table["flipped"].astype("boolean")
    activations = store.activations("late").astype(float)
    for channel in range(8):
        found[f"late {channel}"] = pd.array(activations[:, channel], dtype="Float64")
    return found


@st.composite
def predicates(draw):
    """Return a predicate, and what it is of a table of pandas."""
    kind = draw(st.sampled_from(["number", "range", "class", "classes", "text", "is"]))
    if kind in ("number", "range"):
        channel = draw(st.integers(0, 7))
        written, name = draw(
            st.sampled_from(
                [
                    ("brightness", "brightness"),
                    ("confidence", "confidence"),
                    (f"activation(late, {channel})", f"late {channel}"),
                ]
            )
        )
        low, high = sorted([draw(NUMBERS), draw(NUMBERS)])
        if kind == "range":
            text = f"{written} between {low!r} and {high!r}"
            return text, lambda t: (t[name] >= low) & (t[name] <= high)
        symbol = draw(st.sampled_from(sorted(COMPARED)))
        return f"{written} {symbol} {low!r}", lambda t: COMPARED[symbol](t[name], low)
    if kind in ("class", "classes"):
        name = draw(st.sampled_from(["label", "prediction"]))
        wanted = draw(st.lists(CLASSES, min_size=1, max_size=3))
        if kind == "classes":
            listed = ", ".join(f'"{one}"' for one in wanted)
            return f"{name} in ({listed})", lambda t: among(t[name], wanted)
        symbol = draw(st.sampled_from(["=", "!="]))
        return (
            f"{name} {symbol} '{wanted[0]}'",
            lambda t: COMPARED[symbol](t[name], wanted[0]),
        )
    if kind == "text":
        wanted = draw(st.sampled_from(COLUMN_TEXTS))
        how = draw(st.sampled_from(["contains", "starts with", "ends with", "="]))
        meaning = {
            "contains": lambda t: t["camera"].str.contains(wanted, regex=False),
            "starts with": lambda t: t["camera"].str.startswith(wanted),
            "ends with": lambda t: t["camera"].str.endswith(wanted),
            "=": lambda t: t["camera"] == wanted,
        }
        return f"camera {how} '{wanted}'", meaning[how]
    name = draw(st.sampled_from(["camera", "brightness", "label"]))
    return draw(
        st.sampled_from(
            [
                (f"{name} is null", lambda t: t[name].isna().astype("boolean")),
                ("flipped", lambda t: t["flipped"]),
                ("correct", lambda t: t["label"] == t["prediction"]),
            ]
        )
    )


def among(values, wanted):
    """Return which values are among others; unknown where there is no value."""
    return values.isin(wanted).astype("boolean").mask(values.isna())


def combined(parts):
    """Return strategies for larger queries, from one for smaller ones."""

    def both(a, b):
        return f"({a[0]}) and ({b[0]})", lambda t: a[1](t) & b[1](t)

    def either(a, b):
        return f"({a[0]}) or ({b[0]})", lambda t: a[1](t) | b[1](t)

    def opposite(a):
        return f"not ({a[0]})", lambda t: ~a[1](t)

    def without(a, b):
        return (
            f"({a[0]}) except ({b[0]})",
            lambda t: a[1](t) & ~b[1](t).fillna(False),
        )

    return st.one_of(
        st.builds(both, parts, parts),
        st.builds(either, parts, parts),
        st.builds(opposite, parts),
        st.builds(without, parts, parts),
    )


@given(query=st.recursive(predicates(), combined, max_leaves=8))
@settings(max_examples=60, deadline=None)
def test_query__any_tree__is_what_pandas_says(ask, ask_indexed, table, query):
    text, meaning = query

    expected = np.flatnonzero(meaning(table).fillna(False).to_numpy(bool)).tolist()

    assert ask(text).tolist() == expected, text
    assert ask_indexed(text).tolist() == expected, text


@pytest.fixture(scope="module")
def ask_indexed(tmp_path_factory):
    """Return the same of a store with an index, of which columns are packed."""
    store = write_store(tmp_path_factory.mktemp("indexed") / "run.zarr", RUN)
    make_index(store)
    columns = InstanceColumns(Store.open(store.url), IndexedChannels(store))
    return lambda query: matching_instances(query, columns)
