"""Classifier guidance: its sign, its two forms, the exact conditional distribution, and what it goes with."""

import math
from functools import partial

import pytest
import torch
from torch import nn

from melies.data.synthetic import GaussianTruth, MixtureTruth
from melies.diffusion.adapt import alpha_bar_from_sigma, epsilon_from_x0, x0_from_epsilon
from melies.diffusion.ddpm import alpha_bars, fixed_small, linear_betas, q_posterior
from melies.diffusion.guidance.autoguidance import Autoguidance
from melies.diffusion.guidance.bind import check_fits
from melies.diffusion.guidance.classifier import (
    ClassifierGuidance,
    classifier_branch,
    log_probability_gradient,
)
from melies.diffusion.guidance.classifier_free import ClassifierFreeGuidance, Unguided
from melies.diffusion.guidance.plus_plus import PlusPlus
from melies.diffusion.guidance.projected import Projected
from melies.diffusion.guidance.rescaled import Rescaled
from melies.diffusion.guidance.schedules import LimitedInterval
from melies.diffusion.guidance.zero_star import ZeroStar
from melies.diffusion.noise import from_timesteps, karras
from melies.diffusion.sample import ddim, ddpm, dpmpp, euler, heun
from melies.errors import UserError
from melies.interfaces import Branch, Guidance
from melies.rng import noise_for

D = torch.float64
TRUTH = MixtureTruth(
    weights=torch.tensor([0.3, 0.5, 0.2], dtype=D),
    means=torch.tensor([[-2.0, 0.0], [1.0, 1.0], [0.5, -2.0]], dtype=D),
    stds=torch.tensor([0.5, 0.4, 0.3], dtype=D),
    classes=torch.tensor([0, 1, 1]),
)
NULL, TOLD = Unguided(branch="null"), Unguided()


def exact(x, sigma):
    """The perfect classifier, as logits."""
    return TRUTH.class_probability(x, sigma).log()


def branches(labels, classifier=exact):
    condition = {"class": labels}
    absent = {**condition, "present.class": torch.zeros(len(labels), dtype=torch.bool)}
    return {
        "conditional": Branch(TRUTH, condition),
        "null": Branch(TRUTH, absent),
        "classifier": classifier_branch(classifier, labels),
    }


def noisy(count=64, sigma=1.3):
    generator = torch.Generator().manual_seed(3)
    x0 = TRUTH.sample(count, {}, generator)
    return x0 + sigma * torch.randn(x0.shape, generator=generator, dtype=D), torch.full(
        (count,), sigma, dtype=D
    )


GRID = karras(24, 0.01, 20.0)


# The gradient and its sign


def test_the_gradient_is_that_of_the_log_probability():
    x, sigma = noisy(5)
    labels = torch.tensor([0, 1, 0, 1, 1])
    found = log_probability_gradient(exact, x, sigma, labels)
    condition = {"class": labels}
    torch.testing.assert_close(found, TRUTH.score(x, sigma, condition) - TRUTH.score(x, sigma, {}))


@pytest.mark.parametrize("base", [NULL, TOLD])
def test_scale_1_is_bayes_rule_and_more_is_a_sharper_one(base):
    x, sigma = noisy()
    labels = torch.arange(64) % 2
    parts = branches(labels)
    bound = ClassifierGuidance(scale=2.5, base=base).bind(parts, GRID)
    before = TRUTH(x, sigma, parts["null" if base is NULL else "conditional"].condition)
    shift = sigma[:, None].square() * log_probability_gradient(exact, x, sigma, labels)
    torch.testing.assert_close(bound(x, sigma), before + 2.5 * shift)
    bayes = ClassifierGuidance(scale=1.0).bind(parts, GRID)
    torch.testing.assert_close(bayes(x, sigma), TRUTH(x, sigma, {"class": labels}))


def test_the_sign_raises_the_probability_and_that_of_the_slide_lowers_it():
    """The slide: ε̂ = ε + γ·√(1−ᾱ)·∇ log p(y|x_t). With the gradient by x_t = √ᾱ·x_σ, ours has a minus."""
    gamma = 0.5
    x, sigma = noisy(400)
    labels = torch.arange(400) % 2
    parts = branches(labels)
    x0 = TRUTH(x, sigma, {})
    epsilon = epsilon_from_x0(x, sigma, x0)
    alpha_bar = alpha_bar_from_sigma(sigma)[:, None]
    by_x_t = log_probability_gradient(exact, x, sigma, labels) / alpha_bar.sqrt()
    slide = epsilon + gamma * (1 - alpha_bar).sqrt() * by_x_t
    ours = epsilon - gamma * (1 - alpha_bar).sqrt() * by_x_t
    bound = ClassifierGuidance(scale=gamma).bind(parts, GRID)
    torch.testing.assert_close(bound(x, sigma), x0_from_epsilon(x, sigma, ours))

    def probability(predicted):
        """Of the class, after one small step of the ODE along a predicted ε."""
        lower = sigma - 0.05
        stepped = x + (lower - sigma)[:, None] * predicted
        return TRUTH.class_probability(stepped, lower).gather(1, labels[:, None]).squeeze(1)

    free = probability(epsilon)
    assert bool((probability(ours) >= free).all())
    assert bool((probability(slide) <= free).all())
    assert (probability(ours) - probability(slide)).mean() > 0.005


@pytest.mark.parametrize("gamma", [0.0, 1.0, 4.0])
def test_more_guidance_ends_in_a_class_more_surely(gamma):
    x = 20 * torch.randn(200, 2, generator=torch.Generator().manual_seed(0), dtype=D)
    labels = torch.zeros(200, dtype=torch.int64)
    drawn = dpmpp(ClassifierGuidance(scale=gamma).bind(branches(labels), GRID), x, GRID)
    share = TRUTH.class_probability(drawn, torch.full((200,), 0.01, dtype=D))[:, 0].mean()
    assert (share > 0.99) == (gamma > 0)
    if not gamma:
        assert share == pytest.approx(0.3, abs=0.1)  # the share of the class in the data


# The exact conditional distribution


@pytest.mark.parametrize("sampler", [heun, dpmpp])
def test_bayes_rule_draws_from_the_conditional_distribution(sampler):
    """Guided by the perfect classifier the unconditional model's ODE is that of the class."""
    x = 20 * torch.randn(300, 2, generator=torch.Generator().manual_seed(1), dtype=D)
    labels = torch.arange(300) % 2
    sigmas = karras(40, 0.005, 20.0)
    guided = sampler(ClassifierGuidance(scale=1.0).bind(branches(labels), sigmas), x, sigmas)
    told = sampler(TOLD.bind(branches(labels), sigmas), x, sigmas)
    torch.testing.assert_close(guided, told, rtol=1e-6, atol=1e-6)
    first = guided[labels == 0]
    torch.testing.assert_close(first.mean(0), TRUTH.means[0], rtol=0, atol=0.15)
    torch.testing.assert_close(first.std(0), TRUTH.stds[:1].expand(2), rtol=0.2, atol=0)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 3.0])
def test_any_scale_draws_from_the_tilted_distribution_where_that_is_known(gamma):
    """Of a class so rare that log p(y|x) is linear in x, p(x)·p(y|x)^γ is a Gaussian at every level."""
    rare = 1e-12
    common, sought = (
        GaussianTruth(mean=torch.tensor(mean, dtype=D), std=1.0) for mean in ([0.0, 0.0], [1.0, -0.5])
    )

    def classifier(x, sigma):
        return torch.stack([common.log_density(x, sigma), sought.log_density(x, sigma) + math.log(rare)], 1)

    labels = torch.ones(20, dtype=torch.int64)
    parts = {
        "null": Branch(lambda x, sigma, condition, attention=None: common(x, sigma), {}),
        "classifier": classifier_branch(classifier, labels),
    }
    sigmas = karras(160, 0.005, 20.0)
    x = 20 * torch.randn(20, 2, generator=torch.Generator().manual_seed(4), dtype=D)
    drawn = heun(ClassifierGuidance(scale=gamma).bind(parts, sigmas), x, sigmas)
    tilted = GaussianTruth(mean=gamma * sought.mean, std=1.0)
    torch.testing.assert_close(drawn, tilted.transport(x, 20.0, 0.0), rtol=0, atol=1e-3)


def test_ddpm_draws_from_it_by_either_form():
    sigmas = karras(150, 0.01, 20.0)
    rng = torch.Generator().manual_seed(2)
    x = 20 * torch.randn(400, 2, generator=rng, dtype=D)
    labels = torch.zeros(400, dtype=torch.int64)

    def noise(step, like):
        return torch.randn(like.shape, generator=rng, dtype=D)

    for form in ("score", "mean-shift"):
        bound = ClassifierGuidance(scale=1.0, form=form).bind(branches(labels), sigmas)
        drawn = ddpm(bound, x, sigmas, noise=noise)
        torch.testing.assert_close(drawn.mean(0), TRUTH.means[0], rtol=0, atol=0.12)
        torch.testing.assert_close(drawn.std(0), TRUTH.stds[:1].expand(2), rtol=0.15, atol=0)


# The form of the mean


def test_the_shift_of_the_mean_is_that_of_the_paper_in_its_own_coordinates():
    """mean + γ·Σ·∇ log p(y|x), Σ = β̃_t, the gradient by the coordinate of the mean, as §4.1 derives it.

    Algorithm 1 writes it by x_t = √α_t times that coordinate, and shifts by 1/√α_t of this.
    """
    gamma, t = 3.0, 40
    betas = linear_betas(100)
    alpha_bar = alpha_bars(betas)
    sigmas = from_timesteps(alpha_bar, torch.arange(99, -1, -1))
    x, level = noisy(16, float(sigmas[99 - t]))
    labels, steps = torch.arange(16) % 2, torch.full((16,), t)

    def gradient_by(factor):
        return log_probability_gradient(lambda y, level: exact(y / factor, level), factor * x, level, labels)

    by_mean, by_x_t = gradient_by(alpha_bar[t - 1].sqrt()), gradient_by(alpha_bar[t].sqrt())
    mean = q_posterior(TRUTH(x, level, {}), alpha_bar[t].sqrt() * x, steps, betas).mean
    shift = gamma * fixed_small(betas)[t] * by_mean
    bound = ClassifierGuidance(scale=gamma, form="mean-shift").bind(branches(labels), sigmas)
    part = sigmas[99 - t : 101 - t]
    ours = alpha_bar[t - 1].sqrt() * ddpm(bound, x, part, noise=lambda step, like: torch.zeros_like(like))
    torch.testing.assert_close(ours, mean + shift)
    torch.testing.assert_close(gamma * fixed_small(betas)[t] * by_x_t, shift / (1 - betas[t]).sqrt())


def test_the_shift_of_the_mean_is_the_score_form_times_the_squared_ratio_of_the_levels():
    x, _ = noisy()
    parts = branches(torch.arange(64) % 2)
    score, mean = (
        ClassifierGuidance(scale=2.0, form=form).bind(parts, GRID) for form in ("score", "mean-shift")
    )
    for level, after in zip(GRID[:-1].tolist(), GRID[1:].tolist(), strict=True):
        sigma = torch.full((64,), level, dtype=D)
        free = TRUTH(x, sigma, {})
        ratio = (after / level) ** 2
        torch.testing.assert_close(mean(x, sigma) - free, ratio * (score(x, sigma) - free))


# Where it runs


class Lines(nn.Module):
    """Logits that a layer with weights gives."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 3)

    def forward(self, x, sigma):
        return self.layer(x / (1 + sigma[:, None].square()).sqrt())


@pytest.mark.parametrize("sampler", [euler, heun, dpmpp, ddim, partial(ddim, eta=1.0), ddpm])
def test_samplers_run_without_gradients_and_none_is_left_behind(sampler):
    torch.manual_seed(0)
    model = Lines()
    parts = branches(torch.tensor([0, 1]))
    parts["classifier"] = classifier_branch(model, torch.tensor([2, 0]))
    x = 20 * torch.randn(2, 2, generator=torch.Generator().manual_seed(0))
    grid = karras(4, 0.1, 20.0)
    truth = MixtureTruth(
        weights=TRUTH.weights.float(),
        means=TRUTH.means.float(),
        stds=TRUTH.stds.float(),
        classes=TRUTH.classes,
    )
    parts |= {name: parts[name]._replace(denoiser=truth) for name in ("conditional", "null")}
    drawn = sampler(ClassifierGuidance(scale=2.0).bind(parts, grid), x, grid, noise=noise_for([0, 1]))
    assert not drawn.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not torch.equal(drawn, sampler(NULL.bind(parts, grid), x, grid, noise=noise_for([0, 1])))


# Scales, schedules and cost


class Counted:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, x, sigma):
        self.calls += 1
        return exact(x, sigma)


def test_off_costs_nothing_and_an_interval_asks_the_classifier_inside_only():
    counted = Counted()
    parts = branches(torch.zeros(3, dtype=torch.int64), counted)
    x = 20 * torch.randn(3, 2, generator=torch.Generator().manual_seed(0), dtype=D)
    off = euler(ClassifierGuidance(scale=0.0).bind(parts, GRID), x, GRID)
    assert counted.calls == 0
    torch.testing.assert_close(off, euler(NULL.bind(parts, GRID), x, GRID), rtol=0, atol=0)
    inside = LimitedInterval(scale=2.0, low=0.5, high=5.0, outside=0.0)
    euler(ClassifierGuidance(scale=inside).bind(parts, GRID), x, GRID)
    assert counted.calls == int(((GRID[:-1] > 0.5) & (GRID[:-1] <= 5.0)).sum()) > 0


def test_each_sample_may_have_its_own_scale_and_each_step_too():
    x, sigma = noisy(4)
    parts = branches(torch.tensor([0, 1, 0, 1]))
    own = ClassifierGuidance(scale=torch.tensor([0.0, 1.0, 2.0, 5.5])).bind(parts, GRID)(x, sigma)
    for row, scale in enumerate((0.0, 1.0, 2.0, 5.5)):
        alone = ClassifierGuidance(scale=scale).bind(parts, GRID)(x, sigma)
        torch.testing.assert_close(own[row], alone[row])
    late = [0.0] * 23 + [3.0]
    bound = ClassifierGuidance(scale=late).bind(parts, GRID)
    torch.testing.assert_close(bound(x, sigma), NULL.bind(parts, GRID)(x, sigma))
    last = torch.full((4,), 0.01, dtype=D)
    assert not torch.equal(bound(x, last), NULL.bind(parts, GRID)(x, last))
    with pytest.raises(ValueError, match="2 scales for 24 steps"):
        ClassifierGuidance(scale=[1.0, 2.0]).bind(parts, GRID)


@pytest.mark.parametrize(
    ("base", "names"),
    [
        (NULL, ("null",)),
        (TOLD, ("conditional",)),
        (ClassifierFreeGuidance(scale=3.0), ("conditional", "null")),
        (Projected(scale=3.0), ("conditional", "null")),
        (Rescaled(scale=3.0), ("conditional", "null")),
    ],
)
def test_it_adds_to_any_guidance_and_the_trace_tells_of_both(base, names):
    x, sigma = noisy(6)
    labels = torch.arange(6) % 2
    parts, told = branches(labels), []
    made = ClassifierGuidance(scale=1.5, base=base)
    assert isinstance(made, Guidance)
    assert made.space == base.space
    bound = made.bind(parts, GRID, trace=lambda record: told.append(dict(record)))
    shift = 1.5 * sigma[:, None].square() * log_probability_gradient(exact, x, sigma, labels)
    torch.testing.assert_close(bound(x, sigma) - shift, base.bind(parts, GRID)(x, sigma))
    bound(x, sigma)
    assert set(told[1]["x0"]) == {*names, "base", "classifier"}
    assert told[1]["classifier_scale"].tolist() == [1.5]
    assert "scale" in told[1]
    calls = len({"conditional", "null"} & set(names))
    assert told[1]["rows"] == 2 * 6 * (calls + 1)
    torch.testing.assert_close(told[1]["guided"], bound(x, sigma))


def test_a_weaker_model_may_stand_beside_it():
    x, sigma = noisy(6)
    parts = branches(torch.arange(6) % 2)
    parts["weak"] = Branch(lambda x, sigma, condition, attention=None: 0.9 * x, {})
    base = Autoguidance(scale=2.0)
    bound = ClassifierGuidance(scale=1.0, base=base).bind(parts, GRID)
    assert not torch.equal(bound(x, sigma), base.bind(parts, GRID)(x, sigma))


# What it refuses


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"scale": float("nan")}, "scale"),
        ({"scale": -1.0}, "scale"),
        ({"scale": [1.0, -1.0]}, "scale"),
        ({"scale": 1.0, "form": "mean"}, "form of classifier guidance"),
        ({"scale": 1.0, "base": PlusPlus(scale=0.5)}, r"PlusPlus: CFG\+\+ takes the noise"),
        ({"scale": 1.0, "base": ZeroStar(scale=2.0)}, "ZeroStar: CFG-Zero. stands still"),
        ({"scale": 1.0, "base": ClassifierGuidance(scale=1.0)}, "logits are a sum"),
    ],
)
def test_what_it_cannot_be(words, said):
    with pytest.raises(UserError, match=said):
        ClassifierGuidance(**words)


def test_what_it_cannot_be_bound_to():
    parts = branches(torch.zeros(2, dtype=torch.int64))
    with pytest.raises(ValueError, match="classifier guidance lacks the branch classifier"):
        ClassifierGuidance(scale=1.0).bind({"null": parts["null"]}, GRID)
    with pytest.raises(ValueError, match="lacks the branch null"):
        ClassifierGuidance(scale=1.0).bind({"classifier": parts["classifier"]}, GRID)
    with pytest.raises(UserError, match="no null that a negative could replace"):
        ClassifierGuidance(scale=1.0).bind({**parts, "negative": parts["null"]}, GRID)
    with pytest.raises(UserError, match="branch"):
        Unguided(branch="negative")


def test_a_schedule_that_goes_below_0_is_refused_when_it_is_bound():
    class Falling:
        def on(self, sigmas):
            return torch.linspace(1, -1, len(sigmas) - 1, dtype=D)

    with pytest.raises(UserError, match="scale"):
        ClassifierGuidance(scale=Falling()).bind(branches(torch.zeros(2, dtype=torch.int64)), GRID)


def test_the_shift_of_the_mean_fits_ddpm_alone():
    shift = ClassifierGuidance(scale=1.0, form="mean-shift")
    check_fits(shift, "ddpm")
    for sampler in ("euler", "heun", "dpmpp", "ddim"):
        check_fits(ClassifierGuidance(scale=1.0), sampler)
        with pytest.raises(UserError, match="it fits ddpm"):
            check_fits(shift, sampler)
    momentum = Projected(scale=2.0, momentum=-0.5)
    assert ClassifierGuidance(scale=1.0, base=momentum).samplers == momentum.samplers
