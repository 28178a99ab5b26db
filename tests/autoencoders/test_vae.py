"""The VAE against evidence that is known, and what it promises of classes, draws and memory."""

import math

import pytest
import torch
from torch import nn
from torch.distributions import MultivariateNormal

from melies.autoencoders.elbo import beta_loss, elbo
from melies.autoencoders.likelihood import SIGMA_MIN
from melies.autoencoders.network import HalvesConfig
from melies.autoencoders.vae import VAE, VAEConfig, posteriors
from melies.errors import UserError
from melies.metrics.likelihood import importance_log_likelihood
from melies.rng import noise_for
from melies.transform import PixelRange

SMALL = HalvesConfig(size=4, latent_dim=2, widths=(8,), hidden=16)
CLASSES = ("left", "right")
SIGMA = 0.4


def draws(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class LinearDecoder(nn.Module):
    """x̂ = W·z + b."""

    def __init__(self, weight, bias):
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), bias

    def forward(self, latents, labels=None):
        return (latents @ self.weight.T + self.bias).view(-1, 1, 4, 4)


class LinearEncoder(nn.Module):
    """Mean A·(x − b) + shift, a constant log-variance."""

    def __init__(self, weight, bias, logvar, shift=0.0):
        super().__init__()
        self.weight, self.bias, self.logvar, self.shift = nn.Parameter(weight), bias, logvar, shift

    def forward(self, pixels, labels=None):
        mean = (pixels.flatten(1) - self.bias) @ self.weight.T + self.shift
        return torch.cat([mean, self.logvar.expand_as(mean)], 1)


@pytest.fixture
def linear():
    """x = W·z + b + σ·ε with orthogonal columns: (VAE with the exact posterior, pictures, their evidence)."""
    columns, _ = torch.linalg.qr(draws(16, 2))
    weight, bias = columns * torch.tensor([1.5, 0.7]).double(), 0.3 * draws(16, seed=1)
    variance = 1 / (1 + weight.square().sum(0) / SIGMA**2)
    model = VAE(VAEConfig(network=SMALL, likelihood="gaussian", sigma=SIGMA)).double()
    model.decoder = LinearDecoder(weight, bias)
    model.encoder = LinearEncoder(variance[:, None] * weight.T / SIGMA**2, bias, variance.log())
    pixels = draws(5, 2, seed=2) @ weight.T + bias + SIGMA * draws(5, 16, seed=3)
    truth = MultivariateNormal(bias, weight @ weight.T + SIGMA**2 * torch.eye(16).double())
    return model, pixels.view(5, 1, 4, 4), truth.log_prob(pixels)


def test_at_the_exact_posterior_every_draw_weighs_the_evidence(linear):
    model, pixels, evidence = linear
    weights = model.log_weights(pixels, 7, torch.Generator().manual_seed(0))
    torch.testing.assert_close(weights, evidence[:, None].expand(5, 7), rtol=1e-6, atol=1e-5)


def test_at_the_exact_posterior_the_bound_is_the_evidence(linear):
    """The mean of a quadratic over a Gaussian is its mean over the points ±√d along the axes."""
    model, pixels, evidence = linear
    corners = math.sqrt(2) * torch.tensor([[1.0, 0], [-1, 0], [0, 1], [0, -1]]).double()
    bounds = [elbo(*model(pixels, corner.expand(5, 2))) for corner in corners]
    torch.testing.assert_close(torch.stack(bounds).mean(0), evidence)


def test_another_posterior_costs_its_divergence_and_more_draws_win_it_back(linear):
    model, pixels, evidence = linear
    model.encoder.shift, model.encoder.logvar = 0.3, model.encoder.logvar + 0.2
    generator = torch.Generator().manual_seed(0)
    gaps = [
        float((evidence - importance_log_likelihood(model.log_weights(pixels, k, generator))).mean())
        for k in (1, 30, 30_000)
    ]
    assert gaps[0] > 4 * gaps[1] > 0
    assert abs(gaps[2]) < 0.01


def small(likelihood="discretized", classes=(), **fields) -> VAE:
    """A VAE whose blocks are no longer the identity that they start as."""
    model = VAE(VAEConfig(network=SMALL, likelihood=likelihood, classes=classes, **fields))
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


def grey(count: int) -> torch.Tensor:
    levels = torch.randint(0, 256, (count, 1, 4, 4), generator=torch.Generator().manual_seed(5))
    return PixelRange().forward(levels.to(torch.uint8))


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian", "discretized"])
def test_the_bound_is_the_mean_log_weight(likelihood):
    model, pixels, generator = small(likelihood), grey(3), torch.Generator().manual_seed(0)
    with torch.no_grad():
        weights = model.log_weights(pixels, 1000, generator)
        many = pixels.repeat_interleave(1000, 0)
        bounds = elbo(*model(many, torch.randn(3000, 2, generator=generator))).view(3, 1000)
    error = (weights.var(1) + bounds.var(1)).sqrt() / math.sqrt(1000)
    assert bool(((weights.mean(1) - bounds.mean(1)).abs() < 5 * error).all())


@pytest.mark.parametrize("batch_size", [1, 3, 7, 1000])
def test_log_weights_do_not_depend_on_what_is_decoded_at_once(batch_size):
    model, pixels, labels = small(classes=CLASSES), grey(5), torch.tensor([0, 1, 1, 0, 1])
    given = {"labels": labels, "batch_size": batch_size}
    weights = model.log_weights(pixels, 6, torch.Generator().manual_seed(0), **given)
    expected = model.log_weights(pixels, 6, torch.Generator().manual_seed(0), labels)
    torch.testing.assert_close(weights, expected, rtol=1e-5, atol=1e-3)
    assert not torch.allclose(weights, model.log_weights(pixels, 6, torch.Generator().manual_seed(1), labels))


def test_no_more_is_decoded_at_once_than_was_allowed(monkeypatch):
    model, sizes = small(), []
    inside = model.decoder.forward
    monkeypatch.setattr(model.decoder, "forward", lambda z, labels=None: sizes.append(len(z)) or inside(z))
    model.log_weights(grey(3), 10, torch.Generator(), batch_size=4)
    assert max(sizes) == 4
    assert sum(sizes) == 30


def test_a_kept_latent_of_weight_zero_is_a_plain_autoencoder():
    """At β = 0, and with no variance to draw from, only the squared error of the reconstruction is left."""
    model, pixels = small("gaussian", sigma=0.5), grey(4)
    terms = model(pixels, torch.zeros(4, 2))
    error = (model.decode(model.encode(pixels)) - pixels).square().flatten(1).sum(1)
    constant = 16 * (math.log(0.5) + 0.5 * math.log(2 * math.pi))
    torch.testing.assert_close(beta_loss(*terms, beta=0.0), error.mean() / (2 * 0.5**2) + constant)


def test_the_class_is_known_to_both_halves():
    model, pixels = small(classes=CLASSES), grey(3)
    left, right = torch.zeros(3, dtype=torch.int64), torch.ones(3, dtype=torch.int64)
    assert (model.encode(pixels, left) - model.encode(pixels, right)).abs().min() > 1e-3
    latents = torch.zeros(3, 2)
    assert (model.decode(latents, left) - model.decode(latents, right)).abs().max() > 1e-2
    noise = noise_for([1, 2, 3])
    drawn = [model.sample(3, noise=noise, labels=labels) for labels in (left, right)]
    assert (drawn[0] - drawn[1]).flatten(1).abs().amax(1).min() > 1e-2


def test_black_and_white_pictures_are_decoded_to_their_share_of_white():
    model = small("bernoulli")
    latents = torch.randn(3, 2)
    torch.testing.assert_close((model.decode(latents) + 1) / 2, model.decoder(latents).sigmoid())
    with pytest.raises(ValueError, match="no sigma"):
        _ = model.sigma


def test_sigma_is_learned_where_it_is_not_given():
    assert float(small("gaussian", sigma=0.25).sigma) == 0.25
    model, pixels = small("gaussian"), grey(8)
    latents = model.encode(pixels).detach()
    error = (model.decode(latents) - pixels).square().mean().sqrt().detach()
    pulls = []
    for factor in (0.95, 1.05):  # of the best there is: the root of the mean squared error
        model.log_sigma.data = (factor * error - SIGMA_MIN).log()
        torch.testing.assert_close(model.sigma.detach(), factor * error)
        likelihood = model.log_likelihood(pixels, latents).sum()
        pulls.append(float(torch.autograd.grad(likelihood, model.log_sigma)[0]))
    assert pulls[0] > 0 > pulls[1]


def test_posteriors_of_a_set_are_those_of_its_batches():
    model, levels = small(classes=CLASSES), PixelRange().inverse(grey(5))
    labels = torch.tensor([0, 1, 1, 0, 1])
    found = posteriors(model, levels, labels, batch_size=2)
    whole = model.posterior(PixelRange().forward(levels), labels)
    torch.testing.assert_close(found.mean, whole.mean.detach(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.logvar, whole.logvar.detach(), rtol=1e-4, atol=1e-5)
    with pytest.raises(UserError, match="no pictures"):
        posteriors(model, levels[:0], labels[:0])


def test_what_does_not_fit_is_refused():
    model, pixels = small(classes=CLASSES), grey(2)
    for ask in (model.encode, lambda p: model.decode(torch.zeros(2, 2)), model.posterior):
        with pytest.raises(UserError, match="needs the class of every picture"):
            ask(pixels)
    with pytest.raises(UserError, match="labels from 0 to 2 for a model of 2 classes"):
        model.log_weights(pixels, 1, torch.Generator(), torch.tensor([0, 2]))
    with pytest.raises(UserError, match="has no classes"):
        small().sample(1, noise=noise_for([0]), labels=torch.tensor([0]))
    with pytest.raises(UserError, match="these are colour"):
        model.posterior(torch.zeros(2, 3, 4, 4), torch.tensor([0, 1]))
    with pytest.raises(UserError, match="num_draws"):
        small().log_weights(pixels, 0, torch.Generator())


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"sigma": 0.001}, "sigma = 0.001"),
        ({"sigma": -1.0}, "sigma = -1.0"),
        ({"sigma": 0.5, "likelihood": "bernoulli"}, "have no sigma"),
    ],
)
def test_likelihoods_that_cannot_be_are_refused(fields, said):
    with pytest.raises(UserError, match=said):
        VAEConfig(**fields)
