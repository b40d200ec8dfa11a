import numpy as np
from bokeh.models import Scatter

from nnviz_dashboards.classes.embedding import focus_data, goal_data, make_embedding

PLACES = np.array([[0, 1], [np.nan, np.nan], [-1, 0.5]], np.float32)


def test_goal__has_the_classes_that_are_drawn():
    goal = goal_data(PLACES, np.array([0, 2]), ["a", "c"], np.array([0.5, 0, 1]))

    assert goal["subset"].tolist() == [0, 2]
    assert goal["x"].tolist() == [0, -1]
    assert goal["shade"].tolist() == [0.5, 1]
    assert {goal[name].dtype for name in ("x", "y", "shade")} == {np.dtype(np.float32)}


def test_goal__without_an_embedding_has_no_places():
    goal = goal_data(None, np.array([0, 2]), ["a", "c"], None)

    assert np.isnan(goal["x"]).all()
    assert goal["shade"].tolist() == [0, 0]


def test_focus__names_each_class_once_the_hovered_first():
    focus = focus_data(3, np.array([5, 4, 3]), hovered=4)

    assert focus == {"subset": [4, 3, 5], "role": ["hovered", "chosen", "near"]}


def test_goal__largest_shade_is_the_accent():
    goal = goal_data(PLACES, np.array([0, 2]), ["a", "c"], np.array([0.1, 1, 0.2]))

    np.testing.assert_allclose(goal["shade"], [0.5, 1])


def test_focus__may_be_empty():
    assert focus_data(-1, np.zeros(0, np.int64), -1) == {"subset": [], "role": []}


def test_embedding__draws_points_by_webgl_with_equal_scales():
    goal = goal_data(PLACES, np.array([0, 2]), ["a", "c"], None)

    drawn = make_embedding(goal, focus_data(0, np.array([2]), -1))

    assert drawn.figure.output_backend == "webgl"
    assert drawn.figure.match_aspect
    glyphs = [renderer.glyph for renderer in drawn.figure.renderers]
    assert sum(isinstance(glyph, Scatter) for glyph in glyphs) == 3


def test_embedding__keeps_its_own_copy_of_what_is_drawn():
    goal = goal_data(PLACES, np.array([0, 2]), ["a", "c"], None)

    drawn = make_embedding(goal, focus_data(0, np.array([2]), -1))

    assert drawn.points.data["x"] is not drawn.goal.data["x"]
