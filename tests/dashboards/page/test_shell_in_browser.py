"""What surrounds the views: small windows, light and dark, a server that is gone."""

import pytest

from nnviz_dashboards.shared.theme import DARK, LIGHT
from tests.dashboards.served_pages import expect_address, served, wait_until

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = [pytest.mark.browser, pytest.mark.slow]

NARROW = {"width": 390, "height": 844}


def overflowing(page):
    """Return what sticks out of the window and cannot be scrolled to."""
    return page.evaluate(
        """() => {
          const all = (root) => [...root.querySelectorAll("*")].flatMap(
            (n) => [n, ...(n.shadowRoot ? all(n.shadowRoot) : [])])
          const parent = (n) => n.parentElement ?? n.getRootNode().host
          const scrolls = (n) => {
            for (let p = parent(n); p; p = parent(p)) {
              const {overflowX} = getComputedStyle(p)
              const is_hiding = overflowX !== "visible"
              if (is_hiding && p !== document.body && p.clientWidth <= innerWidth) {
                return true
              }
            }
            return false
          }
          return all(document.body)
            .filter((n) => n.getBoundingClientRect().right > innerWidth + 1)
            .filter((n) => n.getBoundingClientRect().width > 0 && !scrolls(n))
            .map((n) => `${n.tagName}.${n.getAttribute("class")}`)
        }"""
    )


def color_of(page, variable):
    return page.evaluate(
        f"getComputedStyle(document.documentElement).getPropertyValue('--{variable}')"
    )


def test_narrow_window__has_every_part_and_nothing_sticks_out(turn, graph_address):
    page = turn(graph_address, "?class=6")
    page.wait_for_selector(".node")
    page.set_viewport_size(NARROW)

    for part, inside in [("map", ".map"), ("classes", ".row"), ("main", ".node")]:
        page.locator(f"[data-part='{part}']").click()
        sync_api.expect(page.locator(inside).first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        assert overflowing(page) == []
    for menu in ("Options", "Save"):
        page.locator("summary", has_text=menu).click()
        assert overflowing(page) == []
        page.keyboard.press("Escape")

    for view in page.locator("[data-view]").all():
        if view.evaluate("view => view.matches('button')"):
            view.click()
            page.wait_for_timeout(300)
            assert overflowing(page) == []


def test_phone__shows_all_of_what_opens_over_the_graph(visit, graph_address):
    page = visit(graph_address, "?class=6")
    page.wait_for_selector(".node")
    page.set_viewport_size(NARROW)
    graph = page.locator("section.graph-panel")

    for name in ("Options", "Save", "Does it matter?", "Show the code"):
        menu = graph.locator(".menu", has=page.locator("summary", has_text=name))
        menu.locator("summary").click()
        opened = menu.locator(".menu-panel").bounding_box()
        around = graph.bounding_box()
        # What the panel around it hides cannot be scrolled to.
        assert opened["x"] >= around["x"], name
        assert opened["x"] + opened["width"] <= around["x"] + around["width"], name
        assert opened["y"] >= around["y"], name
        assert opened["y"] + opened["height"] <= around["y"] + around["height"], name
        page.keyboard.press("Escape")


def test_phone__has_the_menu_of_the_neurons_beside_their_title(visit, graph_address):
    page = visit(graph_address, "?layer=late&class=6&matrix=open")
    page.set_viewport_size(NARROW)
    title = page.locator(".matrix-toggle")
    menu = page.locator(".matrix-tools > .menu")

    def is_beside():
        first, second = title.bounding_box(), menu.bounding_box()
        middle = first["y"] + first["height"] / 2
        return second["y"] < middle < second["y"] + second["height"]

    wait_until(page, is_beside)
    note = page.locator(".matrix-title > .note")
    assert note.evaluate("note => note.scrollWidth <= note.clientWidth")


def test_strip__has_the_chosen_layer_in_view(turn, graph_address):
    page = turn(graph_address)
    page.set_viewport_size({"width": 270, "height": 844})

    def is_in_view(name):
        return page.wait_for_function(
            """(name) => {
              const find = (root) => root.querySelector(`.layer[data-layer=${name}]`) ??
                [...root.querySelectorAll("*")]
                  .map((n) => n.shadowRoot && find(n.shadowRoot)).find(Boolean)
              const box = find(document)?.getBoundingClientRect()
              return box && box.left >= 0 && box.right <= innerWidth
            }""",
            arg=name,
        )

    is_in_view("late")
    page.locator(".layer[data-layer='late']").focus()
    page.keyboard.press("Home")
    expect_address(page, layer="early")
    is_in_view("early")


def test_headings_and_choices__have_names(turn, graph_address):
    page = turn(graph_address)
    page.wait_for_selector(".row")

    assert page.locator("h1").count() == 1
    assert page.get_by_role("radiogroup", name="Layer").get_by_role("radio").count() > 1
    unnamed = page.evaluate(
        """() => {
          const all = (root) => [...root.querySelectorAll("*")].flatMap(
            (n) => [n, ...(n.shadowRoot ? all(n.shadowRoot) : [])])
          const kinds = "button, input, select, canvas[tabindex], [role$=group]"
          return all(document).filter((n) => n.matches(kinds))
            .filter((n) => !(n.getAttribute("aria-label") || n.textContent.trim() ||
                             n.title || n.labels?.length))
            .map((n) => n.outerHTML)
        }"""
    )
    assert unnamed == []


def test_low_window__scrolls_to_the_view(turn, graph_address):
    page = turn(graph_address, "?matrix=open&beside=early")
    page.set_viewport_size({"width": 1100, "height": 700})

    page.locator(".graph-place").scroll_into_view_if_needed()

    assert page.locator(".graph-place").bounding_box()["height"] >= 390


@pytest.mark.parametrize("size", [(390, 844), (1024, 768), (1440, 900)])
def test_graph__below_open_neurons_is_large_enough_to_read(turn, graph_address, size):
    page = turn(graph_address, "?matrix=open")
    page.set_viewport_size(dict(zip(("width", "height"), size, strict=True)))

    drawing = page.locator(".graph-place svg.graph")

    wait_until(page, lambda: drawing.bounding_box()["height"] >= 180)


def test_neurons__in_a_narrow_window_have_their_menu_beside_the_title(
    turn, graph_address
):
    page = turn(graph_address, "?layer=late&class=6&matrix=open")
    page.set_viewport_size({"width": 1024, "height": 768})
    title = page.locator(".matrix-toggle").bounding_box()
    menu = page.locator(".matrix-tools > .menu")

    def middle(locator):
        box = locator.bounding_box()
        return box["y"] + box["height"] / 2

    assert abs(middle(menu) - title["y"] - title["height"] / 2) < 6
    tools = page.locator(".matrix-tools > :is(.segments, .field, .matrix-more)")
    rows = {round(middle(one) / 6) for one in tools.all() if one.is_visible()}
    assert len(rows) == 1
    menu.get_by_text("More", exact=True).click()
    sync_api.expect(menu.get_by_role("button", name="Picture (PNG)")).to_be_visible()

    page.keyboard.press("Escape")
    page.get_by_role("button", name="Neurons in late").click()
    sync_api.expect(page.locator(".matrix-tools > .menu")).to_be_hidden()
    wait_until(
        page, lambda: page.locator(".matrix-title").bounding_box()["height"] <= 40
    )


def test_sentence__has_the_lines_that_it_needs_and_keeps_them(turn, graph_address):
    page = turn(graph_address, "?layer=late&class=6")
    page.set_viewport_size({"width": 1024, "height": 768})
    sentence = page.locator(".sentence")
    sync_api.expect(sentence).to_contain_text("Exact")

    def needs():
        """Return the height of its text alone."""
        return sentence.evaluate(
            """(said) => {
              const range = document.createRange()
              range.selectNodeContents(said)
              return range.getBoundingClientRect().height
            }"""
        )

    def height():
        return sentence.bounding_box()["height"]

    wait_until(page, lambda: 36 <= height() < max(36, needs()) + 18)

    page.set_viewport_size({"width": 390, "height": 768})
    wait_until(page, lambda: needs() > 54 and height() < needs() + 18)
    kept = height()
    page.locator(".query").fill("id = 4")
    page.locator(".query").press("Enter")
    wait_until(page, lambda: needs() < kept - 17)
    assert height() == pytest.approx(kept, abs=1)

    page.set_viewport_size({"width": 1024, "height": 768})
    wait_until(page, lambda: height() < kept)


def test_legend__of_two_lines_leaves_the_lowest_row_in_sight(turn, graph_address):
    page = turn(graph_address, "?class=6&versus=wolf")
    page.set_viewport_size({"width": 1024, "height": 768})
    legend = page.locator(".graph-panel .legend")

    def is_free():
        nodes = page.locator(".graph-panel .node").all()
        lowest = max(b["y"] + b["height"] for b in (n.bounding_box() for n in nodes))
        return lowest <= legend.bounding_box()["y"] + 1

    wait_until(page, lambda: legend.bounding_box()["height"] > 30)
    wait_until(page, is_free)


def test_about__says_what_the_page_is_and_closes(turn, graph_address):
    page = turn(graph_address)
    page.set_viewport_size(NARROW)
    text = page.locator(".about > div")
    sync_api.expect(text).to_be_hidden()

    page.get_by_text("What is this?").click()
    sync_api.expect(text).to_contain_text("A neural network has looked at")
    box = text.bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= NARROW["width"]

    page.keyboard.press("Escape")
    sync_api.expect(text).to_be_hidden()
    page.get_by_text("What is this?").click()
    page.locator(".parts").click()
    sync_api.expect(text).to_be_hidden()


def test_colours__follow_the_system_and_then_the_visitor(visit, graph_address):
    page = visit(graph_address)
    page.emulate_media(color_scheme="dark")
    page.reload()
    assert color_of(page, "panel") == DARK["panel"]

    page.get_by_role("button", name="Light", exact=True).click()
    assert color_of(page, "panel") == LIGHT["panel"]
    page.reload()
    assert color_of(page, "panel") == LIGHT["panel"]

    page.get_by_role("button", name="Dark", exact=True).click()
    assert color_of(page, "panel") == DARK["panel"]
    page.emulate_media(color_scheme="light")
    assert color_of(page, "panel") == LIGHT["panel"]


def test_server_that_ends__is_told(visit, finished_url):
    with served(finished_url) as (process, address):
        page = visit(address, may_complain=True)
        page.wait_for_selector(".row")
        told = page.get_by_role("alert")
        sync_api.expect(told).to_be_hidden()

        process.terminate()
        process.wait(timeout=20)

        sync_api.expect(told).to_contain_text("connection to the server was lost")
        sync_api.expect(told.get_by_role("button", name="Reload")).to_be_visible()
