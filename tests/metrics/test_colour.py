import pytest
import torch

from melies.errors import UserError
from melies.metrics.colour import mean_chroma, measure_saturation, share_at_ends


def test_ends_by_hand():
    """Bytes 0 and 255; floats are at an end where they round to one, or lie beyond."""
    levels = torch.tensor([[[[0, 1], [254, 255]]]], dtype=torch.uint8)
    assert share_at_ends(levels).tolist() == [0.5]
    floats = torch.tensor([[[[-1.2, -0.9965], [0.9965, 0.9]]]])
    assert share_at_ends(floats).tolist() == [0.75]


def test_chroma_by_hand():
    """Pure red and grey: 1 and 0; a pink of (1, ½, ½) has ½."""
    pixels = torch.tensor([[1.0, -1, -1], [0.3, 0.3, 0.3], [1, 0, 0]]).T.reshape(1, 3, 1, 3)
    assert mean_chroma(pixels).tolist() == pytest.approx([0.5])
    assert mean_chroma(torch.rand(4, 1, 5, 5)).tolist() == [0] * 4


def test_records_tell_a_saturated_set():
    x = torch.rand(50, 3, 6, 6, generator=torch.Generator().manual_seed(0)) * 2 - 1
    plain, pushed = measure_saturation(x), measure_saturation(x * 3)
    for a, b in zip(plain, pushed, strict=True):
        assert a.interval[0] < a.value < a.interval[1] < b.interval[0]
    with pytest.raises(UserError, match="no pictures"):
        measure_saturation(x[:0])
