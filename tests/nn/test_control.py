"""Control branches of both networks: nothing at first, a true copy, and what the hint and its kind change."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from melies.errors import UserError
from melies.interfaces import ControlBranch
from melies.nn.control import ControlConfig, ControlNetwork, build_control
from melies.nn.transformer import Transformer, TransformerConfig
from melies.nn.unet import UNet, UNetConfig

TEXT = 6
CONFIGS = {
    "transformer": ControlConfig(
        network=TransformerConfig(
            channels=3, size=8, patch=2, dim=16, depth=3, head_dim=8, num_classes=3, text_dim=TEXT
        ),
        num_kinds=2,
        depth=2,
        reduction=4,
        hint_width=4,
    ),
    "unet": ControlConfig(
        network=UNetConfig(
            channels=3,
            size=8,
            widths=(8, 16),
            blocks=2,
            attention=(4,),
            head_dim=8,
            dim=16,
            num_classes=3,
            text_dim=TEXT,
        ),
        num_kinds=2,
        reduction=1,
        hint_width=4,
    ),
}
SIZES = {"transformer": 16, "unet": 8}


def base_of(config: ControlConfig) -> Transformer | UNet:
    network = config.network
    made = Transformer(network) if isinstance(network, TransformerConfig) else UNet(network)
    stir(made)
    return made


def stir(network: nn.Module) -> None:
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.2)


def inputs(size: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    condition = {
        "text": torch.randn(2, 4, TEXT, dtype=dtype),
        "text_valid": torch.arange(4) < torch.tensor([2, 4])[:, None],
        "class": torch.tensor([0, 2]),
        "hint": torch.rand(2, 3, size, size, dtype=dtype),
        "hint_kind": torch.tensor([0, 1]),
    }
    return torch.randn(2, 3, 8, 8, dtype=dtype), torch.linspace(-1, 1, 2, dtype=dtype), condition


@pytest.fixture(params=CONFIGS)
def name(request) -> str:
    return request.param


@pytest.fixture
def base(name) -> Transformer | UNet:
    return base_of(CONFIGS[name])


@pytest.fixture
def branch(name, base) -> ControlNetwork:
    made = build_control(CONFIGS[name])
    made.copy_from(base)
    return made


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_at_first_the_output_is_that_of_the_base_to_the_last_bit(name, base, branch, dtype):
    """Zero-initialised joints (Zhang et al. 2023, §3.1, eq. 4)."""
    base, branch = base.to(dtype), branch.to(dtype)
    x, c_noise, condition = inputs(SIZES[name], dtype)
    assert isinstance(branch, ControlBranch)
    residuals = branch(x, c_noise, condition)
    assert all(not residual.any() and residual.dtype == dtype for residual in residuals)
    assert torch.equal(base(x, c_noise, condition, residuals=residuals), base(x, c_noise, condition))


def test_the_copy_computes_what_the_base_computes(name, base, branch):
    """With a hint that is not seen yet, the last copied block gives what the base's gives."""
    seen: dict[str, Tensor] = {}
    blocks = ("blocks", 1) if name == "transformer" else ("down", 3)
    for network, who in ((base, "base"), (branch, "copy")):
        getattr(network, blocks[0])[blocks[1]].register_forward_hook(
            lambda _, __, output, who=who: seen.update({who: output})
        )
    x, c_noise, condition = inputs(SIZES[name])
    base(x, c_noise, condition)
    branch(x, c_noise, condition)
    assert torch.equal(seen["copy"], seen["base"])


def test_two_steps_of_training_reach_every_weight(name, base, branch):
    """In the first step only the joints move; from then on the copy, the hint encoder and the kinds do."""
    base.requires_grad_(False)
    x, c_noise, condition = inputs(SIZES[name])
    for step in range(3):
        branch.zero_grad()
        output = base(x, c_noise, condition, residuals=branch(x, c_noise, condition))
        output.square().mean().backward()
        moved = {key: bool(p.grad is not None and p.grad.any()) for key, p in branch.named_parameters()}
        if step == 0:
            assert all(went == key.startswith("join") for key, went in moved.items())
        with torch.no_grad():
            for parameter in branch.parameters():
                parameter -= 0.1 * parameter.grad if parameter.grad is not None else 0
    still = [key for key, went in moved.items() if not went]
    # keys shift all scores of a row alike, which no softmax sees; text that no row lacks is never null
    assert all("null" in key or key.endswith("key.bias") for key in still), still


def test_hint_and_kind_change_the_residuals_and_an_encoded_hint_is_the_hint(name, branch):
    stir(branch)
    x, c_noise, condition = inputs(SIZES[name])
    residuals = branch(x, c_noise, condition)
    for change in ({"hint": 1 - condition["hint"]}, {"hint_kind": torch.tensor([1, 0])}):
        other = branch(x, c_noise, {**condition, **change})
        assert all((a - b).abs().amax() > 1e-4 for a, b in zip(residuals, other, strict=True))
    encoded = branch.hint(condition["hint"])
    assert encoded.shape[1:] == CONFIGS[name].encoded_shape
    rest = {key: value for key, value in condition.items() if key != "hint"}
    again = branch(x, c_noise, {**rest, "hint_encoded": encoded})
    assert all(torch.equal(a, b) for a, b in zip(residuals, again, strict=True))
    with pytest.raises(ValueError, match="needs a hint"):
        branch(x, c_noise, rest)


def test_there_is_one_residual_for_each_place_of_the_base(name, base, branch):
    x, c_noise, condition = inputs(SIZES[name])
    shapes = [tuple(residual.shape[1:]) for residual in branch(x, c_noise, condition)]
    assert shapes == ([(16, 16)] * 3 if name == "transformer" else list(base.residual_shapes))
    assert CONFIGS[name].hint_size == SIZES[name]


def test_one_kind_is_not_told(name, base):
    single = build_control(replace(CONFIGS[name], num_kinds=1))
    single.copy_from(base)
    x, c_noise, condition = inputs(SIZES[name])
    del condition["hint_kind"]
    assert single.kind is None
    assert not any(residual.any() for residual in single(x, c_noise, condition))


def test_a_hint_alone_reaches_the_first_block_and_is_nothing_at_first():
    config = replace(CONFIGS["transformer"], depth=0)
    base, alone = base_of(config), build_control(config)
    x, c_noise, condition = inputs(SIZES["transformer"])
    plain = base(x, c_noise, condition)
    assert torch.equal(base(x, c_noise, condition, residuals=alone(x, c_noise, condition)), plain)
    stir(alone)
    first, *others = alone(x, c_noise, condition)
    told = alone.hint(condition["hint"]) + alone.kind(condition["hint_kind"])[..., None, None]
    assert torch.equal(first, told.flatten(2).transpose(1, 2))
    assert len(others) == config.network.depth - 1
    assert not any(other.any() for other in others)
    assert not torch.equal(base(x, c_noise, condition, residuals=(first, *others)), plain)
    with pytest.raises(UserError, match="depth"):
        replace(CONFIGS["unet"], depth=0)


@pytest.mark.parametrize("change", [{"reduction": 3}, {"depth": 4}, {"num_kinds": 0}])
def test_shapes_that_cannot_be_are_refused(change):
    with pytest.raises(UserError, match=next(iter(change))):
        replace(CONFIGS["transformer"], **change)
