"""Which token a stored position is."""

from __future__ import annotations

from nnviz.runs.architecture import Layer, ReceptiveField


def test_token_of__counts_tokens_before_other_axes():
    heads = Layer("z", "z", "attention", 4, positions=(3, 7), token_axis=1)

    assert [heads.token_of(position) for position in (0, 2, 3, 20)] == [0, 0, 1, 6]
    assert heads.token_of(9, extents=(2, 100)) == 4


def test_token_of__is_the_middle_of_a_window():
    field = ReceptiveField(size=(3,), step=(2.0,), start=(-1.0,))
    layer = Layer("conv", "conv", "convolution", 4, (5,), 1, True, None, 0, field)

    assert [layer.token_of(position) for position in range(3)] == [0, 2, 4]


def test_token_of__is_nothing_without_tokens():
    assert Layer("fc", "fc", "linear", 4).token_of(0) is None
