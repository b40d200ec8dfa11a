"""Pictures of features, from a folder beside a store."""

import io
import shutil

import pytest
from PIL import Image

from nnviz.results import feature_pictures
from nnviz.results.run_results import RunResults
from nnviz.store.store import Store
from nnviz_dashboards.channels.model import ChannelsModel
from nnviz_dashboards.channels.view import ChannelsView
from nnviz_dashboards.subsets.model import SubsetPairModel
from tests.dashboards.selections import choose


def drawn(kind):
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "orange").save(file, kind)
    return file.getvalue()


@pytest.fixture
def folder(finished_url, tmp_path):
    """Return where pictures lie beside a store of its own."""
    shutil.copytree(finished_url, tmp_path / "run.zarr")
    made = tmp_path / "run.zarr.features" / "late"
    made.mkdir(parents=True)
    return made


@pytest.fixture
def features(folder):
    def read():
        url = str(folder.parents[1] / "run.zarr")
        return RunResults(Store.open(url)).features

    return read


@pytest.mark.parametrize(
    ("name", "kind"), [("3.png", "PNG"), ("3.JPG", "JPEG"), ("0003.webp", "WEBP")]
)
def test_picture__is_the_file_of_the_channel(folder, features, name, kind):
    (folder / name).write_bytes(drawn(kind))

    assert features().picture("late", 3) == drawn(kind)
    assert features().picture("late", 4) == b""
    assert features().picture("middle", 3) == b""


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param("3.svg", b"<svg onload='alert(1)'/>", id="other kind"),
        pytest.param("3.png", b"<html>", id="no picture"),
        pytest.param("three.png", drawn("PNG"), id="no number"),
        pytest.param("-3.png", drawn("PNG"), id="negative"),
        pytest.param("3.png", drawn("PNG") + bytes(2_000), id="large"),
    ],
)
def test_file__that_is_none__is_not_shown(folder, features, monkeypatch, name, content):
    monkeypatch.setattr(feature_pictures, "MAX_BYTES", 1_000)
    (folder / name).write_bytes(content)

    assert features().picture("late", 3) == b""


def test_layer__is_one_that_is_shown_and_no_path(folder, features):
    (folder / "3.png").write_bytes(drawn("PNG"))
    (folder / "4.png").mkdir()

    for layer in ("../run.zarr.features/late", "..", "", "nowhere", str(folder)):
        assert features().picture(layer, 3) == b""
    assert features().picture("late", 4) == b""


def test_channels__say_which_have_a_picture(folder):
    (folder / "7.png").write_bytes(drawn("PNG"))
    results = RunResults(Store.open(str(folder.parents[1] / "run.zarr")))
    selection = choose(results)
    selection.choose(view="channels", layer="late", channel=7)
    pairs = SubsetPairModel(results, selection)
    labels = {layer.name: layer.name for layer in results.layers}

    view = ChannelsView(ChannelsModel(results, pairs), pictures="p", layers=labels)

    channels = view.__panel__()
    number = list(labels).index("late")
    assert channels.features == f"p/features/{number}"
    with_one = [row["channel"] for row in channels.rows if row["has_feature"]]
    assert with_one == [7]
