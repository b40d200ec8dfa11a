"""What of a component's values reaches the browser, and how often."""

import json
import math
from importlib import import_module

import param
import pytest
from bokeh.core.json_encoder import serialize_json
from bokeh.document import Document
from bokeh.document.events import ModelChangedEvent

from nnviz_dashboards.shared.component import (
    STYLE,
    Component,
    SentDict,
    SentList,
    script,
)


class Chart(Component):
    table = SentDict(None, allow_None=True)
    order = SentList([])
    title = param.String()

    _esm = script(__file__)


@pytest.fixture
def chart():
    return Chart({})


@pytest.fixture
def events(chart):
    document, found = Document(), []
    document.add_root(chart.get_root(document))
    document.on_change(
        lambda event: (
            found.append(event) if isinstance(event, ModelChangedEvent) else None
        )
    )
    return found


VALUE = {
    "rows": [['gold “finch” "x"', 1, 0.25, None], ["</script>\u2028\\n", True, -3]],
    "empty": {},
}


def test_values__that_have_changed__are_sent_as_one_text(chart, events):
    chart.param.update(table=VALUE, order=[3, 1], title='a "title"')

    sent = {event.attr: event.new for event in events}
    assert len(events) == len(sent) == 3
    assert json.loads(sent["table"]) == VALUE
    assert json.loads(sent["order"]) == [3, 1]
    assert sent["title"] == 'a "title"'


def test_values__equal_to_those_before__are_not_sent_again(chart, events):
    chart.param.update(table=VALUE, order=[3, 1])
    events.clear()

    chart.param.update(table=json.loads(json.dumps(VALUE)), order=[3, 1])

    assert not events


def test_values__of_nothing__are_nothing(chart, events):
    chart.table = VALUE
    chart.order = [1]
    events.clear()

    chart.param.update(table=None, order=[])

    assert [(event.attr, event.new) for event in events] == [
        ("table", None),
        ("order", []),
    ]


def test_values__that_json_has_no_word_for__are_sent_as_they_are(chart, events):
    chart.table = {"share": math.nan}

    (event,) = events
    assert math.isnan(event.new["share"])


def test_sizes__of_a_component__are_still_its_own(chart):
    root = chart.get_root(Document())

    chart.visible = False

    assert root.visible is False


def test_scripts__of_all_components__read_what_is_sent_as_text():
    import_module("nnviz_dashboards.page.app")
    import_module("nnviz_dashboards.published.app")
    views = [
        kind
        for kind in Component.__subclasses__()
        if kind.__module__.startswith("nnviz_dashboards.")
    ]

    assert len(views) > 10
    for kind in views:
        assert kind._esm.count("readTexts(sent)\n") == 1, kind


def test_style__of_all_components__is_in_a_document_once():
    document = Document()
    for _ in range(3):
        document.add_root(Chart({}).get_root(document))

    assert serialize_json(document.to_json()).count(json.dumps(STYLE)) == 1
    assert all(
        any(getattr(sheet, "css", "") == STYLE for sheet in root.stylesheets)
        for root in document.roots
    )
