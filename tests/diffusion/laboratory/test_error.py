"""Tilted densities and errors of samples against closed forms, and their intervals against repetition."""

import math
from statistics import NormalDist

import pytest
import torch
from scipy import integrate

from melies.diffusion.laboratory.error import (
    cell_shares,
    divergence,
    energy_distance,
    frechet_distance,
    spread_of,
    total_variation,
    weightings,
)
from melies.diffusion.laboratory.mixture import mixture
from melies.diffusion.laboratory.tilted import CELLS, tilted_density
from melies.errors import UserError
from melies.rng import generator_for

PAIR = mixture([0.5, 0.5], [[-1.0], [1.0]], [[[1.0]], [[1.0]]], [0, 1])
PLANE = mixture([0.5, 0.5], [[-1.0, 0.5], [1.0, 0.0]], [[[1.0, 0.3], [0.3, 0.5]]] * 2, [0, 1])


def normal_mean_distance(shift, variance):
    """E|Z| of Z ~ N(shift, variance)."""
    std = math.sqrt(variance)
    return std * math.sqrt(2 / math.pi) * math.exp(-(shift**2) / (2 * variance)) + shift * (
        1 - 2 * NormalDist().cdf(-shift / std)
    )


@pytest.mark.parametrize("scale", [0.0, 1.0, 2.5])
def test_the_tilt_is_what_integration_says(scale):
    grid = tilted_density(PAIR, 1, scale)

    def log_density(x):  # p(y = 1 | x) of two unit Gaussians at ±1 is the logistic of 2x
        density = 0.5 * (NormalDist(-1, 1).pdf(x) + NormalDist(1, 1).pdf(x))
        return density * (1 / (1 + math.exp(-2 * x))) ** scale

    whole = integrate.quad(log_density, -7, 7)[0]
    mean = integrate.quad(lambda x: x * log_density(x), -7, 7)[0] / whole
    centres = grid.low + (torch.arange(len(grid.masses)) + 0.5) * grid.step
    assert float(grid.masses.sum()) == pytest.approx(1)
    assert float(grid.masses @ centres) == pytest.approx(mean, abs=1e-6)


def test_tilts_of_zero_and_one_are_the_data_and_the_class():
    for scale, density in ((0.0, PLANE), (1.0, PLANE.of_class(0))):
        grid = tilted_density(PLANE, 0, scale)
        points = grid.draw(40, generator_for(0))
        at = tuple(((points - grid.low) / grid.step).long().T)
        centres = grid.low + (torch.stack(at, 1) + 0.5) * grid.step
        torch.testing.assert_close(grid.masses[at] / grid.step.prod(), density.log_density(centres).exp())


def test_expected_distances_are_exact():
    grid = tilted_density(PAIR, 1, 1.0)  # N(1, 1)
    x = torch.tensor([[1.0], [-2.0], [3.3], [50.0]]).double()
    exact = [normal_mean_distance(float(one) - 1, 1.0) for one in x]
    torch.testing.assert_close(grid.expected_distance(x), torch.tensor(exact).double(), atol=1e-5, rtol=0)
    assert grid.spread == pytest.approx(2 / math.sqrt(math.pi), abs=1e-5)


def test_expected_distances_in_the_plane():
    grid = tilted_density(PLANE, 0, 2.0)
    drawn = grid.draw(100_000, generator_for(1))
    for x in ([0.3, -0.2], [4.0, 2.0], [30.0, 0.0]):
        point = torch.tensor([x]).double()
        near = (drawn - point).norm(dim=1)
        assert float(grid.expected_distance(point)) == pytest.approx(
            float(near.mean()), abs=4 * float(near.std()) / 100_000**0.5
        )


def test_cells_have_equal_mass():
    for whole, room in ((PAIR, 0.1), (PLANE, 0.5)):
        masses = tilted_density(whole, 0, 2.0).cell_masses()
        assert float(masses.min()) > (1 - room) / CELLS
        assert float(masses.max()) < (1 + room) / CELLS


@pytest.mark.parametrize("shift", [0.0, 0.8])
def test_errors_of_a_shifted_gaussian(shift):
    num = 4000
    grid = tilted_density(PAIR, 1, 1.0)  # N(1, 1)
    x = 1 + shift + torch.randn(num, 1, dtype=torch.float64, generator=generator_for(5))
    weights = torch.full((1, num), 1 / num, dtype=torch.float64)
    exact = 2 * normal_mean_distance(shift, 2.0) - 2 * normal_mean_distance(0.0, 2.0)
    assert float(energy_distance(x, grid, weights)) == pytest.approx(exact, abs=0.03 if shift else 0.002)
    shares = cell_shares(x, grid, weights)
    variation = 2 * NormalDist().cdf(shift / 2) - 1
    assert float(total_variation(shares, grid)) == pytest.approx(variation, abs=0.02 if shift else 0.06)
    assert float(divergence(shares, grid, num)) == pytest.approx(shift**2 / 2, abs=0.04 if shift else 0.006)
    ends = torch.ones(1).double(), torch.ones(1, 1).double()
    assert float(frechet_distance(x, *ends, weights)) == pytest.approx(shift**2, abs=0.06)


def test_frechet_distance_is_that_of_metrics():
    from melies.metrics.frechet import frechet_distance as reference

    x = torch.randn(500, 2, dtype=torch.float64, generator=generator_for(2))
    mean, covariance = PLANE.moments()
    weights = torch.full((1, 500), 1 / 500, dtype=torch.float64)
    found = float(frechet_distance(x, mean, covariance, weights))
    cov = x.T.cov(correction=0)
    assert found == pytest.approx(reference(x.mean(0), cov, mean, covariance), rel=1e-6)


def test_weightings_replicate_what_they_weigh():
    x = torch.randn(300, 2, dtype=torch.float64, generator=generator_for(3))
    weights = weightings(300, 20, 0)
    torch.testing.assert_close(weights.sum(1), torch.ones(21).double())
    spread = spread_of(x, weights)
    pairs = torch.pdist(x).mean()
    torch.testing.assert_close(spread[0], pairs, rtol=1e-5, atol=0)
    again = x.repeat_interleave((weights[3] * 300).round().long(), dim=0)
    between = torch.cdist(again, again, compute_mode="donot_use_mm_for_euclid_dist")
    assert float(spread[3]) == pytest.approx(float(between.sum() / (between > 0).sum()), rel=1e-5)


def test_intervals_hold_what_repetition_gives():
    grid = tilted_density(PAIR, 1, 1.0)
    exact = 2 * normal_mean_distance(0.5, 2.0) - 2 * normal_mean_distance(0.0, 2.0)
    inside = 0
    for seed in range(40):
        x = 1.5 + torch.randn(400, 1, dtype=torch.float64, generator=generator_for(seed, "repeat"))
        replicates = energy_distance(x, grid, weightings(400, 100, seed))[1:]
        low, high = torch.quantile(replicates, torch.tensor([0.025, 0.975]).double()).tolist()
        inside += low <= exact <= high
    assert 34 <= inside <= 40


def test_what_has_no_density():
    with pytest.raises(UserError, match="scale"):
        tilted_density(PAIR, 0, -1.0)
    solid = mixture([1.0], [[0.0] * 3], [torch.eye(3).tolist()], [0])
    with pytest.raises(UserError, match="one or two dimensions"):
        tilted_density(solid, 0, 1.0)
