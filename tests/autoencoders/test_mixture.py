"""The prior after the fact: what expectation maximisation finds, and what is drawn from it."""

import pytest
import torch
from torch.distributions import MultivariateNormal

from melies.autoencoders.mixture import Mixture, fit_mixture
from melies.errors import UserError


def draws(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def clusters() -> torch.Tensor:
    """A quarter of the points around (6, 6), slanted; the rest around zero."""
    slanted = draws(500, 2, seed=1) @ torch.tensor([[1.0, 0.8], [0.0, 0.6]]).double() + 6
    return torch.cat([draws(1500, 2), slanted])


def test_one_component_is_the_gaussian_of_mean_and_covariance():
    x = draws(500, 3) @ draws(3, 3, seed=1) + 2
    for covariance, expected in (
        ("full", x.T.cov(correction=0)),
        ("diagonal", x.var(0, correction=0).diag()),
    ):
        mixture = fit_mixture(x, covariance=covariance)
        torch.testing.assert_close(mixture.means[0], x.mean(0))
        torch.testing.assert_close(mixture.factors[0] @ mixture.factors[0].T, expected, rtol=1e-4, atol=1e-4)
        theirs = MultivariateNormal(mixture.means[0], expected)
        torch.testing.assert_close(mixture.log_density(x), theirs.log_prob(x), rtol=1e-4, atol=1e-4)


def test_it_finds_the_clusters_that_are_there():
    mixture = fit_mixture(clusters(), components=2)
    small = int(mixture.weights.argmin())
    assert float(mixture.weights[small]) == pytest.approx(0.25, abs=0.01)
    torch.testing.assert_close(mixture.means[small], torch.tensor([6.0, 6.0]).double(), atol=0.15, rtol=0)
    spread = mixture.factors[small] @ mixture.factors[small].T
    torch.testing.assert_close(spread, torch.tensor([[1.0, 0.8], [0.8, 1.0]]).double(), atol=0.15, rtol=0)


@pytest.mark.parity
@pytest.mark.parametrize(("ours", "theirs"), [("full", "full"), ("diagonal", "diag")])
def test_the_likelihood_is_the_one_that_scikit_learn_finds(ours, theirs):
    sklearn = pytest.importorskip("sklearn.mixture")
    x = clusters()
    mixture = fit_mixture(x, components=2, covariance=ours, tolerance=1e-7)
    other = sklearn.GaussianMixture(2, covariance_type=theirs, tol=1e-7, random_state=0).fit(x.numpy())
    assert float(mixture.log_density(x).mean()) == pytest.approx(other.score(x.numpy()), abs=1e-4)


def test_draws_have_the_shares_means_and_spread_of_the_mixture():
    mixture = fit_mixture(clusters(), components=2)
    uniform = torch.rand(40_000, generator=torch.Generator().manual_seed(3)).double()
    drawn = mixture.draw(draws(40_000, 2, seed=4), uniform)
    share = mixture.weights[:, None]
    torch.testing.assert_close(drawn.mean(0), (share * mixture.means).sum(0), atol=0.05, rtol=0)
    again = fit_mixture(drawn, components=2)
    torch.testing.assert_close(again.weights.sort().values, mixture.weights.sort().values, atol=0.01, rtol=0)


def test_numbers_at_the_ends_pick_the_first_and_the_last():
    mixture = Mixture(torch.tensor([0.3, 0.7]), torch.tensor([[1.0], [2.0]]), torch.zeros(2, 1, 1))
    picked = mixture.draw(torch.zeros(4, 1), torch.tensor([0.0, 0.29, 0.31, 1.0]))
    assert picked[:, 0].tolist() == [1.0, 1.0, 2.0, 2.0]


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
def test_latents_on_a_line_or_in_a_point_still_have_a_prior(covariance):
    line = draws(50, 1) @ torch.ones(1, 4).double()
    for x, components in ((line, 2), (torch.ones(10, 3), 3)):
        mixture = fit_mixture(x, components=components, covariance=covariance)
        assert bool(mixture.log_density(x.double()).isfinite().all())


def test_what_cannot_be_fitted_is_refused():
    with pytest.raises(UserError, match="3 latents are too few for a mixture of 3"):
        fit_mixture(torch.zeros(3, 2), components=3)
    with pytest.raises(UserError, match="not finite"):
        fit_mixture(torch.full((3, 2), torch.nan))
    with pytest.raises(UserError, match="components"):
        fit_mixture(torch.zeros(3, 2), components=0)
