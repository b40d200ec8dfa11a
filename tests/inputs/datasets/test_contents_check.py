"""What is inside of files is part of a run's identity; equal insides are reported."""

import dataclasses
import hashlib
import json

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import nnviz
from nnviz.cli.main import main
from nnviz.errors import PlanMismatchError
from nnviz.inputs.datasets.contents_check import SAMPLE, contents_of, hashes_of
from nnviz.planning.planning import plan_run
from nnviz.planning.store_creation import prepare_store
from nnviz.runs.config import load_config
from nnviz.runs.plan import Plan
from nnviz.store.store import Store, open_store
from nnviz.upkeep.extension import extend
from nnviz.upkeep.recomputation import recompute
from nnviz.upkeep.verification import verify
from tests.faults.small_run import RUN, one_worker, write_inputs


def write_picture(folder, name, value):
    """Write a picture of six numbers, whose file is as long as every other."""
    place = folder / "pictures" / name
    place.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.frombuffer(int(value).to_bytes(6, "little"), np.uint8)
    Image.fromarray(pixels.reshape(1, 2, 3)).save(place)


@pytest.fixture
def run(tmp_path):
    """Return a function: write this many pictures, and a run of them, and load it."""

    def write(n, mode=None, names=lambda i: f"{'abc'[i % 3]}/{i:04d}.bmp"):
        write_inputs(tmp_path)
        network = (tmp_path / "network.py").read_text()
        network = network.replace("(x)))", "(x.flatten(1))))")
        (tmp_path / "network.py").write_text(network)
        for index in range(n):
            write_picture(tmp_path, names(index), 1000 + index)
        text = RUN.replace('kind = "arrays"', 'kind = "folder"')
        text = text.replace('kind = "array"\nscale = 1.0', 'kind = "image"')
        option = "" if mode is None else f'\nfingerprint_contents = "{mode}"'
        text = text.replace('"rows.npz"', f'"pictures"{option}')
        (tmp_path / "run.toml").write_text(text)
        return load_config(tmp_path / "run.toml")

    return write


def created(config, url):
    plan, probe = plan_run(config)
    return prepare_store(plan, str(url), probe=probe)


def extracted(store):
    with one_worker() as client:
        return nnviz.extract(store, client=client)


def test_resumed_run__with_a_changed_file_of_the_same_size__is_refused(run, tmp_path):
    """Row 24: names and sizes are as planned, and still it is another data set."""
    store = created(run(40), tmp_path / "run.zarr")
    size = (tmp_path / "pictures/b/0007.bmp").stat().st_size
    write_picture(tmp_path, "b/0007.bmp", 5)
    changed = (tmp_path / "pictures/b/0007.bmp").stat().st_size

    with pytest.raises(
        PlanMismatchError, match=r"1 of 40 sampled instances .*'b/0007\.bmp'"
    ):
        extracted(store)

    assert size == changed
    assert store.chunks.missing() == [0, 1, 2]


def test_plan__again_over_changed_files__is_refused(run, tmp_path):
    """Row 24: the store of a plan is not taken for one of other data."""
    config = run(40)
    created(config, tmp_path / "run.zarr")
    created(config, tmp_path / "run.zarr")
    write_picture(tmp_path, "a/0000.bmp", 5)

    with pytest.raises(PlanMismatchError, match=r"contents of 1 of 40 .*'a/0000\.bmp'"):
        created(config, tmp_path / "run.zarr")


@pytest.fixture
def outside():
    """Return an instance of 600 that is not in the sample."""
    rows = {int(row) for row in np.arange(SAMPLE) * 600 // SAMPLE}
    return next(row for row in range(600) if row not in rows)


@pytest.mark.parametrize(("mode", "finds"), [("sampled", False), ("full", True)])
def test_verify__one_changed_file_of_many(run, tmp_path, outside, mode, finds):
    """Row 24: always with all contents; with a sample only what is in it."""
    created(run(600, mode), tmp_path / "run.zarr")
    listed = nnviz.open_store(tmp_path / "run.zarr").column("id")
    write_picture(tmp_path, listed[outside], 5)

    report = verify(tmp_path / "run.zarr")

    assert report.contents.n_read == (600 if finds else SAMPLE)
    assert report.contents.changed == ([listed[outside]] if finds else [])
    assert (report.damages, report.is_sound) == ([], not finds)


@pytest.mark.slow
def test_resumed_run__with_all_contents_known__reads_only_what_was_planned(
    run, tmp_path, outside
):
    """Row 24: the chunk with the changed instance fails, the others are done."""
    store = created(run(600, "full"), tmp_path / "run.zarr")
    name = store.column("id")[outside]
    write_picture(tmp_path, name, 5)

    summary = extracted(store)

    assert list(summary.failed) == [outside // 16]
    assert f"contents of '{name}' have changed" in summary.failed[outside // 16]


@pytest.mark.slow
def test_recompute__reads_only_what_was_planned(run, tmp_path, outside):
    """Row 24: with all contents known, each is compared as it is read."""
    store = created(run(600, "full"), tmp_path / "run.zarr")
    assert extracted(store).failed == {}
    name = store.column("id")[outside]
    write_picture(tmp_path, name, 5)

    with pytest.raises(PlanMismatchError, match=f"contents of '{name}' have changed"):
        recompute(store, 1.0)


def test_verify_command__says_what_has_changed(run, tmp_path):
    store = created(run(40), tmp_path / "run.zarr")
    before = CliRunner().invoke(main, ["verify", store.url, "--quiet"])
    write_picture(tmp_path, "c/0002.bmp", 5)

    after = CliRunner().invoke(main, ["verify", store.url, "--quiet"])
    told = CliRunner().invoke(main, ["verify", store.url, "--quiet", "--json"])
    without = CliRunner().invoke(
        main, ["verify", store.url, "--quiet", "--no-contents"]
    )

    assert (before.exit_code, after.exit_code, without.exit_code) == (0, 1, 0)
    assert "the contents of 40 of 40 instances of the data set are as" in before.output
    assert "1 have other contents than when the plan was made" in after.output
    assert json.loads(told.stdout)["contents"]["changed"] == ["c/0002.bmp"]


@pytest.mark.parametrize("gone", ["the folder", "one file"])
def test_verify__data_that_are_elsewhere__say_nothing_of_the_store(run, tmp_path, gone):
    created(run(40), tmp_path / "run.zarr")
    place = tmp_path / "pictures"
    (place if gone == "the folder" else place / "a/0000.bmp").rename(tmp_path / "away")

    report = verify(tmp_path / "run.zarr")

    assert report.is_sound
    assert "contents of the data set not compared" in str(report)


def test_verify__damaged_hashes__are_taken_again(run, tmp_path):
    store = created(run(40, "full"), tmp_path / "run.zarr")
    before = store.read("dataset/contents")
    (piece,) = (tmp_path / "run.zarr/dataset/contents").rglob("0")
    data = bytearray(piece.read_bytes())
    data[11] ^= 1
    piece.write_bytes(data)

    report = verify(tmp_path / "run.zarr")

    assert [d.array for d in report.damages] == ["dataset/contents"]
    assert report.is_sound
    assert open_store(store.url).read("dataset/contents").tolist() == before.tolist()


def test_plan__duplicates_are_reported_by_their_contents(run, tmp_path):
    """Row 23: two names of the same bytes are two instances, and said to be equal."""
    config = run(40, "full")
    for name in ("a/copy.bmp", "c/copy.bmp"):
        write_picture(tmp_path, name, 1000)
    write_picture(tmp_path, "b/twin.bmp", 1001)

    plan, probe = plan_run(config)
    store = prepare_store(plan, str(tmp_path / "run.zarr"), probe=probe)
    inspected = CliRunner().invoke(main, ["inspect", store.url, "--provenance"])

    assert (plan.n_instances, plan.contents.n_duplicates) == (43, 3)
    assert plan.contents.duplicates == (
        ("a/0000.bmp", "a/copy.bmp", "c/copy.bmp"),
        ("b/0001.bmp", "b/twin.bmp"),
    )
    assert "3 instances have the contents of one before them" in str(plan)
    assert "  b/0001.bmp = b/twin.bmp" in inspected.output
    assert f"{plan.contents.fingerprint} of all 43 instances" in inspected.output


def test_plan__without_contents__reads_none(run, tmp_path):
    store = created(run(40, "none"), tmp_path / "run.zarr")
    write_picture(tmp_path, "b/0007.bmp", 5)

    provenance = CliRunner().invoke(main, ["inspect", store.url, "--provenance"])

    assert extracted(store).failed == {}
    assert verify(store.url).is_sound
    assert "contents       not read" in provenance.output


def test_contents__of_a_data_set_that_is_code__are_read_if_asked_for(run, tmp_path):
    """Its items may be made anew each time."""
    config = run(1)
    (tmp_path / "made.py").write_text("def rows():\n    return [([0.5] * 6, 1)] * 5\n")
    source = f"{tmp_path / 'made.py'}:rows"
    code = dataclasses.replace(config.dataset, kind="torch", path=None, source=source)
    asked = dataclasses.replace(code, fingerprint_contents="full")
    plans = [
        plan_run(
            dataclasses.replace(
                config,
                dataset=dataset,
                preprocessing=dataclasses.replace(config.preprocessing, kind="array"),
            )
        )[0]
        for dataset in (code, asked)
    ]

    assert [plan.contents.mode for plan in plans] == ["none", "full"]
    assert [plan.contents.n_duplicates for plan in plans] == [0, 4]


def test_plan__of_an_older_nnviz__is_the_same_plan(run):
    plan, _ = plan_run(run(40))
    older = plan.to_json()
    del older["contents"], older["dataset"]["fingerprint_contents"]

    read = Plan.from_json(older)

    assert read.contents.mode == "none"
    assert read.fingerprint == plan.fingerprint


def test_plan__of_all_contents__is_not_taken_for_one_of_a_sample(run, tmp_path):
    created(run(40), tmp_path / "run.zarr")

    with pytest.raises(PlanMismatchError, match="was made with 'sampled'"):
        created(run(40, "full"), tmp_path / "run.zarr")


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["sampled", "full"])
def test_extension__is_as_planned_at_once_but_for_the_order(run, tmp_path, mode):
    store = created(run(40, mode), tmp_path / "run.zarr")
    extracted(store)
    write_picture(tmp_path, "a/0000-new.bmp", 77)
    write_picture(tmp_path, "a/0001-old.bmp", 1000)

    extend(store.url)
    longer = open_store(store.url)
    plan = longer.plan
    extracted(Store.open(store.url, writable=True))

    assert plan.n_instances == plan.contents.n_read == 42
    assert plan.contents.n_duplicates == (mode == "full")
    assert verify(store.url).contents.n_read == 42
    assert verify(store.url).is_sound
    write_picture(tmp_path, "a/0001-old.bmp", 78)
    assert verify(store.url).contents.changed == ["a/0001-old.bmp"]


def test_extension__of_changed_files__is_refused(run, tmp_path):
    """Row 24: new instances do not hide that old ones are others."""
    store = created(run(40), tmp_path / "run.zarr")
    write_picture(tmp_path, "a/new.bmp", 77)
    write_picture(tmp_path, "a/0003.bmp", 78)

    with pytest.raises(PlanMismatchError, match=r"'a/0003\.bmp'"):
        extend(store.url)


class Rows:
    """A data set in memory, one instance of which cannot be read."""

    def __init__(self, values):
        self.values, self.ids = values, [str(i) for i in range(len(values))]

    def __len__(self):
        return len(self.values)

    def read(self, index):
        if self.values[index] is None:
            raise nnviz.errors.UnreadableInstanceError("gone")
        return self.values[index]


def test_hashes__are_those_of_the_bytes_as_they_are_read():
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    data = Rows([b"one", array, array.T.copy(), None, array.astype(np.float64)])

    found = hashes_of(data, range(5)).tolist()

    expected = hashlib.blake2b(b"one", digest_size=8).digest()
    assert found[0] == int.from_bytes(expected, "little")
    assert found[3] == 0
    assert len({*found}) == 5


def test_contents__what_cannot_be_read_is_equal_to_nothing():
    contents, hashes = contents_of(Rows([None, None, b"x", b"x"]), "full")

    assert (contents.n_read, contents.n_duplicates) == (2, 1)
    assert contents.duplicates == (("2", "3"),)
    assert hashes.tolist()[:2] == [0, 0]


@pytest.mark.parametrize("n", [1, SAMPLE, SAMPLE + 1, 100_000])
def test_sample__is_bounded_and_reaches_over_all(n):
    contents, _ = contents_of(Rows([b"%d" % i for i in range(n)]), "sampled")

    rows = [int(row) for row in contents.sample]
    assert len(rows) == min(n, SAMPLE)
    assert rows[0] == 0
    assert rows[-1] >= n - 1 - n // SAMPLE
