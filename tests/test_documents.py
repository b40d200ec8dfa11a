"""What the documents say of the tests is so."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_reliability__every_row_of_the_table_has_a_test_that_names_it():
    text = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([\d, ]+) \| [^|]+ \| `([^`]+)` \|$", text, re.MULTILINE)

    missing = [
        f"row {number} in {place}"
        for numbers, place in rows
        for number in numbers.split(", ")
        if not re.search(
            rf"Rows? (\d+(, | and ))*{number}\b", (ROOT / place).read_text()
        )
    ]

    named = {int(n) for numbers, _ in rows for n in numbers.split(", ")}
    assert named == set(range(1, 41))
    assert missing == []
