"""Ways of guiding by name, each with a schedule and an interval."""

import math

import pytest
import torch

from melies.diffusion import METHODS, NEEDS
from melies.diffusion.adapt import FROM_X0, X0_FROM
from melies.diffusion.guidance.bind import bind_rule, scale_table
from melies.diffusion.guidance.classifier_free import Unguided
from melies.diffusion.guidance.frequency import FrequencyDecoupled, bands
from melies.diffusion.guidance.measure import parallel
from melies.diffusion.guidance.methods import guidance_of
from melies.diffusion.guidance.negative import PerpendicularNegative, SignedNegative
from melies.diffusion.guidance.projected import Projected
from melies.diffusion.guidance.rescaled import Rescaled
from melies.diffusion.guidance.zero_star import ZeroStar
from melies.diffusion.noise import karras
from melies.errors import UserError
from melies.interfaces import Branch, Guidance

SIGMAS = karras(6, 0.1, 10.0)
PARAMETER = {
    **{"frequency": ":5", "windowed": ":2", "zero-star": ":0"},
    **{"classifier": ":1", "classifier-mean-shift": ":1"},
}


def at(sigma, count=3):
    return torch.full((count,), sigma, dtype=torch.float64)


@pytest.mark.parametrize("name", METHODS)
def test_every_name_is_a_guidance_that_follows_a_schedule(name):
    scale = 0.4 if name == "plus-plus" else 3.0
    made = guidance_of(name + PARAMETER.get(name, ""), scale, schedule="linear")
    assert isinstance(made, Guidance)
    scales = made.scales[1] if name == "frequency" else made.scale
    found = scales.on(SIGMAS)
    assert found.mean().item() == pytest.approx(scale)
    assert (found.diff() > 0).all()


def with_attention(branch):
    """A branch of a network with one self-attention layer, whose edit moves what is predicted."""

    def denoise(x, sigma, condition, *, attention=None):
        if attention is None:
            return branch.denoiser(x, sigma, condition)
        tokens = torch.ones(1, 1, 4, 1, dtype=x.dtype)
        attention(tokens, tokens, tokens, "middle.self")
        return branch.denoiser.x0 + 1

    return branch._replace(denoiser=denoise)


@pytest.mark.parametrize("scale", [1.0, 3.0])
@pytest.mark.parametrize("where", [{"interval": (0.5, 5.0)}, {"removed": (0.0, 0.5)}])
@pytest.mark.parametrize("name", [name for name in METHODS if name != "plus-plus"])
def test_the_condition_is_alone_where_guidance_is_off(name, where, scale, fixed, noisy):
    fixed_parts = fixed("conditional", "null", *((NEEDS[name],) if name in NEEDS else ()))
    told = fixed_parts["conditional"].denoiser.x0
    parts = fixed_parts | {"conditional": with_attention(fixed_parts["conditional"])}
    denoise = guidance_of(name + PARAMETER.get(name, ""), scale, **where).bind(parts, SIGMAS)
    acts = scale > 1 or name in ("frequency", "perturbed", "smoothed", "signed", "perpendicular")
    acts |= name.startswith("classifier")
    for step, level in enumerate(SIGMAS[:-1].tolist()):
        inside = 0.5 < level <= 5 if "interval" in where else step < 3
        assert torch.equal(denoise(noisy, at(level)), told) == (not (inside and acts))


def test_parameters_reach_the_method():
    assert guidance_of("rescaled:0.3", 2.0).share == 0.3
    assert guidance_of("projected:0.2", 2.0).parallel_share == 0.2
    assert guidance_of("zero-star:3", 2.0).zero_steps == 3
    assert guidance_of("frequency:9", 2.0).scales == (9.0, 2.0)
    assert guidance_of("perturbed:4", 2.0).strength == 4.0
    assert guidance_of("signed:0.5", 2.0).weight == 0.5
    assert guidance_of("windowed:2", 2.0).high == 2.0
    assert math.isinf(guidance_of("smoothed", 2.0).blur)
    assert guidance_of("classifier", 2.0).base == Unguided(branch="null")
    assert guidance_of("classifier:1", 2.0).base == Unguided(branch="conditional")
    assert guidance_of("classifier:3", 2.0).base.scale == 3.0
    assert guidance_of("classifier", 2.0).form == "score"
    assert guidance_of("classifier-mean-shift", 2.0).form == "mean-shift"


def test_classifier_guidance_is_off_at_0_where_others_are_at_1():
    assert guidance_of("classifier", 0.5, schedule="linear").scale.on(SIGMAS).mean() == pytest.approx(0.5)
    outside = guidance_of("classifier", 2.0, interval=(0.5, 5.0)).scale.on(SIGMAS)
    assert set(outside.tolist()) == {0.0, 2.0}
    removed = guidance_of("classifier", 2.0, removed=(0.0, 0.5)).scale.on(SIGMAS)
    assert removed.tolist() == [2.0] * 3 + [0.0] * 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"method": "plain", "scale": 0.5, "schedule": "linear"}, "from scale 1 and cannot have the"),
        ({"method": "classifier", "scale": -1.0, "schedule": "linear"}, "from scale 0 and cannot have the"),
        ({"method": "plus-plus", "scale": 0.5, "interval": (0.0, 1.0)}, "CFG.. has no scale"),
        ({"method": "windowed", "scale": 2.0}, "give windowed:NUMBER"),
        ({"method": "plan", "scale": 2.0}, "did you mean 'plain'"),
        ({"method": "plain", "scale": math.nan}, "scale = nan"),
    ],
)
def test_what_cannot_be_is_refused(words, said):
    with pytest.raises(UserError, match=said):
        guidance_of(**words)


# What the methods say of their space


@pytest.mark.parametrize("space", FROM_X0)
def test_linear_and_perpendicular_rules_act_the_same_in_every_space(space, fixed, noisy):
    parts = fixed("conditional", "null", "negative")
    into, back = FROM_X0[space], X0_FROM[space]
    c, u, n = (into(noisy, at(2.0), branch.denoiser.x0) for branch in parts.values())
    away = (n - u) - parallel(n - u, c - u)
    for guidance, expected in (
        (SignedNegative(scale=3.0, weight=2.0), u + 3 * (c - u) - 2 * (n - u)),
        (PerpendicularNegative(scale=3.0, weight=2.0), u + 3 * ((c - u) - 2 * away)),
    ):
        found = guidance.bind(parts, SIGMAS)(noisy, at(2.0))
        torch.testing.assert_close(found, back(noisy, at(2.0), expected))


@pytest.mark.parametrize(
    "guidance",
    [
        ZeroStar(scale=3.0, zero_steps=0),
        Projected(scale=3.0, largest_norm=1.0),
        Rescaled(scale=3.0),
        PerpendicularNegative(scale=3.0),
    ],
)
def test_what_is_not_real_changes_nothing(guidance):
    """Sequences (b, l, d) with padding: whatever is predicted there, the real rows are the same."""
    generator = torch.Generator().manual_seed(0)
    x, *predictions = torch.randn(4, 2, 5, 3, generator=generator, dtype=torch.float64)
    valid = torch.tensor([[True, True, True, False, False], [True] * 5])
    names = ("conditional", "null", "negative")[: 3 if isinstance(guidance, PerpendicularNegative) else 2]
    found = []
    for padding in (0.0, 7.0):
        parts = {}
        for name, x0 in zip(names, predictions, strict=False):
            filled = torch.where(valid[..., None], x0, padding + x0)
            parts[name] = Branch(lambda x, s, condition, x0=filled, *, attention=None: x0, {})
        found.append(guidance.bind(parts, SIGMAS, valid=valid)(x, at(2.0, 2)))
    torch.testing.assert_close(found[0][valid], found[1][valid])
    cut = guidance.bind(parts, SIGMAS)(x, at(2.0, 2))
    assert (cut[0, :3] - found[1][0, :3]).abs().max() > 1e-3


def test_a_rule_of_ones_own_needs_only_a_function(fixed, noisy):
    """The shared function is open: any rule over any branches, with scales by name."""
    parts = fixed("conditional", "weak")
    denoise = bind_rule(
        lambda at: (at.x0["conditional"] + at.scale("push") * at.x0["weak"]) / 2,
        lambda scales: ("conditional", "weak"),
        {"push": scale_table([0.0, 1.0, 2.0, 3.0, 4.0, 5.0], SIGMAS)},
        parts,
        SIGMAS,
        method="half",
    )
    c, w = (branch.denoiser.x0 for branch in parts.values())
    torch.testing.assert_close(denoise(noisy, at(float(SIGMAS[3]))), (c + 3 * w) / 2)


def test_every_band_may_have_its_own_schedule(fixed, noisy):
    parts = fixed("conditional", "null")
    c, u = (branch.denoiser.x0 for branch in parts.values())
    denoise = FrequencyDecoupled(scales=([1.0] * 3 + [4.0] * 3, [2.0] * 6)).bind(parts, SIGMAS)
    early, late = (denoise(noisy, at(float(SIGMAS[step]))) for step in (0, 4))
    torch.testing.assert_close(late - early, 3 * bands(c - u, 2)[0])


def test_a_part_of_the_run_is_without_guidance_and_the_rest_as_it_was():
    sigmas = karras(11, 0.01, 80.0)
    whole = guidance_of("plain", 3.0, schedule="linear").scale.on(sigmas)
    made = guidance_of("plain", 3.0, schedule="linear", removed=(0.75, 1.0)).scale.on(sigmas)
    first = torch.arange(11) / 10 <= 0.25
    assert first.sum() == 3
    assert made[first].tolist() == [1.0] * 3
    assert made[~first].tolist() == whole[~first].tolist()
    static = guidance_of("plain", 3.0, removed=(0.0, 0.5)).scale.on(sigmas)
    assert static.tolist() == [3.0] * 5 + [1.0] * 6


def test_what_cannot_be_off_has_no_part_without_guidance():
    with pytest.raises(UserError, match="no scale at which it is off"):
        guidance_of("plus-plus", 0.5, removed=(0.0, 0.5))
    with pytest.raises(UserError, match="ends swapped"):
        guidance_of("plain", 3.0, removed=(0.5, 0.2))
