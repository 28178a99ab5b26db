import math
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from melies.data.synthetic import MixtureTruth
from melies.diffusion import SCHEDULES
from melies.diffusion.adapt import sigma_from_alpha_bar
from melies.diffusion.ddpm import alpha_bars, linear_betas
from melies.diffusion.guidance.classifier_free import ClassifierFreeGuidance
from melies.diffusion.guidance.named import named, named_equal_area
from melies.diffusion.guidance.schedules import (
    Curve,
    LimitedInterval,
    OneLiner,
    Removed,
    equal_area,
    listed,
    with_scales,
    with_weights,
)
from melies.diffusion.guidance.shapes import CLOCKS
from melies.diffusion.noise import from_timesteps, karras
from melies.diffusion.sample import euler
from melies.errors import UserError
from melies.interfaces import Branch, Schedule

OMEGA = 7.5
STEPS = 50
SIGMAS = karras(STEPS, 0.01, 80.0)
U = torch.linspace(1, 0, STEPS, dtype=torch.float64)

WRITTEN = {
    "static": lambda u, w: w,
    "linear": lambda u, w: w * (1 - u),
    "invlinear": lambda u, w: w * u,
    "cosine": lambda u, w: w * (math.cos(math.pi * u) + 1),
    "sine": lambda u, w: w * (math.sin(math.pi * u - math.pi / 2) + 1),
    "v": lambda u, w: w * max(u, 1 - u),
    "lambda": lambda u, w: w * min(u, 1 - u),
    "clamp-linear:4": lambda u, w: max(4, 2 * w * (1 - u)),
    "clamp-cosine:2": lambda u, w: max(2, w * (1 + math.cos(math.pi * u))),
    "pcs:2": lambda u, w: w * (1 - math.cos(math.pi * (1 - u) ** 2)) / 2,
}
ENDS = {  # first and last weight of equal area, in units of ω
    "static": (1, 1),
    "linear": (0, 2),
    "invlinear": (2, 0),
    "cosine": (0, 2),
    "sine": (2, 0),
    "lambda": (0, 0),
}
RISING = ("linear", "cosine", "clamp-linear:4", "clamp-cosine:2", "pcs:2", "one-liner")


def weights(text, *, sigmas=SIGMAS, clock="step"):
    return named_equal_area(text, OMEGA, clock=clock).weights(sigmas)


@pytest.mark.parametrize("text", WRITTEN)
def test_a_name_is_the_formula_that_is_printed(text):
    expected = [WRITTEN[text](u, OMEGA) for u in U.tolist()]
    assert named(text, OMEGA).weights(SIGMAS).tolist() == pytest.approx(expected, abs=1e-12)


def test_every_name_is_tested():
    assert {text.split(":")[0] for text in WRITTEN} == set(SCHEDULES) - {"one-liner"}


@pytest.mark.parametrize("text", WRITTEN)
@pytest.mark.parametrize("clock", CLOCKS)
@pytest.mark.parametrize("steps", [3, 7, 50])
def test_equal_area_keeps_the_shape_and_has_the_mean_asked_for(text, clock, steps):
    sigmas = karras(steps, 0.01, 80.0)
    found = weights(text, sigmas=sigmas, clock=clock)
    assert found.mean().item() == pytest.approx(OMEGA, rel=1e-12)
    curve = named(text, OMEGA, clock=clock)
    floor = curve.floor
    free = found > floor + 1e-9
    assert found.min() >= floor
    ratio = found[free] / curve.relative(sigmas)[free]
    assert free.any()
    torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio))


@pytest.mark.parametrize("text", ENDS)
def test_end_values(text):
    found = weights(text)
    assert found[[0, -1]].tolist() == pytest.approx([OMEGA * end for end in ENDS[text]], abs=1e-12)


def test_direction_over_the_run():
    for text in RISING:
        found = weights(text)
        assert (found.diff() >= 0).all(), text
        assert found[-1] > 1.5 * found[0], text
    for text in ("invlinear", "sine"):
        assert (weights(text).diff() < 0).all(), text
    torch.testing.assert_close(weights("sine"), weights("cosine").flip(0))
    torch.testing.assert_close(weights("invlinear"), weights("linear").flip(0))
    middle = STEPS // 2
    for text, sign in (("v", -1), ("lambda", 1)):
        found = sign * weights(text)
        assert (found[:middle].diff() > 0).all(), text
        assert (found[middle:].diff() < 0).all(), text
        torch.testing.assert_close(found, found.flip(0))


def test_dipping_and_peaking_shapes_are_those_of_a_fine_grid():
    """Mean 1 with 4/3·max(u, 1−u) and 4·min(u, 1−u), as an integral."""
    fine = torch.ones(20_001)
    u = torch.linspace(1, 0, 20_000, dtype=torch.float64)
    for text, shape in (("v", 4 / 3 * torch.maximum(u, 1 - u)), ("lambda", 4 * torch.minimum(u, 1 - u))):
        torch.testing.assert_close(weights(text, sigmas=fine), OMEGA * shape, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("exponent", "mean"), [(0.1, 0.965), (0.5, 0.703), (1, 0.500), (2, 0.313), (4, 0.178)]
)
def test_pcs_as_written_has_less_than_its_weight(exponent, mean):
    fine = torch.ones(20_001)
    assert named(f"pcs:{exponent}", 1.0).weights(fine).mean().item() == pytest.approx(mean, abs=6e-4)


def test_pcs_goes_from_static_to_cosine():
    almost = named("pcs:1e-6", OMEGA).weights(SIGMAS)
    assert almost[1:].tolist() == pytest.approx([OMEGA] * (STEPS - 1), rel=1e-6)
    torch.testing.assert_close(
        2 * named("pcs:1", OMEGA).weights(SIGMAS), named("cosine", OMEGA).weights(SIGMAS)
    )


@pytest.mark.parametrize("floor", [0.5, 4.0, 15.0, 20.0])
def test_clamped_mean_as_written(floor):
    fine = torch.ones(40_001)
    expected = OMEGA + floor**2 / (4 * OMEGA) if floor < 2 * OMEGA else floor
    found = named(f"clamp-linear:{floor}", OMEGA).weights(fine).mean().item()
    assert found == pytest.approx(expected, rel=1e-4)


def test_clamped_equal_area_solves_for_the_slope():
    fine = torch.ones(40_001)
    slope = (OMEGA + math.sqrt(OMEGA**2 - 4**2)) / 2  # of slope + c²/(4·slope) = ω
    assert weights("clamp-linear:4", sigmas=fine)[-1].item() == pytest.approx(2 * slope, rel=1e-4)


@given(
    steps=st.integers(1, 60),
    omega=st.floats(0.1, 50),
    share=st.floats(0, 1),
    seed=st.integers(0, 1000),
)
def test_any_function_gets_any_area_above_its_floor(steps, omega, share, seed):
    values = torch.rand(steps, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 1e-3
    curve = Curve(shape=lambda u: values, omega=omega, floor=share * omega)
    found = equal_area(curve).weights(torch.ones(steps + 1))
    assert found.mean().item() == pytest.approx(omega, rel=1e-9)
    assert (found >= share * omega * (1 - 1e-12)).all()
    order = values.argsort()
    assert (found[order].diff() >= 0).all()


# Clocks


def test_clocks_say_where_a_run_is():
    for name, clock in CLOCKS.items():
        u = clock(SIGMAS)
        assert u.dtype == torch.float64, name
        assert (u.diff() < 0).all(), name
        assert u.min() >= 0, name
        assert u.max() <= 1, name
    for name in ("step", "log-snr", "sigma"):
        assert CLOCKS[name](SIGMAS)[[0, -1]].tolist() == [1, 0]
    even = torch.cat([torch.linspace(3, -3, 7).double().exp(), torch.zeros(1)])
    torch.testing.assert_close(CLOCKS["log-snr"](even), CLOCKS["step"](even))
    level = torch.tensor([8.0, 6.0, 2.0, 0.0], dtype=torch.float64)
    assert CLOCKS["sigma"](level).tolist() == pytest.approx([1, 2 / 3, 0])
    timesteps = torch.tensor([999, 500, 3])
    grid = from_timesteps(alpha_bars(linear_betas(1000)), timesteps)
    assert CLOCKS["time"](grid).tolist() == pytest.approx([1, 500 / 999, 3 / 999])
    assert sigma_from_alpha_bar(alpha_bars(linear_betas(1000))[999]).item() == pytest.approx(157, abs=1)


def test_a_single_step_gets_the_whole_weight():
    for text in WRITTEN:
        for clock in ("step", "log-snr", "sigma"):
            assert weights(text, sigmas=karras(1, 0.1, 5.0), clock=clock).tolist() == pytest.approx([OMEGA])


# The tutorial's line of code


@pytest.mark.parametrize("T", [2, 10, 51, 1000])
def test_one_liner_to_the_last_digit(T):  # noqa: N803 - the slide's name
    w0 = 14.0
    expected = []
    for t in range(1, T):
        w = max(1, w0 * 2 * t / T)
        expected.append(w)
    assert named("one-liner", w0).weights(torch.ones(T)).tolist() == expected
    if T > 2:
        assert OneLiner(omega=0.01).weights(torch.ones(T)).max() == 1


def test_the_slides_loop_is_the_guidance_of_its_schedule():
    """`eps = (w+1)*eps_c - w*eps_u` step by step, against the sampler with the schedule."""
    mixture = MixtureTruth(
        weights=torch.tensor([0.5, 0.5], dtype=torch.float64),
        means=torch.tensor([[-1.0, 0.0], [1.0, 0.5]], dtype=torch.float64),
        stds=torch.tensor([0.5, 0.5], dtype=torch.float64),
        classes=torch.tensor([0, 1]),
    )
    w0, T = 14.0, 30  # noqa: N806
    label = {"class": torch.tensor([0, 1, 1])}
    sigmas = karras(T - 1, 0.05, 20.0)
    x = start = 20 * torch.randn(3, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    for t in range(1, T):
        sigma = sigmas[t - 1].expand(3)
        eps_c = (x - mixture(x, sigma, label)) / sigma[:, None]
        eps_u = (x - mixture(x, sigma, {})) / sigma[:, None]
        w = max(1, w0 * 2 * t / T)
        eps = (w + 1) * eps_c - w * eps_u
        x = x + (sigmas[t] - sigmas[t - 1]) * eps
    parts = {"conditional": Branch(mixture, label), "null": Branch(mixture, {})}
    guidance = ClassifierFreeGuidance(scale=with_weights(OneLiner(omega=w0)))
    torch.testing.assert_close(euler(guidance.bind(parts, sigmas), start, sigmas), x, rtol=1e-10, atol=1e-10)


# Schedules


def test_weights_and_scales_are_one_apart():
    curve = equal_area(named("linear", OMEGA))
    scales, weights_ = with_scales(curve).on(SIGMAS), with_weights(curve).on(SIGMAS)
    torch.testing.assert_close(weights_, scales + 1)
    assert weights_[0] == 1  # starts as conditional alone, not as unconditional
    assert isinstance(with_weights(curve), Schedule)
    assert isinstance(with_scales(curve), Schedule)
    assert isinstance(LimitedInterval(scale=2.0, low=0.1, high=1.0), Schedule)


def test_static_is_the_plain_scale():
    assert (with_weights(named_equal_area("static", 2.0)).on(SIGMAS) == 3).all()


def test_removed_interval():
    curve = named_equal_area("cosine", OMEGA)
    whole = curve.weights(SIGMAS)
    for low, high in ((0.8, 1.0), (0.4, 0.6), (0.0, 0.2)):
        found = Removed(curve=curve, low=low, high=high).weights(SIGMAS)
        inside = (low <= U) & (high >= U)
        assert 9 <= inside.sum() <= 11
        assert (found[inside] == 0).all()
        assert torch.equal(found[~inside], whole[~inside])
    late = with_weights(Removed(curve=curve, low=0.0, high=0.2))
    assert (late.on(SIGMAS)[-5:] == 1).all()  # so that the null is not evaluated there


def test_list_and_function():
    values = [0.5 * i for i in range(STEPS)]
    assert listed(values).weights(SIGMAS).tolist() == values
    square = Curve(shape=lambda u: (1 - u) ** 2, omega=2.0)
    torch.testing.assert_close(square.weights(SIGMAS), 2 * (1 - U) ** 2)
    assert equal_area(square).weights(SIGMAS).mean().item() == pytest.approx(2)


@pytest.mark.parametrize("scale", [4.0, with_weights(Curve(shape=lambda u: 1 - u, omega=6.0))])
def test_limited_interval_is_a_schedule_over_sigma(scale):
    found = LimitedInterval(scale=scale, low=0.28, high=5.42).on(SIGMAS)
    levels = SIGMAS[:-1]
    inside = (levels > 0.28) & (levels <= 5.42)
    assert 0 < inside.sum() < STEPS
    assert (found[~inside] == 1).all()
    expected = torch.full_like(levels, 4.0) if scale == 4.0 else scale.on(SIGMAS)
    assert torch.equal(found[inside], expected[inside])
    edge = LimitedInterval(scale=3.0, low=2.0, high=8.0)
    assert edge.on(torch.tensor([9.0, 8.0, 2.0, 1.0, 0.0])).tolist() == [1, 3, 1, 1]


# What cannot be


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: named("liner", 1.0), "unknown schedule 'liner'; did you mean 'linear'?"),
        (lambda: named("linear:2", 1.0), "the schedule 'linear' takes no parameter"),
        (lambda: named("clamp-linear:x", 1.0), "'x' is not a number"),
        (lambda: named("clamp-linear:-1", 1.0), "floor = -1"),
        (lambda: named("clamp-linear:nan", 1.0), "floor = nan"),
        (lambda: named("pcs:0", 1.0), "s = 0"),
        (lambda: named("linear", math.nan), "omega = nan"),
        (lambda: named("linear", -1.0), "omega = -1"),
        (lambda: named("linear", 1.0, clock="stop"), "unknown clock 'stop'; did you mean 'step'?"),
        (lambda: named("one-liner", 1.0, clock="sigma"), "'one-liner' counts steps"),
        (lambda: named_equal_area("clamp-linear:9", 2.0).weights(SIGMAS), "floor of 9 leaves no mean of 2"),
        (lambda: weights("lambda", sigmas=karras(2, 0.1, 5.0)), "0 at each of 2 steps"),
        (lambda: listed([1.0, math.inf]), "finite"),
        (lambda: listed([1.0, -0.1]), "at least 0"),
        (lambda: listed([1.0, 2.0]).weights(SIGMAS), "2 weights for 50 steps"),
        (lambda: Curve(shape=lambda u: u - 0.5, omega=1.0).weights(SIGMAS), "at least 0"),
        (lambda: Removed(curve=listed([1.0]), low=0.8, high=0.2), "ends swapped; give 0.2 0.8"),
        (lambda: Removed(curve=listed([1.0]), low=0.0, high=1.2), "high = 1.2"),
        (lambda: LimitedInterval(scale=2.0, low=3.0, high=1.0), "no interval of noise levels"),
        (lambda: LimitedInterval(scale=2.0, low=math.nan, high=1.0), "no interval of noise levels"),
        (lambda: LimitedInterval(scale=math.nan, low=0.0, high=1.0), "scale = nan"),
    ],
)
def test_bad_schedules_are_refused(make, said):
    with pytest.raises(UserError, match=re.escape(said)):
        make()


def test_a_function_of_another_length_is_a_mistake():
    with pytest.raises(ValueError, match="for 50 steps"):
        Curve(shape=lambda u: u[:-1], omega=1.0).weights(SIGMAS)
