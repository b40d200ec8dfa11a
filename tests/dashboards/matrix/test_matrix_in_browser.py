"""The neuron matrix as a visitor uses it: pixels, clicks, keys and files."""

import csv
from xml.etree import ElementTree as ET

import pytest

from tests.dashboards.served_pages import expect_address, wait_until

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = [pytest.mark.browser, pytest.mark.slow]
expect = sync_api.expect

SVG = "{http://www.w3.org/2000/svg}"


OPEN = "?layer=late&class=6&matrix=open&kept=%234"


@pytest.fixture
def page(turn, graph_address):
    page = turn(graph_address, OPEN)
    expect(page.locator(".matrix-head").first).to_be_visible()
    return page


def cells(page):
    return page.locator(".matrix-cells")


def names(page):
    return page.locator(".matrix-head .name").all_inner_texts()


def width_of(page):
    """Return how wide a column is, in pixels."""
    space = "(canvas) => parseFloat(canvas.parentNode.style.width)"
    return cells(page).evaluate(space) / 96


def darkness(page, row, column):
    """Return how blue a cell's middle is drawn: less red is darker."""
    return page.locator(".matrix-cells").evaluate(
        """(canvas, [row, column]) => {
          const heads = canvas.getRootNode().querySelectorAll(".matrix-head").length
          const width = parseFloat(canvas.parentNode.style.width) / 96
          const scale = devicePixelRatio
          const at = [(column + 0.5) * width * scale, (row * 20 + 10) * scale]
          return 255 - canvas.getContext("2d").getImageData(...at, 1, 1).data[0]
        }""",
        [row, column],
    )


def test_matrix__opens_and_closes(page):
    page.get_by_role("button", name="Neurons in late").click()
    expect(cells(page)).to_be_hidden()
    page.wait_for_url(lambda url: "matrix" not in url)

    page.get_by_role("button", name="Neurons in late").click()
    expect(cells(page)).to_be_visible()
    expect_address(page, matrix="open")


def test_rows__are_named_and_sort_the_columns(page):
    assert names(page)[:4] == ["cat", "all others", "#4 " + names(page)[2][3:], "cat"]

    page.locator("[data-key='class 6'] .matrix-name").click()

    expect_address(page, sorted="class+6")
    expect(page.locator("[data-key='class 6'].sorted")).to_be_visible()
    row = 3
    wait_until(page, lambda: darkness(page, row, 0) > darkness(page, row, 95))


def test_cell__clicked_is_the_channel_of_all_views(page):
    page.get_by_label("Sorted by").select_option("number")
    expect_address(page, sorted="number")
    box = cells(page).bounding_box()
    width = width_of(page)
    page.mouse.move(box["x"] + 18.5 * width, box["y"] + 30)
    expect(page.locator(".matrix-cell")).to_contain_text("channel 18")
    expect(page.locator(".matrix-cell")).to_contain_text("adjusted p")

    page.mouse.click(box["x"] + 18.5 * width, box["y"] + 30)

    expect_address(page, channel="18")
    expect(page.locator(".node.pinned")).to_have_count(1)


def test_keys__move_read_sort_and_remove(page):
    cells(page).focus()
    page.keyboard.press("ArrowDown")
    expect(page.locator(".matrix-cell")).to_contain_text("cat")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    expect(page.locator(".matrix-cell")).to_contain_text("#4")
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: "channel=" in url)
    page.keyboard.press("s")
    expect_address(page, sorted="%234")
    page.keyboard.press("Delete")
    page.wait_for_url(lambda url: "kept" not in url)
    expect(page.locator("[data-key='#4']")).to_have_count(0)


def test_measure_and_shade__are_in_the_address(page):
    page.locator("[data-measure='share']").click()
    expect_address(page, measure="share")
    expect(page.locator(".matrix-legend")).to_contain_text("share on top")
    page.get_by_label("Strongest").select_option("channel")
    expect_address(page, shade="channel")
    page.locator("[data-measure='maximum']").click()
    expect(page.locator(".matrix-legend")).to_contain_text("maximum")

    page.go_back()
    expect(page.locator(".matrix-legend")).to_contain_text("share on top")


def test_row__of_a_is_kept_and_removed(page):
    page.locator("[data-key='A']").hover()
    page.get_by_label("Keep cat as a row").click()
    kept = page.locator("[data-key='label = cat']")
    expect(kept).to_be_visible()

    kept.hover()
    kept.get_by_label("Remove cat").click()
    expect(kept).to_have_count(0)


def test_kept_rows__are_renamed_and_dragged(page):
    page.locator("[data-key='A']").hover()
    page.get_by_label("Keep cat as a row").click()
    row = page.locator("[data-key='label = cat']")
    row.hover()
    page.get_by_label("Rename cat").click()
    page.get_by_label("New name of cat").fill("my cats")
    page.keyboard.press("Enter")
    expect(row).to_contain_text("my cats")

    box = row.bounding_box()
    page.mouse.move(box["x"] + 40, box["y"] + 10)
    page.mouse.down()
    page.mouse.move(box["x"] + 40, box["y"] - 4, steps=4)
    page.mouse.move(box["x"] + 40, box["y"] - 12, steps=2)
    page.mouse.up()

    expect_address(page, kept="label+%3D+cat%09my+cats%0A%234")
    expect(page.locator(".matrix-head").nth(2)).to_contain_text("my cats")
    expect(page.locator(".matrix-head.sorted")).to_have_count(0)  # a drag is no click


def test_files__table_and_picture_are_saved(page):
    page.locator(".matrix-tools .menu summary").click()
    expect(page.locator(".matrix-tools .chart-explanation")).to_contain_text("stronger")
    with page.expect_download() as saved:
        page.locator(".matrix-tools [data-save=csv]").click()
    table = list(csv.reader(saved.value.path().read_text().splitlines()))
    assert len(table) == 1 + 2 + 1 + 10 + 2
    assert len(table[0]) == 2 + 96

    page.locator(".matrix-tools .menu summary").click()
    with page.expect_download() as saved:
        page.locator(".matrix-tools [data-save=png]").click()
    assert saved.value.path().read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"

    page.locator(".matrix-tools .menu summary").click()
    with page.expect_download() as saved:
        page.locator(".matrix-tools [data-save=svg]").click()
    drawing = ET.fromstring(saved.value.path().read_bytes())
    texts = {node.text for node in drawing.iter(f"{SVG}text")}
    assert {name[:34] for name in names(page)} | {"A − B"} <= texts
    assert len(list(drawing.iter(f"{SVG}rect"))) > 96


def test_confusion__opens_the_matrix(turn, graph_address):
    page = turn(graph_address)
    expect(cells(page)).to_be_hidden()

    page.locator(".facts .confusions .link").first.click()

    expect(page.locator(".matrix-head.kind-a")).to_contain_text("taken for")
    expect(page.locator(".matrix-head.kind-b")).to_contain_text("right")


@pytest.fixture
def stacked(turn, graph_address):
    query = "?layer=late&class=6&matrix=open&beside=early&kept=%234"
    page = turn(graph_address, query)
    expect(layer_of(page, "early").locator(".matrix-head").first).to_be_visible()
    return page


def layer_of(page, name):
    return page.get_by_role("region", name=f"Neurons in {name}", exact=True)


def test_layers__are_opened_from_the_head_the_strip_and_by_key(page):
    page.get_by_label("Open another layer").select_option("early")
    expect_address(page, beside="early")
    expect(layer_of(page, "early").locator(".matrix-head").first).to_be_visible()
    n = min(len(names(layer_of(page, layer))) for layer in ("early", "late"))
    assert names(layer_of(page, "early"))[:n] == names(layer_of(page, "late"))[:n]

    page.locator(".layer[data-layer=middle]").click(modifiers=["Shift"])
    expect_address(page, beside="early%2Cmiddle", layer="late")
    expect(layer_of(page, "middle")).to_be_in_viewport()
    expect(page.get_by_label("Open another layer")).to_be_hidden()  # all are open

    page.get_by_label("Close early").click()
    expect_address(page, beside="middle")
    expect(page.locator(".matrix-layer")).to_have_count(2)
    page.locator(".layer[data-layer=late]").focus()
    page.keyboard.press("Control+ArrowLeft")
    page.keyboard.press("Shift+Enter")
    page.wait_for_url(lambda url: "beside" not in url)
    page.go_back()
    expect(layer_of(page, "middle")).to_be_visible()


def test_layers__mark_and_scroll_the_same_row_and_sort_by_it(stacked):
    late, early = layer_of(stacked, "late"), layer_of(stacked, "early")
    late.locator("[data-key='#4']").hover()
    expect(early.locator(".matrix-head.pointed")).to_have_attribute("data-key", "#4")
    expect(late.locator(".matrix-head.pointed")).to_have_count(1)

    early.locator("[data-key='#4'] .matrix-name").click()
    expect_address(stacked, sorted="%234")
    expect(late.locator("[data-key='#4'].sorted")).to_be_visible()
    expect(early.locator("[data-key='#4'].sorted")).to_be_visible()

    views = stacked.locator(".matrix-view")
    late.locator(".matrix-view").hover()
    stacked.mouse.wheel(0, 60)

    def are_scrolled_alike():
        tops = [views.nth(k).evaluate("(view) => view.scrollTop") for k in range(2)]
        return tops[0] == tops[1] > 0

    wait_until(stacked, are_scrolled_alike)


def test_layer__below__has_cells_of_its_own(stacked):
    early = layer_of(stacked, "early")
    box = early.locator(".matrix-cells").bounding_box()
    stacked.mouse.move(box["x"] + 8, box["y"] + 30)
    expect(early.locator(".matrix-cell")).to_contain_text("adjusted p")

    stacked.mouse.click(box["x"] + 8, box["y"] + 30)
    stacked.wait_for_url(lambda url: "node=early-" in url and "layer=late" in url)

    early.get_by_role("button", name="Neurons in early").click()
    expect_address(stacked, layer="early", beside="late")
    expect(layer_of(stacked, "late").locator(".matrix-head").first).to_be_visible()


def test_larger__takes_the_room_of_the_view_below(stacked):
    before = stacked.locator(".panel.matrix").bounding_box()["height"]
    stacked.locator(".matrix-large").click()
    expect_address(stacked, matrix="large")
    expect(stacked.locator(".graph-place")).to_be_hidden()
    assert stacked.locator(".panel.matrix").bounding_box()["height"] > before + 100

    stacked.locator("[data-view=channels]").click()
    expect_address(stacked, matrix="open", view="channels")
    expect(stacked.locator(".channel-row").first).to_be_visible()


def test_height__is_dragged_and_moved_by_keys(visit, graph_address):
    page = visit(graph_address, OPEN)
    panel = page.locator(".panel.matrix")
    before = panel.bounding_box()["height"]
    page.get_by_label("Height of the neuron matrix").focus()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")

    wanted = pytest.approx(before - 48, abs=2)
    wait_until(page, lambda: panel.bounding_box()["height"] == wanted)
