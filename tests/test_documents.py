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


def test_data__everything_that_works_has_a_test():
    text = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    text = text.split("## What works")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (?!---|.* tests \|)(.+) \| (.+) \|$", text, re.MULTILINE)
    named = {what: re.findall(r"`(tests/\S+\.py)`", places) for what, places in rows}

    assert len(named) >= 20
    assert [what for what, places in named.items() if not places] == []
    found = {place for places in named.values() for place in places}
    assert [p for p in sorted(found) if "def test_" not in (ROOT / p).read_text()] == []
