import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from melies.data.synthetic import GaussianTruth
from melies.diffusion.adapt import epsilon_from_x0, sigma_from_alpha_bar
from melies.diffusion.ddpm import alpha_bars, linear_betas
from melies.diffusion.loss import (
    denoising_loss,
    discrete,
    drop_condition,
    edm,
    flow,
    log_normal,
    log_uniform,
    min_snr,
    simple,
)
from melies.diffusion.precondition import edm as preconditioning
from melies.diffusion.precondition import flow as flow_preconditioning
from melies.diffusion.precondition import per_sample
from melies.errors import UserError

LEVELS = st.lists(st.floats(1e-2, 1e2), min_size=1, max_size=6)


def setting(levels):
    generator = torch.Generator().manual_seed(3)
    sigma = torch.tensor(levels, dtype=torch.float64)
    x0, epsilon, error = torch.randn(3, len(sigma), 2, 3, 3, generator=generator, dtype=torch.float64)
    return sigma, x0, epsilon, x0 + error


@given(levels=LEVELS)
def test_simple_is_the_squared_error_of_epsilon(levels):
    sigma, x0, epsilon, predicted = setting(levels)
    x = x0 + per_sample(sigma, x0) * epsilon
    found = denoising_loss(
        lambda x, sigma, condition, *, attention=None: predicted,
        x0, {}, sigma=sigma, epsilon=epsilon, weight=simple(sigma),
    )  # fmt: skip
    wrong = epsilon_from_x0(x, sigma, predicted) - epsilon
    torch.testing.assert_close(found, wrong.square().flatten(1).mean(1))


@given(levels=LEVELS, sigma_data=st.floats(0.1, 10))
def test_edm_is_the_squared_error_of_the_network(levels, sigma_data):
    sigma, x0, epsilon, predicted = setting(levels)
    x = x0 + per_sample(sigma, x0) * epsilon
    found = edm(sigma, sigma_data=sigma_data) * (predicted - x0).square().flatten(1).mean(1)
    c = preconditioning(sigma, sigma_data)

    def output(x0):
        return (x0 - per_sample(c.c_skip, x) * x) / per_sample(c.c_out, x)

    torch.testing.assert_close(found, (output(predicted) - output(x0)).square().flatten(1).mean(1))


@given(levels=LEVELS, sigma_data=st.floats(0.1, 10))
def test_flow_is_the_squared_error_of_the_velocity(levels, sigma_data):
    sigma, x0, epsilon, predicted = setting(levels)
    x = x0 + per_sample(sigma, x0) * epsilon
    found = flow(sigma, sigma_data=sigma_data) * (predicted - x0).square().flatten(1).mean(1)
    c = flow_preconditioning(sigma, sigma_data)

    def velocity(x0):
        return (x0 - per_sample(c.c_skip, x) * x) / per_sample(c.c_out, x)

    torch.testing.assert_close(found, (velocity(predicted) - velocity(x0)).square().flatten(1).mean(1))


@given(levels=LEVELS, gamma=st.floats(0.1, 20))
def test_min_snr_in_the_error_of_epsilon_is_the_published_ratio(levels, gamma):
    sigma, x0, epsilon, predicted = setting(levels)
    x = x0 + per_sample(sigma, x0) * epsilon
    snr = 1 / sigma.square()
    wrong = (epsilon_from_x0(x, sigma, predicted) - epsilon).square().flatten(1).mean(1)
    found = min_snr(sigma, gamma=gamma) * (predicted - x0).square().flatten(1).mean(1)
    torch.testing.assert_close(found, snr.clamp(max=gamma) / snr * wrong)


def test_loss_of_the_truth_is_what_cannot_be_known():
    """At the exact denoiser of N(μ, s²) the error is the posterior variance s²σ²/(s² + σ²)."""
    truth = GaussianTruth(mean=torch.tensor([0.3], dtype=torch.float64), std=0.5)
    generator = torch.Generator().manual_seed(0)
    x0 = truth.sample(200_000, generator)
    epsilon = torch.randn(x0.shape, generator=generator, dtype=torch.float64)
    sigma = torch.full((len(x0),), 0.8, dtype=torch.float64)

    def loss(shift):
        return denoising_loss(
            lambda x, sigma, condition, *, attention=None: truth(x, sigma) + shift,
            x0, {}, sigma=sigma, epsilon=epsilon, weight=torch.ones_like(sigma),
        ).mean().item()  # fmt: skip

    assert loss(0) == pytest.approx(0.25 * 0.64 / 0.89, rel=0.01)
    assert loss(0) < min(loss(0.02), loss(-0.02))


def test_levels_follow_their_distribution():
    sigma = log_normal(50_000, torch.Generator().manual_seed(0), P_mean=-0.5, P_std=0.7)
    assert sigma.log().mean() == pytest.approx(-0.5, abs=0.02)
    assert sigma.log().std() == pytest.approx(0.7, abs=0.02)
    even = log_uniform(20_000, torch.Generator().manual_seed(0), sigma_min=0.01, sigma_max=100.0)
    assert even.min() >= 0.01 * (1 - 1e-6)
    assert even.max() <= 100 * (1 + 1e-6)
    for share in (0.25, 0.5, 0.75):  # a quarter of the draws in each quarter of the factors
        assert even.log10().quantile(share) == pytest.approx(-2 + 4 * share, abs=0.05)
    alpha_bar = alpha_bars(linear_betas(10))
    drawn = discrete(20_000, torch.Generator().manual_seed(0), alpha_bar=alpha_bar)
    values, counts = drawn.unique(return_counts=True)
    torch.testing.assert_close(values, sigma_from_alpha_bar(alpha_bar).float())
    assert (counts / 20_000 - 0.1).abs().max() < 0.01


def rows(count=4000):
    return {
        "text": torch.zeros(count, 2, 3),
        "text_valid": torch.ones(count, 2, dtype=torch.bool),
        "class": torch.zeros(count, dtype=torch.int64),
    }


def test_joint_drop_out_takes_all_or_nothing():
    dropped = drop_condition(rows(), ("text", "class"), torch.Generator().manual_seed(0), joint=0.2)
    assert torch.equal(dropped["present.text"], dropped["present.class"])
    assert dropped["present.text"].float().mean() == pytest.approx(0.8, abs=0.03)
    assert torch.equal(dropped["text"], rows()["text"])


def test_independent_drop_out_takes_each_by_itself():
    generator = torch.Generator().manual_seed(0)
    dropped = drop_condition(
        rows(), ("text", "class"), generator, joint=0.1, independent={"text": 0.5, "class": 0.0}
    )
    text, label = dropped["present.text"], dropped["present.class"]
    assert label.float().mean() == pytest.approx(0.9, abs=0.03)
    assert text.float().mean() == pytest.approx(0.45, abs=0.03)
    assert not text[~label].any()
    both = drop_condition(rows(), ("text", "class"), torch.Generator().manual_seed(0), independent=0.5)
    together = (both["present.text"] & both["present.class"]).float().mean()
    assert together == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize(("joint", "kept"), [(0.0, True), (1.0, False)])
def test_certain_drop_out(joint, kept):
    dropped = drop_condition(rows(50), ("text",), torch.Generator(), joint=joint)
    assert bool((dropped["present.text"] == kept).all())
    assert "present.class" not in dropped


def test_what_was_absent_stays_absent():
    absent = {**rows(3), "present.text": torch.tensor([False, True, False])}
    dropped = drop_condition(absent, ("text",), torch.Generator())
    assert dropped["present.text"].tolist() == [False, True, False]


def test_token_ids_count_as_text():
    ids = {"text_ids": torch.zeros(3, 2, dtype=torch.int64), "text_valid": torch.ones(3, 2, dtype=torch.bool)}
    assert not drop_condition(ids, ("text",), torch.Generator(), joint=1.0)["present.text"].any()


def test_bad_drop_out_is_refused():
    with pytest.raises(UserError, match="joint"):
        drop_condition(rows(3), ("text",), torch.Generator(), joint=1.5)
    with pytest.raises(UserError, match=r"independent\.text"):
        drop_condition(rows(3), ("text",), torch.Generator(), independent=float("nan"))
    with pytest.raises(ValueError, match="hint"):
        drop_condition(rows(3), ("hint",), torch.Generator())
