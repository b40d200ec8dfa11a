import pytest

from nnviz_dashboards.shared.selection import Selection


@pytest.fixture
def selection():
    return Selection({"early": 8, "late": 32}, [0, 1, 4], layer="late", subset=1)


def test_choose__another_layer_clears_the_channel(selection):
    selection.choose(channel=20)

    selection.choose(layer="early")

    assert (selection.layer, selection.channel) == ("early", -1)


def test_choose__the_same_layer_keeps_the_channel(selection):
    selection.choose(channel=20)

    selection.choose(layer="late")

    assert selection.channel == 20


def test_choose__several_changes_are_one_event(selection):
    seen = []
    selection.param.watch(lambda *events: seen.append(events), ["layer", "channel"])

    selection.choose(layer="early", channel=3)

    assert [{event.name for event in events} for events in seen] == [
        {"layer", "channel"}
    ]


@pytest.mark.parametrize(
    ("wanted", "name", "default"),
    [
        pytest.param({"layer": "nowhere"}, "layer", "late", id="layer"),
        pytest.param({"subset": 2}, "subset", 1, id="class-without-instances"),
        pytest.param({"subset": "x"}, "subset", 1, id="no-number"),
        pytest.param({"channel": 32}, "channel", -1, id="past-the-last-channel"),
        pytest.param({"layer": "early", "channel": 8}, "channel", -1, id="other-layer"),
        pytest.param({"sort": "size"}, "sort", "similarity", id="sort"),
        pytest.param({"ranking": "size"}, "ranking", "count", id="ranking"),
        pytest.param({"view": "x"}, "view", "graph", id="view"),
        pytest.param({"collection": "x"}, "collection", "label", id="collection"),
        pytest.param({"preset": "x"}, "preset", "directed", id="preset"),
        pytest.param({"share": "0.5"}, "share", "0.075", id="share"),
        pytest.param({"strength": 1.5}, "strength", 0.0, id="strength"),
        pytest.param({"specificity": "x"}, "specificity", 0.0, id="lift"),
        pytest.param({"gap": 301}, "gap", -1, id="gap"),
    ],
)
def test_choose__makes_the_impossible_the_default(selection, wanted, name, default):
    selection.choose(**wanted)

    assert getattr(selection, name) == default


def test_address__names_layer_class_and_what_differs(selection):
    assert selection.address() == "?layer=late&class=1"

    selection.choose(layer="early", subset=4, channel=2, search="a&b=ü", sort="name")

    assert selection.address() == (
        "?layer=early&class=4&channel=2&sort=name&find=a%26b%3D%C3%BC"
    )


def test_restore__brings_back_what_the_address_says(selection):
    selection.choose(layer="early", subset=4, channel=2, search="a&b=ü", sort="errors")
    address = selection.address()
    selection.choose(layer="late", subset=0, search="", sort="name", ranking="lift")

    selection.restore(address)

    assert selection.address() == address
    assert selection.search == "a&b=ü"


@pytest.mark.parametrize(
    "address",
    ["", "?", "?class=x", "?class=99999999999999999999", "?layer=%3Cb%3E&other=1"],
)
def test_restore__takes_defaults_for_nonsense(selection, address):
    selection.choose(layer="early", subset=4, channel=2)

    selection.restore(address)

    assert selection.address() == "?layer=late&class=1"


def test_address__brings_back_how_a_graph_is_shown(selection):
    selection.choose(
        versus="a&b", preset="summit", strength=0.2, specificity=1.5, gap=0, row_gap=90
    )
    selection.choose_node("inner.conv", 7)
    address = selection.address()
    selection.choose(versus="", preset="directed", strength=0, gap=-1, layer="early")

    selection.restore(address)

    assert selection.address() == address
    assert selection.pinned == ("inner.conv", 7)
    assert (selection.strength, selection.gap, selection.row_gap) == (0.2, 0, 90)


def test_choose__another_layer_or_channel_gives_up_the_pinned_node(selection):
    selection.choose_node("inner.conv", 7)

    selection.choose(channel=2)

    assert selection.pinned == ("late", 2)
    selection.choose(layer="early")
    assert selection.pinned is None


@pytest.mark.parametrize("text", ["nan", "inf", "x", "-1", ""])
def test_restore__takes_no_threshold_that_is_no_number(selection, text):
    selection.restore(f"?strength={text}")

    assert selection.strength == 0


@pytest.fixture
def deep():
    layers = dict.fromkeys(["one", "two", "three", "four", "five"], 8)
    return Selection(layers, [0], layer="five", subset=0)


def test_toggle_beside__opens_below_and_closes(deep):
    deep.toggle_beside("two")
    deep.toggle_beside("one")
    assert deep.layers_beside == ("two", "one")
    assert deep.matrix == "open"

    deep.toggle_beside("two")
    assert deep.layers_beside == ("one",)


def test_toggle_beside__as_many_as_may_be__the_first_makes_room(deep):
    for name in ("one", "two", "three", "four"):
        deep.toggle_beside(name)

    assert deep.layers_beside == ("two", "three", "four")


def test_toggle_beside__the_chosen_layer__only_opens_the_matrix(deep):
    deep.toggle_beside("five")

    assert (deep.layers_beside, deep.matrix) == ((), "open")


def test_toggle_beside__while_closed__opens_again(deep):
    deep.toggle_beside("two")
    deep.choose(matrix="closed")
    assert deep.layers_beside == ()

    deep.toggle_beside("two")
    assert deep.layers_beside == ("two",)


def test_beside__chosen_layer_changes_places(deep):
    deep.choose(beside="one,two", matrix="open")

    deep.choose(layer="one")

    assert deep.layers_beside == ("five", "two")


def test_beside__of_an_address__holds_what_there_is_once(deep):
    deep.restore("?layer=two&matrix=large&beside=one,two,,nowhere,one,five")

    assert deep.layers_beside == ("one", "five")
    assert deep.matrix == "large"


def test_view__chosen_while_the_matrix_is_large__is_seen(deep):
    deep.choose(matrix="large")

    deep.choose(view="channels")

    assert deep.matrix == "open"
