"""Row 33: names of files, columns, values and subsets that are markup, in a browser.

A real run over real files, from planning to the page, whose every name is markup.
"""

import csv
import json

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import nnviz
from nnviz.cli.main import main
from nnviz.errors import DatasetError
from nnviz.store.store import Store, open_store
from nnviz.subsets.naming import named_subsets
from tests.dashboards.served_pages import served
from tests.faults.small_run import create, one_worker, write_inputs

MARKUP = "<img src=x onerror=\"window.harmed='{}';alert(1)\">"
CLOSING = "</script></style><script>alert('{}')</script>"
RUN = """
[model]
source = "network.py:network"
weights = "weights.safetensors"
class_names = {classes}

[dataset]
kind = "table"
path = "{table}"
metadata_columns = ["*"]
fingerprint_contents = "full"

[preprocessing]
kind = "image"

[extraction]
instances_per_chunk = 16
batch_size = 8
max_unreadable_fraction = 0.5
"""


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """Return the store of a run whose files, columns, classes and groups are markup."""
    folder = tmp_path_factory.mktemp("hostile") / MARKUP.format("folder")
    folder.mkdir()
    write_inputs(folder)
    network = (folder / "network.py").read_text()
    (folder / "network.py").write_text(network.replace("(x)))", "(x.flatten(1))))"))
    classes = [f"{CLOSING.format('class')}{MARKUP.format('class')} {i}" for i in "abc"]
    column = MARKUP.format("column")
    rows = []
    pixels = np.random.default_rng(0).integers(0, 256, (24, 1, 2, 3), dtype=np.uint8)
    for index, picture in enumerate(pixels):
        name = f"{index:02d} {MARKUP.format('file')}.png"
        Image.fromarray(picture).save(folder / name)
        value = f"{CLOSING.format('value')}{index % 2}"
        rows.append((name, classes[index % 3], value))
    (folder / rows[5][0]).write_bytes(b"no picture")
    table = f"{MARKUP.format('table')}.csv"
    with (folder / table).open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("path", "label", column), *rows])
    text = RUN.format(classes=json.dumps(classes), table=table.replace('"', '\\"'))
    (folder / "run.toml").write_text(text, encoding="utf-8")
    store = create(folder)
    with one_worker() as client:
        nnviz.extract(store, client=client)
    groups = folder / "groups.json"
    ids = store.column("id")
    groups.write_text(json.dumps({MARKUP.format(f"group {i}"): ids[i::2].tolist()
                                  for i in range(2)}))  # fmt: skip
    names = ("label", "outcome", str(groups))
    nnviz.aggregate(store, [named_subsets(store, name) for name in names])
    nnviz.derive(store)
    return Store.open(store.url)


def test_stored_names__are_those_of_the_data(hostile):
    """Nothing is made harmless by changing it: escaping is up to who shows it."""
    assert MARKUP.format("file") in hostile.column("id")[0]
    assert MARKUP.format("column") in hostile.plan.metadata_dtypes
    assert CLOSING.format("value") in hostile.column(MARKUP.format("column"))[0]
    assert hostile.column("status")[5] != ""


def test_collection__whose_file_is_named_so__is_refused(hostile, tmp_path):
    """Its name becomes a path in the store, and a part of the page's address."""
    groups = tmp_path / f"{MARKUP.format('groups')}.json"
    groups.write_text(json.dumps({"some": [hostile.column("id")[0]]}))

    with pytest.raises(DatasetError, match="because it becomes a path"):
        named_subsets(hostile, str(groups))


def test_notebook__shows_them_as_text(hostile):
    shown = open_store(hostile.url)._repr_html_()
    top = nnviz.aggregates_of(hostile, "label").top("first", hostile.class_names[0])

    assert "<img" not in shown
    assert "<script" not in shown
    assert "<img" not in top._repr_html_()


def test_inspect__prints_them_as_they_are_and_in_one_line(hostile):
    result = CliRunner().invoke(main, ["inspect", hostile.url, "--unreadable"])

    assert result.exit_code == 0
    assert any(MARKUP.format("file") in line for line in result.output.splitlines())


@pytest.mark.browser
@pytest.mark.slow
def test_page__of_hostile_names__shows_text_and_runs_nothing(hostile, visit):
    """Row 33: no dialog, no error on the console, no element made of a name."""
    with served(hostile.url) as (_, address):
        page = visit(address)
        page.wait_for_selector(".node", timeout=60_000)
        collection = page.locator(".graph-place select").first
        options = collection.locator("option").all_inner_texts()
        seen = [page.locator("header.top").inner_text()]
        for name in options:
            collection.select_option(label=name)
            page.wait_for_timeout(400)
            seen += page.locator(".graph-place").all_inner_texts()
            seen += page.locator(".graph-place option").all_inner_texts()
        for part in (".row", ".layer", ".node"):
            for node in page.locator(part).all()[:2]:
                node.hover(force=True)
                node.click(force=True)
                page.wait_for_timeout(200)
                seen += page.locator("body").all_inner_texts()
        page.get_by_role("button", name="Channels").click()
        page.wait_for_selector(".channel-row")
        page.locator(".channel-row").first.hover()
        page.wait_for_timeout(200)
        page.locator(".example").first.hover()
        seen += page.locator("body").all_inner_texts()
        harmed = page.evaluate("window.harmed")
        made = page.locator("img[src='x']").count()
        notice = page.locator(".stale").bounding_box()["height"]
        page.goto("about:blank")

    everything = "\n".join(seen)
    assert (harmed, made) == (None, 0)
    assert notice == 0  # a whole store has nothing that is out of date
    for what in ("class", "group 0"):
        assert f"<img src=x onerror=\"window.harmed='{what}'" in everything
    assert "groups" in options
