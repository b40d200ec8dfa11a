"""A packed data set gives what the data set itself does, byte for byte."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr
from PIL import Image

import nnviz
from nnviz.cli.main import main as command_line
from nnviz.errors import ConfigError, PlanMismatchError
from nnviz.extraction import packing

pytestmark = pytest.mark.slow

NETWORK = """
import torch
from torch import nn


def build(n_channels=3, n_classes=4):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(n_channels, 8, 3), nn.ReLU(), nn.Conv2d(8, 12, 3, stride=2),
        nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, n_classes),
    )
"""

RUN = """
[model]
source = "network.py:build"
{model}
[dataset]
{dataset}
[preprocessing]
{preprocessing}
[classes]
{classes}
[extraction]
instances_per_chunk = 16
batch_size = 8
signal = "peak"
max_unreadable_fraction = 0.5
"""

PICTURES = """kind = "folder"
path = "images"
"""
CROPPED = """resize = 20
crop = 16
interpolation = "bicubic"
channel_order = "bgr"
mean = [0.4, 0.5, 0.6]
std = [0.2, 0.3, 0.25]
"""


@pytest.fixture
def folder(tmp_path):
    """Return a folder with pictures of all shapes, one damaged, and a network."""
    rng = np.random.default_rng(0)
    for number in range(37):
        name = ("wolf", "crane", "ibex")[number % 3]
        path = tmp_path / "images" / name / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        shape = (*rng.integers(18, 40, 2), 3)
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(path)
    (tmp_path / "images" / "crane" / "1.png").write_bytes(b"\x89PNG, and no more")
    (tmp_path / "network.py").write_text(NETWORK, encoding="utf-8")
    rows = [("index", "id", "name"), (0, "ibex", "goat"), (1, "none", "nothing")]
    rows += [(2, "wolf", "wolf"), (3, "crane", "crane")]
    with (tmp_path / "classes.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return tmp_path


def write(folder, *, dataset=PICTURES, preprocessing=CROPPED, classes="", model=""):
    text = RUN.format(
        dataset=dataset, preprocessing=preprocessing, classes=classes, model=model
    )
    (folder / "run.toml").write_text(text, encoding="utf-8")
    return folder / "run.toml"


def store_of(run_file, url):
    plan, probe = nnviz.plan_run(str(run_file))
    store = nnviz.prepare_store(plan, str(url), probe=probe)
    nnviz.extract(store, workers=0, progress=False)
    return nnviz.open_store(str(url))


def expect_equal(one, other):
    """Compare all facts of two stores, as they are stored."""
    first, second = (zarr.open_group(store.url, mode="r") for store in (one, other))
    paths = {
        path
        for group in (first, second)
        for path, _ in group.members(max_depth=None)
        if path.partition("/")[0] in ("instances", "activations", "influences", "peaks")
    }
    assert len(paths) > 12
    for path in paths:
        if isinstance(first[path], zarr.Group):
            continue
        np.testing.assert_array_equal(first[path][:], second[path][:], err_msg=path)
    assert one.class_names == other.class_names
    for name in ("class_of_label", "target_column", "two_outputs_of"):
        assert getattr(one.plan, name) == getattr(other.plan, name)


def test_pack__pictures__give_the_same_facts(folder):
    run_file = write(folder, classes='map = "classes.csv"\nmatch = "id"\nname = "name"')

    summary = nnviz.pack(str(run_file), folder / "packed", progress=False)

    assert (summary.n_instances, summary.n_unreadable) == (37, 1)
    shutil.rmtree(folder / "images")
    packed = store_of(folder / "packed" / "run.toml", folder / "packed.zarr")
    unusable = np.flatnonzero(packed.column("status").astype(bool))
    assert packed.column("id")[unusable].tolist() == ["crane/1.png"]
    assert set(packed.class_names) == {"goat", "nothing", "wolf", "crane"}


@pytest.mark.parametrize(
    "classes", ["", 'map = "classes.csv"\nmatch = "id"\nname = "name"']
)
def test_pack__any_class_map__is_equal_to_the_run_of_the_files(folder, classes):
    model = "arguments = { n_classes = 3 }" if not classes else ""
    run_file = write(folder, classes=classes, model=model)
    plain = store_of(run_file, folder / "plain.zarr")

    nnviz.pack(str(run_file), folder / "packed", progress=False)

    expect_equal(plain, store_of(folder / "packed" / "run.toml", folder / "p.zarr"))


def test_pack__table_with_columns_and_grey_pictures(folder):
    names = sorted(path.relative_to(folder) for path in folder.glob("images/*/*.png"))
    with (folder / "table.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "width", "camera"])
        for n, name in enumerate(names):
            label = "" if n == 5 else name.parts[1]
            writer.writerow([name, label, n * 1.5, "ab"[n % 2]])
    run_file = write(
        folder,
        dataset='kind = "table"\npath = "table.csv"\n',
        preprocessing="resize = [16, 16]\nchannel_order = 'grey'\n",
        model="arguments = { n_channels = 1, n_classes = 3 }",
    )
    plain = store_of(run_file, folder / "plain.zarr")

    nnviz.pack(str(run_file), folder / "packed", progress=False)

    expect_equal(plain, store_of(folder / "packed" / "run.toml", folder / "p.zarr"))


def write_arrays(folder, columns, *, n_classes, options=""):
    """Write 30 instances with columns, and a run of them."""
    data = np.random.default_rng(1).normal(size=(30, 12, 12, 3)).astype(np.float32)
    np.savez(folder / "data.npz", data=data, **columns)
    return write(
        folder,
        dataset=f'kind = "arrays"\npath = "data.npz"\n{options}',
        preprocessing='layout = "HWC"\nmean = [0.1]\nstd = [2.0]\n',
        model=f"arguments = {{ n_classes = {n_classes} }}",
    )


MEASURED = np.random.default_rng(2).normal(size=30)
THIRDS = np.arange(30) % 3


@pytest.mark.parametrize(
    ("labels", "n_classes"),
    [
        pytest.param(None, 3, id="none"),
        pytest.param(THIRDS, 3, id="numbers"),
        pytest.param(np.arange(30) % 2 * 2 - 1, 1, id="signs"),
        pytest.param(THIRDS + 3, 1, id="numbers_beside_a_value"),
        pytest.param(np.array(["c", "a", "b"])[THIRDS], 1, id="names_beside_a_value"),
        pytest.param(MEASURED, 1, id="measured"),
        pytest.param(np.where(THIRDS == 0, np.nan, MEASURED), 1, id="measured_missing"),
        pytest.param(np.arange(30) * 3, 1, id="measured_whole"),
        pytest.param(MEASURED, 3, id="measured_of_a_classifier"),
    ],
)
def test_pack__arrays_of_floats(folder, labels, n_classes):
    columns = {} if labels is None else {"label": labels}
    run_file = write_arrays(folder, columns, n_classes=n_classes)
    plain = store_of(run_file, folder / "plain.zarr")

    nnviz.pack(str(run_file), folder / "packed", progress=False)

    expect_equal(plain, store_of(folder / "packed" / "run.toml", folder / "p.zarr"))


@pytest.mark.parametrize(
    ("options", "target"),
    [
        pytest.param('label_array = "price"', "target", id="array"),
        pytest.param(
            'label_array = "price"\nlabel_column = "price"', "price", id="column"
        ),
        pytest.param('label_column = ""', None, id="none"),
    ],
)
def test_pack__measured_values__keep_their_name(folder, options, target):
    columns = {"price": MEASURED, "label": MEASURED[::-1], "output": THIRDS}
    if target == "target":  # a label beside the labels cannot be stored
        del columns["label"]
    run_file = write_arrays(folder, columns, n_classes=1, options=options)
    plain = store_of(run_file, folder / "plain.zarr")

    nnviz.pack(str(run_file), folder / "packed", progress=False)

    packed = store_of(folder / "packed" / "run.toml", folder / "p.zarr")
    expect_equal(plain, packed)
    assert plain.plan.target_column == packed.plan.target_column == target


def test_pack__measured_values_with_a_name_of_its_own__are_refused(folder):
    options = 'label_array = "inputs"\nlabel_column = "inputs"'
    columns = {"inputs": MEASURED}
    run_file = write_arrays(folder, columns, n_classes=1, options=options)

    with pytest.raises(ConfigError, match="these are the labels, so rename it"):
        nnviz.pack(str(run_file), folder / "packed", progress=False)


OF_SEVERAL_INPUTS = """
import torch
from torch import nn


class Rows(nn.Module):
    def __init__(self):
        super().__init__()
        self.city = nn.Embedding(4, 2)
        self.hidden, self.head = nn.Linear(5, 6), nn.Linear(6, 2)

    def forward(self, numbers, city):
        both = torch.cat([numbers, self.city(city)], 1)
        return self.head(torch.relu(self.hidden(both)))


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(30, 4)
        self.hidden, self.head = nn.Linear(4, 6), nn.Linear(6, 2)

    def forward(self, input_ids, attention_mask):
        hidden = torch.relu(self.hidden(self.words(input_ids)))
        mask = attention_mask[..., None].float()
        return self.head((hidden * mask).sum(1) / mask.sum(1))


def seeded(kind):
    torch.manual_seed(0)
    return kind()


def rows():
    return seeded(Rows)


def words():
    return seeded(Words)


def ids(text):
    own = [2 + len(word) for word in text.split()]
    special = [1, *[0] * len(own), 1]
    both = {"input_ids": [1, *own, 1], "attention_mask": [1] * len(special)}
    return {**both, "special_tokens_mask": special}
"""


@pytest.mark.parametrize("kind", ["rows", "texts"])
def test_pack__several_inputs__are_packed_once_and_read_without_their_table(
    tmp_path, kind
):
    (tmp_path / "network.py").write_text(OF_SEVERAL_INPUTS, encoding="utf-8")
    rng = np.random.default_rng(4)
    rows = [("age", "bmi", "city", "text", "label")]
    for number in range(41):
        bmi = "" if number % 7 == 3 else round(rng.normal(25, 4), 3)
        words = " ".join("a" * n for n in rng.integers(1, 20, 1 + number % 6))
        city, label = ("Oslo", "Rome", "Bonn", "Ys")[number % 4], number % 2
        rows.append((rng.integers(18, 90), bmi, city, words, label))
    with (tmp_path / "people.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    dataset, preprocessing, build = {
        "rows": ("", """columns = [
            { name = "age", scale = "standard" },
            { name = "bmi", scale = "standard", missing = "mean" },
            { name = "bmi", encoding = "indicator" },
            { name = "city", input = "city", encoding = "codes", alone = true },
        ]""", "rows"),
        "texts": ('text_column = "text"', 'tokenizer = "network.py:ids"', "words"),
    }[kind]  # fmt: skip
    run_file = write(
        tmp_path,
        dataset=f'kind = "table"\npath = "people.csv"\n{dataset}',
        preprocessing=preprocessing,
    )
    text = run_file.read_text().replace("network.py:build", f"network.py:{build}")
    run_file.write_text(text, encoding="utf-8")
    plain = store_of(run_file, tmp_path / "plain.zarr")

    nnviz.pack(str(run_file), tmp_path / "packed", progress=False)

    (tmp_path / "people.csv").unlink()
    packed = store_of(tmp_path / "packed" / "run.toml", tmp_path / "p.zarr")
    expect_equal(plain, packed)
    assert packed.plan.architecture == plain.plan.architecture
    assert (plain.column("status") == "").all()


def test_plan__packed_layout_of_what_nnviz_has_not_packed__is_refused(folder):
    run_file = write_arrays(folder, {}, n_classes=3)
    text = run_file.read_text().replace('layout = "HWC"', 'layout = "packed"')
    run_file.write_text(text, encoding="utf-8")

    with pytest.raises(ConfigError, match="is not one that nnviz pack has written"):
        nnviz.plan_run(str(run_file))


def test_pack__in_many_pieces__goes_on_where_it_was_interrupted(folder, monkeypatch):
    monkeypatch.setattr(packing, "BLOCK_BYTES", 3 * 16 * 16 * 3)
    monkeypatch.setattr(packing, "PIECE_BYTES", 6 * 16 * 16 * 3)
    run_file = write(folder, model="arguments = { n_classes = 3 }")
    opened = nnviz.interface.packed_runs.begin_packing(
        nnviz.load_config(run_file), folder / "packed", trust=False
    )
    for piece in (0, 4):
        packing.write_piece(piece, opened)
    before = {
        path: path.stat().st_mtime_ns
        for path in (folder / "packed").rglob("inputs/c/*/0/0/0")
    }
    assert len(before) == 2

    summary = nnviz.pack(str(run_file), folder / "packed", progress=False)

    assert (summary.n_pieces, summary.n_done_before) == (7, 2)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    plain = store_of(run_file, folder / "plain.zarr")
    expect_equal(plain, store_of(folder / "packed" / "run.toml", folder / "p.zarr"))


@pytest.mark.cluster
@pytest.mark.slow
def test_pack__on_a_cluster_by_the_command(folder, processes, cluster_file, cli):
    run_file = write(folder, model="arguments = { n_classes = 3 }")
    plain = store_of(run_file, folder / "plain.zarr")

    printed = cli(
        ["pack", str(run_file), str(folder / "packed"), "--cluster", str(cluster_file),
         "--quiet", "--json"]
    )  # fmt: skip

    assert json.loads(printed)["failed"] == {}
    expect_equal(plain, store_of(folder / "packed" / "run.toml", folder / "p.zarr"))


@pytest.fixture
def cli():
    """Return a function that runs a command here and returns what it prints."""
    from click.testing import CliRunner

    def run(words):
        done = CliRunner().invoke(command_line, words)
        assert done.exit_code == 0, done.output
        return done.stdout

    return run


def test_pack__flipped_bit__takes_its_block_and_no_more(folder, monkeypatch):
    monkeypatch.setattr(packing, "BLOCK_BYTES", 4 * 16 * 16 * 3)
    run_file = write(folder, model="arguments = { n_classes = 3 }")
    nnviz.pack(str(run_file), folder / "packed", progress=False)
    (piece,) = (folder / "packed").rglob("inputs/c/*/0/0/0")
    content = bytearray(piece.read_bytes())
    content[len(content) // 2] ^= 4
    piece.write_bytes(content)

    store = store_of(folder / "packed" / "run.toml", folder / "p.zarr")

    unusable = store.column("status")
    assert sum("checksum" in text for text in unusable) == 4
    assert sum(map(bool, unusable)) == 4 + 1


def test_pack__other_preparation_at_the_same_place__is_refused(folder):
    run_file = write(folder, model="arguments = { n_classes = 3 }")
    nnviz.pack(str(run_file), folder / "packed", progress=False)

    write(
        folder,
        preprocessing="resize = 24\ncrop = 16",
        model="arguments = { n_classes = 3 }",
    )
    with pytest.raises(PlanMismatchError, match="another preprocessing"):
        nnviz.pack(str(run_file), folder / "packed", progress=False)


def test_pack__other_names_of_labels_at_the_same_place__are_refused(folder):
    columns = {"label": np.arange(30) % 3}
    run_file = write_arrays(folder, columns, n_classes=3)
    nnviz.pack(str(run_file), folder / "packed", progress=False)
    nnviz.pack(str(run_file), folder / "packed", progress=False)

    named = run_file.read_text().replace(
        "[dataset]", 'class_names = ["c", "a", "b"]\n[dataset]'
    )
    run_file.write_text(named)
    with pytest.raises(PlanMismatchError, match="with other labels, or other names"):
        nnviz.pack(str(run_file), folder / "packed", progress=False)


def test_pack__what_cannot_be_packed__is_refused(folder):
    run_file = write(folder, model="arguments = { n_classes = 3 }")

    with pytest.raises(ConfigError, match="is no folder"):
        nnviz.pack(str(run_file), "s3://bucket/packed", progress=False)
    config = {"model": {"source": "x:y"}, "dataset": {"kind": "memory"}}
    with pytest.raises(ConfigError, match="in memory"):
        nnviz.pack(config, folder / "packed", progress=False)
    assert not Path("s3:").exists()
