"""What tells A from B, as a visitor uses it."""

import csv
from xml.etree import ElementTree as ET

import pytest

from tests.dashboards.served_pages import expect_address

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = [pytest.mark.browser, pytest.mark.slow]
expect = sync_api.expect


def test_differences__choose_a_channel_and_lead_to_its_instances(
    turn, finished_address
):
    page = turn(
        finished_address, "?view=differences&a=label%20%3D%20cat&b=label%20%3D%20dog"
    )
    rows = page.locator(".difference-row")
    expect(rows).to_have_count(60, timeout=30_000)
    channel, layer = (
        rows.first.get_attribute(name) for name in ("data-channel", "data-layer")
    )

    rows.first.locator(".difference-name").click()

    expect_address(page, channel=channel, layer=layer)
    expect(rows.first).to_have_class("difference-row difference-grid chosen")
    page.get_by_role("button", name=layer, exact=True).click()
    expect_address(page, among="layer")
    with page.expect_download() as download:
        page.locator(".differences .chart-menu summary").click()
        page.locator(".differences [data-save=csv]").click()
    with download.value.path().open() as file:
        assert next(csv.DictReader(file))["channel"] == channel
    page.locator(".differences .chart-menu summary").click()
    with page.expect_download() as download:
        page.locator(".differences [data-save=svg]").click()
    drawing = ET.parse(download.value.path())
    texts = [one.text for one in drawing.iter("{http://www.w3.org/2000/svg}text")]
    assert "What tells A from B" in texts
    assert texts.count(layer) >= 1
    pictures = drawing.iter("{http://www.w3.org/2000/svg}image")
    assert all(one.get("href").startswith("data:") for one in pictures)

    rows.first.get_by_text("Instances").click()
    expect_address(page, view="instances", order="channel")
    expect(page.locator(".squares .square").first).to_be_visible()


def test_face__opens_its_instance(turn, finished_address):
    page = turn(
        finished_address, "?view=differences&a=label%20%3D%20cat&b=label%20%3D%20dog"
    )
    face = page.locator(".difference-row .face").first
    number = face.get_attribute("data-instance", timeout=30_000)

    face.click()

    expect_address(page, view="instances", instance=number)
    opened = page.get_by_label("Opened instance")
    expect(opened.get_by_role("heading", name=f"#{number}")).to_be_visible()
