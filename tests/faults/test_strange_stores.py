"""Row 40: a store from somebody else is refused by the field that is wrong, at once."""

import json
import os
import resource
import struct
import zlib

import pytest

import nnviz
from nnviz.errors import NnvizError, StoreFormatError
from nnviz.runs.plan import fingerprint_of
from nnviz.store.documents import sealed_group
from nnviz.store.store import open_store
from nnviz.testing import PlantedRun, write_complete_store

RUN = PlantedRun(n_instances=40, instances_per_chunk=16, n_classes=3)


@pytest.fixture
def url(tmp_path):
    write_complete_store(tmp_path / "run.zarr", RUN)
    return tmp_path / "run.zarr"


def edit_plan(url, change, *, is_forged):
    """Change the plan in the root and its copy, with seals that fit."""
    document = json.loads((url / "zarr.json").read_bytes())
    attributes = document["attributes"]
    change(attributes["plan"])
    if is_forged:
        attributes["plan_fingerprint"] = fingerprint_of(attributes["plan"])
    for name in ("zarr.json", "recovery/zarr.json"):
        (url / name).write_bytes(sealed_group(attributes))


def set_rows(n):
    return lambda plan: plan.update(n_instances=n)


@pytest.mark.parametrize(
    ("change", "is_forged", "field"),
    [
        pytest.param(set_rows(41), False, "it was edited", id="edited"),
        pytest.param(set_rows(10**12), True, "'n_instances' is 1000000", id="absurd"),
        pytest.param(set_rows(-5), True, "'n_instances' is -5", id="negative"),
        pytest.param(set_rows(10**9), True, "at most 1,000,000 chunks", id="chunks"),
        pytest.param(lambda p: p.pop("architecture"), True, "architecture", id="part"),
    ],
)
def test_plan__that_was_edited__is_refused_with_the_field(
    url, change, is_forged, field
):
    if field == "architecture":
        is_forged = False
    edit_plan(url, change, is_forged=is_forged)

    with pytest.raises(StoreFormatError, match=field):
        open_store(url)


def test_plan__longer_than_its_arrays__is_refused_when_they_are_read(url):
    edit_plan(url, set_rows(48), is_forged=True)

    with pytest.raises(StoreFormatError, match="'shape'"):
        open_store(url).column("id")


def edit_array(url, path, **changes):
    """Change the declaration of an array, with checksums that fit."""
    place = url / path / "zarr.json"
    document = json.loads(place.read_bytes())
    document.update(changes)
    data = json.dumps(document).encode()
    place.write_bytes(data)
    state(url, {f"{path}/zarr.json": data})


def state(url, files):
    """Write checksums of files that fit."""
    for sums in url.rglob("checksums/zarr.json"):
        attributes = json.loads(sums.read_bytes())["attributes"]
        known = attributes["files"]
        for key, data in files.items():
            if key in known:
                known[key] = f"{zlib.crc32(data):08x}"
        sums.write_bytes(sealed_group(attributes))


def grid(*shape):
    return {"name": "regular", "configuration": {"chunk_shape": list(shape)}}


COUNTS = "aggregates/label/n_instances"


@pytest.mark.parametrize(
    ("path", "changes", "field"),
    [
        pytest.param(COUNTS, {"shape": [10**12]}, "'shape'", id="rows"),
        pytest.param(COUNTS, {"shape": [-3]}, "'shape'", id="negative"),
        pytest.param(COUNTS, {"shape": [1e3]}, "'shape'", id="fraction"),
        pytest.param(COUNTS, {"chunk_grid": grid(10**12)}, "'chunk_grid'", id="piece"),
        pytest.param(COUNTS, {"chunk_grid": grid(0)}, "'chunk_grid'", id="no-rows"),
        pytest.param(COUNTS, {"data_type": "r800"}, "'data_type'", id="dtype"),
        pytest.param(COUNTS, {"codecs": [{"name": "pickle"}]}, "'codecs'", id="codec"),
        pytest.param("instances/id", {"shape": [10**12]}, "'shape'", id="ids"),
        pytest.param("activations/late", {"shape": [10**12, 96]}, "'shape'", id="run"),
    ],
)
def test_array__of_an_absurd_declaration__is_refused_with_the_field(
    url, path, changes, field
):
    edit_array(url, path, **changes)
    store = open_store(url)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    with pytest.raises(StoreFormatError, match=field):
        _read(store, path)

    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 100_000  # KiB


def _read(store, path):
    is_later = path.startswith(("aggregates", "artifacts"))
    return store.groups.read(path) if is_later else store.read(path)


def test_piece__that_unpacks_to_more_than_is_declared__is_refused(url):
    """The header of the frame says 64 GiB; nothing is unpacked to find out."""
    bomb = b"\x28\xb5\x2f\xfd" + bytes([0xE0]) + struct.pack("<Q", 1 << 36) + b"\0" * 9
    (url / COUNTS / "c/0").write_bytes(bomb)
    state(url, {f"{COUNTS}/c/0": bomb})

    with pytest.raises(StoreFormatError, match="unpacks to 68,719,476,736 bytes"):
        nnviz.aggregates_of(open_store(url), "label")


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_pipe_or_device__in_place_of_the_root__is_refused_and_never_waited_for(
    url, kind
):
    (url / "zarr.json").unlink()
    if kind == "pipe":
        os.mkfifo(url / "zarr.json")
    else:
        (url / "zarr.json").symlink_to("/dev/zero")

    with pytest.raises(NnvizError, match="plain files only"):
        open_store(url)
