"""Claims that are mathematics: checked by numbers in float64, with nothing trained and nothing measured."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from melies.diffusion.ddpm import alpha_bars, linear_betas
from melies.gaussian import log_density, standard_kl
from melies.interfaces import Condition
from melies.nn.control import ControlConfig, ControlNetwork, build_control
from melies.nn.transformer import Transformer, TransformerConfig
from melies.recipes.claims.claim import Finding, Records, Verdict
from melies.rng import seeded

NUM_STEPS = 1000
"""T of Ho et al. (2020), whose β schedule is taken."""


def shortcut(records: Records) -> Finding:
    """T single steps of the forward process against the one-step formula: mean factor and variance."""
    betas = linear_betas(NUM_STEPS)
    factor, variance = _double(1), _double(0)
    for beta in betas:
        factor, variance = (1 - beta).sqrt() * factor, (1 - beta) * variance + beta
    alpha_bar = alpha_bars(betas)[-1]
    error = max(float((factor - alpha_bar.sqrt()).abs()), float((variance - (1 - alpha_bar)).abs()))
    return _finding(
        error < 1e-12, f"{NUM_STEPS} steps and the formula with mean √ᾱ·x₀ differ by {error:.1e} at most"
    )


def shortcut_as_printed(records: Records) -> Finding:
    """The root drawn over ᾱ_t·x₀, as it is printed, against the mean that single steps lead to."""
    alpha_bar, x0 = float(alpha_bars(linear_betas(NUM_STEPS))[NUM_STEPS // 10]), 0.25
    printed, true = math.sqrt(alpha_bar * x0), math.sqrt(alpha_bar) * x0
    return _finding(
        math.isclose(printed, true, rel_tol=1e-6),
        f"for x₀ = {x0:g} and t = {NUM_STEPS // 10} it gives {printed:.3f}, and the process {true:.3f}:"
        " the root is over ᾱ alone; for a negative x₀ there is no such root",
    )


def pure_noise(records: Records) -> Finding:
    """KL(q(x_T | x₀) ‖ N(0, 1)) of one number of a picture at the ends of its range."""
    alpha_bar = alpha_bars(linear_betas(NUM_STEPS))[-1]
    kl = float(standard_kl(alpha_bar.sqrt(), (1 - alpha_bar).log()))
    return _finding(kl < 1e-3, f"{kl:.1e} nats per pixel are left of x₀ = ±1 after {NUM_STEPS} steps")


def reverse_is_gaussian(records: Records) -> Finding:
    """How far the exact q(x_{t−1} | x_t) of a two-peaked density is from a Gaussian, for small and large β.

    The Gaussian has the same mean and variance; the density is integrated on a grid.
    """
    distances = {beta: reverse_divergence(beta) for beta in (0.5, 0.1, 0.01, 0.001)}
    falling = all(a > b for a, b in zip(list(distances.values()), list(distances.values())[1:], strict=False))
    listed = ", ".join(f"{kl:.1e} at β = {beta:g}" for beta, kl in distances.items())
    return _finding(falling and distances[0.001] < 1e-4, f"distance to a Gaussian in nats: {listed}")


def reverse_divergence(beta: float) -> float:
    """KL of q(x_{t−1} | x_t) to the Gaussian of its moments, in nats, averaged over x_t.

    x_{t−1} comes from two equal peaks at ±1 of standard deviation 0.2.
    """
    before = torch.linspace(-3, 3, 6001, dtype=torch.float64)
    step = float(before[1] - before[0])
    peak = _double(0.2)
    prior = torch.stack([log_density(before, _double(mean), peak) for mean in (-1.0, 1.0)]).logsumexp(0)
    after = torch.linspace(-1.5, 1.5, 61, dtype=torch.float64)
    noise = _double(beta).sqrt()
    joint = prior + log_density(after[:, None], math.sqrt(1 - beta) * before, noise)
    log_evidence = joint.logsumexp(1) + math.log(step)
    posterior = joint - log_evidence[:, None]
    mass = posterior.exp() * step
    mean = (mass * before).sum(1, keepdim=True)
    std = (mass * (before - mean).square()).sum(1, keepdim=True).sqrt()
    divergence = (mass * (posterior - log_density(before, mean, std))).sum(1)
    return float((log_evidence.softmax(0) * divergence).sum())


def two_forms_of_the_bound(records: Records) -> Finding:
    """Both forms of the VAE's loss, in a linear-Gaussian model in which every term has a closed form."""
    left, right = bound_as_evidence(), bound_as_reconstruction()
    error = float((left - right).abs().max())
    return _finding(error < 1e-12, f"the two differ by {error:.1e} nats at most over a grid of posteriors")


# z ~ N(0, 1), x | z ~ N(w·z, s²), q(z | x) = N(m, v) with any m and v.
_W, _S, _X = 1.3, 0.6, 0.8


def _posteriors() -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    grid = torch.cartesian_prod(
        torch.linspace(-1, 1, 9, dtype=torch.float64), torch.linspace(-3, 1, 9, dtype=torch.float64)
    )
    return grid[:, 0], grid[:, 1]


def bound_as_evidence() -> Float[Tensor, " n"]:
    """−log p(x) + KL(q(z|x) ‖ p(z|x)), in nats, for a grid of posteriors."""
    mean, logvar = _posteriors()
    variance = _double(_W**2 + _S**2)
    evidence = log_density(_double(_X), _double(0), variance.sqrt())
    true_var = _double(_S**2 / (_W**2 + _S**2))
    true_mean = true_var * _W * _X / _S**2
    kl = standard_kl((mean - true_mean) / true_var.sqrt(), logvar - true_var.log())
    return kl - evidence


def bound_as_reconstruction() -> Float[Tensor, " n"]:
    """−E_q log p(x|z) + KL(q(z|x) ‖ p(z)), in nats, for the same."""
    mean, logvar = _posteriors()
    expected = (_X - _W * mean).square() + _W**2 * logvar.exp()
    return 0.5 * (expected / _S**2 + math.log(2 * math.pi * _S**2)) + standard_kl(mean, logvar)


def untrained_branch(records: Records) -> Finding:
    """A transformer of random weights, alone and with a branch that is not trained yet."""
    base, branch, told = _with_branch()
    with torch.no_grad():
        alone, steered = base(*told), base(*told, residuals=branch(*told))
    largest = float((alone - steered).abs().max())
    return _finding(
        torch.equal(alone, steered),
        f"the two outputs differ by {largest:g} on random input with a hint",
    )


def branch_end_to_end(records: Records) -> Finding:
    """The gradient of one loss after the transformer, in every layer of a branch whose joints have moved."""
    base, branch, told = _with_branch()
    for parameter in branch.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    base(*told, residuals=branch(*told)).square().mean().backward()
    layers = {name.rpartition(".")[0]: False for name, _ in branch.named_parameters()}
    for name, parameter in branch.named_parameters():
        layers[name.rpartition(".")[0]] |= parameter.grad is not None and bool(parameter.grad.any())
    missed = [name for name, reached in layers.items() if not reached]
    return _finding(
        not missed,
        f"{len(layers) - len(missed)} of {len(layers)} layers have a gradient"
        + (f"; not {', '.join(missed)}" if missed else ""),
    )


def _with_branch() -> tuple[Transformer, ControlNetwork, tuple[torch.Tensor, torch.Tensor, Condition]]:
    """A small network of random weights, a fresh branch of it, and what both are called with."""
    network = TransformerConfig(channels=3, size=8, patch=2, dim=16, depth=3, head_dim=8, num_classes=3)
    config = ControlConfig(network=network, num_kinds=2, depth=2, reduction=4, hint_width=4)
    with seeded(0, "claims"):
        base, branch = Transformer(network), build_control(config)
        for parameter in base.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
        branch.copy_from(base)  # type: ignore[arg-type]
        told = {
            "class": torch.tensor([0, 2]),
            "hint": torch.rand(2, 3, config.hint_size, config.hint_size),
            "hint_kind": torch.tensor([0, 1]),
        }
        return base, branch, (torch.randn(2, 3, 8, 8), torch.linspace(-1, 1, 2), told)


def _double(number: float) -> Float[Tensor, ""]:
    return torch.tensor(number, dtype=torch.float64)


def _finding(holds: bool, evidence: str) -> Finding:
    return Finding(Verdict.HOLDS if holds else Verdict.FAILS, evidence)
