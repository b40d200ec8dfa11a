"""SUMMIT's own files."""

import json

import numpy as np
import pytest

from nnviz.errors import StoreFormatError
from nnviz.graphs.presets import summit_graph
from nnviz.graphs.summit_files import from_summit_json, read_summit_file, to_summit_json
from tests.oracles import attribution_graph as oracle


def test_published_files__read_and_write_back_byte_for_byte(shared):
    files = sorted((shared / "data" / "summit-graphs").glob("ag-*.json"))

    changed = [
        file.name
        for file in files
        if to_summit_json(from_summit_json(file.read_text())) != file.read_text()
    ]

    assert len(files) == 20
    assert changed == []


def test_published_tench__has_the_numbers_of_the_paper(shared):
    text = (shared / "data" / "summit-graphs" / "ag-0.json").read_text()

    graph = from_summit_json(text, subset="tench", n_instances=1300)

    hands = graph.node("mixed4e", 346)
    assert graph.count[hands] == 829
    arcs = dict(zip(graph.arc_keys(), graph.arc_count.tolist(), strict=True))
    found = [arcs[("mixed4d", c), ("mixed4e", 346)] for c in (177, 483, 229)]
    assert found == [1214, 586, 283]


def test_own_graph__writes_and_reads_back():
    full = oracle.random_graph(3, (8, 9, 8))
    graph = summit_graph(full, subset="some", share=0.5)

    back = from_summit_json(
        to_summit_json(graph), subset="some", n_instances=graph.n_instances
    )

    assert back.keys() == graph.keys()
    assert back.arc_keys() == graph.arc_keys()
    assert back.arc_count.tolist() == graph.arc_count.tolist()
    assert back.score.tolist() == graph.score.tolist()
    np.testing.assert_array_equal(back.strongest_channel, graph.strongest_channel)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("no json", id="no-json"),
        pytest.param("[1]", id="no-layers"),
        pytest.param('{"a": [{"channel": 1}]}', id="no-fields"),
        pytest.param(
            json.dumps(
                {
                    "b": [
                        {
                            "channel": 1,
                            "count": 1,
                            "pagerank": 0.1,
                            "attr_channels": [],
                            "prev_channels": [{"prev_channel": 7, "inf": 1}],
                        }
                    ],
                    "a": [],
                }
            ),
            id="arc-from-nowhere",
        ),
    ],
)
def test_another_file__is_refused(text):
    with pytest.raises(StoreFormatError, match="not a graph file of SUMMIT"):
        from_summit_json(text)


def test_another_file__is_named(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text("[model]")

    with pytest.raises(
        StoreFormatError, match=r"run\.toml.*not a graph file of SUMMIT"
    ):
        read_summit_file(path)
