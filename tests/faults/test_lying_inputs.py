"""Rows 21 to 23: files that are not what they seem, through a whole extraction."""

from __future__ import annotations

import io
import json
import os
import resource
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import nnviz
from nnviz.errors import (
    DatasetError,
    ModelError,
    PlanMismatchError,
    UnreadableInstanceError,
)
from nnviz.inputs.datasets.opening import open_dataset
from nnviz.inputs.models.loading import load_model
from nnviz.inputs.preparation.decoding import decode_image
from nnviz.runs.config import DatasetConfig, ModelConfig, load_config
from nnviz.subsets.naming import read_subsets

rng = np.random.default_rng(0)
PIXELS = np.add.outer(np.arange(48), np.arange(64)).astype(np.uint8)
COLOURS = np.stack([PIXELS, PIXELS[::-1], 255 - PIXELS], axis=2)

NETWORK = """
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 12, 3), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 3),
    )
"""
RUN = """
[model]
source = "{folder}/network.py:build"
[dataset]
kind = "folder"
path = "{folder}/{name}"
[preprocessing]
resize = [24, 24]
[extraction]
instances_per_chunk = 16
batch_size = 8
max_unreadable_fraction = {fraction}
"""


def saved(image, image_format, **options):
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def jpeg(pixels=COLOURS, **options):
    return saved(Image.fromarray(pixels), "JPEG", quality=95, **options)


def png_chunk(kind, body):
    crc = zlib.crc32(kind + body)
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc)


def png(*chunks, width=10, height=10):
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = b"".join(png_chunk(*chunk) for chunk in chunks)
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + body
        + png_chunk(b"IEND", b"")
    )


def garbage_in_the_middle():
    data = bytearray(jpeg(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)))
    middle = len(data) // 2
    data[middle : middle + 200] = bytes([0xFF, 0xC8] * 100)
    return bytes(data)


def with_exif_orientation():
    exif = Image.Exif()
    exif[0x0112] = 6
    return jpeg(exif=exif)


# Name, bytes, and whether it has to be recorded as unreadable: the table of kinds.
KINDS = {
    "truncated": (jpeg()[: len(jpeg()) * 6 // 10], True),
    "garbage": (garbage_in_the_middle(), True),
    "junk-before-end": (jpeg()[:-2] + rng.bytes(100) + jpeg()[-2:], True),
    "png-named-jpeg": (saved(Image.fromarray(COLOURS), "PNG"), False),
    "cmyk": (saved(Image.fromarray(COLOURS).convert("CMYK"), "JPEG"), False),
    "sixteen-bit": (
        saved(Image.fromarray(PIXELS.astype(np.uint16) * 257), "PNG"),
        False,
    ),
    "exif-orientation": (with_exif_orientation(), False),
    "rgba": (saved(Image.fromarray(COLOURS).convert("RGBA"), "PNG"), False),
    "gif": (saved(Image.fromarray(COLOURS).quantize(64), "GIF"), False),
    "webp": (saved(Image.fromarray(COLOURS), "WEBP"), False),
    "bomb": (png((b"IDAT", b""), width=20_000, height=20_000), True),
    "empty": (b"", True),
    "one-pixel": (saved(Image.new("RGB", (1, 1), (9, 8, 7)), "PNG"), False),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Return two folders of 45 images: all good, and some replaced in their place."""
    folder = tmp_path_factory.mktemp("lies")
    (folder / "network.py").write_text(NETWORK)
    for name in ("good", "lies"):
        for index in range(45):
            place = folder / name / f"class{index % 3}" / f"{index:02}.JPEG"
            place.parent.mkdir(parents=True, exist_ok=True)
            local = np.random.default_rng(index)
            place.write_bytes(jpeg(local.integers(0, 256, (48, 64, 3), np.uint8)))
    injected = {}
    for number, (kind, (data, is_bad)) in enumerate(KINDS.items()):
        index = 3 * number + 1
        place = folder / "lies" / f"class{index % 3}" / f"{index:02}.JPEG"
        place.write_bytes(data)
        injected[str(place.relative_to(folder / "lies"))] = (kind, is_bad)
    return folder, injected


def extracted(folder, name, url, client, *, fraction=0.5):
    run_file = url.with_suffix(".toml")
    run_file.write_text(RUN.format(folder=folder, name=name, fraction=fraction))
    plan, probe = nnviz.plan_run(load_config(run_file))
    store = nnviz.prepare_store(plan, str(url), probe=probe)
    nnviz.extract(store, client=client)
    return store


@pytest.mark.slow
def test_lies__are_listed_and_change_no_other_result(folders, tmp_path, client):
    """Row 21: the reported list is the injected one; the others are equal by bytes."""
    folder, injected = folders

    good = extracted(folder, "good", tmp_path / "good.zarr", client)
    lies = extracted(folder, "lies", tmp_path / "lies.zarr", client)

    table = lies.instances()
    reported = set(table.id[table.status != ""])
    assert reported == {name for name, (_, is_bad) in injected.items() if is_bad}
    assert (good.instances().status == "").all()
    is_same = ~table.id.isin(injected).to_numpy()
    assert is_same.sum() == 45 - len(KINDS)
    for layer in lies.layers:
        ours, theirs = lies.activations(layer.name), good.activations(layer.name)
        assert ours[is_same].tobytes() == theirs[is_same].tobytes()
        bad = table.id.isin(reported).to_numpy()
        assert np.isnan(ours[bad].astype(np.float32)).all()
        assert np.isfinite(ours[~bad].astype(np.float32)).all()


@pytest.mark.slow
def test_lies__more_than_allowed_end_the_run(folders, tmp_path, client):
    """Row 21: above the allowed fraction the run stops, and says why."""
    folder, _ = folders

    with pytest.raises(DatasetError, match="more than the allowed fraction"):
        extracted(folder, "lies", tmp_path / "run.zarr", client, fraction=0.01)


ODD = """
import json, resource, sys, time
from nnviz.runs.config import DatasetConfig
from nnviz.errors import UnreadableInstanceError
from nnviz.inputs.datasets.opening import open_dataset
from nnviz.inputs.preparation.decoding import decode_image

before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
dataset = open_dataset(DatasetConfig(kind="folder", path=sys.argv[1]))
reasons, slowest = {}, 0
for index, name in enumerate(dataset.ids):
    start = time.process_time()
    try:
        decode_image(dataset.read(index))
    except UnreadableInstanceError as error:
        reasons[name] = str(error)
    slowest = max(slowest, time.process_time() - start)
grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
print(json.dumps([reasons, slowest, grown]))
"""


@pytest.mark.slow
def test_odd_files__are_rejected_at_once_and_in_little_memory(tmp_path):
    """Row 22: bombs, empty files, pipes, loops, folders and devices; not one pixel."""
    root = tmp_path / "data" / "c"
    root.mkdir(parents=True)
    text = b"k\0\0" + zlib.compress(bytes(100_000_000), 9)
    row = zlib.compress(bytes(110))
    files = {
        "bomb.png": png((b"IDAT", b""), width=20_000, height=20_000),
        "text-bomb.png": png((b"zTXt", text), (b"IDAT", row)),
        "profile-bomb.png": png((b"iCCP", text), (b"IDAT", row)),
        "pixel-bomb.png": png((b"IDAT", zlib.compress(bytes(200_000_000)))),
        "empty.jpg": b"",
        "good.png": saved(Image.new("RGB", (1, 1)), "PNG"),
    }
    for name, data in files.items():
        (root / name).write_bytes(data)
    os.mkfifo(root / "pipe.jpg")
    (root / "loop.jpg").symlink_to("loop.jpg")
    (root / "folder.jpg").mkdir()
    with (root / "huge.jpg").open("wb") as file:
        file.truncate(1 << 40)
    if os.geteuid() == 0:
        os.mknod(root / "zero.jpg", 0o600 | 0o020000, os.makedev(1, 5))

    done = subprocess.run(
        [sys.executable, "-c", ODD, str(tmp_path / "data")],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (30, 30)),
    )

    reasons, slowest, grown_mb = json.loads(done.stdout)
    listed = {f"c/{path.name}" for path in root.iterdir()}
    assert set(reasons) == listed - {"c/good.png"}
    assert slowest < 5  # a guard against hanging; it takes milliseconds
    assert grown_mb < 200


def test_device__is_no_image_even_where_links_may_lead_out(tmp_path):
    """Row 22: /dev/zero has no end."""
    (tmp_path / "x.jpg").symlink_to("/dev/zero")
    config = DatasetConfig(kind="folder", path=str(tmp_path), allow_outside_root=True)

    with pytest.raises(UnreadableInstanceError, match="not a regular file"):
        open_dataset(config).read(0)


def test_names__are_stable_ids_and_lead_nowhere(tmp_path):
    """Row 23: copies, case clashes, and names with anything that a name may hold."""
    data = jpeg()
    names = ["a.jpg", "A.jpg", "copy of a.jpg", "new\nline.jpg", "..x.jpg", "ä.jpg"]
    names += ["a\u0308.jpg", "%2e%2e%2f.jpg", "..\\..\\x.jpg", "<img src=x>.jpg"]
    (tmp_path / "c").mkdir()
    for name in names:
        (tmp_path / "c" / name).write_bytes(data)
    config = DatasetConfig(kind="folder", path=str(tmp_path))

    first, second = open_dataset(config), open_dataset(config)

    listed = sorted(f"c/{name}" for name in names if not name.startswith("."))
    assert first.ids == second.ids == listed
    assert first.fingerprint == second.fingerprint
    assert {first.read(index) for index in range(len(first))} == {data}


def write_tar(path, members):
    with tarfile.open(path, "w") as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def open_tar(path):
    return open_dataset(DatasetConfig(kind="webdataset", path=str(path)))


def test_archive__with_a_damaged_header_loses_nothing_unsaid(tmp_path):
    """Row 21: tarfile takes such a header for the end of the archive."""
    path = write_tar(tmp_path / "a.tar", [(f"{i}.jpg", bytes(600)) for i in range(5)])
    data = bytearray(path.read_bytes())
    data[2 * (512 + 1024) + 5] ^= 0xFF
    path.write_bytes(data)

    with pytest.raises(DatasetError, match="damaged header"):
        open_tar(path)


def test_archive__pointing_backwards_is_refused(tmp_path):
    """Row 22: a size below zero once made tarfile read for ever."""
    info = tarfile.TarInfo("a.jpg")
    info.pax_headers = {"size": "-1024"}
    data = info.tobuf(tarfile.PAX_FORMAT) + bytes(1024)
    (tmp_path / "a.tar").write_bytes(data)

    with pytest.raises(DatasetError, match="negative size"):
        open_tar(tmp_path / "a.tar")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"[" * 200_000, id="deep"),
        pytest.param(b'{"x": ' * 50_000, id="deep-objects"),
        pytest.param(b'{"label": ' + b"9" * 5000 + b"}", id="long-number"),
    ],
)
def test_json_of_an_archive__that_cannot_be_read_is_no_label(tmp_path, text):
    path = write_tar(tmp_path / "a.tar", [("a.jpg", b"1"), ("a.json", text)])

    assert open_tar(path).labels is None


def test_json_of_an_archive__with_a_number_past_all_floats_is_a_text(tmp_path):
    text = b'{"x": ' + b"9" * 400 + b"}"
    path = write_tar(tmp_path / "a.tar", [("a.jpg", b"1"), ("a.json", text)])

    assert open_tar(path).metadata["x"].tolist() == ["9" * 400]


def make_pipe(path):
    os.mkfifo(path)


def make_huge(path):
    with path.open("wb") as file:
        file.truncate(1 << 36)


@pytest.mark.parametrize("make", [make_pipe, make_huge], ids=["pipe", "huge"])
@pytest.mark.parametrize("name", ["s.csv", "s.json"])
def test_text_files__without_end_are_refused_at_once(tmp_path, make, name):
    """Row 22: for tables and lists of subsets, which a user may get from elsewhere."""
    make(tmp_path / name)

    with pytest.raises(DatasetError, match="cannot read"):
        read_subsets(tmp_path / name, ["a"])
    if name == "s.csv":
        with pytest.raises(DatasetError, match="cannot read"):
            open_dataset(DatasetConfig(kind="table", path=str(tmp_path / name)))


@pytest.mark.parametrize(
    "text", ["[" * 200_000, '{"a": [' + "9" * 5000 + "]}"], ids=["deep", "long-number"]
)
def test_subsets__in_json_that_cannot_be_parsed_are_one_message(tmp_path, text):
    (tmp_path / "s.json").write_text(text)

    with pytest.raises(DatasetError, match="is not valid JSON"):
        read_subsets(tmp_path / "s.json", ["a"])


def packed_npz(path, shape, n_bytes):
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("data.npy", "w", force_zip64=True) as file,
    ):
        np.lib.format.write_array_header_1_0(file, header)
        for _ in range(n_bytes >> 20):
            file.write(bytes(1 << 20))


def test_npz__that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    """Row 22: a decompression bomb; the real limit would take a minute to write."""
    packed_npz(tmp_path / "a.npz", (64, 1 << 20), 1 << 26)
    monkeypatch.setattr("nnviz.inputs.datasets.arrays.MAX_UNPACKED_BYTES", 1 << 25)

    with pytest.raises(DatasetError, match="unpacked"):
        open_dataset(DatasetConfig(kind="arrays", path=str(tmp_path / "a.npz")))


def test_npz__that_claims_more_than_it_has_is_refused(tmp_path):
    """Row 22: the header asks for 182 TiB."""
    packed_npz(tmp_path / "a.npz", (1000, 200_000_000_000), 1 << 20)

    with pytest.raises(DatasetError, match="cannot read"):
        open_dataset(DatasetConfig(kind="arrays", path=str(tmp_path / "a.npz")))


def test_weights__packed_in_their_archive_are_refused(tmp_path):
    """Row 22: 200 MB of zeros pack to 200 kB; torch itself never packs."""
    (tmp_path / "network.py").write_text(NETWORK)
    torch.save({"x": torch.zeros(1_000_000)}, tmp_path / "w.pt")
    with (
        zipfile.ZipFile(tmp_path / "w.pt") as whole,
        zipfile.ZipFile(tmp_path / "p.pt", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for member in whole.infolist():
            packed.writestr(member.filename, whole.read(member))
    source = f"{tmp_path}/network.py:build"

    with pytest.raises(ModelError, match="compressed inside"):
        load_model(ModelConfig(source, weights=str(tmp_path / "p.pt")))


def test_decode_image__of_more_data_than_pixels_is_damaged():
    data = png((b"IDAT", zlib.compress(bytes(200_000_000))))

    with pytest.raises(UnreadableInstanceError, match="more data than the pixels"):
        decode_image(data)


def test_file__that_vanishes_after_planning_is_refused(folders, tmp_path, client):
    """A data set that changed since the plan is not taken for the planned one."""
    source, _ = folders
    folder = tmp_path / "copy"
    subprocess.run(["cp", "-r", source, folder], check=True)
    run_file = tmp_path / "run.toml"
    run_file.write_text(RUN.format(folder=folder, name="good", fraction=0.5))
    plan, probe = nnviz.plan_run(load_config(run_file))
    store = nnviz.prepare_store(plan, str(tmp_path / "run.zarr"), probe=probe)
    (folder / "good/class1/10.JPEG").unlink()

    with pytest.raises(PlanMismatchError, match="the data set has changed"):
        nnviz.extract(store, client=client)

    assert not store.chunks.done().any()


def test_file__that_vanishes_after_listing_is_recorded(folders, tmp_path):
    """A worker that has listed its data: a reason for each, and the rest is read."""
    source, _ = folders
    folder = tmp_path / "copy"
    subprocess.run(["cp", "-r", source, folder], check=True)
    dataset = open_dataset(DatasetConfig(kind="folder", path=str(folder / "good")))
    (folder / "good" / dataset.ids[3]).unlink()
    (folder / "good" / dataset.ids[4]).write_bytes(b"replaced")

    with pytest.raises(UnreadableInstanceError, match="file not found"):
        dataset.read(3)
    with pytest.raises(UnreadableInstanceError, match="not an image"):
        decode_image(dataset.read(4))
    assert decode_image(dataset.read(5)).size == (64, 48)


def test_save_file__is_the_harmless_way(tmp_path):
    """Safetensors with the network's names load; a wrong header is one message."""
    (tmp_path / "network.py").write_text(NETWORK)
    source = f"{tmp_path}/network.py:build"
    module = load_model(ModelConfig(source)).module
    save_file(module.state_dict(), tmp_path / "w.safetensors")
    config = ModelConfig(source, weights=str(tmp_path / "w.safetensors"))

    assert load_model(config).fingerprint == load_model(ModelConfig(source)).fingerprint
    (tmp_path / "w.safetensors").write_bytes((1 << 62).to_bytes(8, "little") + b"{}")
    with pytest.raises(ModelError, match="cannot read the safetensors"):
        load_model(config)
