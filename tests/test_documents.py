"""What the documents say of the tests is so."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_reliability__every_row_of_the_table_has_a_test_that_names_it():
    text = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([\d, ]+) \| [^|]+ \| (`.+`) \|$", text, re.MULTILINE)

    missing = [
        f"row {number} in {place}"
        for numbers, places in rows
        for number in numbers.split(", ")
        for place in places.strip("`").split("`, `")
        if not re.search(
            rf"Rows? (\d+(, | and ))*{number}\b", (ROOT / place).read_text()
        )
    ]

    named = {int(n) for numbers, _ in rows for n in numbers.split(", ")}
    assert named == set(range(1, max(named) + 1))
    assert len(named) >= 44
    assert missing == []


def slugs(text):
    """Return how a page's headings are linked to."""
    without_code = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    titles = re.findall(r"^#+ (.*)$", without_code, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", t.lower()).replace(" ", "-") for t in titles}


def test_pages__links_lead_to_files_and_headings():
    pages = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md"]
    links = [
        (page, link)
        for page in pages
        if "_build" not in page.parts
        for link in re.findall(r"\]\(((?!https?:)[^)\s]+)\)", page.read_text())
    ]

    broken = []
    for page, link in links:
        path, _, part = link.partition("#")
        target = page.parent / path if path else page
        is_there = target.exists()
        if not is_there or (part and part not in slugs(target.read_text())):
            broken.append(f"{page.name}: {link}")

    assert len(links) > 50
    assert broken == []


def test_networks__of_texts_are_thirty_at_least_and_counted():
    text = (ROOT / "docs" / "networks.md").read_text(encoding="utf-8")
    cells = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")]
    of_texts = [row for row in cells if row[2] == "8"]
    whole = [row for row in of_texts if row[-1] == "none |"]

    assert len(whole) >= 30
    assert f"{len(of_texts)} of the networks read 8 tokens; {len(whole)} of" in text
    assert {row[0] for row in whole} == {"| torch", "| transformers"}


def test_readme__every_kind_in_its_first_table_has_tests():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = text.split("| | networks | data | tests |")[1].split("\n\n")[0]
    rows = [row for row in table.splitlines() if row.startswith("| **")]

    assert len(rows) == 4
    for row in rows:
        places = re.findall(r"\[\d\]\((tests/\S+?\.py)\)", row)
        assert len(places) == 3
        for place in places:
            assert "def test_" in (ROOT / place).read_text(encoding="utf-8")


def test_data__everything_that_works_has_a_test():
    text = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    text = text.split("## What works")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (?!---|.* tests \|)(.+) \| (.+) \|$", text, re.MULTILINE)
    named = {what: re.findall(r"`(tests/\S+\.py)`", places) for what, places in rows}

    assert len(named) >= 20
    assert [what for what, places in named.items() if not places] == []
    found = {place for places in named.values() for place in places}
    assert [p for p in sorted(found) if "def test_" not in (ROOT / p).read_text()] == []
