"""Stages of a deep network in a browser: folded in the strip and in the graph."""

import pytest

from tests.dashboards.served_pages import expect_address

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = [pytest.mark.browser, pytest.mark.slow]
expect = sync_api.expect


def test_stages__fold_and_open_in_strip_and_graph(visit, deep_address):
    page = visit(deep_address, "?layer=linear&class=0")
    layers = page.locator(".layer:visible")
    rows = page.locator(".layer-label:not(.stage-fold)")
    expect(layers).to_have_count(5)
    expect(rows.first).to_have_text("conv1")
    assert set(rows.all_inner_texts()) == {
        "linear", "layer3.4", "layer2.4", "layer1.4", "conv1"
    }  # fmt: skip
    assert page.locator(".arc[stroke-dasharray='9 5']").count() > 0

    page.locator(".stage-fold[data-stage=layer3]").click()
    expect_address(page, stages="layer3")
    expect(layers).to_have_count(9)
    expect(page.locator(".layer-label[data-row-layer='layer3.2']")).to_be_visible()

    page.get_by_label("Fold layer3: show its last layer only").first.click()
    expect(layers).to_have_count(5)
    page.get_by_label("Open layer1: show all of its 5 layers").click()
    page.locator(".layer[data-layer='layer1.1']").click()
    expect_address(page, layer="layer1.1", stages="layer1")
    page.reload()
    page.wait_for_function("document.documentElement.dataset.ready === 'yes'")
    expect(layers).to_have_count(9)

    page.locator(".layer[data-layer='layer1.1']").focus()
    page.keyboard.press("ArrowLeft")
    expect_address(page, layer="layer1.0")
    page.keyboard.press("End")
    page.keyboard.press("ArrowLeft")  # over what is folded
    expect_address(page, layer="layer3.4")
