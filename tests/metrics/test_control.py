"""Fidelity to hints: by hand on small pictures, against a search of all pairs, and as properties."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from melies.errors import UserError
from melies.metrics.control import colour_agreement, edge_f1, mask_iou, thinned


def picture(*rows: str) -> Tensor:
    return torch.tensor([[cell == "#" for cell in row] for row in rows])[None]


def random(seed: int, n: int = 3, share: float = 0.1) -> Tensor:
    return torch.rand(n, 9, 11, generator=torch.Generator().manual_seed(seed)) < share


def by_search(found: Tensor, wanted: Tensor, tolerance: float) -> float:
    """Distances of all pairs of pixels."""
    a, b = found.nonzero().double(), wanted.nonzero().double()
    if not len(a) and not len(b):
        return 1.0
    if not len(a) or not len(b):
        return 0.0
    near = torch.cdist(a, b) <= tolerance + 1e-9
    precision, recall = near.any(1).double().mean(), near.any(0).double().mean()
    return float(2 * precision * recall / (precision + recall)) if precision + recall > 0 else 0.0


@given(st.integers(0, 10_000), st.sampled_from([0.0, 1.0, math.sqrt(2), 2.0, 3.3]))
def test_edge_f1_is_that_of_a_search_of_all_pairs(seed, tolerance):
    found, wanted = random(seed), random(seed + 1)
    expected = [by_search(a, b, tolerance) for a, b in zip(found, wanted, strict=True)]
    assert edge_f1(found, wanted, tolerance_px=tolerance).tolist() == pytest.approx(expected)


def test_edge_f1_by_hand():
    """A line two pixels away: found within 2, not within 1; half of it missing costs recall alone."""
    wanted = picture("....", "####", "....", "....")
    shifted = picture("....", "....", "....", "####")
    assert edge_f1(shifted, wanted, tolerance_px=2).tolist() == [1]
    assert edge_f1(shifted, wanted, tolerance_px=1).tolist() == [0]
    half = picture("....", "#...", "....", "....")
    assert edge_f1(half, wanted, tolerance_px=1).tolist() == pytest.approx([2 * 0.5 / 1.5])
    nothing = torch.zeros_like(wanted)
    assert edge_f1(nothing, nothing).tolist() == [1]
    assert edge_f1(nothing, wanted).tolist() == [0]


def test_mask_iou_by_hand():
    a, b = picture("##..", "##.."), picture(".##.", ".##.")
    assert mask_iou(a, b).tolist() == [pytest.approx(2 / 6)]
    assert mask_iou(a, a).tolist() == [1]
    nothing = torch.zeros_like(a)
    assert mask_iou(nothing, nothing).tolist() == [1]
    assert mask_iou(nothing, a).tolist() == [0]


def test_colours_agree_by_their_levels():
    a = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
    b = a.clone()
    b[1] = 51
    assert colour_agreement(a, b).tolist() == pytest.approx([1, 0.8])


def test_a_bar_is_thinned_to_its_middle():
    bar = picture(*["..........", ".########.", ".########.", ".########.", ".........."])
    line = thinned(bar)[0]
    assert line.any(1).nonzero().flatten().tolist() == [2]
    assert 5 <= int(line.sum()) <= 8


@given(st.integers(0, 10_000))
def test_thinning_keeps_pieces_together_and_has_nothing_left_to_do(seed):
    pytest.importorskip("scipy")
    from scipy.ndimage import binary_dilation, label

    strokes = torch.from_numpy(binary_dilation(random(seed, 1, 0.03)[0].numpy(), iterations=1))[None]
    lines = thinned(strokes)
    assert not (lines & ~strokes).any()
    assert torch.equal(thinned(lines), lines)
    eight = torch.ones(3, 3).numpy()
    assert label(lines[0].numpy(), eight)[1] <= label(strokes[0].numpy(), eight)[1]


def test_shapes_and_tolerances_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="edges of"):
        edge_f1(random(0, 2), random(0, 3))
    with pytest.raises(ValueError, match="masks of"):
        mask_iou(random(0, 2), random(0, 3))
    with pytest.raises(UserError, match="tolerance_px"):
        edge_f1(random(0), random(1), tolerance_px=-1)
    assert edge_f1(random(0, 0), random(0, 0)).shape == (0,)
    assert thinned(random(0, 0)).shape[0] == 0
