"""The network as a visitor uses it: blocks, tensors, shades, keys, and the address."""

import csv
from xml.etree import ElementTree as ET

import pytest

from tests.dashboards.served_pages import expect_address, wait_until

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = [pytest.mark.browser, pytest.mark.slow]
expect = sync_api.expect

FOCUSED = """(() => {
  let node = document.activeElement
  while (node.shadowRoot?.activeElement) node = node.shadowRoot.activeElement
  return node.dataset.key
})()"""
"""What has the focus, inside of all shadow roots."""


def test_blocks__are_opened_and_closed_and_stay_so_in_the_address(turn, deep_address):
    page = turn(deep_address, "?view=model")
    part = page.locator(".network-panel .part")
    expect(page.locator("[data-key='block:layer2.1']")).to_have_class("part block")
    expect(page.locator("[data-key='tensor:layer2.1']")).to_have_count(0)

    page.locator("[data-key='block:layer2.1']").click()
    expect(page.locator("[data-key='tensor:layer2.1']")).to_be_visible()
    expect(page.locator("[data-key='join:layer2.1']")).to_have_count(1)
    page.reload()
    page.wait_for_function("document.documentElement.dataset.ready === 'yes'")
    expect(page.locator("[data-key='tensor:layer2.1']")).to_be_visible()

    page.locator("[data-key='block:layer2'] .frame-title").click()
    expect(page.locator("[data-key='tensor:layer2.1']")).to_have_count(0)
    page.get_by_role("button", name="Close all").click()
    expect(part).to_have_count(7)  # input, conv1, three blocks, linear twice
    page.get_by_role("button", name="Open all").click()
    expect(page.locator(".network-panel .part.tensor")).to_have_count(32)
    page.get_by_role("button", name="As at first").click()
    expect(page.locator(".network-panel .part.block")).to_have_count(15)


def test_tensors__open_their_layer_and_show_shades(turn, deep_address):
    page = turn(deep_address, "?view=model&blocks=layer3,layer3.0,layer3.1")
    page.locator("[data-key='tensor:layer3.0']").click()

    expect_address(page, layer="layer3.0", matrix="open")
    expect(page.locator("[data-key='tensor:layer3.0']")).to_have_class(
        "part tensor chosen"
    )

    page.locator("[data-key='tensor:layer3.1']").click(modifiers=["Shift"])
    expect_address(page, layer="layer3.0", beside="layer3.1")
    expect(page.locator("[data-key='tensor:layer3.1']")).to_have_class(
        "part tensor beside"
    )
    expect(page.locator(".matrix-layer")).to_have_count(2)
    page.get_by_label("Shaded by").select_option("dead")
    expect(page.locator(".network-note")).to_contain_text("no instance excites")
    page.locator("[data-key='tensor:conv1']").hover()
    expect(page.locator(".network-tip")).to_contain_text("16 channels are dead")


def test_keys__walk_and_open(visit, deep_address):
    page = visit(deep_address, "?view=model&blocks=-")
    page.locator(".network-panel [role=button][tabindex='0']").focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate(FOCUSED) == "block:layer1"

    page.keyboard.press("Enter")
    expect(page.locator("[data-key='block:layer1.0']")).to_be_visible()
    assert page.evaluate(FOCUSED) == "block:layer1"


def test_phone__has_names_that_can_be_read_and_all_of_it_on_demand(visit, deep_address):
    page = visit(deep_address, "?view=model")
    page.set_viewport_size({"width": 390, "height": 844})
    page.get_by_role("button", name="Open all").click()
    expect(page.locator(".network-panel .part.tensor")).to_have_count(32)
    world = page.locator("svg.network > g")

    def scale():
        return float(world.get_attribute("transform").split("scale(")[1][:-1])

    wait_until(page, lambda: scale() == 0.75)
    page.locator(".network-panel").get_by_label("All of it").click()

    wait_until(page, lambda: scale() < 0.6)
    canvas = page.locator(".network-panel .canvas").bounding_box()
    last = page.locator("[data-key='tensor:linear'] .circle")
    wait_until(
        page,
        lambda: last.bounding_box()["x"] < canvas["x"] + canvas["width"],
    )


def test_menu__gives_the_drawing_its_numbers_and_lines(turn, graph_address):
    page = turn(graph_address, "?view=model&shaded=dead")
    menu = page.locator(".network-panel .chart-menu")
    menu.locator("summary").click()
    expect(menu.locator(".chart-explanation")).to_contain_text("circles are tensors")
    expect(menu.locator("pre")).to_contain_text("architecture.layers")
    with page.expect_download() as saved:
        menu.locator("[data-save=csv]").click()
    with saved.value.path().open(newline="") as file:
        rows = list(csv.DictReader(file))
    tensors = {row["layer"] for row in rows if row["kind"] == "tensor"}
    assert {"early", "middle", "late"} <= tensors
    assert any("channels are dead" in row["shaded_by"] for row in rows)

    menu.locator("summary").click()
    with page.expect_download() as saved:
        menu.locator("[data-save=svg]").click()
    drawing = ET.fromstring(saved.value.path().read_bytes())
    texts = {node.text for node in drawing.iter("{http://www.w3.org/2000/svg}text")}
    assert {"early", "middle", "late"} <= texts
