"""Row 40: a store from somebody else is refused by the field that is wrong, at once."""

import contextlib
import json
import os
import resource
import shutil
import socket
import struct
import zlib

import pytest

import nnviz
from nnviz.errors import NnvizError, StoreError, StoreFormatError
from nnviz.runs.identity import fingerprint_of
from nnviz.store.documents import sealed_group
from nnviz.store.store import Store, open_store
from nnviz.testing import PlantedRun, write_complete_store
from nnviz.upkeep.verification import verify

pytestmark = pytest.mark.slow

RUN = PlantedRun(
    n_classes=3,
    n_instances=40,
    layers=(("early", 16, (4, 4)), ("late", 24, (2, 2))),
    instances_per_chunk=16,
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return a store whose tests leave it as they found it."""
    url = tmp_path_factory.mktemp("whole") / "run.zarr"
    write_complete_store(url, RUN)
    return url


@pytest.fixture
def url(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "run.zarr")
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
        pytest.param(
            lambda p: p["architecture"]["layers"][0].update(name="../../other/x"),
            True,
            "'../../other/x' cannot be the name of a layer",
            id="layer-outside",
        ),
        pytest.param(
            lambda p: p["metadata_dtypes"].update({"a\\b": "string"}),
            True,
            "cannot be the name of a layer or a column",
            id="column-outside",
        ),
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
        pytest.param(
            "activations/float16", {"shape": [10**12, 106]}, "'shape'", id="run"
        ),
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
    if path == "activations/float16":
        return store.activations("late")
    return store.groups.read(path) if is_later else store.read(path)


def test_piece__that_unpacks_to_more_than_is_declared__is_refused(url):
    """The header of the frame says 64 GiB; nothing is unpacked to find out."""
    bomb = b"\x28\xb5\x2f\xfd" + bytes([0xE0]) + struct.pack("<Q", 1 << 36) + b"\0" * 9
    (url / COUNTS / "c/0").write_bytes(bomb)
    state(url, {f"{COUNTS}/c/0": bomb})

    with pytest.raises(StoreFormatError, match="unpacks to 68,719,476,736 bytes"):
        nnviz.aggregates_of(open_store(url), "label")


DOCUMENTS_AND_PIECES = [
    "zarr.json",
    "activations/float16/zarr.json",
    "activations/float16/c/1/0",
    "instances/zarr.json",
    "instances/id/c/0",
    "instances/status/c/0",
    "extraction_done/c/0/0",
    "checksums/zarr.json",
    "aggregates/label/zarr.json",
    "aggregates/label/checksums/zarr.json",
    "aggregates/label/n_instances/zarr.json",
    "aggregates/label/n_instances/c/0",
    "artifacts/examples/zarr.json",
]


def put(kind, place):
    """Put what is no plain file in place of a file."""
    place.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "device":
        place.symlink_to("/dev/zero")
    else:
        # A path of a socket may have 108 bytes.
        with socket.socket(socket.AF_UNIX) as listener, contextlib.chdir(place.parent):
            listener.bind(place.name)


def read_all(url):
    store = open_store(url)
    store.instances()
    store.activations("late")
    nnviz.aggregates_of(store, "label")
    store.groups.attributes("artifacts/examples")
    verify(url, repair=False, contents=False)


@pytest.mark.parametrize("kind", ["pipe", "device", "socket"])
def test_what_is_no_plain_file__in_place_of_any__is_refused_and_never_waited_for(
    whole, kind
):
    """By whoever reads it; and verify names it."""
    for name in DOCUMENTS_AND_PIECES:
        data = (whole / name).read_bytes()
        put(kind, whole / name)

        if name == "instances/zarr.json":  # nobody asks for it
            read_all(whole)
        else:
            with pytest.raises(NnvizError, match="plain files only"):
                read_all(whole)
        said = str(verify(whole, repair=False, contents=False))
        assert "plain files only" in said, name

        (whole / name).unlink()
        (whole / name).write_bytes(data)


@pytest.mark.parametrize("name", ["zarr.json", "recovery/zarr.json"])
def test_pipe__in_place_of_the_root_or_its_copy__is_replaced_by_the_other(url, name):
    data = (url / name).read_bytes()
    put("pipe", url / name)

    report = verify(url, contents=False)

    assert report.is_sound
    assert "plain files only" in str(report)
    assert (url / name).read_bytes() == data


@pytest.mark.parametrize("kind", ["pipe", "link"])
def test_lock_that_is_no_plain_file__is_refused_and_nothing_written_to(
    url, tmp_path, kind
):
    """A link would lead to any file of who runs this."""
    (url / "writer").mkdir()
    theirs = tmp_path / "theirs"
    theirs.write_text("mine\n")
    if kind == "pipe":
        os.mkfifo(url / "writer/zarr.json")
    else:
        (url / "writer/zarr.json").symlink_to(theirs)

    with pytest.raises(StoreError, match="is not a plain file"):
        verify(url, contents=False)

    assert theirs.read_text() == "mine\n"


@pytest.mark.parametrize(
    ("member", "change", "words"),
    [
        pytest.param("indices", lambda v: v + 10**6, "'indices' leave", id="columns"),
        pytest.param("indptr", lambda v: v[::-1].copy(), "'indptr'", id="order"),
        pytest.param("indptr", lambda v: v * 1000, "'indptr'", id="entries"),
    ],
)
def test_sparse_matrix__that_would_read_foreign_memory__is_refused(
    url, member, change, words
):
    path = "aggregates/label/activation_counts/late"
    store = Store.open(url, writable=True)
    values = store.groups.read(f"{path}/{member}")
    store.groups.write_member(f"{path}/{member}", change(values))
    (url / "aggregates/label/checksums/zarr.json").unlink()

    with pytest.raises(StoreFormatError, match=words):
        open_store(url).groups.read_csr(path)
