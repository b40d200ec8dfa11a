"""The list of layers as a plain object."""

import pytest

from nnviz_dashboards.layers.model import LayersModel, short_names


def test_layers__choose_is_the_selections(results, selection):
    layers = LayersModel(results, selection)

    layers.choose("early")

    assert [item.name for item in layers.items] == ["early", "middle", "late"]
    assert selection.layer == "early"


@pytest.mark.parametrize(
    ("names", "short"),
    [
        pytest.param([], [], id="none"),
        pytest.param(["net.conv"], ["net.conv"], id="one"),
        pytest.param(["a", "b"], ["a", "b"], id="plain"),
        pytest.param(["layer1.0", "layer1.1"], ["layer1.0", "layer1.1"], id="numbers"),
        pytest.param(
            ["f.3.expand@concat", "f.12.expand@concat"], ["f.3", "f.12"], id="function"
        ),
        pytest.param(["m.a.conv", "m.b.conv", "m.head"], ["a.conv", "b.conv", "head"],
                     id="uneven"),
    ],
)  # fmt: skip
def test_short_names__leave_out_what_all_have_in_common(names, short):
    assert short_names(names) == short
