"""Accuracy and confidences of each class."""

import numpy as np

from nnviz.derivation.class_table import N_BINS, make_class_table

NAMES = ("cat", "<b>dog</b>", "owl")


def table():
    return make_class_table(
        [0, 0, 1, -1, 1], [0, 1, 1, 0, -1], [0.0, 0.05, 1.0, 0.3, np.nan], NAMES
    )


def test_make_class_table__counts_by_label():
    classes = table()

    assert classes.n_instances.tolist() == [2, 2, 0]
    assert classes.n_correct.tolist() == [1, 1, 0]
    assert classes.n_predicted.tolist() == [2, 2, 0]
    assert classes.accuracy[:2].tolist() == [0.5, 0.5]
    assert np.isnan(classes.accuracy[2])
    assert classes.total_accuracy == 0.5


def test_make_class_table__puts_one_into_the_last_bin_and_leaves_out_nan():
    histogram = table().confidence_histogram

    assert histogram.shape == (3, N_BINS)
    assert np.argwhere(histogram).tolist() == [[0, 0], [0, 1], [1, N_BINS - 1]]
    assert histogram.sum() == 3


def test_make_class_table__of_no_instances_has_no_accuracy():
    classes = make_class_table([], [], [], NAMES)

    assert np.isnan(classes.total_accuracy)
    assert classes.n_instances.tolist() == [0, 0, 0]


def test_class_table__shows_itself_without_markup():
    classes = table()

    assert "accuracy 0.5000" in repr(classes)
    assert "<b>dog" not in classes._repr_html_()
    assert "&lt;b&gt;dog" in classes._repr_html_()
    assert classes.to_frame()["class"].tolist() == list(NAMES)
