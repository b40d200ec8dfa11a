"""Texts as examples: what is kept of them, and that a reader of SVG finds it again."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from nnviz.derivation.text_pictures import (
    TextExample,
    draw_row,
    draw_text,
    picture_of,
    text_of,
)

SVG = "{http://www.w3.org/2000/svg}"


def words_of(svg: bytes, kind: str | None = None) -> str:
    """Return the texts of a drawing, in their order."""
    found = ET.fromstring(svg).iter(f"{SVG}text")
    return " ".join(
        each.text or "" for each in found if kind in (None, each.get("class"))
    )


def test_text_example__comes_back_from_its_bytes() -> None:
    example = TextExample.at("How come bulbs go out ?", (4, 8), "come")
    assert text_of(example.to_bytes()) == example
    assert (example.before, example.shown, example.after) == (
        "How ", "come", " bulbs go out ?",
    )  # fmt: skip
    assert example.text == "How [come] bulbs go out ?"
    assert text_of(b"\x89PNG") is None
    assert picture_of(b"\x89PNG") == b"\x89PNG"


def test_text_example__keeps_what_is_near() -> None:
    text = "a" * 500 + " here " + "b" * 500
    example = TextExample.at(text, (501, 505), "here")
    assert example.shown == "here"
    assert example.before.startswith("…")
    assert example.before.endswith("a ")
    assert example.after.endswith("…")
    assert len(example.before) + len(example.after) < 260


def test_text_example__of_a_special_token() -> None:
    example = TextExample.at("one two", (0, 0), "[CLS]")
    assert example.text == "[[CLS]] one two"
    assert TextExample.at("one two", (0, 0), "").text == "one two"


def test_picture_of__shows_the_token_in_its_sentence() -> None:
    example = TextExample.at("x < y & \x00 <script>", (4, 5), "y")
    svg = picture_of(example.to_bytes())
    assert words_of(svg, "token") == "y"
    assert words_of(svg, "context").split() == ["x", "<", "&", "<script>"]
    (mark,) = [each for each in ET.fromstring(svg) if each.get("class") == "mark"]
    assert float(mark.get("width", 0)) > 0
    assert b"<script" not in svg


@pytest.mark.parametrize("side", [96, 320])
def test_draw_text__has_the_whole_text_or_says_that_there_is_more(side: int) -> None:
    assert words_of(draw_text("What is an atom ?", side)) == "What is an atom ?"
    many = words_of(draw_text("word " * 200, side))
    assert many.endswith("…")


def test_draw_row__has_names_and_values() -> None:
    assert words_of(draw_row({"age": "4", "sex": "f"}, 96)) == "age 4 sex f"
    many = {f"column {i}": str(i) for i in range(40)}
    assert "more" in words_of(draw_row(many, 96))


@pytest.mark.parametrize(
    ("value", "shown"),
    [("0.08474", "0.0847"), ("-0.08474", "-0.085"), ("1234567.5", "1e+06")],
)
def test_draw_row__long_number__has_fewer_digits_and_is_not_cut(
    value: str, shown: str
) -> None:
    drawn = draw_row({"mean smoothness of all": value}, 96)
    assert words_of(drawn).split()[-1] == shown
    assert value in drawn.decode()  # whole in the title


@pytest.mark.parametrize("value", ["a-long-text", "20261130115959", "10.0.0.127"])
def test_draw_row__long_text_or_code__is_cut(value: str) -> None:
    shown = words_of(draw_row({"a long name": value}, 96)).split()[-1]
    assert shown.endswith("…")
    assert value.startswith(shown[0])
