"""The colours that stand on each other, by the contrast that WCAG 2.2 defines."""

import pytest

from nnviz_dashboards.shared.theme import DARK, LIGHT

PALETTES = [pytest.param(LIGHT, id="light"), pytest.param(DARK, id="dark")]

TEXT = [
    *((ink, ground) for ink in ("text", "muted", "accent")
      for ground in ("panel", "page", "hover", "track", "accent-wash")),
    *((ink, "panel") for ink in ("source", "target", "first", "second", "shared")),
    ("warning", "warning-wash"), ("warning", "panel"),
    ("on-top", "top"), ("on-accent", "accent"),
]  # fmt: skip
"""What is written in which colour on which: 4.5 to 1 at least (1.4.3)."""

SHAPES = [
    *((shape, "panel") for shape in
      ("edge", "point", "arc", "accent-light", "accent", "scale-0", "scale-1",
       "scale-2", *(f"category-{i}" for i in range(10)))),
    ("edge", "page"), ("accent-light", "accent-wash"), ("accent-light", "page"),
]  # fmt: skip
"""What is drawn, or surrounds what can be changed: 3 to 1 at least (1.4.11)."""


def luminance(color):
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [
        v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in channels
    ]
    return sum(w * v for w, v in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one, other):
    darker, lighter = sorted([luminance(one), luminance(other)])
    return (lighter + 0.05) / (darker + 0.05)


def test_contrast__is_that_of_the_standard():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)


@pytest.mark.parametrize("palette", PALETTES)
def test_palette__text_can_be_read(palette):
    found = {pair: round(contrast(*map(palette.get, pair)), 2) for pair in TEXT}

    assert {pair: value for pair, value in found.items() if value < 4.5} == {}


@pytest.mark.parametrize("palette", PALETTES)
def test_palette__shapes_can_be_seen(palette):
    found = {pair: round(contrast(*map(palette.get, pair)), 2) for pair in SHAPES}

    assert {pair: value for pair, value in found.items() if value < 3} == {}


def test_palettes__have_the_same_roles():
    assert sorted(LIGHT) == sorted(DARK)
