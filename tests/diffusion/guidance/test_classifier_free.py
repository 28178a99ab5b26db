import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from melies.data.synthetic import GaussianTruth, MixtureTruth
from melies.diffusion import SAMPLERS
from melies.diffusion.guidance.classifier_free import ClassifierFreeGuidance, Unguided
from melies.diffusion.noise import karras, without_zero
from melies.diffusion.sample import dpmpp, heun
from melies.errors import UserError
from melies.interfaces import Branch, Guidance
from melies.optional import import_from
from melies.rng import noise_for

STD = 0.5
MEANS = {
    "conditional": torch.tensor([2.0, 0.0], dtype=torch.float64),
    "null": torch.tensor([0.5, 1.0], dtype=torch.float64),
    "negative": torch.tensor([-1.0, -1.0], dtype=torch.float64),
}
SIGMAS = karras(12, 0.05, 10.0)


class Counted:
    """The exact denoiser of a Gaussian, as a branch that knows how often it was evaluated."""

    def __init__(self, name):
        self.truth, self.calls = GaussianTruth(mean=MEANS[name], std=STD), 0

    def __call__(self, x, sigma, condition, *, attention=None):
        self.calls += 1
        return self.truth(x, sigma)


def branches(*names):
    return {name: Branch(Counted(name), {}) for name in names}


def calls(parts):
    return {name: part.denoiser.calls for name, part in parts.items()}


def start(sigmas, count=3):
    generator = torch.Generator().manual_seed(4)
    return float(sigmas[0]) * torch.randn(count, 2, generator=generator, dtype=torch.float64)


def expected(x, mean, sampler, noise=None):
    """What the same sampler makes of the one Gaussian that guidance should amount to."""
    return sampler(GaussianTruth(mean=mean, std=STD), x, SIGMAS, noise=noise)


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("scale", [-1.0, 0.0, 0.4, 1.0, 3.5])
def test_two_gaussians_are_guided_to_the_gaussian_between_or_beyond(name, scale):
    sampler, noise = import_from(SAMPLERS[name]), noise_for(range(3))
    denoise = ClassifierFreeGuidance(scale=scale).bind(branches("conditional", "null"), SIGMAS)
    mean = MEANS["null"] + scale * (MEANS["conditional"] - MEANS["null"])
    found = sampler(denoise, start(SIGMAS), SIGMAS, noise=noise)
    torch.testing.assert_close(found, expected(start(SIGMAS), mean, sampler, noise))


def test_the_guided_mean_is_reached():
    sigmas = without_zero(karras(301, 0.01, 50.0))
    denoise = ClassifierFreeGuidance(scale=4).bind(branches("conditional", "null"), sigmas)
    mean = MEANS["null"] + 4 * (MEANS["conditional"] - MEANS["null"])
    x = start(sigmas)
    exact = GaussianTruth(mean=mean, std=STD).transport(x, 50.0, 0.01)
    torch.testing.assert_close(heun(denoise, x, sigmas), exact, atol=2e-3, rtol=0)


def test_every_sample_may_have_its_own_scale():
    scale = torch.tensor([0.0, 1.0, 5.0])
    denoise = ClassifierFreeGuidance(scale=scale).bind(branches("conditional", "null"), SIGMAS)
    found = heun(denoise, start(SIGMAS), SIGMAS)
    for row, one in enumerate(scale.tolist()):
        mean = MEANS["null"] + one * (MEANS["conditional"] - MEANS["null"])
        alone = expected(start(SIGMAS), mean, heun)
        torch.testing.assert_close(found[row], alone[row])
    with pytest.raises(ValueError, match="3 scales for a batch of 2"):
        denoise(torch.zeros(2, 2, dtype=torch.float64), torch.ones(2, dtype=torch.float64))


def test_negative_takes_the_place_of_the_null():
    parts = branches("conditional", "null", "negative")
    denoise = ClassifierFreeGuidance(scale=2.0).bind(parts, SIGMAS)
    mean = MEANS["negative"] + 2 * (MEANS["conditional"] - MEANS["negative"])
    torch.testing.assert_close(heun(denoise, start(SIGMAS), SIGMAS), expected(start(SIGMAS), mean, heun))
    assert calls(parts)["null"] == 0


class Rising:
    """From 0 to 6 along the grid."""

    def on(self, sigmas):
        return torch.linspace(0, 6, len(sigmas) - 1)


def test_schedule_and_list_are_the_same_and_are_looked_up_by_level():
    steps = len(SIGMAS) - 1
    seen = {}
    for scale in (Rising(), torch.linspace(0, 6, steps).tolist()):
        records = []
        guidance = ClassifierFreeGuidance(scale=scale)
        denoise = guidance.bind(branches("conditional", "null"), SIGMAS, trace=records.append)
        seen[type(scale)] = heun(denoise, start(SIGMAS), SIGMAS)
        # Heun evaluates at the start of a step and at its end, which is the start of the next.
        told = [(record["step"], round(record["scale"].item(), 5)) for record in records]
        ends = [step for i in range(steps - 1) for step in (i, i + 1)] + [steps - 1]
        assert told == [(step, round(6 * step / (steps - 1), 5)) for step in ends]
    torch.testing.assert_close(seen[Rising], seen[list])


@given(
    num_steps=st.integers(1, 400),
    low=st.floats(0.01, 0.5),
    single=st.booleans(),
)
def test_every_level_finds_its_own_step(num_steps, low, single):
    sigmas = karras(num_steps, low, 80.0)
    scales = [float(i) + 2 for i in range(num_steps)]
    records = []
    denoise = ClassifierFreeGuidance(scale=scales).bind(
        branches("conditional", "null"), sigmas, trace=records.append
    )
    dtype = torch.float32 if single else torch.float64
    levels = sigmas[:-1].to(dtype)
    denoise(torch.zeros(num_steps, 2, dtype=dtype), levels)
    assert records[0]["step"] == 0
    assert records[0]["scale"].tolist() == scales
    between = (sigmas[:-1] * sigmas[1:].clamp(min=1e-3)).sqrt()  # inside a step: the scale of that step
    denoise(torch.zeros(num_steps, 2, dtype=torch.float64), between)
    assert records[1]["scale"].tolist() == scales


# What is evaluated


def counted(scale, sampler=dpmpp, names=("conditional", "null")):
    parts = branches(*names)
    sampler(ClassifierFreeGuidance(scale=scale).bind(parts, SIGMAS), start(SIGMAS), SIGMAS)
    return calls(parts)


def test_only_the_branches_that_a_scale_needs_are_evaluated():
    assert counted(1.0) == {"conditional": 12, "null": 0}
    assert counted(torch.ones(3)) == {"conditional": 12, "null": 0}
    assert counted(0.0) == {"conditional": 0, "null": 12}
    assert counted(2.0) == {"conditional": 12, "null": 12}
    assert counted(torch.tensor([1.0, 1.0, 2.0])) == {"conditional": 12, "null": 12}
    assert counted([1.0] * 5 + [3.0] * 4 + [0.0] * 3) == {"conditional": 9, "null": 7}
    assert counted(1.0, names=("conditional",)) == {"conditional": 12}
    assert counted(0.0, names=("null",)) == {"null": 12}
    assert counted(2.0, sampler=heun) == {"conditional": 23, "null": 23}


def test_trace_says_what_was_done():
    records = []
    scales = [1.0] * 5 + [3.0] * 7
    guidance = ClassifierFreeGuidance(scale=scales)
    dpmpp(guidance.bind(branches("conditional", "null"), SIGMAS, trace=records.append), start(SIGMAS), SIGMAS)
    assert [record["step"] for record in records] == list(range(12))
    assert [record["sigma"] for record in records] == pytest.approx(SIGMAS[:-1].tolist())
    assert [sorted(record["x0"]) for record in records] == [["conditional"]] * 5 + [
        ["conditional", "null"]
    ] * 7
    assert records[-1]["network_calls"] == 5 + 2 * 7  # the two branches are two networks here
    assert records[-1]["rows"] == 3 * 19
    last = records[-1]
    rule = last["x0"]["null"] + 3 * (last["x0"]["conditional"] - last["x0"]["null"])
    torch.testing.assert_close(last["guided"], rule)


def test_runs_do_not_share_their_counts():
    guidance, records = ClassifierFreeGuidance(scale=2.0), []
    for _ in range(2):
        denoise = guidance.bind(branches("conditional", "null"), SIGMAS, trace=records.append)
        denoise(start(SIGMAS), torch.ones(3, dtype=torch.float64))
    assert [record["network_calls"] for record in records] == [2, 2]


def test_trace_changes_nothing():
    for scale in (2.0, [1.0] * 6 + [4.0] * 6, torch.tensor([1.0, 2.0, 3.0])):
        guidance = ClassifierFreeGuidance(scale=scale)
        plain = dpmpp(guidance.bind(branches("conditional", "null"), SIGMAS), start(SIGMAS), SIGMAS)
        traced = guidance.bind(branches("conditional", "null"), SIGMAS, trace=lambda record: None)
        assert torch.equal(dpmpp(traced, start(SIGMAS), SIGMAS), plain)


def test_unguided_is_the_conditional_branch():
    parts = branches("conditional", "null")
    found = heun(Unguided().bind(parts, SIGMAS), start(SIGMAS), SIGMAS)
    torch.testing.assert_close(found, expected(start(SIGMAS), MEANS["conditional"], heun))
    assert calls(parts)["null"] == 0


def test_class_guidance_of_a_mixture_sharpens():
    """One network with a class condition and its null: more scale, more of the class, less spread."""
    mixture = MixtureTruth(
        weights=torch.tensor([0.5, 0.5], dtype=torch.float64),
        means=torch.tensor([[-1.0], [1.0]], dtype=torch.float64),
        stds=torch.tensor([0.8, 0.8], dtype=torch.float64),
        classes=torch.tensor([0, 1]),
    )
    count, sigmas = 2, karras(40, 0.01, 20.0)
    label = {"class": torch.ones(count, dtype=torch.int64)}
    parts = {
        "conditional": Branch(mixture, label),
        "null": Branch(mixture, {**label, "present.class": torch.zeros(count, dtype=torch.bool)}),
    }
    x = 20 * torch.tensor([[-0.5], [0.5]], dtype=torch.float64)
    means, spreads = [], []
    for scale in (1.0, 2.0, 4.0):
        records = []
        drawn = heun(ClassifierFreeGuidance(scale=scale).bind(parts, sigmas, trace=records.append), x, sigmas)
        means.append(drawn.mean().item())
        spreads.append((drawn[1] - drawn[0]).item())
        assert records[-1]["network_calls"] == len(records)  # both branches in one call
    assert means == sorted(means)
    assert spreads == sorted(spreads, reverse=True)


def test_bad_guidance_is_refused():
    for bad in (math.nan, math.inf, [1.0, math.nan], torch.tensor([1.0, math.nan])):
        with pytest.raises(UserError, match="scale"):
            ClassifierFreeGuidance(scale=bad)
    with pytest.raises(ValueError, match="lacks the branch null"):
        ClassifierFreeGuidance(scale=2.0).bind(branches("conditional"), SIGMAS)
    with pytest.raises(ValueError, match="2 scales for 12 steps"):
        ClassifierFreeGuidance(scale=[1.0, 2.0]).bind(branches("conditional", "null"), SIGMAS)

    class Broken:
        def on(self, sigmas):
            return torch.full((len(sigmas) - 1,), math.nan)

    with pytest.raises(UserError, match="scale"):
        ClassifierFreeGuidance(scale=Broken()).bind(branches("conditional", "null"), SIGMAS)


def test_both_are_guidance():
    assert isinstance(Unguided(), Guidance)
    assert isinstance(ClassifierFreeGuidance(scale=1.0), Guidance)
    assert ClassifierFreeGuidance(scale=1.0).space == "x0"
