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
PLAIN = [name for name in METHODS if name not in ("perturbed", "smoothed", "plus-plus")]


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


@pytest.mark.parametrize("name", PLAIN)
def test_interval_is_the_condition_alone_outside(name, fixed, noisy):
    parts = fixed("conditional", "null", *((NEEDS[name],) if name in NEEDS else ()))
    method = {"frequency": "frequency:1", "signed": "signed:0", "perpendicular": "perpendicular:0"}.get(
        name, name + PARAMETER.get(name, "")
    )
    made = guidance_of(method, 3.0, interval=(0.5, 5.0))
    denoise = made.bind(parts, SIGMAS)
    for level in SIGMAS[:-1].tolist():
        same = torch.equal(denoise(noisy, at(level)), parts["conditional"].denoiser.x0)
        assert same == (not 0.5 < level <= 5)


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
        ({"method": "plain", "scale": 0.5, "schedule": "linear"}, "cannot have the mean 0.5"),
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
