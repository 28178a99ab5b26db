"""A diffusion model as one family among others: its latents are the noise that its ODE turns into pictures.

The probability-flow ODE can be walked both ways (Song et al. 2021, "Score-based generative modeling",
§4.3): down the noise levels it decodes, up them it encodes, which with Euler steps is DDIM inversion.
"""

import functools

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from melies.diffusion.guidance.classifier_free import ClassifierFreeGuidance
from melies.diffusion.noise import without_zero
from melies.diffusion.sample import heun
from melies.images.generate import choose_sampler, sigma_grid
from melies.images.model import ImageDiffusion
from melies.interfaces import Branch, Denoise, Noise
from melies.nn.inputs import check_labels, check_pictures


class DiffusionPictures:
    """A `PictureModel` around a diffusion model, which is not guided on the way through latents.

    A latent is noise of standard deviation 1, in the shape of x0. A model of words is asked for nothing
    in particular, which it has learned as dropped captions.
    """

    def __init__(
        self,
        model: ImageDiffusion,
        *,
        scale: float = 1.5,
        num_steps: int = 25,
        sampler: str = "dpmpp",
        grid: str = "karras",
        eta: float = 0.0,
    ) -> None:
        """Wrap a model.

        Args:
            model: What draws.
            scale: Guidance scale of `sample`, for a model of classes.
            num_steps: Steps of the sampler, and of the ODE in either direction.
            sampler: A name in `melies.diffusion.SAMPLERS`, for `sample`.
            grid: A name in `melies.diffusion.GRIDS`.
            eta: Fresh noise of the DDIM sampler, 0 … 1, for `sample`.
        """
        self.model, self.scale = model, scale
        self._sampler = choose_sampler(sampler, eta)
        self._sigmas = sigma_grid(model, num_steps, grid)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of a picture."""
        config = self.model.config
        return config.channels, config.size, config.size

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes it can be asked for."""
        return self.model.config.classes

    @property
    def _length(self) -> float:
        """Standard deviation of x at the highest noise level."""
        return float((self._sigmas[0] ** 2 + self.model.config.sigma_data**2).sqrt())

    @torch.no_grad()
    def encode(
        self, pixels: Float[Tensor, "b c h w"], labels: Int64[Tensor, " b"] | None = None
    ) -> Float[Tensor, "b d h2 w2"]:
        """The noise that `decode` would turn into these pictures.

        Raises:
            UserError: If the pictures are of another shape.
        """
        check_pictures(pixels, self.shape)
        x0 = self.model.encode(pixels)
        rising = without_zero(self._sigmas).flip(0)  # from σ_min: the noise below it is too little to see
        return heun(self._denoise(labels), x0, rising) / self._length

    @torch.no_grad()
    def decode(
        self, latents: Float[Tensor, "b d h2 w2"], labels: Int64[Tensor, " b"] | None = None
    ) -> Float[Tensor, "b c h w"]:
        """Pictures, about [−1, 1], of noise."""
        return self.model.decode(heun(self._denoise(labels), latents * self._length, self._sigmas))

    @torch.no_grad()
    def sample(
        self, num: int, *, noise: Noise, labels: Int64[Tensor, " b"] | None = None
    ) -> Float[Tensor, "b c h w"]:
        """`num` pictures by the sampler that was chosen, guided by the class where there is one.

        Raises:
            UserError: If labels are missing or not asked for.
        """
        check_labels(labels, self.classes, num)
        start = torch.zeros(num, *self.model.shape, device=self.model.device)
        denoise = self._denoise(labels, guided=True)
        x = float(self._sigmas[0]) * noise(-1, start)
        return self.model.decode(self._sampler(denoise, x, self._sigmas, noise=noise))

    def _denoise(self, labels: Tensor | None, *, guided: bool = False) -> Denoise:
        if labels is None:
            return functools.partial(_unconditioned, self.model)
        condition = {"class": labels.to(self.model.device)}
        branches = {
            "conditional": Branch(self.model, condition),
            "null": Branch(self.model, self.model.null_condition(condition)),
        }
        return ClassifierFreeGuidance(scale=self.scale if guided else 1.0).bind(branches, self._sigmas)


def _unconditioned(model: ImageDiffusion, x: Tensor, sigma: Tensor) -> Tensor:
    """Asked for nothing: the network takes its learned null of each condition that is not given."""
    return model(x, sigma, {})
