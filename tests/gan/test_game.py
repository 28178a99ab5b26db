"""Steps of the game, on players small enough to know how it must end."""

import math
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from melies.errors import UserError
from melies.gan.game import adversarial_objectives
from melies.rng import generator_for

ZERO = {"pixels": torch.zeros(4, 1)}


class Point(nn.Module):
    """The Dirac-GAN (Mescheder et al. 2018, definition 2.1): data at 0, a fake at θ, D(x) = ψ·x."""

    def __init__(self) -> None:
        super().__init__()
        self.generator, self.discriminator = _Theta(), _Psi()
        self.config = SimpleNamespace(latent_dim=1)

    @property
    def distance(self) -> float:
        """From the equilibrium at θ = ψ = 0."""
        return math.hypot(float(self.generator.theta.detach()), float(self.discriminator.psi.detach()))


class _Theta(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.tensor(1.0))

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.theta.expand(len(z), 1) + 0 * z


class _Psi(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.psi = nn.Parameter(torch.tensor(1.0))

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.psi * x[:, 0]


class Plane(nn.Module):
    """Perceptrons that draw points of the plane and tell them from real ones."""

    def __init__(self, *, latent_dim: int = 8, width: int = 64) -> None:
        super().__init__()
        self.config = SimpleNamespace(latent_dim=latent_dim)
        self.generator = _Perceptron(latent_dim, width, 2)
        self.discriminator = _Perceptron(2, width, 1)


class _Perceptron(nn.Module):
    def __init__(self, inputs: int, width: int, outputs: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(inputs, width),
            nn.LeakyReLU(0.2),
            nn.Linear(width, width),
            nn.LeakyReLU(0.2),
            nn.Linear(width, outputs),
        )

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        out = self.layers(x)
        return out[:, 0] if out.shape[1] == 1 else out


def play(model: nn.Module, batches, game: str, *, gamma: float, num_steps: int, optimizer) -> None:
    """The two players in turn, as the training loop takes them."""
    objectives = adversarial_objectives(game, gamma=gamma)
    optimizers = [optimizer(list(objective.parameters(model))) for objective in objectives]
    for step in range(num_steps):
        for objective, steps in zip(objectives, optimizers, strict=True):
            rng = generator_for(0, objective.name, step)
            model.zero_grad()
            loss, _ = objective.loss_fn(model, batches(step), rng)
            loss.backward()
            steps.step()


def ring(count: int, rng: torch.Generator, *, radius: float = 2.0, std: float = 0.05) -> Tensor:
    """Points of eight Gaussians on a circle."""
    angles = torch.randint(8, (count,), generator=rng) * (2 * math.pi / 8)
    centres = radius * torch.stack([angles.cos(), angles.sin()], 1)
    return centres + std * torch.randn(count, 2, generator=rng)


def shares(points: Tensor, *, radius: float = 2.0, near: float = 0.3) -> Tensor:
    """Share of all points that lies near each of the eight centres."""
    angles = torch.arange(8) * (2 * math.pi / 8)
    centres = radius * torch.stack([angles.cos(), angles.sin()], 1)
    distances, nearest = torch.cdist(points, centres).min(1)
    return torch.bincount(nearest[distances < near], minlength=8) / len(points)


def distance_after(game: str, *, gamma: float, num_steps: int) -> float:
    point = Point()
    descend = partial(torch.optim.SGD, lr=0.1)
    play(point, lambda step: ZERO, game, gamma=gamma, num_steps=num_steps, optimizer=descend)
    return point.distance


@pytest.mark.parametrize("game", ["minimax", "nonsaturating", "relativistic"])
def test_without_penalties_the_players_circle_and_with_them_they_come_to_rest(game):
    """Mescheder et al. (2018), lemma 2.3 and theorem 4.1.

    Near rest ψ' = −θ/2 − 2γψ and θ' = ψ/2, which γ = 1/2 damps critically, as e^(−t/2); here t = 20.
    """
    assert distance_after(game, gamma=0.0, num_steps=200) > 0.5
    assert distance_after(game, gamma=0.5, num_steps=200) < 0.01


def test_the_first_step_of_the_discriminator_by_hand():
    """θ = ψ = 1, data at 0: logits 0 and 1; R1 = R2 = ψ² = 1, so that γ/2·(R1 + R2) = γ·ψ²."""
    loss, scalars = adversarial_objectives("relativistic", gamma=0.5)[0].loss_fn(
        Point(), ZERO, torch.Generator()
    )
    assert loss.item() == pytest.approx(torch.nn.functional.softplus(torch.tensor(1.0)).item() + 0.5)
    assert scalars == {"logit_real": 0.0, "logit_fake": 1.0, "spread": 0.0, "r1": 1.0, "r2": 1.0}


def test_the_spread_is_that_of_the_fakes_against_that_of_the_real_samples():
    plane = Plane()
    plane.generator.forward = lambda z, labels=None: z[:, :2]
    real = 2 * torch.randn(4096, 2)
    scalars = adversarial_objectives("minimax", gamma=0)[0].loss_fn(
        plane, {"pixels": real}, torch.Generator()
    )[1]
    assert scalars["spread"] == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("gamma", [0.0, 1.0])
def test_each_player_moves_its_own_weights_only(gamma):
    plane = Plane()
    discriminator, generator = adversarial_objectives("nonsaturating", gamma=gamma)
    batch = {"pixels": ring(16, torch.Generator())}
    discriminator.loss_fn(plane, batch, torch.Generator())[0].backward()
    assert all(p.grad is None for p in plane.generator.parameters())
    assert {id(p) for p in discriminator.parameters(plane)} == {
        id(p) for p in plane.discriminator.parameters()
    }
    assert {id(p) for p in generator.parameters(plane)} == {id(p) for p in plane.generator.parameters()}


def test_all_randomness_is_that_of_the_generator_given():
    plane, batch = Plane(), {"pixels": ring(16, torch.Generator())}
    for objective in adversarial_objectives("relativistic", gamma=1.0):
        once, again, other = (
            objective.loss_fn(plane, batch, torch.Generator().manual_seed(seed))[0] for seed in (1, 1, 2)
        )
        assert torch.equal(once, again)
        assert not torch.equal(once, other)


def test_penalties_are_computed_in_full_precision_under_autocast():
    plane, seen = Plane(), []
    plane.discriminator.register_forward_hook(
        lambda module, inputs, output: seen.append(torch.is_autocast_enabled("cpu"))
    )
    batch = {"pixels": ring(16, torch.Generator())}
    discriminator, generator = adversarial_objectives("relativistic", gamma=1.0)
    with torch.autocast("cpu", torch.bfloat16):
        discriminator.loss_fn(plane, batch, torch.Generator())
        generator.loss_fn(plane, batch, torch.Generator())
    assert seen == [False, False, True, True]


def test_an_unknown_game_is_refused():
    with pytest.raises(UserError, match="unknown game 'minmax'; did you mean 'minimax'"):
        adversarial_objectives("minmax", gamma=0.0)
