"""The GAN as a model of pictures: noise to pictures in one pass, and back by projection."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from melies.config import from_json
from melies.gan.config import GANConfig
from melies.gan.discriminator import build_discriminator
from melies.gan.generator import build_generator
from melies.gan.project import project
from melies.interfaces import Noise
from melies.nn.inputs import check_labels, check_pictures
from melies.transform import Transform


class GAN(nn.Module):
    """A generator, and the discriminator that it was trained against."""

    kind = "gan"

    def __init__(self, config: GANConfig) -> None:
        """Build both networks, untrained."""
        super().__init__()
        self.config = config
        self.transforms: dict[str, Transform] = {}
        self.parts: dict[str, nn.Module] = {}
        self.generator = build_generator(config)
        self.discriminator = build_discriminator(config)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of a picture."""
        return (self.config.channels, self.config.size, self.config.size)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes it can be asked for; empty where it has none."""
        return self.config.classes

    def encode(
        self, pixels: Float[Tensor, "b c h w"], labels: Int64[Tensor, " b"] | None = None
    ) -> Float[Tensor, "b d"]:
        """Latents whose pictures come close to `pixels`: see `melies.gan.project`.

        Raises:
            UserError: If the pictures are of another shape, or labels are missing or not asked for.
        """
        check_pictures(pixels, self.shape)
        check_labels(labels, self.classes, len(pixels))

        def generate(z: Tensor, rows: Tensor) -> Tensor:
            return self.generator(z, None if labels is None else labels[rows])

        return project(generate, pixels, latent_dim=self.config.latent_dim)

    def decode(
        self, latents: Float[Tensor, "b d"], labels: Int64[Tensor, " b"] | None = None
    ) -> Float[Tensor, "b c h w"]:
        """Pictures in [−1, 1] of latents.

        Raises:
            UserError: If labels are missing or not asked for.
        """
        check_labels(labels, self.classes, len(latents))
        return self.generator(latents, labels).clamp(-1, 1)

    @torch.no_grad()
    def sample(
        self, num: int, *, noise: Noise, labels: Int64[Tensor, " b"] | None = None
    ) -> Float[Tensor, "b c h w"]:
        """New pictures in [−1, 1], of the latents that `noise` draws at step −1.

        Raises:
            UserError: If labels are missing or not asked for.
        """
        device = next(self.parameters()).device
        return self.decode(noise(-1, torch.empty(num, self.config.latent_dim, device=device)), labels)


def restore(config: Mapping[str, Any], transforms: Mapping[str, Transform], parts: Mapping[str, Any]) -> GAN:
    """Build a GAN from the config of a checkpoint."""
    return GAN(from_json(GANConfig, config))
