"""Folders of images, with everything that can lie in one."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from nnviz.errors import ConfigError, DatasetError, UnreadableInstanceError
from nnviz.inputs.datasets.opening import open_dataset
from nnviz.inputs.preparation.decoding import decode_image
from nnviz.runs.config import DatasetConfig


def make(root, *names, data=b"picture"):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def open_folder(root, **options):
    return open_dataset(DatasetConfig(kind="folder", path=str(root), **options))


def test_folder__lists_classes_and_files_by_code_points(tmp_path):
    make(
        tmp_path, "b/2.jpg", "b/10.JPG", "B/1.png", "a-x/1.jpg", "a/z/1.jpg", "ä/1.gif"
    )

    dataset = open_folder(tmp_path)

    assert dataset.ids == [
        "B/1.png",
        "a/z/1.jpg",
        "a-x/1.jpg",
        "b/10.JPG",
        "b/2.jpg",
        "ä/1.gif",
    ]
    assert dataset.labels.tolist() == ["B", "a", "a-x", "b", "b", "ä"]
    assert (len(dataset), dataset.metadata) == (6, {})
    assert dataset.class_names == ("B", "a", "a-x", "b", "ä")


@pytest.mark.parametrize("locale", ["C", "C.UTF-8", "POSIX"])
def test_folder__has_the_same_order_in_every_locale(tmp_path, locale):
    make(tmp_path, "É/1.jpg", "e/1.jpg", "Z/1.jpg", "z/1.jpg", "日本/1.jpg")
    script = (
        "from nnviz.inputs.datasets.opening import open_dataset\n"
        "from nnviz.runs.config import DatasetConfig\n"
        f"d = open_dataset(DatasetConfig(kind='folder', path={str(tmp_path)!r}))\n"
        "print(ascii(list(d.ids)), d.fingerprint)"
    )

    shown = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "LC_ALL": locale},
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    dataset = open_folder(tmp_path)
    assert shown.strip() == f"{dataset.ids!a} {dataset.fingerprint}"


def test_folder__keeps_names_with_newlines_spaces_and_bytes_that_are_no_text(tmp_path):
    make(tmp_path, "c/new\nline.jpg", "c/ spaced .jpg", "c/日本.jpg", data=b"1")
    (tmp_path / "c" / os.fsdecode(b"bad\xff.jpg")).write_bytes(b"2")

    dataset = open_folder(tmp_path)

    assert set(dataset.ids) == {
        "c/new\nline.jpg",
        "c/ spaced .jpg",
        "c/日本.jpg",
        "c/bad\\xff.jpg",
    }
    assert dataset.read(dataset.ids.index("c/bad\\xff.jpg")) == b"2"
    assert "".join(dataset.ids).encode()
    assert dataset.fingerprint


def test_folder__without_sub_folders_is_unlabelled(tmp_path):
    make(tmp_path, "2.jpg", "1.jpg")

    dataset = open_folder(tmp_path)

    assert (dataset.ids, dataset.labels) == (["1.jpg", "2.jpg"], None)


def test_folder__refuses_images_beside_class_folders(tmp_path):
    make(tmp_path, "cat/1.jpg", "stray.jpg")

    with pytest.raises(DatasetError, match=r"stray\.jpg"):
        open_folder(tmp_path)


def test_folder__counts_what_it_leaves_out(tmp_path):
    make(tmp_path, "c/1.jpg", "c/Thumbs.db", "readme.txt", ".git/x.jpg", "c/.h.jpg")

    dataset = open_folder(tmp_path)

    assert dataset.ids == ["c/1.jpg"]
    assert dataset.notes == ("left out of the folder: 2 hidden, 1 .db, 1 .txt",)


def test_folder__limit_keeps_the_first(tmp_path):
    make(tmp_path, "a/1.jpg", "a/2.jpg", "b/1.jpg")

    dataset = open_folder(tmp_path, limit=2)

    assert dataset.ids == ["a/1.jpg", "a/2.jpg"]
    assert dataset.class_names == ("a", "b")


@pytest.mark.parametrize("limit", [0, -1])
def test_open_dataset__refuses_a_limit_below_one(tmp_path, limit):
    with pytest.raises(ConfigError, match="limit"):
        open_folder(make(tmp_path, "a/1.jpg"), limit=limit)


def test_folder__fingerprint_sees_names_and_sizes_but_not_times(tmp_path):
    make(tmp_path, "a/1.jpg", "a/2.jpg")
    before = open_folder(tmp_path).fingerprint

    os.utime(tmp_path / "a/1.jpg", (1, 1))
    touched = open_folder(tmp_path).fingerprint
    make(tmp_path, "a/2.jpg", data=b"longer than before")
    resized = open_folder(tmp_path).fingerprint
    make(tmp_path, "a/3.jpg")
    added = open_folder(tmp_path).fingerprint

    assert before == touched
    assert len({before, resized, added}) == 3


def reason(dataset, index):
    with pytest.raises(UnreadableInstanceError) as caught:
        dataset.read(index)
    return str(caught.value)


def test_folder__lists_odd_entries_and_says_why_they_are_unreadable(tmp_path):
    make(tmp_path, "c/0.jpg", "c/6.jpg", "c/7.jpg")
    (tmp_path / "c/1.jpg").mkdir()
    os.mkfifo(tmp_path / "c/2.jpg")
    (tmp_path / "c/3.jpg").symlink_to("3.jpg")
    (tmp_path / "c/4.jpg").symlink_to("nowhere")
    (tmp_path / "c/5.jpg").symlink_to("0.jpg")
    with (tmp_path / "c/6.jpg").open("wb") as file:
        file.truncate(1 << 30)
    dataset = open_folder(tmp_path)
    (tmp_path / "c/7.jpg").unlink()
    start = time.process_time()

    reasons = [reason(dataset, index) for index in (1, 2, 3, 4, 6, 7)]

    assert reasons == [
        "a folder, not a file",
        "not a regular file",
        "a link that leads to itself",
        "file not found",
        "file of 1,073,741,824 bytes; up to 536,870,912 are read",
        "file not found",
    ]
    assert dataset.read(5) == dataset.read(0) == b"picture"
    # Of the processor, however busy it is; what waits would wait for ever.
    assert time.process_time() - start < 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_folder__says_when_it_may_not_read(tmp_path):
    make(tmp_path, "c/1.jpg")
    (tmp_path / "c/1.jpg").chmod(0)

    assert reason(open_folder(tmp_path), 0) == "no permission to read the file"


@pytest.mark.parametrize("what", ["file", "folder"])
def test_folder__refuses_links_that_lead_out_unless_allowed(tmp_path, what):
    make(tmp_path, "data/c/1.jpg", "secret/2.jpg")
    link = tmp_path / "data/c/z.jpg" if what == "file" else tmp_path / "data/d"
    link.symlink_to(tmp_path / ("secret/2.jpg" if what == "file" else "secret"))

    with pytest.raises(DatasetError, match="allow_outside_root"):
        open_folder(tmp_path / "data")
    dataset = open_folder(tmp_path / "data", allow_outside_root=True)

    assert dataset.read(1) == b"picture"


def test_folder__notices_a_link_that_was_put_there_after_listing(tmp_path):
    make(tmp_path, "data/c/1.jpg", "secret.jpg")
    dataset = open_folder(tmp_path / "data")
    (tmp_path / "data/c/1.jpg").unlink()
    (tmp_path / "data/c/1.jpg").symlink_to(tmp_path / "secret.jpg")

    assert "leads out" in reason(dataset, 0)


@pytest.mark.parametrize("target", [".", "..", "../b"])
def test_folder__refuses_links_that_go_in_circles(tmp_path, target):
    make(tmp_path, "a/1.jpg", "b/1.jpg")
    (tmp_path / "a/again").symlink_to(target)
    (tmp_path / "b/again").symlink_to("../a")

    with pytest.raises(DatasetError, match="is a link to a folder that contains it"):
        open_folder(tmp_path)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        pytest.param([], "no instances", id="empty"),
        pytest.param(["a/readme.txt"], "no instances", id="no-images"),
    ],
)
def test_folder__refuses_a_data_set_without_instances(tmp_path, names, message):
    with pytest.raises(DatasetError, match=message):
        open_folder(make(tmp_path, *names))


def test_folder__refuses_what_is_not_there(tmp_path):
    with pytest.raises(DatasetError, match="no folder"):
        open_folder(tmp_path / "absent")
    with pytest.raises(ConfigError, match=r"dataset\.path is missing"):
        open_dataset(DatasetConfig(kind="folder"))


def test_folder__can_be_pickled_and_read_by_many_threads(tmp_path):
    for index in range(50):
        make(tmp_path, f"c/{index:02}.jpg", data=bytes([index]) * 1000)
    dataset = pickle.loads(pickle.dumps(open_folder(tmp_path)))

    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(dataset.read, list(range(50)) * 20))

    assert read == [bytes([index]) * 1000 for index in range(50)] * 20


def test_folder__reads_every_ending_of_the_installed_decoders(tmp_path):
    """Each format that Pillow can write here is read back under each of its endings."""
    names = ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "AVIF", "JPEG2000"]
    endings = [e for e, n in Image.registered_extensions().items() if n in names]
    picture = Image.new("RGB", (8, 8), (200, 100, 50))
    (tmp_path / "c").mkdir()
    kept = [e for e in endings if e not in (".pfm", ".apng")]
    for ending in kept:
        name = Image.registered_extensions()[ending]
        picture.save(tmp_path / f"c/x{ending.upper()}", name)

    dataset = open_folder(tmp_path)

    assert {".jfif", ".jpe", ".avif", ".jp2", ".pbm", ".dib"} <= {*endings, ".dib"}
    assert sorted(dataset.ids) == sorted(f"c/x{ending.upper()}" for ending in kept)
    for index in range(len(dataset)):
        assert decode_image(dataset.read(index)).size == (8, 8)


def test_folder__tells_of_a_class_whose_files_are_all_left_out(tmp_path):
    make(tmp_path, "a/1.jpg", "b/1.raw", "b/2.raw", "b/3", "c/.hidden", "a/notes.txt")

    dataset = open_folder(tmp_path)

    assert dataset.notes == (
        "left out of the folder: 2 .raw, 1 without ending, 1 hidden, 1 .txt",
        (
            "warning: class 'b' has no instance: all of its files are left out "
            "(2 .raw, 1 without ending)"
        ),
    )


def test_folder__says_which_endings_there_are_where_none_is_read(tmp_path):
    make(tmp_path, "a/1.raw", "b/2.raw")

    with pytest.raises(DatasetError, match=r"no images that can be read: 2 \.raw"):
        open_folder(tmp_path)


def test_folder__without_labels_if_so_said(tmp_path):
    make(tmp_path, "a/1.jpg", "b/2.jpg")

    dataset = open_folder(tmp_path, label_column="")

    assert (dataset.labels, dataset.class_names) == (None, ())


def test_folder__blanks_around_a_class_are_no_part_of_it(tmp_path):
    make(tmp_path, "a /1.jpg", " b/2.jpg")

    dataset = open_folder(tmp_path)

    assert dataset.labels.tolist() == ["b", "a"]
    assert dataset.class_names == ("a", "b")


def test_folder__refuses_classes_that_differ_in_blanks(tmp_path):
    make(tmp_path, "a /1.jpg", "a/2.jpg")

    with pytest.raises(DatasetError, match="called 'a' but for blanks"):
        open_folder(tmp_path)
