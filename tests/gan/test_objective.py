"""What the players minimise, against closed forms: values, gradients and penalties."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Normal

from melies.gan.objective import (
    GAMES,
    classifying,
    gradient_penalty,
    minimax,
    nonsaturating,
    relativistic,
    value,
)

logits = st.lists(st.floats(-30, 30), min_size=1, max_size=6)


def quantiles(normal: Normal, count: int = 20_001) -> torch.Tensor:
    """Points whose mean of any smooth function is its expectation."""
    return normal.icdf((torch.arange(count, dtype=torch.float64) + 0.5) / count)


def jensen_shannon(p: Normal, q: Normal) -> float:
    """By a Riemann sum, in nats."""
    x = torch.linspace(-20, 20, 40_001, dtype=torch.float64)
    middle = torch.logaddexp(p.log_prob(x), q.log_prob(x)) - math.log(2)
    halves = [(d.log_prob(x).exp() * (d.log_prob(x) - middle)).sum() for d in (p, q)]
    return float(sum(halves) / 2 * (x[1] - x[0]))


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (1.0, 1.0), (3.0, 1.0), (0.5, 2.0)])
def test_the_value_at_the_best_discriminator_is_the_jensen_shannon_divergence(mean, std):
    p, q = Normal(torch.tensor(0.0).double(), 1.0), Normal(torch.tensor(mean).double(), std)
    real, fake = quantiles(p), quantiles(q)
    best = [p.log_prob(x) - q.log_prob(x) for x in (real, fake)]  # log of D/(1 − D), D = p/(p + q)
    assert float(value(*best)) == pytest.approx(2 * jensen_shannon(p, q) - math.log(4), abs=1e-3)
    for worse in ([1.2 * x for x in best], [x + 0.2 for x in best]):
        assert float(value(*worse)) <= float(value(*best)) + (1e-9 if mean or std != 1 else 0.0)


@given(logits)
def test_the_discriminators_loss_is_the_cross_entropy_of_real_and_fake(numbers):
    real, fake = torch.tensor(numbers), torch.tensor(numbers[::-1]) - 1
    expected = -(torch.sigmoid(real.double()).log().mean() + torch.sigmoid(-fake.double()).log().mean())
    assert float(classifying(real, fake)) == pytest.approx(float(expected), rel=1e-5, abs=1e-6)


@given(logits)
def test_gradients_of_the_generators_losses(numbers):
    """By hand: −σ(l)/n, which vanishes where D is sure; −σ(−l)/n, which does not; −σ(r − l)/n."""
    fake = torch.tensor(numbers, dtype=torch.float64, requires_grad=True)
    real = torch.linspace(-1, 2, len(numbers), dtype=torch.float64)
    n = len(numbers)
    for loss, expected in (
        (minimax(real, fake), -torch.sigmoid(fake) / n),
        (nonsaturating(real, fake), -torch.sigmoid(-fake) / n),
        (GAMES["relativistic"].generator(real, fake), -torch.sigmoid(real - fake) / n),
    ):
        (gradient,) = torch.autograd.grad(loss, fake)
        assert torch.allclose(gradient, expected, atol=1e-12)


def test_only_the_minimax_gradient_vanishes_where_the_discriminator_wins():
    real, fake = torch.full((4,), 20.0), torch.full((4,), -20.0, requires_grad=True)
    norms = {
        name: float(torch.autograd.grad(game.generator(real, fake), fake)[0].abs().sum())
        for name, game in GAMES.items()
    }
    assert norms["minimax"] < 1e-8
    assert norms["nonsaturating"] == pytest.approx(1.0)
    assert norms["relativistic"] == pytest.approx(1.0)


@given(logits, st.floats(-10, 10))
def test_the_relativistic_losses_compare_pairs_only(numbers, shift):
    real = torch.tensor(numbers, dtype=torch.float64)
    fake = real.flip(0) * 0.5
    loss = relativistic(real, fake)
    assert torch.allclose(relativistic(real + shift, fake + shift), loss)
    assert float(relativistic(real, real)) == pytest.approx(math.log(2))
    # σ(a) = 1 − σ(−a): where one player gains what the other loses, the losses differ by the mean gap.
    assert torch.allclose(relativistic(fake, real) - loss, (real - fake).mean(), atol=1e-9)


def test_the_games_pair_the_losses_that_belong_together():
    real, fake = torch.tensor([2.0, 0.5]), torch.tensor([-1.0, 0.0])
    assert GAMES.keys() == {"minimax", "nonsaturating", "relativistic"}
    zero_sum = GAMES["minimax"]
    real_part = torch.nn.functional.logsigmoid(real).mean()
    assert torch.isclose(zero_sum.discriminator(real, fake) + zero_sum.generator(real, fake), -real_part)
    assert GAMES["nonsaturating"].discriminator is zero_sum.discriminator
    for game in GAMES.values():
        x = real.clone().requires_grad_()
        loss = game.generator(x, fake)
        assert loss.requires_grad == game.generator_sees_real


def test_the_penalty_of_a_linear_discriminator_is_the_square_of_its_weights():
    weights = torch.tensor([[1.0, -2.0], [0.5, 3.0]], dtype=torch.float64, requires_grad=True)
    x = torch.randn(5, 2, 2, dtype=torch.float64, requires_grad=True)
    penalty = gradient_penalty((x * weights).sum((1, 2)) + 7, x)
    assert torch.allclose(penalty, torch.full((5,), 14.25, dtype=torch.float64))
    (slope,) = torch.autograd.grad(penalty.mean(), weights)
    assert torch.allclose(slope, 2 * weights)


def test_the_penalty_of_a_quadratic_discriminator_is_each_samples_own():
    matrix = torch.randn(3, 3, dtype=torch.float64)
    matrix = matrix + matrix.T
    x = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    penalty = gradient_penalty(0.5 * ((x @ matrix) * x).sum(1), x)
    assert torch.allclose(penalty, (x @ matrix).square().sum(1))


def best_value(loss, real: list[int], fake: list[int]) -> float:
    """−min of the discriminator's loss over all logits of three points, given by their numbers."""
    logits = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([logits], max_iter=200, line_search_fn="strong_wolfe")

    def evaluate() -> torch.Tensor:
        optimizer.zero_grad()
        value = loss(logits[real], logits[fake]) + 1e-7 * logits.square().sum()  # a minimum that is somewhere
        value.backward()
        return value

    optimizer.step(evaluate)
    return -float(loss(logits[real], logits[fake]).detach())


def test_only_the_classical_game_bars_the_way_out_of_a_collapse():
    """Data at the points 0 and 1; both fakes at 0, then one on its way at 2, then one at 1.

    What the generator minimises rises on the way in the classical game, and does not in the relativistic
    one (Sun et al. 2020, "Towards a better global loss landscape of GANs").
    """
    way = ([0, 0], [0, 2], [0, 1])
    classical = [best_value(classifying, [0, 1], fake) for fake in way]
    paired = [best_value(relativistic, [0, 1], fake) for fake in way]
    by_hand = [0.5 * math.log(1 / 3) + math.log(2 / 3), -math.log(2), -math.log(4)]
    assert classical == pytest.approx(by_hand, abs=1e-3)
    assert paired == pytest.approx([-0.5 * math.log(2), -0.5 * math.log(2), -math.log(2)], abs=1e-3)
