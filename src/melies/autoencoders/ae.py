"""The plain autoencoder: pictures to a vector each and back; nothing says which vectors are pictures.

A mixture of Gaussians that is fitted to its latents afterwards lets it draw all the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from melies.autoencoders.mixture import Covariance, Mixture, fit_mixture
from melies.autoencoders.network import Decoder, Encoder, HalvesConfig
from melies.config import check_positive, from_json
from melies.errors import UserError
from melies.interfaces import Noise
from melies.nn.inputs import check_labels, check_pictures
from melies.transform import Transform


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoencoderConfig:
    """What an autoencoder is made of."""

    network: HalvesConfig = HalvesConfig()
    """Encoder and decoder."""
    components: int = 1
    """Gaussians in the mixture that is fitted to the latents."""
    covariance: Covariance = "full"
    """Whether these Gaussians know how the numbers of a latent go together."""

    def __post_init__(self) -> None:
        """Check the range."""
        check_positive("components", self.components)


class Autoencoder(nn.Module):
    """Encoder and decoder; it draws once `fit_prior` has seen the latents of the data."""

    kind = "autoencoder"
    prior_weights: Tensor
    prior_means: Tensor
    prior_factors: Tensor

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        self.transforms: dict[str, Transform] = {}
        self.parts: dict[str, nn.Module] = {}
        dim, components = config.network.latent_dim, config.components
        self.encoder = Encoder(config.network, num_outputs=dim)
        self.decoder = Decoder(config.network)
        self.register_buffer("prior_weights", torch.zeros(components))  # all zero: not fitted yet
        self.register_buffer("prior_means", torch.zeros(components, dim))
        self.register_buffer("prior_factors", torch.zeros(components, dim, dim))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of a picture."""
        return (self.config.network.channels, self.config.network.size, self.config.network.size)

    @property
    def classes(self) -> tuple[str, ...]:
        """None: it draws whatever its latents hold."""
        return ()

    @property
    def prior(self) -> Mixture:
        """The fitted mixture.

        Raises:
            UserError: If none was fitted.
        """
        if not bool(self.prior_weights.any()):
            raise UserError(
                "a plain autoencoder has no prior over its latents until one is fitted to them",
                remedy="train it with `melies train autoencoder`, which ends with that",
            )
        return Mixture(self.prior_weights, self.prior_means, self.prior_factors)

    @torch.no_grad()
    def fit_prior(self, latents: Float[Tensor, "n d"], *, seed: int = 0) -> None:
        """Fit the mixture to the latents of the data.

        Raises:
            UserError: As `fit_mixture` does.
        """
        fitted = fit_mixture(
            latents, components=self.config.components, covariance=self.config.covariance, seed=seed
        )
        self.prior_weights.copy_(fitted.weights)
        self.prior_means.copy_(fitted.means)
        self.prior_factors.copy_(fitted.factors)

    def forward(self, pixels: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """The reconstruction of pictures in [−1, 1]."""
        check_pictures(pixels, self.shape)
        return self.decoder(self.encoder(pixels)).float()

    def encode(
        self, pixels: Float[Tensor, "b c h w"], labels: Int64[Tensor, " b"] | None = None
    ) -> Float[Tensor, "b d"]:
        """Latents of pictures in [−1, 1]; of a scale that nothing fixes."""
        check_pictures(pixels, self.shape)
        check_labels(labels, self.classes, len(pixels))
        return self.encoder(pixels).float()

    def decode(
        self, latents: Float[Tensor, "b d"], labels: Int64[Tensor, " b"] | None = None
    ) -> Float[Tensor, "b c h w"]:
        """Pictures, about [−1, 1], of latents."""
        check_labels(labels, self.classes, len(latents))
        return self.decoder(latents).float()

    @torch.no_grad()
    def sample(
        self, num: int, *, noise: Noise, labels: Int64[Tensor, " b"] | None = None
    ) -> Float[Tensor, "b c h w"]:
        """Decodings of draws from the fitted prior, which may well fall where no picture ever was.

        Raises:
            UserError: If no prior was fitted, or labels are given.
        """
        prior = self.prior
        epsilon = noise(-1, prior.means.new_zeros(num, prior.means.shape[1]))
        uniform = torch.special.ndtr(noise(0, prior.means.new_zeros(num, 1)))[:, 0]
        return self.decode(prior.draw(epsilon, uniform), labels)


def restore(
    config: Mapping[str, Any], transforms: Mapping[str, Transform], parts: Mapping[str, Any]
) -> Autoencoder:
    """Build an autoencoder from the config of a checkpoint."""
    return Autoencoder(from_json(AutoencoderConfig, config))
