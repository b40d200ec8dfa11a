"""Small tables in a terminal and in a notebook."""

import numpy as np

from nnviz.formatting import html_table, text_table


def test_text_table__cuts_long_tables_and_long_texts():
    text = text_table("t", [("name", ["x" * 99] * 30), ("n", np.arange(30) * 1000)])

    lines = text.splitlines()
    assert len(lines) == 1 + 1 + 20 + 1
    assert lines[-1] == "  … 10 more"
    assert max(map(len, lines)) < 60
    assert lines[3].endswith("1,000")


def test_text_table__keeps_a_row_on_its_line():
    assert len(text_table("t", [("name", ["a\nb\tc"])]).splitlines()) == 3


def test_text_table__of_no_rows_has_its_headings():
    assert text_table("t", [("name", [])]) == "t\n  name"


def test_html_table__escapes_title_headings_and_values():
    html = html_table("<t>", [("<h>", ["<v>", "'\"&"])])

    assert "<t>" not in html
    assert "<h>" not in html
    assert "<v>" not in html
    assert "&#x27;&quot;&amp;" in html
