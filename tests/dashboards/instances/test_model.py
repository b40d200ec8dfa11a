"""The instances of A and B as a plain object, on a real store."""

import numpy as np
import pytest

from nnviz_dashboards.instances.inside import InsideModel
from nnviz_dashboards.instances.model import PAGE, InstancesModel
from nnviz_dashboards.subsets.model import SubsetPairModel
from tests.planted_stores import RUN

USABLE = ~RUN.is_unreadable


@pytest.fixture
def pointed():
    return []


@pytest.fixture
def instances(results, selection, pointed):
    selection.choose(view="instances")
    pairs = SubsetPairModel(results, selection)
    return InstancesModel(results, pairs, point_at=pointed.append)


def numbers(page):
    return [one.number for one in page.shown]


def test_pages__are_a_and_b_with_the_surest_first(instances, finished):
    a, b = instances.pages

    wolves = USABLE & (RUN.labels == 1)
    assert (a.n_instances, b.n_instances) == (wolves.sum(), (USABLE & ~wolves).sum())
    assert len(b.shown) == PAGE
    confidence = finished.column("confidence")
    assert np.all(np.diff(confidence[numbers(b)]) <= 0)
    assert confidence[numbers(b)[0]] == confidence[USABLE & ~wolves].max()


def test_turn__shows_the_next_page_of_one_subset(instances):
    a, b = instances.pages

    instances.turn("b", b.first + PAGE)

    assert instances.pages[0] is a
    assert instances.pages[1].first == PAGE
    assert not set(numbers(b)) & set(numbers(instances.pages[1]))
    instances.turn("b", 10**9)
    last = instances.pages[1]
    assert last.first + len(last.shown) == last.n_instances


def test_sort__by_the_channel_that_is_looked_at(instances, selection, finished):
    selection.choose(channel=18)
    assert instances.orders()[-1] == "channel"

    instances.sort("-channel")

    values = finished.activations("late")[:, 18]
    assert np.all(np.diff(values[numbers(instances.pages[1])]) >= 0)


def test_open__of_large_chunks__is_read_later_and_only_what_is_wanted_is_shown(
    results, selection, monkeypatch
):
    monkeypatch.setattr("nnviz.results.instances.BYTES_AT_ONCE", 0)
    selection.choose(view="instances")
    waiting = []
    instances = InstancesModel(
        results,
        SubsetPairModel(results, selection),
        point_at=lambda _: None,
        run_later=lambda work, done: waiting.append((work, done)),
    )
    assert instances.is_loading  # no column has been read yet
    read, show = waiting.pop()
    show(read())
    first, second = numbers(instances.pages[0])[:2]
    waiting.clear()  # what asks for pictures

    instances.open(first)
    instances.open(second)
    assert instances.opened is None
    (late, show_late), (work, show) = waiting
    show(work())
    show_late(late())

    assert instances.opened.facts.number == second


def test_marked__become_a_subset(instances, selection):
    first = numbers(instances.pages[0])[:2]
    for number in first:
        instances.mark(number)
    assert instances.marked == tuple(sorted(first))

    instances.use_marked("b")

    assert selection.b == f"instance in ({min(first)}, {max(first)})"
    assert numbers(instances.pages[1]) == first
    assert instances.marked == ()


def test_open__shows_what_stands_out_and_closes_again(instances, selection):
    number = numbers(instances.pages[0])[0]

    instances.open(number)

    opened = instances.opened
    assert opened.facts.number == number
    assert [layer for layer, _ in opened.channels] == ["late", "middle", "early"]
    instances.open(number)
    assert instances.opened is None
    assert selection.instance == -1


def test_nothing_is_read__while_another_view_is_shown(results, selection):
    pairs = SubsetPairModel(results, selection)
    instances = InstancesModel(results, pairs, point_at=lambda _: None)

    assert instances.pages == ()
    selection.choose(view="instances")
    assert len(instances.pages) == 2


def test_inside__asks_the_network_for_what_was_predicted_or_is_right(
    instances, finished
):
    predicted, labels = finished.column("prediction"), finished.column("label")
    wrong, right = (
        int(np.flatnonzero(USABLE & (labels >= 0) & (same == (predicted == labels)))[0])
        for same in (False, True)
    )
    asked, answers = [], []

    def run(words, done):
        asked.append(words)
        answers.append(done)

    inside = InsideModel(instances, run=run)
    assert (inside.outputs, inside.words) == ((), ())
    instances.open(wrong)
    ids, names = finished.column("id"), finished.class_names
    command = ("nnviz", "explain", finished.url, ids[wrong], "--of")
    assert inside.words == (*command, names[predicted[wrong]])
    inside.choose(int(labels[wrong]))
    inside.choose(-7)
    assert inside.words == (*command, names[labels[wrong]])
    assert inside.inside is None

    inside.begin()
    inside.begin()
    assert asked == [inside.words]
    assert inside.is_running
    instances.open(wrong)
    instances.open(right)
    assert not inside.is_running
    assert inside.outputs == (labels[right],)
    answers[0]("no network")
    assert inside.problem == ""
    inside.begin()
    answers[1]("no network")
    assert (inside.problem, inside.is_running) == ("no network", False)
    assert not InsideModel(instances).can_run
