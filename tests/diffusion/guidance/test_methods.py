"""Every way of guiding: what all have in common, then each by its formula."""

import math
import re
from itertools import pairwise

import pytest
import torch

from melies.data.synthetic import GaussianTruth
from melies.diffusion import SAMPLERS
from melies.diffusion.adapt import (
    epsilon_from_x0,
    flow_time_from_sigma,
    velocity_from_x0,
    x0_from_epsilon,
    x0_from_velocity,
)
from melies.diffusion.guidance.autoguidance import Autoguidance
from melies.diffusion.guidance.bind import check_fits
from melies.diffusion.guidance.classifier_free import ClassifierFreeGuidance, Unguided
from melies.diffusion.guidance.frequency import FrequencyDecoupled, bands
from melies.diffusion.guidance.measure import deviation, dot, norm, parallel
from melies.diffusion.guidance.named import named_equal_area
from melies.diffusion.guidance.negative import PerpendicularNegative, SignedNegative, WindowedNegative
from melies.diffusion.guidance.plus_plus import PlusPlus
from melies.diffusion.guidance.projected import Projected
from melies.diffusion.guidance.rescaled import Rescaled
from melies.diffusion.guidance.schedules import LimitedInterval, with_weights
from melies.diffusion.guidance.zero_star import ZeroStar
from melies.diffusion.noise import karras
from melies.diffusion.sample import ddim, euler, heun
from melies.errors import UserError
from melies.interfaces import Branch, Guidance
from melies.optional import import_from

SIGMAS = karras(6, 0.1, 10.0)
MADE = {
    "plain": lambda scale: ClassifierFreeGuidance(scale=scale),
    "zero-star": lambda scale: ZeroStar(scale=scale, zero_steps=0),
    "projected": lambda scale: Projected(scale=scale, momentum=-0.5, largest_norm=5.0),
    "rescaled": lambda scale: Rescaled(scale=scale),
    "rescaled-epsilon": lambda scale: Rescaled(scale=scale, space="epsilon"),
    "signed": lambda scale: SignedNegative(scale=scale, weight=0.0),
    "perpendicular": lambda scale: PerpendicularNegative(scale=scale, weight=0.0),
    "windowed": lambda scale: WindowedNegative(scale=scale, low=0.5, high=5.0),
    "autoguidance": lambda scale: Autoguidance(scale=scale),
    "frequency": lambda scale: FrequencyDecoupled(scales=(scale, scale)),
}
NAMES = ("conditional", "null", "weak")


def parts_for(name, fixed):
    return fixed(*NAMES, *(("negative",) if name == "windowed" else ()))


def at(sigma, count=3):
    return torch.full((count,), sigma, dtype=torch.float64)


def x0_of(parts):
    return {name: branch.denoiser.x0 for name, branch in parts.items()}


# All of them


@pytest.mark.parametrize("name", MADE)
def test_scale_1_is_the_condition_alone(name, fixed, noisy):
    parts = parts_for(name, fixed)
    guidance = MADE[name](1.0)
    assert isinstance(guidance, Guidance)
    denoise = guidance.bind(parts, SIGMAS)
    assert torch.equal(denoise(noisy, at(2.0)), parts["conditional"].denoiser.x0)
    assert {key for key, branch in parts.items() if branch.denoiser.calls} == {"conditional"}


@pytest.mark.parametrize("name", MADE)
def test_a_schedule_spares_the_other_branch_where_it_is_off(name, fixed, noisy):
    parts = parts_for(name, fixed)
    denoise = MADE[name](LimitedInterval(scale=3.0, low=0.5, high=5.0)).bind(parts, SIGMAS)
    inside = [0.5 < level <= 5 for level in SIGMAS[:-1].tolist()]
    assert 0 < sum(inside) < 6
    for level, guided in zip(SIGMAS[:-1].tolist(), inside, strict=True):
        found = denoise(noisy, at(level))
        assert torch.equal(found, parts["conditional"].denoiser.x0) == (not guided)
    others = [branch.denoiser.calls for key, branch in parts.items() if key != "conditional"]
    assert sum(others) == sum(inside)
    assert parts["conditional"].denoiser.calls == 6


@pytest.mark.parametrize("name", MADE)
def test_every_sample_may_have_its_own_scale(name, fixed, noisy):
    scales = torch.tensor([1.0, 2.0, 5.0])
    together = MADE[name](scales).bind(parts_for(name, fixed), SIGMAS)(noisy, at(2.0))
    for row, scale in enumerate(scales.tolist()):
        alone = MADE[name](scale).bind(parts_for(name, fixed), SIGMAS)(noisy, at(2.0))
        torch.testing.assert_close(together[row], alone[row])
    with pytest.raises(ValueError, match="3 scales for a batch of 2"):
        MADE[name](scales).bind(parts_for(name, fixed), SIGMAS)(noisy[:2], at(2.0, 2))


@pytest.mark.parametrize("name", MADE)
def test_bad_scales_and_missing_branches_are_refused(name, fixed):
    for bad in (math.nan, math.inf, torch.tensor([1.0, math.nan])):
        with pytest.raises(UserError, match="scale"):
            MADE[name](bad)
    with pytest.raises(ValueError, match="lacks the branch"):
        MADE[name](2.0).bind(fixed("conditional"), SIGMAS)
    with pytest.raises(ValueError, match="2 scales for 6 steps"):
        MADE[name]([1.0, 2.0]).bind(parts_for(name, fixed), SIGMAS)


@pytest.mark.parametrize("name", MADE)
def test_runs_share_nothing_and_the_trace_changes_nothing(name, fixed):
    guidance, start = MADE[name](named()), 10 * torch.ones(3, 2, 8, 8, dtype=torch.float64)
    records = []
    first = euler(guidance.bind(parts_for(name, fixed), SIGMAS), start, SIGMAS)
    second = euler(guidance.bind(parts_for(name, fixed), SIGMAS, trace=records.append), start, SIGMAS)
    assert torch.equal(first, second)
    assert [record["step"] for record in records] == list(range(6))


def named():
    return with_weights(named_equal_area("cosine", 2.0))


def test_samplers_that_do_not_fit_are_refused():
    for name, make in MADE.items():
        assert set(make(2.0).samplers) <= set(SAMPLERS), name
        assert make(2.0).space in ("x0", "epsilon", "velocity"), name
    check_fits(Unguided(), "heun")
    check_fits(PlusPlus(scale=0.5), "ddim")
    for guidance, sampler, eta, said in (
        (PlusPlus(scale=0.5), "heun", 0.0, "PlusPlus does not fit the sampler 'heun'; it fits euler, ddim"),
        (PlusPlus(scale=0.5), "ddim", 0.5, "does not fit the sampler 'ddim' with eta = 0.5"),
        (ZeroStar(scale=2.0), "dpmpp", 0.0, "it fits euler, ddim"),
        (Projected(scale=2.0, momentum=-0.5), "heun", 0.0, "does not fit the sampler 'heun'"),
    ):
        with pytest.raises(UserError, match=re.escape(said)):
            check_fits(guidance, sampler, eta)
    check_fits(Projected(scale=2.0), "heun")
    check_fits(ZeroStar(scale=2.0, zero_steps=0), "dpmpp")


# Products over real elements


def test_measures_leave_out_what_is_not_real():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 2, 5, 3, generator=generator, dtype=torch.float64)
    valid = torch.tensor([[True, True, True, False, False], [True] * 5])
    short, other = a[:1, :3], b[:1, :3]
    for found, expected in (
        (dot(a, b, valid), (short * other).sum()),
        (norm(a, valid), short.norm()),
        (deviation(a, valid), short.std()),
    ):
        assert found.shape == (2, 1, 1)
        torch.testing.assert_close(found[0, 0, 0], expected)
    along = (short * other).sum() / other.square().sum() * other[0]
    torch.testing.assert_close(parallel(a, b, valid)[0, :3], along)
    torch.testing.assert_close(deviation(a)[1].squeeze(), a[1].std())
    right = a - parallel(a, b)
    torch.testing.assert_close(dot(right, b), torch.zeros(2, 1, 1, dtype=torch.float64), atol=1e-12, rtol=0)
    assert (parallel(a, torch.zeros_like(a)) == 0).all()


# CFG++


def test_plus_plus_takes_the_noise_from_the_null(fixed, noisy):
    """The steps of its paper, by hand: x0 guided, the noise of the next level from u alone."""
    parts, x = fixed("conditional", "null"), noisy
    c, u = x0_of(parts)["conditional"], x0_of(parts)["null"]
    for sampler in (euler, ddim):
        found = sampler(PlusPlus(scale=0.6).bind(parts, SIGMAS), noisy, SIGMAS)
        x = noisy
        for sigma, sigma_next in pairwise(SIGMAS):
            x = u + 0.6 * (c - u) + sigma_next * (x - u) / sigma
        torch.testing.assert_close(found, x)
    torch.testing.assert_close(PlusPlus(scale=0.0).bind(parts, SIGMAS)(noisy, at(2.0)), u)


def test_plus_plus_interpolates_only(fixed):
    for scale in (7.5, [0.5] * 5 + [1.5], with_weights(named_equal_area("linear", 3.0))):
        with pytest.raises(UserError, match="between 0 and 1"):
            PlusPlus(scale=scale).bind(fixed("conditional", "null"), SIGMAS)
    with pytest.raises(UserError, match=r"scale = -0.5"):
        PlusPlus(scale=-0.5)


# CFG-Zero*


def test_zero_star_fits_the_null_and_stands_still_at_first(fixed, noisy):
    parts = fixed("conditional", "null")
    denoise = ZeroStar(scale=4.0, zero_steps=2).bind(parts, SIGMAS)
    for level in SIGMAS[:2].tolist():
        expected = x0_from_velocity(noisy, at(level), torch.zeros_like(noisy))
        torch.testing.assert_close(denoise(noisy, at(level)), expected)
    assert parts["conditional"].denoiser.calls == 0
    level = float(SIGMAS[3])
    found = velocity_from_x0(noisy, at(level), denoise(noisy, at(level)))
    v_c, v_u = (velocity_from_x0(noisy, at(level), x0) for x0 in x0_of(parts).values())
    for row in range(3):
        fit = (v_c[row] * v_u[row]).sum() / v_u[row].square().sum()
        torch.testing.assert_close(found[row], fit * v_u[row] + 4 * (v_c[row] - fit * v_u[row]))


@pytest.mark.parametrize("name", ZeroStar(scale=4.0).samplers)
def test_standing_still_keeps_the_flows_x(name, fixed, noisy):
    denoise = ZeroStar(scale=4.0, zero_steps=3).bind(fixed("conditional", "null"), SIGMAS)
    begun = []

    def watched(x, sigma):
        if float(sigma[0]) == SIGMAS[3]:
            begun.append(x)
        return denoise(x, sigma)

    import_from(SAMPLERS[name])(watched, noisy, SIGMAS)
    first, fourth = (1 - flow_time_from_sigma(sigma) for sigma in (SIGMAS[0], SIGMAS[3]))
    assert begun
    for x in begun:
        torch.testing.assert_close(x * fourth, noisy * first)


# Projected


def test_projected_keeps_the_right_angle(fixed, noisy):
    parts = fixed("conditional", "null")
    c, u = x0_of(parts).values()
    found = Projected(scale=3.0).bind(parts, SIGMAS)(noisy, at(2.0))
    torch.testing.assert_close(dot(found - c, c), torch.zeros(3, 1, 1, 1).double(), atol=1e-9, rtol=0)
    plain = Projected(scale=3.0, parallel_share=1.0).bind(parts, SIGMAS)(noisy, at(2.0))
    torch.testing.assert_close(plain, u + 3 * (c - u))
    short = Projected(scale=2.0, parallel_share=1.0, largest_norm=0.5).bind(parts, SIGMAS)(noisy, at(2.0))
    torch.testing.assert_close(norm(short - c).squeeze(), torch.full((3,), 0.5).double())


def test_momentum_carries_on(fixed, noisy):
    parts = fixed("conditional", "null")
    c, u = x0_of(parts).values()
    denoise = Projected(scale=2.0, parallel_share=1.0, momentum=-0.5).bind(parts, SIGMAS)
    for level, share in zip(SIGMAS[:4].tolist(), (1.0, 0.5, 0.75, 0.625), strict=True):
        torch.testing.assert_close(denoise(noisy, at(level)), c + share * (c - u))


# Rescaled


@pytest.mark.parametrize("space", ["x0", "epsilon", "velocity"])
def test_rescaled_has_the_deviation_of_the_condition(space, fixed, noisy):
    into = {"x0": lambda x, s, x0: x0, "epsilon": epsilon_from_x0, "velocity": velocity_from_x0}[space]
    parts = fixed("conditional", "null")
    found = Rescaled(scale=5.0, share=1.0, space=space).bind(parts, SIGMAS)(noisy, at(2.0))
    wanted = into(noisy, at(2.0), parts["conditional"].denoiser.x0)
    torch.testing.assert_close(into(noisy, at(2.0), found).flatten(1).std(1), wanted.flatten(1).std(1))
    none = Rescaled(scale=5.0, share=0.0, space=space).bind(parts, SIGMAS)(noisy, at(2.0))
    plain = ClassifierFreeGuidance(scale=5.0).bind(parts, SIGMAS)(noisy, at(2.0))
    torch.testing.assert_close(none, plain)


def test_rescaled_names_a_space():
    with pytest.raises(UserError, match="did you mean 'epsilon'"):
        Rescaled(scale=2.0, space="epsilom")
    with pytest.raises(UserError, match="share = 2"):
        Rescaled(scale=2.0, share=2.0)


# Negatives


def test_negative_rules(fixed, noisy):
    parts = fixed("conditional", "null", "negative")
    c, u, n = x0_of(parts).values()
    signed = SignedNegative(scale=3.0, weight=1.5).bind(parts, SIGMAS)(noisy, at(2.0))
    torch.testing.assert_close(signed, u + 3 * (c - u) - 1.5 * (n - u))
    found = PerpendicularNegative(scale=3.0, weight=1.5).bind(parts, SIGMAS)(noisy, at(2.0))
    away = (u + 3 * (c - u) - found) / (3 * 1.5)
    torch.testing.assert_close(dot(away, c - u), torch.zeros(3, 1, 1, 1).double(), atol=1e-9, rtol=0)
    torch.testing.assert_close(parallel(n - u, c - u) + away, n - u)


def test_a_perpendicular_negative_spares_what_both_have_in_common(fixed, noisy):
    """Where the negative is the condition itself, the signed rule forgets it; this one does not."""
    parts = fixed("conditional", "null")
    parts["negative"] = fixed("conditional")["conditional"]
    c, u, _ = x0_of(parts).values()
    found = PerpendicularNegative(scale=3.0, weight=3.0).bind(parts, SIGMAS)(noisy, at(2.0))
    torch.testing.assert_close(found, u + 3 * (c - u))
    torch.testing.assert_close(SignedNegative(scale=3.0, weight=3.0).bind(parts, SIGMAS)(noisy, at(2.0)), u)


@pytest.mark.parametrize("make", [SignedNegative, PerpendicularNegative, WindowedNegative])
def test_negatives_in_a_window(make, fixed, noisy):
    parts = fixed("conditional", "null", "negative")
    c, u, n = x0_of(parts).values()
    denoise = make(scale=3.0, low=0.5, high=5.0).bind(parts, SIGMAS)
    inside = [0.5 < level <= 5 for level in SIGMAS[:-1].tolist()]
    for level, counts in zip(SIGMAS[:-1].tolist(), inside, strict=True):
        found = denoise(noisy, at(level))
        same = torch.allclose(found, u + 3 * (c - u))
        assert same == (not counts)
        if counts and make is WindowedNegative:
            torch.testing.assert_close(found, n + 3 * (c - n))
    assert parts["negative"].denoiser.calls == sum(inside)
    assert parts["null"].denoiser.calls == (6 - sum(inside) if make is WindowedNegative else 6)
    mixed = torch.tensor([10.0, 1.0, 0.1], dtype=torch.float64)
    torch.testing.assert_close(denoise(noisy, mixed)[[0, 2]], (u + 3 * (c - u))[[0, 2]])


def test_bad_negatives_are_refused(fixed):
    for make in (SignedNegative, PerpendicularNegative, WindowedNegative):
        with pytest.raises(UserError, match="no interval of noise levels"):
            make(scale=2.0, low=5.0, high=0.5)
    with pytest.raises(UserError, match="weight = -1"):
        SignedNegative(scale=2.0, weight=-1.0)
    with pytest.raises(UserError, match="weight = -1"):
        PerpendicularNegative(scale=2.0, weight=[-1.0] * 6)


# Autoguidance


def test_autoguidance_of_gaussians_goes_away_from_the_weak_one():
    """A weak network whose data is wider: away from it the guided data is narrower than the strong one's."""
    strong, weak = (GaussianTruth(mean=torch.zeros(2).double(), std=std) for std in (0.5, 0.8))
    parts = {
        name: Branch(lambda x, sigma, condition, truth=truth, *, attention=None: truth(x, sigma), {})
        for name, truth in (("conditional", strong), ("weak", weak))
    }
    sigmas = karras(40, 0.01, 20.0)
    x = 20 * torch.randn(4, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    reached = {s: heun(Autoguidance(scale=s).bind(parts, sigmas), x, sigmas).norm() for s in (0.0, 1.0, 2.0)}
    assert reached[2.0] < 0.9 * reached[1.0] < reached[0.0]
    torch.testing.assert_close(reached[0.0], weak.transport(x, 20.0, 0.0).norm(), rtol=0.02, atol=0)


def test_autoguidance_by_the_network_itself_is_refused(fixed):
    parts = fixed("conditional")
    with pytest.raises(UserError, match="give a weaker checkpoint"):
        Autoguidance(scale=2.0).bind({**parts, "weak": parts["conditional"]}, SIGMAS)


# Frequencies


@pytest.mark.parametrize("shape", [(8, 8), (7, 7), (5, 9), (28, 28)])
@pytest.mark.parametrize("count", [2, 3])
def test_bands_sum_to_the_picture(shape, count):
    x = torch.randn(2, 3, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    parts = bands(x, count)
    assert len(parts) == count
    torch.testing.assert_close(sum(parts), x)
    flat = bands(torch.full_like(x, 2.0), count)
    torch.testing.assert_close(flat[-1], torch.full_like(x, 2.0))
    assert max(part.abs().max() for part in flat[:-1]) < 1e-12


def test_bands_are_of_falling_frequency():
    place = torch.arange(32, dtype=torch.float64)
    shares = []
    for period in (2, 16, 32):
        wave = (2 * math.pi * place / period).cos().expand(1, 1, 32, 32)
        energy = torch.stack([part.square().sum() for part in bands(wave, 3)])
        shares.append(energy / energy.sum())
    assert shares[0].argmax() == 0
    assert shares[1].argmax() == 1
    assert shares[2].argmax() == 2
    turned = wave.transpose(2, 3)
    for one, other in zip(bands(wave, 3), bands(turned, 3), strict=True):
        torch.testing.assert_close(one.transpose(2, 3), other)


def test_a_scale_for_each_band(fixed, noisy):
    parts = fixed("conditional", "null")
    c, u = x0_of(parts).values()
    fine, coarse = bands(c - u, 2)
    found = FrequencyDecoupled(scales=(6.0, 2.0)).bind(parts, SIGMAS)(noisy, at(2.0))
    torch.testing.assert_close(found, u + 6 * fine + 2 * coarse)
    equal = FrequencyDecoupled(scales=(4.0, 4.0, 4.0)).bind(parts, SIGMAS)(noisy, at(2.0))
    torch.testing.assert_close(equal, u + 4 * (c - u))


def test_what_has_no_bands_is_refused(fixed):
    with pytest.raises(UserError, match="give two scales or more"):
        FrequencyDecoupled(scales=(2.0,))
    tokens = FrequencyDecoupled(scales=(2.0, 3.0)).bind(fixed("conditional", "null", shape=(3, 7, 5)), SIGMAS)
    with pytest.raises(UserError, match="x has 3 axes"):
        tokens(torch.zeros(3, 7, 5).double(), at(2.0))
    with pytest.raises(UserError, match="4 bands need sides of 9 or more, and x has 8×8"):
        bands(torch.zeros(1, 1, 8, 8), 4)


def test_x0_from_epsilon_is_used_where_it_says(fixed, noisy):
    """Rescaling in ε is not rescaling in x0: the spaces are told apart."""
    parts = fixed("conditional", "null")
    found = {
        space: Rescaled(scale=5.0, share=1.0, space=space).bind(parts, SIGMAS)(noisy, at(2.0))
        for space in ("x0", "epsilon")
    }
    assert (found["x0"] - found["epsilon"]).abs().max() > 0.1
    plain = ClassifierFreeGuidance(scale=5.0).bind(parts, SIGMAS)(noisy, at(2.0))
    eps, c = (epsilon_from_x0(noisy, at(2.0), x0) for x0 in (plain, parts["conditional"].denoiser.x0))
    ratio = (c.flatten(1).std(1) / eps.flatten(1).std(1)).view(-1, 1, 1, 1)
    torch.testing.assert_close(found["epsilon"], x0_from_epsilon(noisy, at(2.0), eps * ratio))
