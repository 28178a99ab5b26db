"""The variational autoencoder, and with classes the conditional one: latents that fill a standard Gaussian.

Kingma & Welling (2014), "Auto-encoding variational Bayes"; with classes, q(z|x,c) and p(x|z,c) under
a prior p(z) that does not know the class, after Sohn et al. (2015), "Learning structured output
representation using deep conditional generative models".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Float64, Int64, UInt8
from torch import Tensor, nn

from melies.autoencoders.elbo import Posterior, log_ratio
from melies.autoencoders.likelihood import SIGMA_MIN, Likelihood, bernoulli, discretized, gaussian
from melies.autoencoders.network import Decoder, Encoder, HalvesConfig
from melies.config import check_positive, check_range, from_json
from melies.errors import UserError
from melies.interfaces import Noise
from melies.nn.inputs import check_labels, check_pictures
from melies.transform import PixelRange, Transform


@dataclass(frozen=True, slots=True, kw_only=True)
class VAEConfig:
    """What a VAE is made of."""

    network: HalvesConfig = HalvesConfig()
    """Encoder and decoder."""
    likelihood: Likelihood = "discretized"
    """What a pixel is given its latent: "bernoulli" black or white, "gaussian" a real number, "discretized"
    one of 256 levels."""
    sigma: float | None = None
    """Standard deviation of a pixel around the decoder's picture, on the scale of −1 to 1; None: learned, one
    for all pixels. Black and white pixels have none."""
    classes: tuple[str, ...] = ()
    """Names of the classes; empty for a model without classes."""

    def __post_init__(self) -> None:
        """Check the deviation."""
        if self.sigma is not None:
            check_range("sigma", self.sigma, low=SIGMA_MIN)
            if self.likelihood == "bernoulli":
                raise UserError("black and white pixels have no sigma", remedy="leave it out")


class Terms(NamedTuple):
    """What the bound on log p(x) is made of, in nats."""

    log_likelihood: Float[Tensor, " b"]
    """log p(x|z) at one draw of q(z|x)."""
    kl: Float[Tensor, "b d"]
    """KL(q(z_j|x) ‖ p(z_j))."""


class VAE(nn.Module):
    """Encoder, decoder and likelihood; the latent of a picture is the mean of its posterior."""

    kind = "vae"

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.config = config
        self.transforms: dict[str, Transform] = {}
        self.parts: dict[str, nn.Module] = {}
        num_classes = len(config.classes)
        self.encoder = Encoder(
            config.network, num_outputs=2 * config.network.latent_dim, num_classes=num_classes
        )
        self.decoder = Decoder(config.network, num_classes=num_classes)
        if config.likelihood != "bernoulli" and config.sigma is None:
            self.log_sigma = nn.Parameter(torch.tensor(-1.0))  # of sigma above its least value

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of a picture."""
        return (self.config.network.channels, self.config.network.size, self.config.network.size)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes it can be asked for."""
        return self.config.classes

    @property
    def sigma(self) -> Float[Tensor, ""]:
        """Standard deviation of a pixel around the decoder's picture.

        Raises:
            ValueError: If pixels are black or white.
        """
        if self.config.likelihood == "bernoulli":
            raise ValueError("black and white pixels have no sigma")
        if self.config.sigma is not None:
            return next(self.parameters()).new_tensor(self.config.sigma)
        return SIGMA_MIN + self.log_sigma.exp()

    def forward(
        self,
        pixels: Float[Tensor, "b c h w"],
        epsilon: Float[Tensor, "b d"],
        labels: Int64[Tensor, " b"] | None = None,
    ) -> Terms:
        """One training pass over pictures in [−1, 1], ε standard normal; see `melies.autoencoders.elbo`."""
        posterior = self.posterior(pixels, labels)
        return Terms(self.log_likelihood(pixels, posterior.draw(epsilon), labels), posterior.kl())

    def posterior(
        self, pixels: Float[Tensor, "b c h w"], labels: Int64[Tensor, " b"] | None = None
    ) -> Posterior:
        """q(z|x) of pictures in [−1, 1]."""
        check_pictures(pixels, self.shape)
        check_labels(labels, self.classes, len(pixels))
        return Posterior(*_full(self.encoder(pixels, labels)).chunk(2, dim=1))

    def log_likelihood(
        self,
        pixels: Float[Tensor, "b c h w"],
        latents: Float[Tensor, "b d"],
        labels: Int64[Tensor, " b"] | None = None,
    ) -> Float[Tensor, " b"]:
        """Log p(x|z), in nats."""
        found = _full(self.decoder(latents, labels))
        match self.config.likelihood:
            case "bernoulli":
                return bernoulli(pixels, found)
            case "gaussian":
                return gaussian(pixels, found, self.sigma)
            case "discretized":
                return discretized(pixels, found, self.sigma)

    def encode(
        self, pixels: Float[Tensor, "b c h w"], labels: Int64[Tensor, " b"] | None = None
    ) -> Float[Tensor, "b d"]:
        """The posterior mean of pictures in [−1, 1]."""
        return self.posterior(pixels, labels).mean

    def decode(
        self, latents: Float[Tensor, "b d"], labels: Int64[Tensor, " b"] | None = None
    ) -> Float[Tensor, "b c h w"]:
        """Pictures, about [−1, 1]: the mean of p(x|z), to which the likelihood would still add its noise."""
        check_labels(labels, self.classes, len(latents))
        found = _full(self.decoder(latents, labels))
        return 2 * found.sigmoid() - 1 if self.config.likelihood == "bernoulli" else found

    @torch.no_grad()
    def sample(
        self, num: int, *, noise: Noise, labels: Int64[Tensor, " b"] | None = None
    ) -> Float[Tensor, "b c h w"]:
        """Decodings of draws from the prior N(0, 1)."""
        weight = next(self.parameters())
        return self.decode(noise(-1, weight.new_zeros(num, self.config.network.latent_dim)), labels)

    @torch.no_grad()
    def log_weights(
        self,
        pixels: Float[Tensor, "n c h w"],
        num_draws: int,
        generator: torch.Generator,
        labels: Int64[Tensor, " n"] | None = None,
        *,
        batch_size: int = 512,
    ) -> Float64[Tensor, "n k"]:
        """Log-weights of `num_draws` draws of q for each picture, in nats, on the CPU.

        They are log p(x|z) + log p(z) − log q(z|x); logsumexp − log k over a row is the importance-weighted
        bound on log p(x) (Burda et al. 2016). The same draws are taken whatever the batch size.

        Args:
            pixels: In [−1, 1].
            num_draws: k.
            generator: On the CPU; a picture takes its draws after those of the picture before.
            labels: Numbers of classes; None for a model without classes.
            batch_size: Decodings at once: what bounds the memory.
        """
        check_positive("num_draws", num_draws)
        check_positive("batch_size", batch_size)
        rows = max(1, batch_size // num_draws)
        found = []
        for start in range(0, len(pixels), rows):
            x = pixels[start : start + rows]
            chosen = None if labels is None else labels[start : start + rows]
            posterior = self.posterior(x, chosen)
            shape = (num_draws, self.config.network.latent_dim)
            epsilon = torch.stack([torch.randn(shape, generator=generator) for _ in x]).to(posterior.mean)
            latents, ratio = log_ratio(posterior, epsilon)
            place = torch.arange(len(x), device=x.device).repeat_interleave(num_draws)
            likelihood = [
                self.log_likelihood(x[some], z, None if chosen is None else chosen[some])
                for some, z in zip(
                    place.split(batch_size), latents.flatten(0, 1).split(batch_size), strict=True
                )
            ]
            found.append((torch.cat(likelihood).view_as(ratio).double() + ratio.double()).cpu())
        return torch.cat(found) if found else torch.zeros(0, num_draws, dtype=torch.float64)


@torch.no_grad()
def posteriors(
    model: VAE,
    pixels: UInt8[Tensor, "n c h w"],
    labels: Int64[Tensor, " n"] | None = None,
    *,
    batch_size: int = 256,
) -> Posterior:
    """q(z|x) of a set of pictures 0 … 255, on the CPU: what tells the KL per element and the active units.

    Raises:
        UserError: If there are no pictures.
    """
    if not len(pixels):
        raise UserError("there are no pictures to encode")
    device = next(model.parameters()).device
    found = []
    for start in range(0, len(pixels), batch_size):
        some = slice(start, start + batch_size)
        x = PixelRange().forward(pixels[some].to(device))
        found.append(model.posterior(x, None if labels is None else labels[some].to(device)))
    means, logvars = zip(*found, strict=True)
    return Posterior(torch.cat(means).cpu(), torch.cat(logvars).cpu())


def _full(x: Tensor) -> Tensor:
    """In float32 at least: likelihoods of whole pictures need more digits than half precision has."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def restore(config: Mapping[str, Any], transforms: Mapping[str, Transform], parts: Mapping[str, Any]) -> VAE:
    """Build a VAE from the config of a checkpoint."""
    return VAE(from_json(VAEConfig, config))
