"""A run that goes on while its page is open: the bar fills, the page loads itself."""

import pytest

import nnviz
from nnviz.results.run_results import RunResults
from nnviz.store.store import Store
from nnviz_dashboards.page.unfinished import RunningModel, RunningView, running_view
from nnviz_dashboards.shared.theme import DARK, LIGHT
from tests.dashboards.served_pages import served
from tests.faults.small_run import create, later_stages, one_worker, write_inputs


@pytest.fixture
def planned(tmp_path):
    """Return the place of a run of which nothing is done."""
    create(write_inputs(tmp_path))
    return str(tmp_path / "run.zarr")


def color_of(hexadecimal):
    """Return a colour as a browser computes it."""
    return "rgb({}, {}, {})".format(*bytes.fromhex(hexadecimal[1:]))


def extract(url):
    with one_worker() as client:
        nnviz.extract(Store.open(url, writable=True), client=client)


def test_bar__counts_what_is_done(planned):
    model = RunningModel(RunResults(Store.open(planned)))
    view = RunningView(model, reloads=True)
    assert view._bar.text == ("Extracted: 0 of 40 instances (0.0 %), 0 of 3 chunks.")

    extract(planned)
    model.look()

    assert view._bar.share == 1.0
    assert view._bar.text.startswith("All instances are extracted")
    assert view._bar.has_news


def test_look__nothing_new__is_no_news(planned):
    model = RunningModel(RunResults(Store.open(planned)))

    model.look()

    assert not model.has_news
    assert model.n_looks == 1


def test_look__slow__is_not_asked_twice(planned):
    waiting = []
    model = RunningModel(
        RunResults(Store.open(planned)),
        run_later=lambda work, done: waiting.append((work, done)),
    )
    model.look()
    model.look()

    assert len(waiting) == 1
    (work, done) = waiting.pop()
    done(work())
    model.look()
    assert len(waiting) == 1


def test_complete_run__has_no_bar(results):
    assert running_view(results, reloads=False, run_later=lambda *_: None) is None


@pytest.mark.browser
@pytest.mark.slow
def test_page__loads_itself_when_a_stage_is_complete(visit, planned):
    sync_api = pytest.importorskip("playwright.sync_api")
    with served(planned) as (_, address):
        page = visit(address)
        bar = page.locator(".run-progress")
        sync_api.expect(bar).to_contain_text("0 of 40 instances")
        sync_api.expect(page.get_by_role("progressbar")).to_have_attribute(
            "aria-valuenow", "0"
        )
        page.emulate_media(color_scheme="dark")
        text = page.locator(".running-text")
        sync_api.expect(text).to_have_css("color", color_of(DARK["text"]))
        page.emulate_media(color_scheme="light")
        sync_api.expect(text).to_have_css("color", color_of(LIGHT["text"]))

        extract(planned)
        sync_api.expect(bar).to_contain_text("aggregates come next", timeout=30_000)

        later_stages(Store.open(planned, writable=True))
        sync_api.expect(page.locator(".row").first).to_be_visible(timeout=30_000)
        page.goto("about:blank")
