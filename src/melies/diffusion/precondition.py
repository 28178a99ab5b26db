"""Preconditioning: makes a network a denoiser whose input and target have unit variance at every σ."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from melies.interfaces import AttentionEdit, Condition, Residuals


class Preconditioning(NamedTuple):
    """x0_hat = c_skip·x + c_out·network(c_in·x, c_noise); each in the shape of sigma."""

    c_skip: Tensor
    c_out: Tensor
    c_in: Tensor
    c_noise: Tensor


def edm(sigma: Float[Tensor, " b"], sigma_data: float) -> Preconditioning:
    """Scalings that give network input and target unit variance, and the smallest c_out.

    Args:
        sigma: Noise level, above 0, in units of x0.
        sigma_data: Standard deviation of x0.

    Source: Karras et al. (2022), Table 1 and appendix B.6.
    """
    variance = sigma.square() + sigma_data**2
    return Preconditioning(
        c_skip=sigma_data**2 / variance,
        c_out=sigma * sigma_data * variance.rsqrt(),
        c_in=variance.rsqrt(),
        c_noise=sigma.log() / 4,
    )


def flow(sigma: Float[Tensor, " b"], sigma_data: float) -> Preconditioning:
    """Scalings by which the network sees x_t = (1 − t)·x0 + t·ε and predicts the velocity ε − x0.

    Both are taken at unit variance of x0, so that t = s/(1 + s) with s = σ/sigma_data; t is what the network
    is told of the noise. The squared error of the velocity is that of x0 over c_out².

    Args:
        sigma: Noise level, above 0, in units of x0.
        sigma_data: Standard deviation of x0.

    Source: Liu et al. (2023), eq. 1; Lipman et al. (2023), §4.1, the path of optimal transport.
    """
    s = sigma / sigma_data
    return Preconditioning(
        c_skip=1 / (1 + s), c_out=-sigma / (1 + s), c_in=1 / (sigma_data * (1 + s)), c_noise=s / (1 + s)
    )


class Preconditioned(nn.Module):
    """A `Denoiser` made of a `Network` with as many channels out as in.

    The scalings and the sum are taken in float32 (float64 for a float64 input) whatever precision
    the network runs in, because at small σ the result is x plus a small correction.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        sigma_data: float,
        scalings: Callable[[Float[Tensor, " b"], float], Preconditioning] = edm,
    ) -> None:
        """Wrap `network`; sigma_data is the standard deviation of x0, `scalings` is `edm` or `flow`."""
        super().__init__()
        self.network = network
        self.sigma_data = sigma_data
        self.scalings = scalings

    def forward(
        self,
        x: Float[Tensor, "b *event"],
        sigma: Float[Tensor, " b"],
        condition: Condition,
        *,
        attention: AttentionEdit | None = None,
        residuals: Residuals | None = None,
    ) -> Float[Tensor, "b *event"]:
        """The expected x0 given x = x0 + σ·ε; float32, or float64 if x is.

        Args:
            x: Noisy input.
            sigma: Noise level of each sample, above 0.
            condition: See `melies.interfaces.Condition`.
            attention: May replace the result of any attention layer of the network.
            residuals: Of control branches; they see what the network sees.

        Raises:
            ValueError: If the network's output is not of the shape of x.
        """
        x = x if x.dtype == torch.float64 else x.float()
        c = self.scalings(sigma.to(x), self.sigma_data)
        scaled = per_sample(c.c_in, x) * x
        added = None if residuals is None else residuals(scaled, c.c_noise)
        predicted = self.network(scaled, c.c_noise, condition, residuals=added, attention=attention)
        if predicted.shape != x.shape:
            raise ValueError(
                f"the network returned {tuple(predicted.shape)} for {tuple(x.shape)}; channels beyond those"
                " of the input, as of learned variances, go through melies.diffusion.adapt.Adapted"
            )
        return per_sample(c.c_skip, x) * x + per_sample(c.c_out, x) * predicted.to(x)


def per_sample(value: Float[Tensor, " b"], like: Float[Tensor, "b *event"]) -> Tensor:
    """One number per sample, shaped (b, 1, …) so that it multiplies `like`."""
    return value.to(like).view(-1, *[1] * (like.ndim - 1))
