"""Which token is which part of a picture, against what the network itself looks at."""

import numpy as np
import pytest
import torch
from torch import nn

from nnviz.network.tracing import trace
from nnviz.runs.patch_tokens import patch_grid

HEIGHT, WIDTH, SIDE = 12, 20, 4
ROWS, COLUMNS = HEIGHT // SIDE, WIDTH // SIDE


class Vision(nn.Module):
    """Patches one after another behind tokens of their own, and attention on them."""

    def __init__(self, n_before: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, SIDE, SIDE)
        self.before = nn.Parameter(torch.randn(1, n_before, 8))
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.up = nn.Linear(8, 16)
        self.head = nn.Linear(16, 4)

    def tokens(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        return torch.cat([self.before.expand(len(x), -1, -1), x], 1)

    def forward(self, x):
        x = self.tokens(x)
        x = x + self.attention(x, x, x, need_weights=False)[0]
        return self.head(torch.relu(self.up(x)).mean(1))


@pytest.mark.parametrize("n_before", [0, 1, 5])
def test_patch_grid__is_where_the_network_looks(n_before):
    torch.manual_seed(0)
    network = Vision(n_before).eval()
    architecture = trace(network, torch.randn(1, 3, HEIGHT, WIDTH))

    grid = patch_grid(architecture, architecture.layer("up"))

    assert (grid.shape, grid.n_before) == ((ROWS, COLUMNS), n_before)
    plain = torch.zeros(1, 3, HEIGHT, WIDTH)
    for row, column in ((0, 0), (0, 3), (2, 1), (2, 4)):
        (top, bottom), (left, right) = grid.field.box((row, column))
        changed = plain.clone()
        changed[:, :, int(top) : int(bottom), int(left) : int(right)] = 1.0
        with torch.no_grad():
            both = network.tokens(torch.cat([plain, changed]))
        moved = (both[1] - both[0]).abs().sum(-1).numpy()
        assert not grid.is_before(moved)
        assert np.argwhere(grid.by_place(moved)).tolist() == [[row, column]]


def test_patch_grid__the_largest_before_the_patches__is_said():
    torch.manual_seed(0)
    architecture = trace(Vision(1).eval(), torch.randn(1, 3, HEIGHT, WIDTH))
    grid = patch_grid(architecture, architecture.layer("up"))
    values = np.full(1 + ROWS * COLUMNS, np.nan)
    values[:3] = 2.0, 1.0, 0.5

    assert grid.is_before(values)
    assert grid.by_place(values)[0, :2].tolist() == [1.0, 0.5]


@pytest.mark.parametrize("n_before", [9, 1])
def test_patch_grid__of_what_are_no_tokens_of_a_picture__is_unknown(n_before):
    architecture = trace(Vision(n_before).eval(), torch.randn(1, 3, HEIGHT, WIDTH))
    names = ("patches", "head") if n_before == 1 else ("up",)

    assert [patch_grid(architecture, architecture.layer(n)) for n in names] == [
        None
    ] * len(names)
