"""WebDataset archives, honest and other."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from nnviz.errors import ConfigError, DatasetError, UnreadableInstanceError
from nnviz.inputs.datasets.opening import open_dataset
from nnviz.runs.config import DatasetConfig


def write_archive(path, members, tar_format=tarfile.PAX_FORMAT):
    with tarfile.open(path, "w", format=tar_format) as archive:
        for name, data in members:
            if isinstance(data, tarfile.TarInfo):
                archive.addfile(data)
                continue
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def open_archives(path, **options):
    return open_dataset(DatasetConfig(kind="webdataset", path=str(path), **options))


def sample(stem, label, **columns):
    text = json.dumps({"label": label, **columns}).encode()
    return [(f"{stem}.jpg", f"image {stem}".encode()), (f"{stem}.json", text)]


@pytest.fixture
def shards(tmp_path):
    write_archive(
        tmp_path / "s-001.tar", sample("a", "cat", age=3) + sample("b", "dog", age=4)
    )
    write_archive(tmp_path / "s-000.tar", sample("a", "cow", name="x", box=[1, 2]))
    return tmp_path


def test_archives__have_stable_ids_labels_and_columns(shards):
    dataset = open_archives(shards)

    assert dataset.ids == ["s-000.tar/a", "s-001.tar/a", "s-001.tar/b"]
    assert dataset.labels.tolist() == ["cow", "cat", "dog"]
    assert list(dataset.metadata) == ["name", "age"]
    assert dataset.metadata["name"].tolist() == ["x", "", ""]
    assert dataset.metadata["age"].tolist()[1:] == [3.0, 4.0]
    assert [dataset.read(index) for index in (2, 0, 1)] == [
        b"image b",
        b"image a",
        b"image a",
    ]


@pytest.mark.parametrize(
    ("pattern", "n"),
    [
        pytest.param("s-001.tar", 2, id="file"),
        pytest.param("s-*.tar", 3, id="glob"),
        pytest.param("s-{000..001}.tar", 3, id="braces"),
    ],
)
def test_archives__are_named_by_file_pattern_or_numbers(shards, pattern, n):
    assert len(open_archives(shards / pattern)) == n


def test_archives__limit_keeps_the_first(shards):
    assert open_archives(shards, limit=2).ids == ["s-000.tar/a", "s-001.tar/a"]


@pytest.mark.parametrize(
    ("members", "label"),
    [
        pytest.param([("a.jpg", b"1"), ("a.cls", b"7\n")], "7", id="cls"),
        pytest.param([("a.txt", b"a cat"), ("a.jpg", b"1")], None, id="caption"),
        pytest.param(
            [("a.txt", b"caption"), ("a.json", b'{"label": 5}'), ("a.jpg", b"1")],
            5,
            id="json-beside-a-caption",
        ),
        pytest.param(
            [("a.json", b'{"label": 5}'), ("a.cls", b"6"), ("a.jpg", b"1")],
            "6",
            id="cls-before-json",
        ),
        pytest.param(
            [("a.json", b"{no json"), ("a.cls", b"t"), ("a.jpg", b"1")], "t", id="bad"
        ),
        pytest.param([("a.json", b"[1]"), ("a.jpg", b"1")], None, id="no-object"),
        pytest.param([("a.jpg", b"1")], None, id="none"),
    ],
)
def test_archives__find_labels(tmp_path, members, label):
    dataset = open_archives(write_archive(tmp_path / "a.tar", members))

    labels = None if dataset.labels is None else dataset.labels.tolist()
    assert labels == (None if label is None else [label])
    assert dataset.read(0) == b"1"


@pytest.mark.parametrize(
    "tar_format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]
)
def test_archives__keep_folders_and_long_names_in_ids(tmp_path, tar_format):
    stem = f"./train/{'long' * 20}/x"
    members = [(f"{stem}.seg.png", b"mask"), (f"{stem}.JPG", b"image")]

    dataset = open_archives(write_archive(tmp_path / "a.tar", members, tar_format))

    assert dataset.ids == [f"a.tar/train/{'long' * 20}/x"]
    assert dataset.read(0) == b"image"


def test_archives__read_arrays_but_never_unpickle_them(tmp_path):
    good, bad = io.BytesIO(), io.BytesIO()
    np.save(good, np.arange(4))
    np.save(bad, np.array([{}], dtype=object))
    members = [("a.npy", good.getvalue()), ("b.npy", bad.getvalue())]

    dataset = open_archives(write_archive(tmp_path / "a.tar", members))

    np.testing.assert_array_equal(dataset.read(0), np.arange(4))
    with pytest.raises(UnreadableInstanceError, match="allow_pickle"):
        dataset.read(1)


def link(name, target, kind):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return name, info


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_archives__record_what_is_no_file(tmp_path, kind):
    members = [link("a.jpg", "/etc/passwd", kind), ("b.jpg", b"1")]

    dataset = open_archives(write_archive(tmp_path / "a.tar", members))

    assert len(dataset) == 2
    with pytest.raises(UnreadableInstanceError, match="no image"):
        dataset.read(0)


@pytest.mark.parametrize("name", ["../x.jpg", "/x.jpg", "a/../../x.jpg"])
def test_archives__refuse_members_that_lead_out(tmp_path, name):
    path = write_archive(tmp_path / "a.tar", [("ok.jpg", b"1"), (name, b"2")])

    with pytest.raises(DatasetError, match="leads out"):
        open_archives(path)


def test_archives__refuse_stems_that_come_twice(tmp_path):
    apart = [("a.jpg", b"1"), ("b.jpg", b"2"), ("a.jpg", b"3")]
    in_a_row = [("a.jpg", b"1"), ("a.cls", b"1"), ("a.jpg", b"2"), ("a.cls", b"0")]

    for members in (apart, in_a_row):
        with pytest.raises(DatasetError, match=r"the key 'a' twice, with '\.jpg'"):
            open_archives(write_archive(tmp_path / "a.tar", members))


def test_archives__refuse_members_that_are_not_side_by_side(tmp_path):
    members = [("a.jpg", b"1"), ("b.jpg", b"2"), ("a.cls", b"0"), ("b.cls", b"1")]

    with pytest.raises(DatasetError, match=r"not side by side: 'a\.cls'.*--sort=name"):
        open_archives(write_archive(tmp_path / "a.tar", members))


def test_archives__leave_out_what_a_system_has_added(tmp_path):
    members = [
        ("._a.jpg", b"\0"),
        ("a.jpg", b"1"),
        ("__MACOSX/._a.jpg", b"\0"),
        ("sub/.DS_Store", b"\0"),
        ("__index__.json", b"{}"),
    ]

    dataset = open_archives(write_archive(tmp_path / "a.tar", members))

    assert dataset.ids == ["a.tar/a"]
    assert "left out: 2 .jpg, 1 without ending, 1 .json" in dataset.notes[0]


@pytest.mark.parametrize(
    ("options", "labels"),
    [
        pytest.param({}, None, id="not-named"),
        pytest.param({"label_column": "txt"}, ["a dog"], id="ending"),
        pytest.param({"label_column": "caption"}, ["c"], id="column"),
        pytest.param({"label_column": ""}, None, id="none"),
    ],
)
def test_archives__take_captions_for_labels_only_if_named(tmp_path, options, labels):
    members = [("0.jpg", b"1"), ("0.json", b'{"caption": "c"}'), ("0.txt", b"a dog")]
    path = write_archive(tmp_path / "a.tar", members)

    dataset = open_archives(path, **options)

    assert (None if dataset.labels is None else list(dataset.labels)) == labels
    assert ("no labels: " in " ".join(dataset.notes)) == (options == {})


def test_archives__say_which_members_a_key_has(tmp_path):
    members = [("img.v1.0.png", b"1"), ("img.v1.0.cls", b"0")]
    path = write_archive(tmp_path / "a.tar", members)

    with pytest.raises(UnreadableInstanceError, match=r"first dot: \.v1\.0\.png, \.v1"):
        open_archives(path).read(0)


def test_archives__read_the_endings_that_are_named(tmp_path):
    members = [("0.input.png", b"1"), ("0.seg.png", b"2"), ("0.output.cls", b"7")]
    path = write_archive(tmp_path / "a.tar", members)

    dataset = open_archives(path, bytes_column="input.png", label_column="output.cls")

    assert (dataset.read(0), dataset.labels.tolist()) == (b"1", ["7"])


def test_archives__say_that_one_was_cut_off(tmp_path):
    members = [(f"{index}.jpg", bytes(5000)) for index in range(3)]
    path = write_archive(tmp_path / "a.tar", members)
    dataset = open_archives(path)
    path.write_bytes(path.read_bytes()[:9000])

    assert len(dataset.read(0)) == 5000
    with pytest.raises(UnreadableInstanceError, match="cut off"):
        dataset.read(2)
    with pytest.raises(DatasetError, match="cannot read the archive"):
        open_archives(path)


@pytest.mark.parametrize(
    "data", [b"", b"no archive" * 100, None], ids=["empty", "text", "absent"]
)
def test_archives__say_what_cannot_be_read(tmp_path, data):
    if data is not None:
        (tmp_path / "a.tar").write_bytes(data)

    with pytest.raises(DatasetError, match="archive"):
        open_archives(tmp_path / "a.tar")


def test_archives__refuse_compression_which_has_no_random_access(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("a.jpg"))

    with pytest.raises(DatasetError, match="uncompressed"):
        open_archives(tmp_path / "a.tar")


def test_archives__need_a_path_and_every_number(shards):
    with pytest.raises(ConfigError, match=r"dataset\.path"):
        open_dataset(DatasetConfig(kind="webdataset"))
    with pytest.raises(DatasetError, match="s-002"):
        open_archives(shards / "s-{000..002}.tar")


def test_archives__can_be_pickled_and_read_by_many_threads(tmp_path):
    members = [(f"{index:03}.jpg", bytes([index]) * 700) for index in range(100)]
    path = write_archive(tmp_path / "a.tar", members)
    dataset = pickle.loads(pickle.dumps(open_archives(path)))

    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(dataset.read, list(range(100)) * 5))

    assert read == [data for _, data in members] * 5


def test_archives__fingerprint_sees_labels_and_sizes(shards):
    before = open_archives(shards).fingerprint
    same = open_archives(shards).fingerprint
    write_archive(shards / "s-000.tar", sample("a", "pig", name="x"))
    relabelled = open_archives(shards).fingerprint

    assert before == same != relabelled


def test_archives__take_the_stated_label_column_before_all_others(tmp_path):
    members = [*sample("a", "cat", kind="x"), ("a.cls", b"6")]
    path = write_archive(tmp_path / "a.tar", members)

    assert open_archives(path, label_column="kind").labels.tolist() == ["x"]
    with pytest.raises(
        ConfigError, match=r"label_column is 'kin'; did you mean 'kind'"
    ):
        open_archives(path, label_column="kin")
