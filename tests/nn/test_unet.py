import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from melies.config import from_json, to_json
from melies.errors import UserError
from melies.nn.unet import UNet, UNetConfig


@settings(max_examples=8)
@given(
    b=st.integers(1, 3),
    channels=st.integers(1, 4),
    levels=st.integers(1, 3),
    coarsest=st.integers(2, 3),
    blocks=st.integers(1, 2),
    attend=st.booleans(),
    num_classes=st.sampled_from([0, 2]),
)
def test_the_prediction_has_the_shape_of_the_input(
    b, channels, levels, coarsest, blocks, attend, num_classes
):
    size = coarsest * 2 ** (levels - 1)
    config = UNetConfig(
        channels=channels,
        size=size,
        widths=(8, 16, 24)[:levels],
        blocks=blocks,
        attention=(size,) if attend else (),
        head_dim=8,
        dim=8,
        num_classes=num_classes,
    )
    x = torch.randn(b, channels, size, size)
    assert UNet(config)(x, torch.zeros(b), {}).shape == x.shape


def test_residual_shapes_are_the_down_blocks_then_the_middle():
    network = UNet(UNetConfig(size=8, widths=(8, 16), blocks=2, attention=(), head_dim=8, dim=8))
    seen = []
    for block in [*network.down, network.middle]:
        block.register_forward_hook(lambda module, args, out: seen.append(tuple(out.shape[1:])))
    network(torch.randn(1, 3, 8, 8), torch.zeros(1), {})
    assert tuple(seen) == network.residual_shapes == ((8, 8, 8),) * 2 + ((16, 4, 4),) * 3


def test_a_residual_enters_at_the_mirror_block():
    """The residual of the first down block reaches the last up block and nothing before it."""
    network = UNet(UNetConfig(size=8, widths=(8, 16), blocks=1, attention=(), head_dim=8, dim=8))
    inputs: list[torch.Tensor] = []
    for block in network.up:
        block.register_forward_pre_hook(lambda module, args: inputs.append(args[0]))
    x = torch.randn(1, 3, 8, 8)
    residuals = [torch.zeros(1, *shape) for shape in network.residual_shapes]
    network(x, torch.zeros(1), {})
    residuals[0] += 1
    network(x, torch.zeros(1), {}, residuals=residuals)
    assert torch.equal(inputs[0], inputs[2])
    change = inputs[3] - inputs[1]
    torch.testing.assert_close(change[:, :16], torch.zeros(1, 16, 8, 8))
    torch.testing.assert_close(change[:, 16:], torch.ones(1, 8, 8, 8))


def test_it_attends_where_it_is_told_and_in_the_middle():
    network = UNet(UNetConfig(size=8, widths=(8, 16), blocks=1, attention=(8,), head_dim=8, dim=8))
    seen: list[str] = []
    network(
        torch.randn(1, 3, 8, 8),
        torch.zeros(1),
        {},
        attention=lambda query, key, value, name: seen.append(f"{name} {query.shape[2]}"),
    )
    assert seen == ["down0.self 64", "middle.self 16", "up1.self 64"]


def test_weights_are_laid_out_for_the_convolutions():
    network = UNet(UNetConfig(size=8, widths=(8,), attention=(), head_dim=8, dim=8))
    assert network.middle.conv_in.weight.is_contiguous(memory_format=torch.channels_last)
    assert network(torch.randn(1, 3, 8, 8), torch.zeros(1), {}).is_contiguous()


def test_dropout_is_of_training_only():
    network = UNet(UNetConfig(size=8, widths=(8,), attention=(), head_dim=8, dim=8, dropout=0.5))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    x, zero = torch.randn(1, 3, 8, 8), torch.zeros(1)
    assert not torch.equal(network(x, zero, {}), network(x, zero, {}))
    network.eval()
    assert torch.equal(network(x, zero, {}), network(x, zero, {}))


def test_config_survives_json():
    config = UNetConfig(widths=(8, 16), attention=(32,), head_dim=8, num_classes=10)
    assert from_json(UNetConfig, to_json(config)) == config


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"blocks": 0}, "blocks"),
        ({"channels": -1}, "channels"),
        ({"widths": ()}, "halved"),
        ({"size": 4}, "smallest size is 1"),
        ({"size": 30}, "cannot be halved 2 times"),
        ({"attention": (7,)}, "its sizes are 32, 16, 8"),
        ({"widths": (32, 60, 96)}, "width 60 is not a multiple of 8"),
        ({"widths": (32, 64, 80)}, "width 80 is not a multiple of 32"),
        ({"dim": 31}, "odd"),
        ({"dropout": 1.0}, "dropout"),
        ({"num_classes": -1}, "num_classes"),
    ],
)
def test_a_shape_that_cannot_be_is_refused(fields, message):
    with pytest.raises(UserError, match=message):
        UNetConfig(**fields)
