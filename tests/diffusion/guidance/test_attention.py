"""Guidance by edited attention: which layers, what becomes of them, and the rule."""

import math

import pytest
import torch

from melies.data.synthetic import MixtureTruth
from melies.diffusion.guidance.attention import (
    PerturbedAttention,
    SmoothedEnergy,
    blurred_tokens,
    self_attention_edit,
)
from melies.diffusion.guidance.schedules import LimitedInterval
from melies.diffusion.noise import karras
from melies.diffusion.precondition import Preconditioned
from melies.errors import UserError
from melies.interfaces import Branch, Guidance
from melies.nn.attention import attend
from melies.nn.transformer import Transformer, TransformerConfig
from melies.nn.unet import UNet, UNetConfig

SIGMAS = karras(6, 0.1, 10.0)
METHODS = {
    "perturbed": lambda **options: PerturbedAttention(**options),
    "smoothed": lambda **options: SmoothedEnergy(blur=1.0, **options),
    "smoothed-infinitely": lambda **options: SmoothedEnergy(**options),
}
EDITS = {
    "perturbed": lambda q, k, v: v,
    "smoothed": lambda q, k, v: attend(blurred_tokens(q, 1.0), k, v),
    "smoothed-infinitely": lambda q, k, v: attend(q.mean(2, keepdim=True).expand_as(q), k, v),
}


def network(kind="transformer") -> Preconditioned:
    if kind == "transformer":
        made = Transformer(
            TransformerConfig(channels=2, size=8, patch=2, dim=32, depth=2, head_dim=16, text_dim=6)
        )
    else:
        made = UNet(
            UNetConfig(
                channels=2, size=8, widths=(32, 32), blocks=1, attention=(8,), head_dim=16, dim=32, text_dim=6
            )
        )
    model = Preconditioned(made, sigma_data=1.0).double().eval()
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():  # its zero output would hide everything
        parameter.data = 0.2 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return model


def branches(model, count=2):
    generator = torch.Generator().manual_seed(1)
    condition = {
        "text": torch.randn(count, 3, 6, generator=generator, dtype=torch.float64),
        "text_valid": torch.ones(count, 3, dtype=torch.bool),
    }
    null = {**condition, "present.text": torch.zeros(count, dtype=torch.bool)}
    return {"conditional": Branch(model, condition), "null": Branch(model, null)}


def noisy(count=2):
    return 2 * torch.randn(count, 2, 8, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def at(sigma, count=2):
    return torch.full((count,), sigma, dtype=torch.float64)


def by_hand(model, condition, edit, names):
    """The prediction with the self-attention layers of these names edited."""

    def edited(query, key, value, name):
        return edit(query, key, value) if name in names else None

    return model(noisy(), at(2.0), condition, attention=edited)


@torch.no_grad()
@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("scale", [1.0, 3.0])
@pytest.mark.parametrize(
    ("kind", "layers", "names"),
    [
        ("transformer", ("*",), ["block0.self", "block1.self"]),
        ("transformer", ("block1",), ["block1.self"]),
        ("unet", ("middle", "up*"), ["middle.self", "up0.self", "up1.self", "up2.self", "up3.self"]),
    ],
)
def test_rule(name, scale, kind, layers, names):
    model = network(kind)
    parts = branches(model)
    c, u = (model(noisy(), at(2.0), parts[key].condition) for key in ("conditional", "null"))
    edited = by_hand(model, parts["conditional"].condition, EDITS[name], names)
    assert (c - edited).abs().max() > 1e-3
    guidance = METHODS[name](strength=2.5, scale=scale, layers=layers)
    assert isinstance(guidance, Guidance)
    found = guidance.bind(parts, SIGMAS)(noisy(), at(2.0))
    torch.testing.assert_close(found, u + scale * (c - u) + 2.5 * (c - edited))


@torch.no_grad()
def test_one_layer_is_not_all():
    parts = branches(network())
    found = [
        PerturbedAttention(strength=2.0, layers=layers).bind(parts, SIGMAS)(noisy(), at(2.0))
        for layers in (("*",), ("block0",), ("block0.self",), ("block1",))
    ]
    torch.testing.assert_close(found[1], found[2])
    for other in (found[0], found[3]):
        assert (found[1] - other).abs().max() > 1e-3


@torch.no_grad()
@pytest.mark.parametrize("name", METHODS)
def test_strength_follows_a_schedule_and_is_spared_where_it_is_off(name):
    model = network()
    records = []

    class Late:
        """Strength in the second half only."""

        def on(self, sigmas):
            return torch.tensor([0.0] * 3 + [2.0] * 3)

    guidance = METHODS[name](strength=Late(), scale=LimitedInterval(scale=2.0, low=1.0, high=5.0))
    denoise = guidance.bind(branches(model), SIGMAS, trace=records.append)
    for level in SIGMAS[:-1].tolist():
        denoise(noisy(), at(level))
    for step, record in enumerate(records):
        null = 1 < float(SIGMAS[step]) <= 5
        expected = {"conditional", *(("null",) if null else ()), *(("edited",) if step >= 3 else ())}
        assert set(record["x0"]) == expected
    assert {len(record["x0"]) for record in records} == {1, 2}


@torch.no_grad()
def test_without_a_condition_and_per_sample():
    """An unconditional model has no null: strength alone guides it."""
    model = network()
    parts = {"conditional": branches(model)["conditional"]}
    strengths = torch.tensor([0.0, 3.0])
    together = PerturbedAttention(strength=strengths).bind(parts, SIGMAS)(noisy(), at(2.0))
    for row, strength in enumerate(strengths.tolist()):
        alone = PerturbedAttention(strength=strength).bind(parts, SIGMAS)(noisy(), at(2.0))
        torch.testing.assert_close(together[row], alone[row])
    with pytest.raises(ValueError, match="lacks the branch null"):
        PerturbedAttention(strength=1.0, scale=2.0).bind(parts, SIGMAS)


def test_only_self_attention_is_edited():
    seen, edited = set(), set()
    edit = self_attention_edit(EDITS["perturbed"], ("block1*",), seen=seen, edited=edited)
    q = torch.randn(1, 2, 4, 8)
    assert edit(q, q, q, "block1.cross") is None
    assert edit(q, q, q, "block0.self") is None
    assert edit(q, q, q, "block1.self") is q
    assert (seen, edited) == ({"block0", "block1"}, {"block1"})


# Blur


@pytest.mark.parametrize("side", [4, 5, 8])
@pytest.mark.parametrize("blur", [0.5, 1.0, 3.0])
def test_blur_is_that_of_diffusers(side, blur):
    hooks = pytest.importorskip("diffusers.hooks.smoothed_energy_guidance_utils")
    tokens = torch.randn(2, 3, side**2, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    flat = tokens.permute(0, 2, 1, 3).reshape(2, side**2, 15).clone()
    size = math.ceil(6 * blur) + 1 - math.ceil(6 * blur) % 2
    # Beyond its threshold theirs blurs, and below it takes the mean; hence the threshold of 0.
    expected = hooks._gaussian_blur_2d(flat, size, blur, 0.0)
    found = blurred_tokens(tokens, blur).permute(0, 2, 1, 3).reshape(2, side**2, 15)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_blur_keeps_the_mean_picture_and_ends_in_it():
    flat = torch.full((1, 1, 16, 2), 3.0, dtype=torch.float64)
    torch.testing.assert_close(blurred_tokens(flat, 1.0), flat)
    tokens = torch.randn(1, 2, 16, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    hardly = blurred_tokens(tokens, 0.05)
    torch.testing.assert_close(hardly, tokens)
    mean = blurred_tokens(tokens, math.inf)
    assert torch.equal(mean, tokens.mean(2, keepdim=True).expand_as(tokens))


# What cannot be


def test_a_network_without_attention_is_refused():
    mixture = MixtureTruth(
        weights=torch.ones(1, dtype=torch.float64),
        means=torch.zeros(1, 2, dtype=torch.float64),
        stds=torch.ones(1, dtype=torch.float64),
        classes=torch.tensor([0]),
    )
    for name, make in METHODS.items():
        denoise = make(strength=2.0).bind({"conditional": Branch(mixture, {})}, SIGMAS)
        with pytest.raises(UserError, match=r"edits the self-attention of \*, and the network has none"):
            denoise(torch.zeros(2, 2, dtype=torch.float64), at(2.0))
        off = make(strength=0.0).bind({"conditional": Branch(mixture, {})}, SIGMAS)
        assert off(torch.zeros(2, 2, dtype=torch.float64), at(2.0)).shape == (2, 2), name


@torch.no_grad()
def test_bad_requests_are_refused():
    parts = branches(network())
    with pytest.raises(UserError, match="has that of block0, block1; name layers that it has"):
        PerturbedAttention(strength=2.0, layers=("middle",)).bind(parts, SIGMAS)(noisy(), at(2.0))
    with pytest.raises(UserError, match="strength = -1"):
        PerturbedAttention(strength=-1.0)
    with pytest.raises(UserError, match="strength = -1"):
        SmoothedEnergy(strength=[-1.0] * 6)
    with pytest.raises(UserError, match="blur = 0"):
        SmoothedEnergy(strength=1.0, blur=0.0)
    with pytest.raises(UserError, match="no layer is named"):
        PerturbedAttention(strength=1.0, layers=())
    with pytest.raises(UserError, match="12 tokens are no square picture"):
        blurred_tokens(torch.zeros(1, 1, 12, 2), 1.0)
    taken = {"conditional": parts["conditional"]._replace(attention=lambda *given: None)}
    with pytest.raises(ValueError, match="edited already"):
        PerturbedAttention(strength=1.0).bind(taken, SIGMAS)
