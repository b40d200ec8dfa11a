import numpy as np
import pytest
from PIL import Image

from nnviz.errors import DatasetError, ModelError
from nnviz.planning.planning import plan_run
from nnviz.runs.config import load_config

RUN = """
[model]
source = "torch.nn:Identity"

[dataset]
kind = "folder"
path = "pictures"

[extraction]
batch_size = 3
"""


@pytest.fixture
def pictures(tmp_path):
    (tmp_path / "run.toml").write_text(RUN)
    folder = tmp_path / "pictures" / "cat"
    folder.mkdir(parents=True)
    return folder


def plan(pictures):
    return plan_run(load_config(pictures.parents[1] / "run.toml"))


def draw(path, size):
    Image.fromarray(np.zeros((size, size, 3), np.uint8)).save(path)


def test_plan_run__no_picture_can_be_read__names_the_first_and_why(pictures):
    for number in range(5):
        (pictures / f"{number}.png").write_bytes(b"no picture")

    with pytest.raises(
        DatasetError,
        match=r"none of the first 5 .*cat/0\.png: .*cat/2\.png: (?!.*cat/3)",
    ):
        plan(pictures)


def test_plan_run__readable_pictures_of_two_sizes__names_both(pictures):
    (pictures / "0.png").write_bytes(b"no picture")
    draw(pictures / "1.png", 4)
    draw(pictures / "2.png", 4)
    draw(pictures / "3.png", 6)

    with pytest.raises(
        DatasetError,
        match=r"'cat/1\.png' is \(4, 4, 3\), 'cat/3\.png' is \(6, 6, 3\); state prepr",
    ):
        plan(pictures)


def test_plan_run__pictures_beyond_the_first_batch__are_not_looked_at(pictures):
    for number in range(3):
        draw(pictures / f"{number}.png", 4)
    draw(pictures / "3.png", 6)

    with pytest.raises(ModelError, match="no layer was found"):
        plan(pictures)
