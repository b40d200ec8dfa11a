"""A data set grows, and its store with it: rows stay, and only what is new is done."""

import csv
import json
import shutil
import tarfile

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import load_file

import nnviz
from nnviz.cli.main import main
from nnviz.errors import PlanMismatchError, StoreError
from nnviz.store.hierarchy import Hierarchy
from nnviz.store.store import Store, open_store
from nnviz.upkeep.extension import extend
from nnviz.upkeep.verification import verify
from tests.faults.small_run import (
    RUN,
    create,
    later_stages,
    one_worker,
    write_inputs,
    write_weights,
)
from tests.faults.test_other_runs import FIXTURES
from tests.oracles.files import tree_bytes

pytestmark = pytest.mark.slow

ROWS = np.random.default_rng(0).integers(0, 256, (70, 6), dtype=np.uint8)


def write_rows(folder, names, **changed):
    """Write a table of pictures of two pixels, sorted by name, one for each row."""
    (folder / "rows").mkdir(exist_ok=True)
    lines = []
    for name in sorted(names):
        number = int(name[1:])
        picture = Image.fromarray(ROWS[number].reshape(1, 2, 3))
        picture.save(folder / "rows" / f"{name}.png")
        label = changed.get(name, "abc"[number % 3])
        lines.append((f"rows/{name}.png", label, number))
    with (folder / "rows.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerows([("path", "label", "number"), *lines])
    return folder


OLD = [f"m{i:02d}" for i in range(40)]
LAST = [f"z{i:02d}" for i in range(40, 70)]
BETWEEN = [f"{'az'[i % 2]}{i:02d}" for i in range(40, 70)]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tmp_path_factory.mktemp("base")


@pytest.fixture
def run(tmp_path):
    """Return the folder of a run over 40 files, in chunks of 16."""
    folder = write_rows(write_inputs(tmp_path), OLD)
    text = RUN.replace('kind = "arrays"', 'kind = "table"')
    text = text.replace('kind = "array"\nscale = 1.0', 'kind = "image"')
    (folder / "run.toml").write_text(text.replace("rows.npz", "rows.csv"))
    network = (folder / "network.py").read_text()
    (folder / "network.py").write_text(network.replace("(x)))", "(x.flatten(1))))"))
    with one_worker() as client:
        nnviz.extract(create(folder), client=client)
    return folder


def extract(folder, url="run.zarr"):
    with one_worker() as client:
        return nnviz.extract(Store.open(folder / url, writable=True), client=client)


def values_of(url):
    """Return every file but metadata that say how the store came to be."""
    return {
        name: data
        for name, data in tree_bytes(url).items()
        if not name.startswith(("recovery", "checksums", "dataset"))
        and name != "zarr.json"
    }


def test_extend__new_instances_listed_last__gives_the_bytes_of_one_run(run, tmp_path):
    write_rows(run, OLD + LAST)

    summary = extend(run / "run.zarr")
    done = extract(run)
    create(run, tmp_path / "whole.zarr")
    extract(run, "whole.zarr")

    assert (summary.n_before, summary.n_instances) == (40, 70)
    # Two full chunks stay; the third had 8 of 16 rows, and is done again with two more.
    assert (done.n_done_before, done.n_instances) == (2, 38)
    assert values_of(run / "run.zarr") == values_of(tmp_path / "whole.zarr")
    assert verify(run / "run.zarr").damages == []


def test_extend__new_instances_listed_anywhere__keeps_the_numbers_of_rows(run):
    before = open_store(run / "run.zarr")
    ids, first = before.column("id"), before.activations("first")
    write_rows(run, OLD + BETWEEN)

    extend(run / "run.zarr")
    extract(run)

    store = open_store(run / "run.zarr")
    assert store.column("id")[:40].tolist() == ids.tolist()
    assert store.activations("first")[:40].tobytes() == first.tobytes()
    numbers = store.column("number")
    assert sorted(numbers) == list(range(70))
    weights = load_file(run / "weights.safetensors")
    pixels = ROWS[numbers].reshape(-1, 2, 3).transpose(0, 2, 1).reshape(-1, 6) / 255
    expected = pixels @ weights["first.weight"].numpy().T
    expected = np.maximum(expected + weights["first.bias"].numpy(), 0)
    np.testing.assert_allclose(
        store.activations("first"), expected, rtol=2e-3, atol=2e-3
    )
    labels = np.array(["abc".index("abc"[n % 3]) for n in numbers])
    assert store.column("label").tolist() == labels.tolist()


def test_extend__twice__and_nothing_new(run):
    for names in (OLD + BETWEEN[:10], OLD + BETWEEN):
        write_rows(run, names)
        extend(run / "run.zarr")
        extract(run)
    before = tree_bytes(run / "run.zarr")

    again = extend(run / "run.zarr")

    assert again.n_instances == again.n_before == 70
    assert "no new instances" in str(again)
    assert tree_bytes(run / "run.zarr") == before
    history = json.loads(before["zarr.json"])["attributes"]["history"]
    assert [entry["n_instances"] for entry in history] == [50, 70]
    assert verify(run / "run.zarr").damages == []


def test_extend__then_plan_again__opens_the_store(run):
    write_rows(run, OLD + LAST)
    extend(run / "run.zarr")

    assert create(run).n_instances == 70


@pytest.mark.parametrize("name", ["format-1", "format-2"])
def test_extend__of_an_old_format_goes_on_in_format_2(tmp_path, name):
    """Row 29: an old store grows too, with the numbers that a new one has."""
    with tarfile.open(FIXTURES / f"{name}.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    with np.load(tmp_path / "rows.npz") as known:
        columns = {name: np.concatenate([v, v[:9]]) for name, v in known.items()}
    np.savez(tmp_path / "rows.npz", **columns)
    url = tmp_path / f"{name}.zarr"
    before = open_store(url).activations("first")

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        extend(url)
        extract(tmp_path, f"{name}.zarr")
        new = create(tmp_path, tmp_path / "new.zarr")
        extract(tmp_path, "new.zarr")

    store = open_store(url)
    assert store.records["format_version"] == 2
    assert (url / "activations/first/c/3/0").exists()
    np.testing.assert_array_equal(store.activations("first", 0, 32), before[:32])
    assert store.chunks.missing() == []
    assert verify(url).damages == []
    assert new.records["format_version"] == 3
    # From the chunk on that was not full, both were computed here.
    last = slice(32, None)
    for path in store.chunks.arrays:
        if name == "format-2" and not path.startswith("peaks/"):
            one, other = store.read(path)[last], open_store(new.url).read(path)[last]
            assert one.tolist() == other.tolist() or one.tobytes() == other.tobytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(
            lambda f: write_rows(f, OLD[1:] + LAST),
            r"1 of the 40 instances .* not in the data set any more: 'rows/m00.png'",
            id="gone",
        ),
        pytest.param(
            lambda f: write_rows(f, OLD + LAST, m03="c"),
            r"'label' of 1 instance .* another one .* now: 'rows/m03.png'",
            id="label",
        ),
    ],
)
def test_extend__old_instances_changed__is_refused_with_the_ids(run, change, message):
    before = tree_bytes(run / "run.zarr")
    change(run)

    with pytest.raises(PlanMismatchError, match=message):
        extend(run / "run.zarr")

    assert tree_bytes(run / "run.zarr") == before


def test_extend__other_weights__is_refused_by_the_extraction(run):
    write_rows(run, OLD + LAST)
    write_weights(run, seed=1)

    extend(run / "run.zarr")

    with pytest.raises(PlanMismatchError, match="the network has changed"):
        extract(run)


def test_extend__killed_at_any_write__is_the_old_store_the_new_or_says_run_again(
    run, tmp_path, monkeypatch
):
    """Crash safety: a failure at each write in turn, and then the command again."""
    write_rows(run, OLD + BETWEEN)
    shutil.copytree(run / "run.zarr", tmp_path / "old.zarr")
    extend(run / "run.zarr")
    whole = tree_bytes(run / "run.zarr")
    old = values_of(tmp_path / "old.zarr")
    states = set()

    with monkeypatch.context() as patch:
        shutil.copytree(tmp_path / "old.zarr", tmp_path / "all.zarr")
        total = stop_after(10**6, patch, Hierarchy)
        extend(tmp_path / "all.zarr")

    for n_writes in sorted({*range(0, total[0], 7), *range(8, 14), *tail(total[0], 6)}):
        url = tmp_path / f"{n_writes}.zarr"
        shutil.copytree(tmp_path / "old.zarr", url)
        with monkeypatch.context() as patch:
            stop_after(n_writes, patch, Hierarchy)
            with pytest.raises(Killed):
                extend(url)
        states.add(state_of(url))
        if state_of(url) == "old":
            survived = values_of(url)
            assert {k: survived[k] for k in old} == old
        extend(url)
        assert tree_bytes(url) == whole
        shutil.rmtree(url)

    assert states == {"old", "again", "new"}


def tail(total, n):
    return range(total - n, total)


class Killed(BaseException):
    pass


def stop_after(n, patch, hierarchy):
    """Let this many writes happen, of whatever kind."""
    count = [0]

    def counted(name):
        original = getattr(hierarchy, name)

        def write(*args, **kwargs):
            count[0] += 1
            if count[0] > n:
                raise Killed
            return original(*args, **kwargs)

        patch.setattr(hierarchy, name, write)

    for name in ("write", "write_dense", "create_group", "set_attributes", "resize"):
        counted(name)
    counted("create_array")
    counted("delete")
    return count


def state_of(url):
    try:
        return "old" if open_store(url).n_instances == 40 else "new"
    except StoreError as refusal:
        return "again" if "run 'nnviz extend" in str(refusal) else str(refusal)


def test_extend_command__says_what_is_next(run):
    write_rows(run, OLD + LAST)

    result = CliRunner().invoke(main, ["extend", str(run / "run.zarr")])

    assert result.exit_code == 0
    assert "70 instances, 30 of them new; 3 chunks are to be extracted" in result.output
    assert "next: nnviz extract" in result.output


def test_inspect__says_that_aggregates_cover_fewer_instances(run):
    later_stages(Store.open(run / "run.zarr", writable=True))
    write_rows(run, OLD + LAST)
    extend(run / "run.zarr")
    extract(run)

    result = CliRunner().invoke(main, ["inspect", str(run / "run.zarr")])

    assert "covers 40 of 70 instances: run nnviz aggregate" in result.output
    assert "covers 40 of 70 instances: run nnviz derive" in result.output


def test_inspect_provenance__says_what_the_store_was_made_of(run):
    write_rows(run, OLD + LAST)
    extend(run / "run.zarr")

    result = CliRunner().invoke(
        main, ["inspect", str(run / "run.zarr"), "--provenance", "--json"]
    )
    shown = CliRunner().invoke(main, ["inspect", str(run / "run.zarr"), "--provenance"])

    value = json.loads(result.output)["provenance"]
    names = {"plan", "weights", "architecture", "preprocessing", "dataset", "contents"}
    assert set(value["fingerprints"]) == names
    assert all(len(sha) == 64 for sha in value["fingerprints"].values())
    assert {"torch", "machine", "processor"} <= set(value["software"])
    assert value["run"]["batch_size"] == 8
    assert value["history"][0]["n_instances"] == 70
    assert "extended       from 40 to 70 instances" in shown.output
