"""Suggested subsets: what was planted is found, and chance is called chance."""

import dataclasses
import tracemalloc

import numpy as np
import pytest

from nnviz.errors import DatasetError
from nnviz.subsets.columns import InstanceColumns, StoredChannels
from nnviz.subsets.evaluation import matching_instances
from nnviz.subsets.suggestions import suggest_subsets
from nnviz.testing import PlantedRun, write_store

pytestmark = pytest.mark.slow

N = 3_000
RUN = PlantedRun(n_classes=6, n_instances=N, accuracy=0.85, n_unreadable=4)
WRONG = RUN.labels != RUN.predictions


def columns_of(path, run):
    store = write_store(path, run)
    return InstanceColumns(store, StoredChannels(store))


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """Return a run in which two groups of instances are wrong more often."""
    rng = np.random.default_rng(1)
    # Nearly half of the errors were taken at night; few of the right ones were.
    night = np.where(WRONG, rng.random(N) < 0.45, rng.random(N) < 0.03)
    patched = (RUN.labels < 2) & np.where(
        WRONG, rng.random(N) < 0.6, rng.random(N) < 0.04
    )
    metadata = {
        "hour": np.where(night, "night", rng.choice(["day", "dusk"], N)).astype(object),
        "patch": patched,
        "grain": rng.normal(size=N),
    }
    run = dataclasses.replace(RUN, metadata=metadata)
    return columns_of(tmp_path_factory.mktemp("planted") / "run.zarr", run)


def test_suggestions__planted_slices__are_among_the_first_five(planted):
    first = suggest_subsets(planted, layers=("early", "late"))[:5]

    queries = " | ".join(one.query for one in first)
    assert "hour = night" in queries
    assert "patch = true" in queries
    assert all(one.is_significant for one in first)


CAMERAS = ("front", "left", "right", "rear", "top", "side", "low", "high")


class PatchedRun(PlantedRun):
    """A run with a patch on 5 % of two classes, and a camera with noisy labels."""

    @property
    def shown(self):
        """What the pictures show, shape (N,)."""
        return super().labels

    @property
    def camera(self):
        return np.random.default_rng((self.seed, 21)).choice(CAMERAS, self.n_instances)

    @property
    def has_patch(self):
        is_drawn = np.random.default_rng((self.seed, 22)).random(self.n_instances)
        return (self.shown < 2) & (is_drawn < 0.05)

    @property
    def labels(self):
        labels, rng = self.shown.copy(), np.random.default_rng((self.seed, 23))
        noisy = (self.camera == "left") & (rng.random(self.n_instances) < 0.5)
        labels[noisy] = rng.integers(0, self.n_classes, noisy.sum())
        return labels

    @property
    def predictions(self):
        rng = np.random.default_rng((self.seed, 24))
        is_wrong = rng.random(self.n_instances) >= self.accuracy
        is_wrong |= self.has_patch & (rng.random(self.n_instances) < 0.8)
        other = rng.integers(1, self.n_classes, self.n_instances)
        return ((self.shown + is_wrong * other) % self.n_classes).astype(np.int32)


@pytest.mark.parametrize("seed", range(5))
def test_suggestions__a_patch_beside_noisy_labels__are_among_the_first_five(
    tmp_path, seed
):
    run = PatchedRun(n_classes=6, n_instances=4_000, accuracy=0.92, seed=seed)
    metadata = {
        "camera": run.camera.astype(object),
        "patch": run.has_patch,
        "grain": np.random.default_rng(seed).normal(size=run.n_instances),
    }
    columns = columns_of(
        tmp_path / "r.zarr", dataclasses.replace(run, metadata=metadata)
    )

    first = suggest_subsets(columns, layers=("early", "late"))[:5]

    sure = [one.query for one in first if one.is_significant]
    assert "camera = left" in sure
    assert any("patch = true" in query for query in sure)


def test_suggestions__parts_of_a_slice_that_are_as_bad__are_called_chance(tmp_path):
    rng = np.random.default_rng(0)
    hour = np.where(WRONG, rng.random(N) < 0.6, rng.random(N) < 0.05)
    metadata = {
        "hour": np.where(hour, "night", "day").astype(object),
        "grain": rng.normal(size=N),
        "size": rng.normal(size=N),
    }
    columns = columns_of(
        tmp_path / "r.zarr", dataclasses.replace(RUN, metadata=metadata)
    )

    found = [s for s in suggest_subsets(columns, n=20) if s.kind == "slice"]

    assert found[0].query == "hour = night"
    parts = [one for one in found[1:] if "hour = night" in one.query]
    assert not any(one.is_significant for one in parts)


def rest_of(one, found):
    """Return what a slice is compared with: all, or the slice that it is a part of."""
    whole = [s for s in found if one.sentence.split("; p =")[0].endswith(s.name)]
    if not whole:
        return np.ones(N, dtype=bool)
    return np.isin(np.arange(N), whole[0].instances)


def test_suggestions__counts_are_those_of_the_held_out_half(planted):
    table = planted.store.instances()
    found = suggest_subsets(planted, layers=("early", "late"))

    held_out = np.random.default_rng(0).random(N) >= 0.5
    usable = (table.status == "").to_numpy()
    for one in (s for s in found if s.kind == "slice"):
        mine = np.isin(np.arange(N), one.instances) & held_out
        assert usable[one.instances].all()
        assert one.n_held_out == mine.sum()
        assert one.rate == pytest.approx(WRONG[mine].mean())
        others = usable & held_out & ~mine & rest_of(one, found)
        assert one.others_rate == pytest.approx(WRONG[others].mean())
        assert one.interval[0] <= one.rate <= one.interval[1]


def test_suggestions__a_query_gives_the_same_instances(planted):
    found = suggest_subsets(planted, layers=("early", "late"))
    with_query = [one for one in found if one.query]

    assert len(with_query) >= 3
    for one in with_query:
        asked = matching_instances(one.query, planted)
        usable = asked[planted.usable[asked]]
        assert usable.tolist() == one.instances.tolist(), one.query


def test_suggestions__no_two_share_most_of_their_instances(planted):
    found = suggest_subsets(planted, layers=("early", "late"), n=20)

    for i, one in enumerate(found):
        for other in found[:i]:
            shared = len(np.intersect1d(one.instances, other.instances))
            union = len(np.union1d(one.instances, other.instances))
            assert shared < 0.5 * union


def test_suggestions__where_errors_are_chance__are_hardly_ever_significant(tmp_path):
    called = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        run = PlantedRun(
            n_classes=6,
            n_instances=600,
            accuracy=0.8,
            layers=(("late", 24, ()),),
            seed=seed,
            metadata={
                "hour": rng.choice(["day", "dusk", "night"], 600).astype(object),
                "grain": rng.normal(size=600),
            },
        )
        columns = columns_of(tmp_path / f"{seed}.zarr", run)
        found = suggest_subsets(columns, layers=("late",))
        # A planted wrong prediction is always the next class: these confusions are
        # real, everything else is chance.
        rest = [one for one in found if one.kind != "confusion"]
        called += any(one.is_significant for one in rest)

    assert called <= 4  # of 40; 5 % are 2, and 4 or fewer are seen in 95 % of tries


def test_suggestions__planted_confusions__are_found(planted):
    found = [s for s in suggest_subsets(planted, n=20) if s.kind == "confusion"]

    assert found
    for one in found:
        true, taken = (int(part[-3:]) for part in one.name.split(" taken for "))
        assert taken == (true + 1) % 6
        assert one.is_significant


def test_suggestions__among_many_classes__hold_no_mask_of_each(tmp_path):
    """A thousand classes of a million instances took five gigabytes."""
    run = dataclasses.replace(RUN, n_classes=300, n_instances=10_000)
    columns = columns_of(tmp_path / "run.zarr", run)
    n_bytes_of_masks = 2 * run.n_classes * run.n_instances  # true class, predicted one
    suggest_subsets(columns)  # imports, and reads the columns

    tracemalloc.start()
    suggest_subsets(columns)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < n_bytes_of_masks


def test_suggestions__without_labels__are_refused(tmp_path):
    store = write_store(tmp_path / "run.zarr", dataclasses.replace(RUN, n_instances=50))
    columns = InstanceColumns(store, StoredChannels(store))
    blind = columns.column("label")
    blind.null[:] = True

    with pytest.raises(DatasetError, match="no instance of the run has a label"):
        suggest_subsets(columns)
