"""Places that cannot be reached, read or written: one message, with the way out."""

import importlib.util
import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from nnviz.cli.main import main
from nnviz.errors import MissingDependencyError, StoreError
from nnviz.store.places import absolute_url
from nnviz.store.store import Store
from nnviz.testing import PlantedRun, write_store

RUN = PlantedRun(n_classes=3, n_instances=20, layers=(("late", 6, ()),))
LONG = "a" * 5_000
DEEP = "a/" * 2_500


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Return a folder that one stands in, with a store and a file."""
    write_store(tmp_path / "run.zarr", RUN)
    (tmp_path / "file").write_text("a file")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def said(*arguments):
    """Return the one message with which a command ends."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == 1
    assert result.output.startswith("Error: ")
    assert result.output.count("\n") == 1
    assert len(result.output) < 700
    return result.output


@pytest.mark.parametrize(
    ("url", "message"),
    [
        pytest.param("", "'' is not the path of a store", id="empty"),
        pytest.param("a\0b", "is not the path of a store", id="zero-byte"),
        pytest.param(LONG, "File name too long; choose a shorter path", id="long"),
        pytest.param(DEEP, "File name too long; choose a shorter path", id="deep"),
        pytest.param("file", "there is no store at", id="a-file"),
        pytest.param("file/x.zarr", "there is no store at", id="below-a-file"),
        pytest.param("s4://b/x", "a protocol that is not known", id="protocol"),
        pytest.param("~nobody-of-this-name/x", "name a whole path", id="no-home"),
    ],
)
@pytest.mark.parametrize("command", ["inspect", "extract", "derive", "verify"])
def test_store__that_cannot_be_there__is_one_message(here, command, url, message):
    assert message in said(command, url)


def test_store__nobody_answers__says_what_to_check(here):
    message = said("inspect", "http://127.0.0.1:9/run.zarr")

    assert "cannot open 'http://127.0.0.1:9/run.zarr': " in message
    assert "check the address" in message


@pytest.mark.slow
def test_store__without_credentials__says_where_they_are_looked_for(here):
    """In a process of its own: connections that are open would be used again."""
    pytest.importorskip("s3fs")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
    environment["AWS_EC2_METADATA_DISABLED"] = "true"
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        environment[name] = str(here / "none")
    command = ["-m", "nnviz", "inspect", "s3://a-bucket-of-nobody/run.zarr"]

    done = subprocess.run(
        [sys.executable, *command], env=environment, capture_output=True, text=True
    )

    message = done.stderr
    assert done.returncode == 1
    assert "Unable to locate credentials; check the address" in message
    assert "AWS_ACCESS_KEY_ID" in message


@pytest.mark.skipif(
    importlib.util.find_spec("gcsfs") is not None, reason="the library is installed"
)
def test_store__library_is_missing__is_named():
    with pytest.raises(MissingDependencyError, match=r"gcsfs.*install it here and"):
        Store.open("gs://bucket/run.zarr")


def test_store__disk_fails__says_so(here):
    """Reading the memory of a process at its place 0 is a real EIO."""
    (here / "eio.zarr").mkdir()
    (here / "eio.zarr/zarr.json").symlink_to("/proc/self/mem")

    with pytest.raises(StoreError, match=r"Input/output error; check the disk or the"):
        Store.open("eio.zarr")


@pytest.mark.parametrize(
    ("place", "message"),
    [
        pytest.param("file/x", "Not a directory; choose another place", id="file"),
        pytest.param("/proc/x", "No such file or directory; choose another", id="proc"),
        pytest.param(LONG, "File name too long; choose a shorter path", id="long"),
    ],
)
@pytest.mark.parametrize(
    "command", [("export", "run.zarr"), ("verify", "run.zarr", "--quiet", "--log")]
)
def test_output__into_a_place_that_is_none__is_one_message(
    here, command, place, message
):
    assert message in said(*command, place)


def test_output__onto_a_full_device__says_so(here):
    message = said("verify", "run.zarr", "--quiet", "--log", "/dev/full")

    assert "disk is full; free space and repeat the command" in message


def test_absolute_url__means_the_same_in_every_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/of-someone")

    found = [absolute_url(url) for url in ("a.zarr", "/b.zarr", "~/c.zarr", "s3://d/e")]

    assert found == [
        str(tmp_path / "a.zarr"),
        "/b.zarr",
        "/home/of-someone/c.zarr",
        "s3://d/e",
    ]


def test_store__opened_by_a_relative_path__keeps_its_place(here):
    assert Store.open("run.zarr").url == str(here / "run.zarr")
