import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from melies.config import from_json, to_json
from melies.errors import UserError
from melies.nn.transformer import Transformer, TransformerConfig


@settings(max_examples=8)
@given(
    b=st.integers(1, 3),
    channels=st.integers(1, 4),
    side=st.integers(1, 3),
    patch=st.integers(1, 3),
    depth=st.integers(1, 2),
    num_classes=st.sampled_from([0, 2]),
)
def test_the_prediction_has_the_shape_of_the_input(b, channels, side, patch, depth, num_classes):
    size = side * patch
    network = Transformer(
        TransformerConfig(
            channels=channels,
            size=size,
            patch=patch,
            dim=8,
            depth=depth,
            head_dim=4,
            num_classes=num_classes,
        )
    )
    x = torch.randn(b, channels, size, size)
    assert network(x, torch.zeros(b), {}).shape == x.shape


def test_patches_come_back_where_they_were():
    """With blocks that are the identity and weights that copy, the network is the identity up to scale."""
    network = Transformer(TransformerConfig(channels=1, size=4, patch=2, dim=4, depth=1, head_dim=4)).double()
    with torch.no_grad():
        network.position.zero_()
        network.embed.weight.copy_(torch.eye(4))
        network.out.weight.copy_(torch.eye(4))
    x = torch.randn(1, 1, 4, 4, dtype=torch.float64)
    out = network(x, torch.zeros(1, dtype=torch.float64), {})
    for y in (0, 2):
        for left in (0, 2):
            patch = x[..., y : y + 2, left : left + 2].flatten()
            expected = (patch - patch.mean()) / (patch.var(correction=0) + 1e-5).sqrt()
            torch.testing.assert_close(out[..., y : y + 2, left : left + 2].flatten(), expected)


def test_config_survives_json():
    config = TransformerConfig(dim=64, depth=2, num_classes=10)
    assert from_json(TransformerConfig, to_json(config)) == config


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"depth": 0}, "depth"),
        ({"size": 9, "patch": 2}, "must divide by patch"),
        ({"dim": 96, "head_dim": 64}, "by head_dim = 64"),
        ({"dim": 6, "head_dim": 3}, "by 4"),
    ],
)
def test_a_shape_that_cannot_be_is_refused(fields, message):
    with pytest.raises(UserError, match=message):
        TransformerConfig(**fields)
