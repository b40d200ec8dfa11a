"""The dashboard as a visitor has it: a real server, real clicks in a Chromium."""

import re

import pytest

from tests.dashboards.served_pages import expect_address, served
from tests.planted_stores import HARMFUL

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture
def page(turn, finished_address):
    page = turn(finished_address)
    page.wait_for_selector(".channel-row")
    return page


def rows(page):
    listed = page.locator(".row").evaluate_all(
        "rows => rows.map(r => [+r.getAttribute('aria-posinset'), r.dataset.class])"
    )
    return [int(subset) for _, subset in sorted(listed)]


def is_chosen(page, subset):
    return page.locator(f".row[data-class='{subset}'][aria-selected='true']")


def test_page__says_what_the_run_is(page):
    header = page.locator(".top").inner_text()

    for text in ("planted", "296", "10", "3", "unusable"):
        assert text in header
    assert page.title() == "planted · nnviz"
    expect_address(page, layer="late")


# Where a script has no bundle, Panel translates it from TypeScript.
SCRIPTS = """() => ({
  loaded: [...document.scripts].map((script) => script.src).filter(Boolean),
  views: Bokeh.documents[0].roots().flatMap((m) => m.esm ? [[m.bundle, m.esm]] : []),
  fetched: performance.getEntriesByType("resource").map(({name}) => name)
    .filter((name) => name.includes("/scripts/")),
  ahead: [...document.querySelectorAll("link[rel=modulepreload]")].map((l) => l.href),
})"""


def test_page__loads_and_reads_no_script_that_no_view_needs(page):
    found = page.evaluate(SCRIPTS)

    loaded = [re.search(r"([\w.-]+)\?", address)[1] for address in found["loaded"]]
    assert loaded == [
        "bokeh.min.js",
        "bokeh-widgets.min.js",
        "bokeh-tables.min.js",
        "panel.min.js",
    ]
    assert len(found["views"]) > 10
    assert {bundle for bundle, _ in found["views"]} == {"url"}
    place = page.url.partition("?")[0]
    addresses = sorted(place + esm.removeprefix("./") for _, esm in found["views"])
    assert len(set(addresses)) == len(addresses)
    # Each was asked for once, before the page's document named it.
    assert sorted(found["fetched"]) == addresses == sorted(found["ahead"])


def test_class__clicked_changes_list_channels_and_address(page):
    page.locator(".row[data-class='6']").click()

    sync_api.expect(is_chosen(page, 6)).to_be_visible()
    sync_api.expect(page.locator(".facts .title")).to_have_text("cat")
    expect_address(page, layer="late", **{"class": "6"})
    sync_api.expect(page.locator(".row").first).to_be_visible()
    assert rows(page)[0] == 6
    # Channels come when the subset has been looked up.
    sync_api.expect(page.locator(".channel-row").first).to_have_attribute(
        "data-channel", re.compile("^(18|19|20)$")
    )
    shown = page.locator(".channel-row").evaluate_all(
        "rows => rows.slice(0, 3).map(r => +r.dataset.channel).sort((a, b) => a - b)"
    )
    assert shown == [18, 19, 20]


def test_layer__clicked_changes_titles_and_address(page):
    page.locator("[data-layer='early']").click()

    expect_address(page, layer="early")
    sync_api.expect(page.locator(".second .title")).to_have_text(
        "Top channels in early"
    )
    sync_api.expect(page.get_by_text("Classes in early")).to_be_visible()


def test_layer__follows_the_arrow_keys(page):
    page.locator("[data-layer='late']").focus()

    page.keyboard.press("ArrowLeft")

    expect_address(page, layer="middle")
    sync_api.expect(page.locator("[data-layer='middle']")).to_be_focused()


MOVES = "!matchMedia('(prefers-reduced-motion: reduce)').matches"
SUBSETS = "canvas => [...Array(10).keys()].filter((s) => canvas.placeOf(s))"


def place_of(page, subset):
    """Return where a class lies on the map, in pixels of the window."""
    canvas = page.locator(".map")
    if page.evaluate(MOVES):
        page.wait_for_timeout(600)  # the points move to their places
    box = canvas.bounding_box()
    x, y = canvas.evaluate("(canvas, subset) => canvas.placeOf(subset)", subset)
    return box["x"] + x, box["y"] + y


@pytest.mark.moving
def test_map__a_point_clicked_chooses_its_class(page):
    page.mouse.click(*place_of(page, 8))

    expect_address(page, **{"class": "8"})
    sync_api.expect(page.locator(".facts .title")).to_have_text("eel")


def test_map__pointed_at_marks_the_row(page):
    page.mouse.move(*place_of(page, 8))

    sync_api.expect(page.locator(".row.pointed[data-class='8']")).to_be_visible()
    page.mouse.move(700, 300)
    sync_api.expect(page.locator(".row.pointed")).to_have_count(0)


@pytest.mark.moving
def test_map__cannot_be_lost_and_is_fitted_again(page):
    before = place_of(page, 8)
    page.mouse.move(before[0] + 40, before[1] + 20)
    for _ in range(30):
        page.mouse.wheel(0, 600)
    out = place_of(page, 8)
    assert abs(out[0] - before[0]) < 200
    assert abs(out[1] - before[1]) < 200
    for _ in range(30):
        page.mouse.wheel(0, -600)
    page.get_by_role("button", name="Show the whole map").click()

    assert place_of(page, 8) == pytest.approx(before, abs=1)


@pytest.mark.parametrize("moves", [False, pytest.param(True, marks=pytest.mark.moving)])
def test_map__is_whole_at_first_also_where_nothing_moves(page, moves):
    assert page.evaluate(MOVES) is moves
    page.reload()
    page.wait_for_function("document.documentElement.dataset.ready === 'yes'")
    before = place_of(page, 8)

    page.get_by_role("button", name="Show the whole map").click()

    assert place_of(page, 8) == pytest.approx(before, abs=1)


IN_VIEW = """canvas => [...Array(10).keys()].map((s) => canvas.placeOf(s))
  .filter((at) => at && at[0] >= 0 && at[1] >= 0 && at[0] <= canvas.clientWidth
                  && at[1] <= canvas.clientHeight).length"""


def test_map__always_has_a_point_in_view(page):
    canvas = page.locator(".map")
    place_of(page, 8)
    box = canvas.bounding_box()
    corners = [(x, y) for x in (0.02, 0.98) for y in (0.02, 0.98)]
    for x, y in corners:
        page.get_by_role("button", name="Show the whole map").click()
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
        for _ in range(12):
            page.mouse.wheel(0, -600)
        assert canvas.evaluate(IN_VIEW) > 0
        for _ in range(6):  # and away from there, corner by corner
            page.mouse.move(box["x"] + 5, box["y"] + 5)
            page.mouse.down()
            page.mouse.move(box["x"] + box["width"] - 5, box["y"] + 50, steps=3)
            page.mouse.up()
        assert canvas.evaluate(IN_VIEW) > 0


def test_map__is_walked_and_chosen_by_keys(page):
    places = {s: place_of(page, s) for s in page.locator(".map").evaluate(SUBSETS)}
    rightmost = max(places, key=lambda subset: places[subset][0])
    page.locator(f".row[data-class='{rightmost}']").click()
    expect_address(page, **{"class": str(rightmost)})
    page.locator(".map").focus()

    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")

    page.wait_for_url(lambda url: f"class={rightmost}" not in url)
    chosen = int(page.url.split("class=")[1].split("&")[0])
    assert places[chosen][0] < places[rightmost][0]


def test_histograms__have_one_axis_above_them_and_say_what_they_show(page):
    axis = page.locator(".confidence-axis").bounding_box()
    drawn = page.locator(".row .histogram")
    boxes = [one.bounding_box() for one in drawn.all()[:3]]

    assert page.locator(".confidence-axis").inner_text().split() == ["0", "1"]
    for box in boxes:
        assert box["x"] == pytest.approx(axis["x"], abs=1)
        assert box["width"] == pytest.approx(axis["width"], abs=1)
        assert box["y"] >= axis["y"] + axis["height"] - 1
    bars = drawn.first.locator("path").get_attribute("d")
    lefts = [float(part.split()[0]) for part in bars.split("M")[1:]]
    said = drawn.first.get_attribute("aria-label")
    assert said.startswith("half of the predictions have a confidence of ")
    assert min(lefts) / 20 - 0.01 <= float(said.split()[-3]) <= max(lefts) / 20


def test_search__lists_what_it_finds_and_takes_the_first_at_enter(page):
    page.get_by_label("Search classes").fill("WOL")

    sync_api.expect(page.locator(".row")).to_have_count(1)
    expect_address(page, find="WOL")

    page.keyboard.press("Enter")
    expect_address(page, **{"class": "1"})


def test_search__of_nothing_says_so(page):
    page.get_by_label("Search classes").fill("zzz")

    sync_api.expect(page.locator(".space.nothing")).to_be_visible()
    sync_api.expect(page.locator(".row")).to_have_count(0)


def test_sort__by_name_and_accuracy(page):
    page.locator("[data-sort='name']").click()
    first = page.locator(".row[data-class='3'][aria-posinset='1']")
    sync_api.expect(first).to_be_visible()
    expect_address(page, sort="name")
    assert rows(page)[:4] == [3, 4, 5, 6]

    page.locator("[data-sort='accuracy']").click()
    expect_address(page, sort="accuracy")
    best = rows(page)
    page.locator("[data-sort='accuracy']").click()
    expect_address(page, sort="errors")
    assert sorted(best) == sorted(rows(page))
    assert best[0] != rows(page)[0]


def test_class__of_the_list_is_chosen_by_keys(page):
    page.locator("[data-sort='name']").click()
    first = page.locator(".row[data-class='3'][aria-posinset='1']")
    sync_api.expect(first).to_be_visible()
    page.locator(".scroller").focus()

    page.keyboard.press("Home")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")

    expect_address(page, **{"class": "4"})


def test_chosen_class__stays_in_view_at_the_edge_behind_which_it_is(
    turn, finished_address
):
    page = turn(finished_address, "?class=3&sort=name")
    page.set_viewport_size({"width": 1440, "height": 500})
    listed, chosen = page.locator(".scroller"), is_chosen(page, 3)
    sync_api.expect(chosen).to_have_attribute("aria-posinset", "1")

    listed.evaluate("(list) => { list.scrollTop = list.scrollHeight }")

    sync_api.expect(chosen).to_have_class(re.compile("at-edge"))
    assert listed.evaluate("(list) => list.scrollTop") > 26
    assert chosen.bounding_box()["y"] == listed.bounding_box()["y"]
    listed.evaluate("(list) => { list.scrollTop = 0 }")
    sync_api.expect(chosen).not_to_have_class(re.compile("at-edge"))


def test_channel__clicked_names_the_classes_that_use_it(page):
    page.locator(".row[data-class='6']").click()
    page.locator(".channel-row[data-channel='18'] .channel").click()

    expect_address(page, channel="18")
    sync_api.expect(page.locator(".uses")).to_contain_text("cat")
    sync_api.expect(page.get_by_text("channel 18 is more often on top")).to_be_visible()

    page.locator("[data-layer='early']").click()
    page.wait_for_url(lambda url: "channel" not in url)


def test_ranking__by_lift(page):
    page.locator("[data-ranking='lift']").click()

    expect_address(page, channels="lift")
    pressed = page.locator("[data-ranking='lift']")
    sync_api.expect(pressed).to_have_attribute("aria-pressed", "true")


def test_pictures__are_loaded(page):
    page.wait_for_function(
        """() => {
          const all = (root) => [...root.querySelectorAll("*")].flatMap(
            (n) => [n, ...(n.shadowRoot ? all(n.shadowRoot) : [])])
          const images = all(document).filter((n) => n.closest(".example") && n.src)
          return images.length > 3 &&
            images.slice(0, 3).every((n) => n.naturalWidth > 0)
        }"""
    )


def test_address__brings_the_same_view_back(page):
    page.locator("[data-layer='middle']").click()
    expect_address(page, layer="middle")
    page.locator(".row[data-class='5']").click()
    expect_address(page, **{"class": "5"})
    page.locator("[data-sort='name']").click()
    expect_address(page, sort="name")
    before = page.url

    page.reload()
    page.wait_for_selector(".channel-row")

    assert page.url == before
    sync_api.expect(page.locator(".facts .title")).to_have_text("bee")
    sync_api.expect(page.locator("[data-layer='middle']")).to_have_attribute(
        "aria-checked", "true"
    )
    assert rows(page)[0] == 3


def test_back__returns_to_the_choice_before(page):
    start = page.url
    page.locator(".row[data-class='6']").click()
    expect_address(page, **{"class": "6"})
    page.locator("[data-layer='early']").click()
    expect_address(page, layer="early")

    page.go_back()
    expect_address(page, layer="late", **{"class": "6"})
    sync_api.expect(page.locator(".second .title")).to_have_text("Top channels in late")
    page.go_back()
    sync_api.expect(page.locator(".facts .title")).not_to_have_text("cat")
    assert page.url == start

    page.go_forward()
    sync_api.expect(page.locator(".facts .title")).to_have_text("cat")


def test_names__from_data_are_text(page):
    page.locator(".row[data-class='3']").hover()
    page.locator(".row[data-class='3']").click()

    sync_api.expect(page.locator(".facts .title")).to_have_text(HARMFUL)
    page.locator(".channel-row[data-channel='9'] .channel").click()
    sync_api.expect(page.locator(".uses")).to_contain_text("<img")
    page.mouse.move(700, 300)
    page.wait_for_timeout(300)
    assert page.evaluate("window.harmed") is None


def test_names__that_are_equal_are_told_apart(page):
    page.get_by_label("Search classes").fill("crane")

    sync_api.expect(page.locator(".row")).to_have_count(2)
    texts = page.locator(".row .name").all_inner_texts()
    assert sorted(texts) == ["crane (0)", "crane (2)"]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        pytest.param("open sesame\n", "visitor", id="one-password"),
        pytest.param('{"ada": "open sesame"}', "ada", id="users"),
    ],
)
def test_password__opens_the_page_and_its_pictures(
    visit, finished_url, tmp_path, text, name
):
    (tmp_path / "passwords").write_text(text)
    options = ("--basic-auth", str(tmp_path / "passwords"))

    with served(finished_url, *options) as (_, address):
        page = visit(address, has_views=False)
        page.get_by_label("Name").fill(name)
        page.get_by_label("Password").fill("wrong")
        page.keyboard.press("Enter")
        sync_api.expect(page.get_by_role("alert")).to_contain_text("Invalid")
        page.get_by_label("Name").fill(name)
        page.get_by_label("Password").fill("open sesame")
        page.keyboard.press("Enter")

        page.wait_for_selector(".channel-row")
        image = page.locator(".example img").first
        sync_api.expect(image).to_have_js_property("complete", True)
        assert image.evaluate("image => image.naturalWidth") > 0
        page.goto("about:blank")


@pytest.mark.parametrize(
    ("fixture", "stage"),
    [
        pytest.param("partial_url", "extract", id="extraction-unfinished"),
        pytest.param("extracted_url", "aggregate", id="nothing-aggregated"),
        pytest.param("aggregated_url", "derive", id="nothing-derived"),
    ],
)
def test_missing_stage__shows_the_command(visit, request, fixture, stage):
    url = request.getfixturevalue(fixture)

    with served(url) as (_, address):
        page = visit(address)

        command = page.locator("code").first
        sync_api.expect(command).to_have_text(f"nnviz {stage} {url}")
        page.goto("about:blank")


def test_address__of_nonsense_opens_the_start(visit, finished_address):
    page = visit(finished_address, "?layer=%3Cscript%3E&class=77&sort=x")

    expect_address(page, layer="late")
    sync_api.expect(page.locator(".channel-row").first).to_be_visible()
