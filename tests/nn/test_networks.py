"""What every denoising network keeps; a new one joins by a line in `NETWORKS`."""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn

from melies.interfaces import Network
from melies.nn.attention import attend
from melies.nn.transformer import Transformer, TransformerConfig
from melies.nn.unet import UNet, UNetConfig


def transformer(**fields) -> Transformer:
    return Transformer(
        TransformerConfig(
            **{"channels": 3, "size": 8, "patch": 2, "dim": 16, "depth": 2, "head_dim": 8, **fields}
        )
    )


def unet(**fields) -> UNet:
    shape = {"size": 8, "widths": (8, 16), "blocks": 1, "attention": (4, 8), "head_dim": 8, "dim": 16}
    return UNet(UNetConfig(**{"channels": 3, **shape, **fields}))


NETWORKS: dict[str, Callable[..., nn.Module]] = {"transformer": transformer, "unet": unet}
LAYERS = {
    "transformer": ["block0", "block1"],
    "unet": ["down0", "down1", "middle", "up0", "up1"],
}
TEXT_DIM = 6


@pytest.fixture(params=NETWORKS)
def name(request) -> str:
    return request.param


@pytest.fixture
def network(name) -> nn.Module:
    """Class and text conditions, in float64, with no weight at its initial zero."""
    return stirred(NETWORKS[name](num_classes=3, text_dim=TEXT_DIM))


def stirred(network: nn.Module) -> nn.Module:
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.2)
    return network.double()


def inputs(b: int = 2, lengths: Sequence[int] = (2, 4)) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    x, c_noise = torch.randn(b, 3, 8, 8, dtype=torch.float64), torch.linspace(-1, 1, b, dtype=torch.float64)
    longest = max(lengths)
    condition = {
        "text": torch.randn(b, longest, TEXT_DIM, dtype=torch.float64),
        "text_valid": torch.arange(longest) < torch.tensor(lengths)[:, None],
        "class": torch.arange(b) % 3,
    }
    return x, c_noise, condition


def test_it_is_a_network(network):
    assert isinstance(network, Network)


def test_the_output_is_zero_at_first(name):
    x, c_noise, condition = inputs()
    fresh = NETWORKS[name](num_classes=3, text_dim=TEXT_DIM).double()
    assert fresh(x, c_noise, condition).eq(0).all()


def test_learned_variance_doubles_the_channels(name):
    x, c_noise, _ = inputs()
    assert NETWORKS[name](learned_variance=True).double()(x, c_noise, {}).shape == (2, 6, 8, 8)


def test_noise_level_class_and_text_each_change_the_prediction(network):
    x, c_noise, condition = inputs()
    before = network(x, c_noise, condition)
    for other in (
        network(x, c_noise + 0.3, condition),
        network(x, c_noise, {**condition, "class": condition["class"] + 1}),
        network(x, c_noise, {**condition, "text": -condition["text"]}),
    ):
        assert (other - before).flatten(1).abs().amax(1).gt(1e-6).all()


def test_not_present_is_the_same_as_not_given(network):
    x, c_noise, condition = inputs()
    absent = torch.zeros(2, dtype=torch.bool)
    dropped = network(x, c_noise, {**condition, "present.text": absent, "present.class": absent})
    torch.testing.assert_close(dropped, network(x, c_noise, {}))
    kept = network(x, c_noise, {**condition, "present.text": ~absent, "present.class": ~absent})
    torch.testing.assert_close(kept, network(x, c_noise, condition))


def test_padding_of_the_text_changes_nothing(network):
    x, c_noise, condition = inputs()
    before = network(x, c_noise, condition)
    padded = {
        **condition,
        "text": torch.cat([condition["text"], torch.full((2, 3, TEXT_DIM), 7.0, dtype=torch.float64)], 1),
        "text_valid": torch.cat([condition["text_valid"], torch.zeros(2, 3, dtype=torch.bool)], 1),
    }
    torch.testing.assert_close(network(x, c_noise, padded), before)
    padded["text"][~padded["text_valid"]] = -50.0
    torch.testing.assert_close(network(x, c_noise, padded), before)


def test_samples_of_a_batch_do_not_mix(network):
    x, c_noise, condition = inputs()
    alone = network(x[1:], c_noise[1:], {key: value[1:] for key, value in condition.items()})
    torch.testing.assert_close(network(x, c_noise, condition)[1:], alone)
    x.requires_grad_()
    network(x, c_noise, condition)[0].sum().backward()
    assert x.grad is not None
    assert x.grad[0].abs().sum() > 0
    assert x.grad[1].eq(0).all()


def test_gradients_reach_every_weight_and_stop_at_padding_and_dropped_text(network):
    x, c_noise, condition = inputs()
    condition["text"].requires_grad_()
    network(x, c_noise, condition).square().sum().backward()
    gradient = condition["text"].grad
    assert gradient is not None
    assert gradient[condition["text_valid"]].abs().sum(-1).gt(0).all()
    assert gradient[~condition["text_valid"]].eq(0).all()
    condition["text"].grad = None
    nulls = {**condition, "present.text": torch.tensor([True, False])}
    network(x, c_noise, nulls).square().sum().backward()
    assert condition["text"].grad[1].eq(0).all()
    unused = [key for key, value in network.named_parameters() if value.grad is None or not value.grad.any()]
    assert unused == []  # the second pass uses the null token too


def test_no_gradient_is_kept_under_no_grad(network):
    x, c_noise, condition = inputs()
    with torch.no_grad():
        assert not network(x, c_noise, condition).requires_grad


def test_an_attention_edit_is_asked_about_every_layer_once(name, network):
    x, c_noise, condition = inputs()
    seen = []
    before = network(x, c_noise, condition)
    after = network(x, c_noise, condition, attention=lambda query, key, value, layer: seen.append(layer))
    assert seen == [f"{layer}.{kind}" for layer in LAYERS[name] for kind in ("self", "cross")]
    assert torch.equal(after, before)


def test_an_attention_edit_replaces_the_layer_it_answers_for(name, network):
    x, c_noise, condition = inputs(lengths=(4, 4))
    before = network(x, c_noise, condition)

    def same(query, key, value, layer):
        return attend(query, key, value)

    torch.testing.assert_close(network(x, c_noise, condition, attention=same), before)
    for layer in (f"{LAYERS[name][0]}.self", f"{LAYERS[name][-1]}.cross"):

        def nothing(query, key, value, asked, layer=layer):
            return torch.zeros_like(query) if asked == layer else None

        assert not torch.allclose(network(x, c_noise, condition, attention=nothing), before)


def residuals_for(network: nn.Module, fill: Callable[..., Tensor]) -> list[Tensor]:
    match network:
        case UNet():
            return [fill(2, *shape) for shape in network.residual_shapes]
        case Transformer():
            return [fill(2, 16, 16) for _ in network.blocks]
    raise AssertionError("no residuals known for this network")


def test_zero_residuals_change_no_bit(network):
    x, c_noise, condition = inputs()
    zeros = residuals_for(network, torch.zeros)
    assert torch.equal(network(x, c_noise, condition, residuals=zeros), network(x, c_noise, condition))


def test_every_residual_changes_the_prediction(network):
    x, c_noise, condition = inputs()
    before = network(x, c_noise, condition)
    for index in range(len(residuals_for(network, torch.zeros))):
        residuals = residuals_for(network, torch.zeros)
        residuals[index] = torch.randn_like(residuals[index])
        assert not torch.allclose(network(x, c_noise, condition, residuals=residuals), before)


@pytest.mark.parametrize("change", [-1, 1])
def test_a_wrong_number_of_residuals_is_refused(network, change):
    x, c_noise, condition = inputs()
    residuals = residuals_for(network, torch.zeros)
    residuals = residuals[:-1] if change < 0 else [*residuals, residuals[-1]]
    with pytest.raises(ValueError, match="residuals for"):
        network(x, c_noise, condition, residuals=residuals)


def test_weights_survive_saving(name, network, tmp_path):
    from safetensors.torch import load_file, save_file

    x, c_noise, condition = inputs()
    save_file(
        {key: value.contiguous() for key, value in network.state_dict().items()}, tmp_path / "w.safetensors"
    )
    again = NETWORKS[name](num_classes=3, text_dim=TEXT_DIM).double()
    again.load_state_dict(load_file(tmp_path / "w.safetensors"))
    assert torch.equal(again(x, c_noise, condition), network(x, c_noise, condition))


def test_half_precision_stays_near(name):
    network = stirred(NETWORKS[name](num_classes=3, text_dim=TEXT_DIM)).float()
    x, c_noise, condition = inputs()
    x, c_noise, condition["text"] = x.float(), c_noise.float(), condition["text"].float()
    exact = network(x, c_noise, condition)
    with torch.autocast("cpu", torch.bfloat16):
        rough = network(x, c_noise, condition).float()
    assert (rough - exact).norm() < 0.05 * exact.norm()
