"""The attribution graph as a visitor has it: a real server, a real Chromium."""

import json
import re
import struct

import numpy as np
import pytest

from nnviz.testing import planted_channels
from tests.dashboards.served_pages import expect_address, wait_until
from tests.planted_stores import HARMFUL, RUN

sync_api = pytest.importorskip("playwright.sync_api")
expect = sync_api.expect
pytestmark = [pytest.mark.browser, pytest.mark.slow]

LATE_OF_CAT = planted_channels(RUN, "late", 6)[0]


@pytest.fixture
def page(turn, graph_address):
    page = turn(graph_address, "?class=6")
    settled(page, "cat")
    return page


def settled(page, subset):
    """Wait until the graph of a subset stands still."""
    page.wait_for_selector(f".graph-panel[data-subset='{subset}']")
    # The sentence above may take a line more when it is complete.
    for waits in ("Counting the channels", "The exact numbers follow"):
        expect(page.get_by_text(waits)).to_have_count(0, timeout=90_000)
    page.wait_for_selector(".nodes[data-still='yes']", state="attached")


def node(page, layer, channel):
    return page.locator(f".node[data-key='{layer}-{channel}']")


def middle_of(page, layer, channel):
    box = node(page, layer, channel).locator(".back").bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def point_at(page, layer, channel):
    page.mouse.move(*middle_of(page, layer, channel))


def click(page, layer, channel):
    page.mouse.click(*middle_of(page, layer, channel))


def places(page):
    return dict(
        page.locator(".node:not(.gone)").evaluate_all(
            "nodes => nodes.map(n => [n.dataset.key, n.getAttribute('transform')])"
        )
    )


def set_slider(page, name, index):
    page.locator(f"[data-slider='{name}']").evaluate(
        """(input, index) => {
          input.value = index
          input.dispatchEvent(new Event("input", {bubbles: true}))
        }""",
        index,
    )


def choose(page, name, value):
    page.locator(f"[data-select='{name}']").select_option(value)


def test_graph__opens_fitted_with_pictures_and_layers(page):
    view = page.locator("svg.graph").bounding_box()
    boxes = [box.bounding_box() for box in page.locator(".node .back").all()]

    for box in boxes:
        assert view["x"] <= box["x"]
        assert box["x"] + box["width"] <= view["x"] + view["width"]
        assert view["y"] <= box["y"]
        assert box["y"] + box["height"] <= view["y"] + view["height"]
    labels = page.locator(".layer-label").all_inner_texts()
    assert labels == ["early", "middle", "late", "output"]
    tops = [node(page, *key).bounding_box()["y"] for key in (("output", 6),)]
    assert tops[0] < node(page, "late", LATE_OF_CAT).bounding_box()["y"]
    loaded = page.locator(".node .picture[href]").evaluate_all(
        "images => Promise.all(images.map(async i => (await fetch(i.href.baseVal)).ok))"
    )
    assert len(loaded) > 5
    assert all(loaded)
    face = node(page, "output", 6).locator(".face-text")
    sync_api.expect(face).to_have_text("cat")


def test_example__of_a_pinned_card_opens_its_instance(page):
    point_at(page, "late", LATE_OF_CAT)
    card = page.locator("aside.card")
    expect(card.locator("img").first).to_be_visible()
    expect(card.locator(".card-example")).to_have_count(0)  # it follows the mouse

    click(page, "late", LATE_OF_CAT)
    example = card.locator(".card-example").first
    number = example.get_attribute("data-instance")
    example.click()

    expect_address(page, view="instances", instance=number, channel=str(LATE_OF_CAT))
    opened = page.get_by_label("Opened instance")
    expect(opened.get_by_role("heading", name=f"#{number}")).to_be_visible()
    page.go_back()
    expect(card).to_contain_text(f"late channel {LATE_OF_CAT}")


def test_hover__lights_up_what_feeds_a_node_and_what_it_feeds(page):
    point_at(page, "late", LATE_OF_CAT)

    roles = dict(
        page.locator(".node").evaluate_all(
            "nodes => nodes.map(n => [n.dataset.key, n.dataset.role])"
        )
    )
    assert roles[f"late-{LATE_OF_CAT}"] == "self"
    assert roles["output-6"] == "target"
    for channel in planted_channels(RUN, "middle", 6):
        assert roles[f"middle-{channel}"] == "source"
    assert {
        roles[f"early-{channel}"] for channel in planted_channels(RUN, "early", 6)
    } == {""}
    card = page.locator("aside.card")
    sync_api.expect(card).to_contain_text(f"late channel {LATE_OF_CAT}")
    sync_api.expect(card).to_contain_text("Base rate")
    sync_api.expect(card).to_contain_text("output 6")
    sync_api.expect(card.locator(".card-examples").first.locator("img")).to_have_count(
        4
    )
    sync_api.expect(card.locator("img").first).to_have_attribute(
        "alt", re.compile("#.*activation")
    )

    page.locator(".brand").hover()
    sync_api.expect(page.locator("svg.graph.focused")).to_have_count(0)


def test_hover__of_an_arc_tells_its_numbers_and_ends(page):
    at = page.locator(f".hit[data-arc='late-{LATE_OF_CAT}>output-6']").evaluate(
        """path => {
          const middle = path.getPointAtLength(path.getTotalLength() / 2)
          const at = middle.matrixTransform(path.getScreenCTM())
          return [at.x, at.y]
        }"""
    )

    page.mouse.move(*at)

    card = page.locator("aside.card")
    sync_api.expect(card).to_contain_text(f"late channel {LATE_OF_CAT}")
    sync_api.expect(card).to_contain_text("output channel 6: cat")
    sync_api.expect(card).to_contain_text("Feeds in")
    for term in card.locator(".card-facts dt").all():
        assert len(term.get_attribute("title")) > 30
    sync_api.expect(page.locator(".node[data-role='source']")).to_have_count(1)


def test_click__pins_for_the_whole_page_and_escape_gives_up(page):
    click(page, "late", LATE_OF_CAT)

    expect_address(page, layer="late", channel=str(LATE_OF_CAT))
    page.locator(".brand").hover()
    sync_api.expect(page.locator("aside.card.pinned")).to_contain_text("Unpin")
    darker = f"channel {LATE_OF_CAT} is more often on top"
    sync_api.expect(page.get_by_text(darker)).to_be_visible()
    page.reload()
    settled(page, "cat")
    pinned = page.locator(f".node.pinned[data-key='late-{LATE_OF_CAT}']")
    sync_api.expect(pinned).to_have_count(1)

    page.locator("svg.graph").focus()
    page.keyboard.press("Escape")

    page.wait_for_url(lambda url: "channel" not in url)
    sync_api.expect(page.locator(".node.pinned")).to_have_count(0)
    click(page, "late", LATE_OF_CAT)
    expect_address(page, channel=str(LATE_OF_CAT))
    click(page, "late", LATE_OF_CAT)
    page.wait_for_url(lambda url: "channel" not in url)


def test_keys__walk_over_the_nodes_and_pin(page):
    page.locator("svg.graph").focus()
    page.keyboard.press("ArrowDown")  # the walk begins at the output
    sync_api.expect(page.locator("aside.card")).to_contain_text("output channel 6")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")

    expect_address(page, layer="late")
    sync_api.expect(page.locator(".node.pinned")).to_have_count(1)


def expect_shown(page, fits):
    """Wait until the number of visible nodes is as it should be: they fade."""
    shown = page.locator(".node:visible")
    wait_until(page, lambda: fits(shown.count()))


def test_filters__hide_what_is_weak_or_common(page):
    before = page.locator(".node:visible").count()
    set_slider(page, "strength", 8)
    expect_address(page, strength="0.4")
    expect_shown(page, lambda n: 0 < n < before)
    sync_api.expect(page.locator(".graph-footer .note")).to_contain_text("hidden")

    set_slider(page, "strength", 0)
    page.wait_for_url(lambda url: "strength" not in url)
    expect_shown(page, lambda n: n == before)
    set_slider(page, "specificity", 6)
    expect_address(page, lift="3")
    expect_shown(page, lambda n: 0 < n < before)


@pytest.mark.moving
def test_class_change__leaves_shared_nodes_where_they_are(page):
    before = places(page)

    page.locator(".row[data-class='7']").click()
    settled(page, "dog")

    after = places(page)
    shared = before.keys() & after.keys()
    assert len(shared) >= 3
    assert {key: before[key] for key in shared} == {key: after[key] for key in shared}
    assert before.keys() != after.keys()
    page.locator(".row[data-class='6']").click()
    settled(page, "cat")
    assert places(page) == before


def test_options__change_the_graph_and_come_back_from_the_address(page):
    page.get_by_text("Options", exact=True).click()
    choose(page, "preset", "summit")
    expect_address(page, preset="summit")
    scoring = page.locator("[data-select='scoring']")
    sync_api.expect(scoring).to_be_disabled()
    choose(page, "preset", "directed")
    choose(page, "scoring", "specificity")
    expect_address(page, scoring="specificity")
    choose(page, "inner", "nodes")
    choose(page, "share", "0.3")
    expect_address(page, inner="nodes", share="0.3")
    set_slider(page, "gap", 9)
    expect_address(page, gap="90")
    before = page.url

    page.reload()
    settled(page, "cat")

    assert page.url == before
    sync_api.expect(scoring).to_have_value("specificity")
    page.get_by_text("Show the code").click()
    graph = page.get_by_role("region", name="Attribution graph")
    lines = graph.locator(".code")
    sync_api.expect(lines).to_contain_text("scoring='specificity'")
    page.get_by_text("Options", exact=True).click()
    sync_api.expect(lines).to_be_hidden()
    page.keyboard.press("Escape")
    sync_api.expect(scoring).to_be_hidden()


def test_compare__shows_sides_and_does_not_offer_itself(page):
    choose(page, "versus", "dog")
    expect_address(page, versus="dog")
    sync_api.expect(page.locator(".node[data-side='second']").first).to_be_attached()
    sync_api.expect(page.locator(".graph-footer .note")).to_contain_text("shared:")
    for text in ("only dog", "feeds it", "is fed by it"):
        sync_api.expect(page.locator(".legend")).to_contain_text(text)
    sync_api.expect(page.locator(".facts .against")).to_contain_text("against dog: ")
    settled(page, "cat")
    point_at(page, "late", LATE_OF_CAT)
    for text in ("On top in dog", "only cat", "Effect (h)", "Adjusted p"):
        sync_api.expect(page.locator("aside.card")).to_contain_text(text)

    offered = page.locator("[data-select='versus'] option").all_inner_texts()
    assert "cat" not in offered
    choose(page, "versus", "")
    sync_api.expect(page.locator(".node[data-side='second']")).to_have_count(0)


def test_subsets__of_other_collections_are_chosen(page):
    choose(page, "collection", "outcome")
    expect_address(page, of="outcome")
    settled(page, "cat correct")
    right = page.locator(".facts .rest").inner_text()
    choose(page, "member", "wrong")
    settled(page, "cat wrong")
    wrong = page.locator(".facts .rest").inner_text()
    counts = [re.search(r": (\d+) of (\d+) instances", t) for t in (right, wrong)]
    (n_right, n_all), (n_wrong, again) = [map(int, c.groups()) for c in counts]
    assert n_all == again == n_right + n_wrong
    page.locator(".row[data-class='7']").click()
    settled(page, "dog wrong")
    choose(page, "collection", "groups")
    settled(page, "canines")
    sync_api.expect(page.locator(".facts .title")).to_have_text("canines")

    members = page.locator("[data-select='member'] option").all_inner_texts()
    assert members == ["canines", "insects"]


def test_subset__without_instances_in_an_address_is_told_of(turn, graph_address):
    page = turn(graph_address, "?of=groups&subset=nobody")

    page.get_by_text("No instance is in 'nobody'").wait_for()


def test_zoom_and_pan__work_over_nodes_and_a_drag_pins_nothing(page):
    world = page.locator(".world")
    start = world.get_attribute("transform")
    x, y = middle_of(page, "late", LATE_OF_CAT)
    page.mouse.move(x, y)
    page.mouse.wheel(0, -400)
    sync_api.expect(world).not_to_have_attribute("transform", start)
    zoomed = world.get_attribute("transform")
    at = middle_of(page, "late", LATE_OF_CAT)
    assert at == pytest.approx((x, y), abs=1)

    page.mouse.down()
    page.mouse.move(x + 60, y + 30, steps=4)
    page.mouse.up()

    sync_api.expect(world).not_to_have_attribute("transform", zoomed)
    at = middle_of(page, "late", LATE_OF_CAT)
    assert at == pytest.approx((x + 60, y + 30), abs=2)
    assert "channel" not in page.url
    page.get_by_label("Show the whole graph").click()
    sync_api.expect(world).to_have_attribute("transform", start)


def test_pan__leaves_a_part_of_the_graph_in_view(page):
    canvas = page.locator(".graph-panel .graph").bounding_box()
    left, top = canvas["x"], canvas["y"]
    right, bottom = left + canvas["width"], top + canvas["height"]

    for step in ((150, 0), (-300, 0), (0, 100), (0, -200)):
        for _ in range(12):
            page.mouse.move(left + canvas["width"] / 2, top + canvas["height"] / 2)
            page.mouse.down()
            page.mouse.move(
                left + canvas["width"] / 2 + step[0],
                top + canvas["height"] / 2 + step[1],
                steps=2,
            )
            page.mouse.up()
        world = page.locator(".graph-panel .world").bounding_box()
        assert min(right, world["x"] + world["width"]) - max(left, world["x"]) > 30
        assert min(bottom, world["y"] + world["height"]) - max(top, world["y"]) > 30
    page.get_by_label("Show the whole graph").click()  # as the next test expects it


@pytest.mark.parametrize(
    ("form", "name"),
    [
        pytest.param("json", "cat.json", id="json"),
        pytest.param("svg", "cat.svg", id="svg"),
        pytest.param("png", "cat.png", id="png"),
    ],
)
def test_save__gives_a_file(page, tmp_path, form, name):
    page.get_by_text("Save", exact=True).click()
    with page.expect_download() as download:
        page.locator(f".graph-panel [data-save='{form}']").click()

    file = download.value
    file.save_as(tmp_path / name)
    content = (tmp_path / name).read_bytes()
    assert file.suggested_filename == name
    if form == "json":
        assert json.loads(content)["nodes"]
    elif form == "svg":
        text = content.decode()
        assert "data:image" in text
        assert not re.search(r'href="(?!data:)', text)
        assert "preset directed" in text
        texts = re.findall(r"<text([^>]*)>([^<]*)</text>", text)
        assert {"5 %", "30 %", "all"} <= {said for _, said in texts}
        # What a text hides of the arcs is below it: none has an outline on its letters.
        numbers = [style for style, said in texts if said == str(LATE_OF_CAT)]
        assert numbers
        assert ["fill: none" in style for style in numbers[:2]] == [True, False]
        assert "stroke: none" in numbers[1]
    else:
        assert content.startswith(b"\x89PNG")
        width, height = struct.unpack(">II", content[16:24])
        assert 0.3 < width / height < 4


def test_names__from_data_are_text(turn, graph_address):
    page = turn(graph_address, "?class=3&versus=cat")
    page.wait_for_selector(".graph-panel[data-subset]")

    sync_api.expect(page.locator(".legend")).to_contain_text("only <img")
    point_at(page, "output", 3)
    sync_api.expect(page.locator("aside.card")).to_contain_text("<img")
    page.wait_for_timeout(200)
    assert page.evaluate("window.harmed") is None
    chosen = page.locator("section.graph-panel").get_attribute("data-subset")
    assert chosen == HARMFUL


@pytest.mark.parametrize("size", [(1000, 700), (1280, 800), (1920, 1080)])
def test_page__fits_the_window(page, size):
    page.set_viewport_size({"width": size[0], "height": size[1]})

    root = "document.documentElement"
    sizes = f"[innerWidth, innerHeight, {root}.scrollWidth, {root}.scrollHeight]"
    wait_until(page, lambda: page.evaluate(sizes) == [*size, *size])
    view = page.locator("svg.graph").bounding_box()
    assert view["width"] > 450
    assert view["height"] > 250
    for name in ("Zoom into the graph", "Show the whole graph"):
        sync_api.expect(page.get_by_label(name)).to_be_in_viewport(ratio=1)


def test_names_of_layers__do_not_lie_on_each_other_in_a_low_window(page):
    page.set_viewport_size({"width": 1440, "height": 420})
    for _ in range(6):
        page.get_by_label("Zoom out of the graph").click()

    def are_apart():
        tops = page.locator(".layer-label:visible").evaluate_all(
            "labels => labels.map(l => l.getBoundingClientRect().top)"
        )
        return bool(tops) and min(np.diff(sorted(tops)), default=20) >= 12

    wait_until(page, are_apart)
    expect(page.locator(".layer-label.chosen")).to_be_visible()


def test_run_without_influences__opens_with_channels_and_says_why(
    turn, finished_address
):
    page = turn(finished_address)
    page.wait_for_selector(".channel-row")

    page.get_by_role("button", name="Graph", exact=True).click()

    notice = page.get_by_text("This run has no influences")
    sync_api.expect(notice).to_be_visible()
    expect_address(page, view="graph")
