"""The halves of autoencoders: shapes, reach, and what they refuse."""

import pytest
import torch
from torch import nn

from melies.errors import UserError
from melies.nn.pyramid import cell_size, check_widths, down, up


@pytest.mark.parametrize(
    ("channels", "size", "widths"), [(1, 8, (8,)), (1, 28, (8, 16)), (3, 32, (8, 16, 24)), (3, 64, (8, 8, 8))]
)
def test_down_and_up_undo_each_others_shapes(channels, size, widths):
    x = torch.randn(2, channels, size, size)
    cells = nn.Sequential(*down(channels, widths, blocks=1))(x)
    small = cell_size(size, widths, where="widths")
    assert cells.shape == (2, widths[-1], small, small)
    assert nn.Sequential(*up(channels, widths, blocks=1))(cells).shape == x.shape


def test_every_pixel_reaches_some_cell():
    x = torch.randn(1, 1, 8, 8, requires_grad=True)
    nn.Sequential(*down(1, (8, 8), blocks=1))(x).square().sum().backward()
    assert bool((x.grad != 0).all())


def test_what_cannot_be_built_is_refused():
    with pytest.raises(UserError, match="at least one width"):
        check_widths((), where="Config.widths")
    with pytest.raises(UserError, match="multiple of 8"):
        check_widths((8, 12), where="Config.widths")
    with pytest.raises(UserError, match="28 cannot be halved 3 times"):
        cell_size(28, (8, 8, 8), where="Config.widths")
