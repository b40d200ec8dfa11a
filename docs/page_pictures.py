"""Take the README's pictures of the page from a store.

Usage: ``python -m docs.page_pictures STORE [NAME ...] [--browser CHROMIUM]``, with the
run of the README: ResNet-20 over the test pictures of CIFAR-10, everything derived. It
writes ``docs/images/NAME.png``, of all names that :data:`PICTURES` has or of the given
ones. Needs the group ``test``.
"""

from __future__ import annotations

import argparse
import io
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from nnviz_dashboards.shared.theme import LIGHT

FOLDER = Path(__file__).parent / "images"
WINDOW = {"width": 1440, "height": 900}
N_COLORS = 256
SETTLED_MS = 4_000
"""After everything has come: transitions end, pictures are decoded."""

HORSE = 7
TAKEN = {
    "class": HORSE,
    "a": "label = horse and prediction = dog",
    "b": "label = horse and correct",
}
PICTURES: dict[str, tuple[dict[str, object], str]] = {
    "dashboard": ({"class": HORSE}, ""),
    "compare": ({**TAKEN, "of": "subset:a-b"}, ".graph-place"),
    "channels": ({"class": HORSE, "view": "channels"}, ".channels-place"),
    "confusions": ({**TAKEN, "view": "confusions"}, ".confusions-place"),
    "differences": ({**TAKEN, "view": "differences"}, ".differences-place"),
    "instances": (
        {**TAKEN, "view": "instances", "instance": 7571},
        ".instances-place",
    ),
    "neurons": ({**TAKEN, "matrix": "open"}, ".matrix-place"),
    "map": ({"class": HORSE, "view": "map", "color": "class"}, ".map-place"),
    "model": (
        {
            **TAKEN,
            "view": "model",
            "shaded": "a-b",
            "blocks": "layer1,layer2,layer3,layer3.2",
        },
        ".model-place",
    ),
    "classes": ({"class": HORSE, "classes": "pairs"}, ".side"),
}
"""What the address says, and which part of the page is taken; empty: all of it."""


@contextmanager
def served(store: str) -> Iterator[str]:
    """Serve a store on a free port, and give the page's address."""
    command = [sys.executable, "-m", "nnviz_dashboards", store, "--port", "0"]
    with subprocess.Popen(
        [*command, "--no-token"], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                found = re.search(r"http://\S+", line)
                if found:
                    break
            else:
                sys.exit(f"{store} is not served")
            yield found[0]
        finally:
            process.terminate()


def take(page: Page, address: str, name: str) -> None:
    """Write one picture."""
    query, part = PICTURES[name]
    page.goto(f"{address.rstrip('/')}/?{urlencode(query)}")
    page.wait_for_function("document.documentElement.dataset.ready === 'yes'")
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(SETTLED_MS)
    place = page.locator(part) if part else page
    taken = Image.open(io.BytesIO(place.screenshot())).convert("RGB")
    few = taken.quantize(palette=_palette(taken), dither=Image.Dither.NONE)
    few.save(FOLDER / f"{name}.png", optimize=True)


def _palette(taken: Image.Image) -> Image.Image:
    """Return the colours of a picture, those of the theme exactly, rare or not."""
    hexes = [x for x in LIGHT.values() if re.fullmatch("#[0-9a-f]{6}", x)]
    theme = [byte for color in hexes for byte in bytes.fromhex(color[1:])]
    n_others = N_COLORS - len(hexes)
    others = (taken.quantize(n_others).getpalette() or [])[: 3 * n_others]
    palette = Image.new("P", (1, 1))
    palette.putpalette(theme + others)
    return palette


def main() -> None:
    """Take the pictures that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store")
    parser.add_argument("names", nargs="*", choices=[*PICTURES, []])
    parser.add_argument("--browser", help="Chromium; else the one of playwright")
    given = parser.parse_args()
    with served(given.store) as address, sync_playwright() as tools:
        browser = tools.chromium.launch(
            executable_path=given.browser, args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport=WINDOW, color_scheme="light")
        for name in given.names or PICTURES:
            take(page, address, name)
        browser.close()


if __name__ == "__main__":
    main()
