"""Points in the plane keep their distances, however the plane is turned."""

import numpy as np

from nnviz.derivation.plane import classical_scaling, turned


def distances(points):
    return np.linalg.norm(points[:, None] - points[None], axis=2)


def test_classical_scaling__of_points_in_a_plane__keeps_their_distances():
    points = np.random.default_rng(1).normal(size=(9, 2)) @ np.eye(2, 6)

    np.testing.assert_allclose(
        distances(classical_scaling(points)), distances(points), atol=1e-9
    )


def test_turned__brings_mirrored_and_moved_points_back():
    points = np.random.default_rng(0).normal(size=(6, 2))
    other = points[:, ::-1] * [1, -1] + 3
    goal = points.copy()
    goal[2] = np.nan  # not there before

    np.testing.assert_allclose(turned(other, goal), points, atol=1e-12)
    assert turned(other, None) is other
