"""Cells, and points in loops, against loops over all points."""

from collections import Counter

import numpy as np
import pytest

from nnviz.derivation.instance_map import PlacedInstances
from nnviz.errors import ShapeError
from nnviz.results import map_windows
from nnviz.results.map_colors import NO_VALUE, MapColors
from nnviz.results.map_windows import (
    MapWindow,
    cells_of,
    counted_cells,
    inside_loop,
    middles_of,
    points_in,
)

WINDOW = MapWindow(-0.5, 1.0, -1.0, 0.25)


@pytest.fixture
def places():
    return np.random.default_rng(1).uniform(-1.2, 1.2, (400, 2)).astype(np.float32)


def cell_of(place):
    """Return row and column of a point among 5 x 6 cells, None outside."""
    x, y = (float(v) for v in place)
    if not (-0.5 <= x <= 1.0 and -1.0 <= y <= 0.25):
        return None
    return min(4, int((y + 1.0) / 0.25)), min(5, int((x + 0.5) / 0.25))


def test_points__are_those_between_the_edges(places):
    found = points_in(places, WINDOW)

    assert found.tolist() == [i for i, p in enumerate(places) if cell_of(p)]


@pytest.mark.parametrize("kind", ["number", "category", "sides"])
def test_cells__have_counts_and_the_colour_of_their_kind(places, kind):
    codes = np.random.default_rng(2).choice(3, 400, p=[0.7, 0.2, 0.1]).astype(np.uint8)
    codes[::9] = NO_VALUE
    names = () if kind == "number" else ("a", "b", "c")
    colors = MapColors("x", kind, codes, names)

    raster = counted_cells(cells_of(places, WINDOW, (5, 6)), codes, colors)

    everywhere = Counter(code for code in codes.tolist() if code != NO_VALUE)
    for row in range(5):
        for column in range(6):
            inside = [
                int(code)
                for place, code in zip(places, codes, strict=True)
                if cell_of(place) == (row, column)
            ]
            known = [code for code in inside if code != NO_VALUE]
            assert raster.counts[row, column] == len(inside)
            found = int(raster.codes[row, column])
            if not known:
                assert found == NO_VALUE
            elif kind == "number":
                assert abs(found - sum(known) / len(known)) <= 0.5
            else:
                weight = {c: 1 / everywhere[c] if kind == "sides" else 1 for c in known}
                score = {c: known.count(c) * weight[c] for c in known}
                assert score[found] == pytest.approx(max(score.values()))


def test_cells__of_the_whole_plane__have_every_point(places):
    codes = np.zeros(400, dtype=np.uint8)
    colors = MapColors("x", "category", codes, ("a",))

    cells = cells_of(places, MapWindow(-2, 2, -2, 2), (7, 3))

    raster = counted_cells(cells, codes, colors)

    assert raster.counts.sum() == 400


@pytest.mark.parametrize("at_a_time", [7, 399, 400, 1_000])
def test_cells__found_in_parts__are_those_of_every_point(
    places, at_a_time, monkeypatch
):
    monkeypatch.setattr(map_windows, "ROWS_AT_A_TIME", at_a_time)

    found = cells_of(places, WINDOW, (5, 6))

    expected = {i: cell_of(place) for i, place in enumerate(places) if cell_of(place)}
    assert found.points.tolist() == list(expected)
    assert found.cell.tolist() == [6 * r + q for r, q in expected.values()]


def test_middles__are_medians_of_the_usable_instances_of_each_class(places):
    rng = np.random.default_rng(2)
    classes = rng.integers(-1, 6, 500)
    classes[classes == 4] = 3  # nobody is in this one
    instances = np.sort(rng.choice(500, 400, replace=False))
    wanted = np.array([0, 1, 3, 4, 5])
    own = np.full((5, 2), 9.0)
    placed = PlacedInstances("late", instances, places, wanted, own, 1.0, True)

    found = middles_of(placed, classes)

    for row, of_class in enumerate(wanted.tolist()):
        mine = places[classes[instances] == of_class]
        expected = np.median(mine, axis=0) if len(mine) else own[row]
        assert found[row].tolist() == expected.tolist()
    assert {len(places[classes[instances] == c]) % 2 for c in (0, 1, 3, 5)} == {0, 1}


def test_cells__are_not_more_than_are_drawn(places):
    with pytest.raises(ShapeError, match="1 to 65,536 cells, not 300 x 300"):
        cells_of(places, WINDOW, (300, 300))


@pytest.mark.parametrize("edges", [(1, 0, 0, 1), (0, 1, 1, 1), (0, float("nan"), 0, 1)])
def test_window__without_room__is_refused(edges):
    with pytest.raises(ShapeError, match="left < right"):
        MapWindow(*edges)


def test_loop__holds_the_points_that_it_goes_round_once(places):
    # A square, and a smaller one that is walked round again inside of it.
    square = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1)])
    loop = np.concatenate([square, square / 2])

    found = inside_loop(places, loop)

    size = np.abs(places).max(axis=1)
    assert found.tolist() == np.flatnonzero((size < 1) & (size > 0.5)).tolist()


def test_loop__of_two_corners__holds_nothing(places):
    assert len(inside_loop(places, np.array([(0, 0), (1, 1)]))) == 0
