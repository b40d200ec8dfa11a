"""What is not a store, and was named as one: the message says which one was meant."""

import pickle
import shlex
import shutil
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import nnviz
from nnviz.cli.main import main
from nnviz.errors import StoreNotFoundError
from nnviz.store.store import Store
from nnviz.testing import PlantedRun, write_store

RUN = PlantedRun(n_classes=3, n_instances=20, layers=(("late", 6, ()),))
RUN_FILE = '[model]\nsource = "a:b"\n\n[dataset]\nkind = "folder"\npath = "x"\n'


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    write_store(folder / "run.zarr", RUN)
    return folder / "run.zarr"


@pytest.fixture
def here(made, tmp_path, monkeypatch):
    """Return a folder that one stands in, with a run, a data file and SUMMIT's."""
    (tmp_path / "mine").mkdir()
    shutil.copytree(made, tmp_path / "mine/run.zarr")
    (tmp_path / "mine/run.toml").write_text(RUN_FILE)
    (tmp_path / "mine/pictures.csv").write_text("path,label\n")
    (tmp_path / "published").mkdir()
    (tmp_path / "published/ag-3.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def said(*words):
    """Return the one message with which a command ends."""
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == 1
    assert result.output.startswith("Error: there is no store at ")
    assert result.output.count("\n") == 1
    return result.output


def words_of(name, store):
    """Return a command with a store, and some word for all else that it needs."""
    needed = [
        store if parameter.name == "store" else "x"
        for parameter in main.commands[name].params
        if isinstance(parameter, click.Argument)
        and (parameter.required or parameter.name in ("subset", "second"))
    ]
    return [name, *needed]


OF_STORES = [
    name
    for name, command in main.commands.items()
    if any(parameter.name == "store" for parameter in command.params)
]


def test_commands_of_stores__are_found():
    assert {"extract", "derive", "verify", "serve", "ablate-difference"} < set(
        OF_STORES
    )


@pytest.mark.parametrize(
    ("given", "what"),
    [
        pytest.param("mine/run.toml", "it is a run file", id="run-file"),
        pytest.param("mine", "it is a folder with a store inside", id="folder"),
        pytest.param("mine/run.zar", "did you mean", id="typo"),
        pytest.param("mine/run.zarr/zarr.json", "it is a part of a store", id="part"),
    ],
)
@pytest.mark.parametrize("name", OF_STORES)
def test_command__given_what_is_near_a_store__says_the_whole_command(
    here, name, given, what
):
    message = said(*words_of(name, given))

    assert what in message
    assert "did you mean 'mine/run.zarr'?" in message
    right = shlex.join(["nnviz", *words_of(name, "mine/run.zarr")])
    assert message.endswith(f" Try: {right}\n")


@pytest.mark.parametrize("name", [name for name in OF_STORES if name != "serve"])
def test_command__given_what_summit_published__says_what_shows_it(here, name):
    message = said(*words_of(name, "published"))

    assert "'nnviz serve published' shows it without a run" in message
    assert "Try:" not in message


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["compare", "mine/run.zarr", "class-0"], id="compare"),
        pytest.param(["serve", "mine/run.zarr", "--port", "0"], id="serve"),
    ],
)
def test_command__given_a_run_file_as_another_store__says_the_whole_command(
    here, words
):
    message = said(*words, "--other-store", "mine/run.toml")

    right = shlex.join(["nnviz", *words, "--other-store", "mine/run.zarr"])
    assert message.endswith(f" Try: {right}\n")


def test_command__given_a_whole_path__names_a_whole_path(here):
    message = said("derive", here / "mine/run.toml")

    assert message.endswith(f" Try: nnviz derive {here}/mine/run.zarr\n")


EMPTY = "a folder without a store, or graphs of SUMMIT (ag-N.json), in it"


@pytest.mark.parametrize(
    ("given", "what"),
    [
        pytest.param("mine/pictures.csv", "a file, and a store is a folder", id="file"),
        pytest.param(".", EMPTY, id="folder"),
        pytest.param("published/ag-3.json", "a graph that SUMMIT published", id="ag"),
    ],
)
def test_place__of_something_else__says_what_it_is(here, given, what):
    message = said("inspect", given)

    assert f": it is {what}; " in message
    assert "did you mean" not in message


def test_run_file__without_a_store__is_told_how_to_make_one(here):
    shutil.rmtree("mine/run.zarr")

    for given in ("mine/run.toml", "mine"):
        message = said("derive", given)

        assert message.endswith(
            "'nnviz plan mine/run.toml --create mine/run.zarr' makes one\n"
        )


def test_run_file__beside_several_stores__has_the_one_of_its_name_or_all(here, made):
    for name in ("other.zarr", "third.zarr"):
        shutil.copytree(made, here / "mine" / name)
    (here / "mine/why.toml").write_text(RUN_FILE)

    assert said("derive", "mine/run.toml").endswith("Try: nnviz derive mine/run.zarr\n")
    assert said("derive", "mine/why.toml").endswith(
        "did you mean 'mine/other.zarr' or 'mine/run.zarr' or 'mine/third.zarr'?\n"
    )


def test_toml__that_is_no_run_file__is_a_file(here):
    (here / "mine/site.toml").write_text('kind = "slurm"\n')

    assert "it is a file, and a store is a folder" in said("derive", "mine/site.toml")


def test_graph__without_a_subset__says_first_that_it_is_no_store(here):
    assert said("graph", "mine/run.toml").endswith("Try: nnviz graph mine/run.zarr\n")


@pytest.mark.parametrize("inside", ["aggregates", "peaks/late/value", "no/such/part"])
def test_part_of_a_store__by_whichever_way__names_the_store(here, inside, monkeypatch):
    assert "did you mean 'mine/run.zarr'?" in said("inspect", f"mine/run.zarr/{inside}")

    monkeypatch.chdir(here / "mine/run.zarr/instances")
    assert f"did you mean '{here}/mine/run.zarr'?" in said("inspect", f"../{inside}")


def test_zarr_hierarchy__of_others__is_no_store_that_was_meant(here):
    (here / "mine/run.zarr/zarr.json").write_text(
        '{"zarr_format": 3, "node_type": "group", "attributes": {}}'
    )

    assert "it is a folder with a run file, and without a store" in said(
        "inspect", "mine"
    )


def test_error__from_python__names_the_store_and_crosses_processes(here):
    with pytest.raises(StoreNotFoundError, match=r"did you mean 'mine/run") as got:
        nnviz.open_store("mine/run.toml")

    copied = pickle.loads(pickle.dumps(got.value))
    assert (copied.given, copied.meant) == ("mine/run.toml", "mine/run.zarr")
    assert str(copied) == str(got.value)


def test_store__by_a_link_from_elsewhere__is_opened(here):
    Path("link.zarr").symlink_to("mine/run.zarr")

    assert Store.open("link.zarr").n_instances == RUN.n_instances
