"""Likelihoods against torch's distributions in float64, and binarisation by what it must leave alone."""

import math

import pytest
import torch
from torch.distributions import Bernoulli, Normal

from melies.autoencoders.likelihood import bernoulli, binarize, binarize_once, discretized, gaussian


def draws(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parity
def test_black_and_white_pictures_have_the_probability_that_torch_gives_them():
    white, logits = draws(3, 2, 4, 4) > 0, 20 * draws(3, 2, 4, 4, seed=1)
    theirs = Bernoulli(logits=logits).log_prob(white.double()).flatten(1).sum(1)
    torch.testing.assert_close(bernoulli(2 * white.double() - 1, logits), theirs)


def test_grey_counts_as_the_mean_of_black_and_white():
    logits, share = draws(1, 1, 1, 1), 0.3
    black, white = (float(bernoulli(torch.full((1, 1, 1, 1), v).double(), logits)) for v in (-1.0, 1.0))
    grey = float(bernoulli(torch.full((1, 1, 1, 1), 2 * share - 1).double(), logits))
    assert grey == pytest.approx((1 - share) * black + share * white)


@pytest.mark.parity
def test_a_gaussian_has_the_density_that_torch_gives_it():
    pixels, mean, sigma = draws(3, 1, 4, 4), draws(3, 1, 4, 4, seed=1), torch.tensor(0.3).double()
    theirs = Normal(mean, sigma).log_prob(pixels).flatten(1).sum(1)
    torch.testing.assert_close(gaussian(pixels, mean, sigma), theirs)


def test_its_best_sigma_is_the_root_of_the_mean_squared_error():
    pixels, mean = draws(3, 1, 4, 4), draws(3, 1, 4, 4, seed=1)
    error = (pixels - mean).square().mean().sqrt()
    at = [float(gaussian(pixels, mean, error * factor).sum()) for factor in (0.98, 1.0, 1.02)]
    assert at[1] > max(at[0], at[2])


def test_the_levels_of_a_picture_have_probabilities():
    """The bound of log 256 bits a pixel is met by no information, and beaten by a good guess only."""
    levels = (torch.arange(256).double() / 127.5 - 1).view(256, 1, 1, 1).expand(256, 1, 2, 2)
    mean, sigma = torch.full((256, 1, 2, 2), 0.1).double(), torch.tensor(0.05).double()
    one_pixel = discretized(levels, mean, sigma) / 4
    assert float(one_pixel.exp().sum()) == pytest.approx(1.0)
    assert float(one_pixel.max()) > -math.log(256) > float(one_pixel.min())


def test_binarised_pictures_are_black_and_white_and_keep_their_means():
    grey = torch.tensor([-1.0, -0.5, 0.2, 1.0]).view(1, 1, 2, 2).expand(20_000, 1, 2, 2)
    found = binarize(grey, torch.Generator().manual_seed(0))
    assert set(found.unique().tolist()) == {-1.0, 1.0}
    assert bool((found[:, 0, 0, 0] == -1).all())
    assert bool((found[:, 0, 1, 1] == 1).all())
    assert bool(((found.mean(0) - grey[0]).abs() < 4 / math.sqrt(20_000)).all())


def test_static_binarisation_is_one_set_for_each_seed():
    grey = torch.randint(0, 256, (1100, 1, 2, 2), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    first, again, other = (binarize_once(grey, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert set(first.unique().tolist()) == {0, 255}
    assert torch.equal(first[:1024], binarize_once(grey[:1024], seed=1))  # the first do not hang on how many
