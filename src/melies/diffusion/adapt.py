"""The one place where other coordinates become σ: DDPM time, flow time, and what a network predicts.

In the coordinate of this library x_σ = x0 + σ·ε. The others are rescalings of it:

    variance preserving (DDPM)   x_t = √ᾱ·x0 + √(1−ᾱ)·ε   = x_σ/√(1+σ²),   σ² = (1−ᾱ)/ᾱ
    rectified flow               x_t = (1−t)·x0 + t·ε      = x_σ/(1+σ),     σ = t/(1−t)

so a network made for either is a `Denoiser` once its input is scaled and its output is solved for x0.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol, TypeAlias, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from melies.diffusion.precondition import per_sample
from melies.errors import choose
from melies.interfaces import AttentionEdit, Condition, Network, Residuals

Samples: TypeAlias = Float[Tensor, "b *event"]
Levels: TypeAlias = Float[Tensor, "*n"]

# Time and σ


def sigma_from_alpha_bar(alpha_bar: Levels) -> Levels:
    """σ = √((1−ᾱ)/ᾱ), for ᾱ in (0, 1]."""
    return ((1 - alpha_bar) / alpha_bar).sqrt()


def alpha_bar_from_sigma(sigma: Levels) -> Levels:
    """ᾱ = 1/(1+σ²)."""
    return 1 / (1 + sigma.square())


def sigma_from_flow_time(time: Levels) -> Levels:
    """σ = t/(1−t), for t in [0, 1), where t = 0 is data."""
    return time / (1 - time)


def flow_time_from_sigma(sigma: Levels) -> Levels:
    """Flow time t = σ/(1+σ)."""
    return sigma / (1 + sigma)


# What a network predicts, and x0


def x0_from_epsilon(x: Samples, sigma: Float[Tensor, " b"], epsilon: Samples) -> Samples:
    """x0 = x − σ·ε."""
    return torch.addcmul(x, per_sample(sigma, x), epsilon, value=-1)


def epsilon_from_x0(x: Samples, sigma: Float[Tensor, " b"], x0: Samples) -> Samples:
    """ε = (x − x0)/σ, for σ above 0."""
    return (x - x0) / per_sample(sigma, x)


def x0_from_v(x: Samples, sigma: Float[Tensor, " b"], v: Samples) -> Samples:
    """x0 from v = √ᾱ·ε − √(1−ᾱ)·x0 (Salimans & Ho 2022, §4)."""
    s = per_sample(sigma, x)
    return x / (1 + s.square()) - s * (1 + s.square()).rsqrt() * v


def v_from_x0(x: Samples, sigma: Float[Tensor, " b"], x0: Samples) -> Samples:
    """The v = √ᾱ·ε − √(1−ᾱ)·x0 that stands for x0, for σ above 0."""
    s = per_sample(sigma, x)
    return (x / (1 + s.square()) - x0) * (1 + s.square()).sqrt() / s


def x0_from_velocity(x: Samples, sigma: Float[Tensor, " b"], velocity: Samples) -> Samples:
    """x0 from the velocity ε − x0 of a rectified flow (Liu et al. 2022, eq. 1, time reversed)."""
    s = per_sample(sigma, x)
    return (x - s * velocity) / (1 + s)


def velocity_from_x0(x: Samples, sigma: Float[Tensor, " b"], x0: Samples) -> Samples:
    """The velocity ε − x0, for σ above 0."""
    s = per_sample(sigma, x)
    return (x - (1 + s) * x0) / s


def score_from_x0(x: Samples, sigma: Float[Tensor, " b"], x0: Samples) -> Samples:
    """∇ log p(x_σ) = (x0_hat − x)/σ² (Karras et al. 2022, eq. 3), for σ above 0."""
    return (x0 - x) / per_sample(sigma, x).square()


def _x0(x: Tensor, sigma: Tensor, x0: Tensor) -> Tensor:
    return x0


X0_FROM = {"x0": _x0, "epsilon": x0_from_epsilon, "v": x0_from_v, "velocity": x0_from_velocity}
"""`(x, sigma, prediction) → x0`, by what the network predicts."""

FROM_X0 = {"x0": _x0, "epsilon": epsilon_from_x0, "v": v_from_x0, "velocity": velocity_from_x0}
"""`(x, sigma, x0) → prediction`, the inverse."""

# How a network was trained: the scale of its input and the time it is told


@runtime_checkable
class Clock(Protocol):
    """The coordinate a network was trained in."""

    def scale(self, sigma: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        """What x_σ is multiplied by before the network sees it."""
        ...

    def time(self, sigma: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        """The time the network is told, its c_noise."""
        ...


@dataclass(frozen=True, eq=False)
class DiscreteClock:
    """DDPM timesteps 0 … T−1 of a variance-preserving schedule; σ beyond the table takes its end."""

    alpha_bar: Float[Tensor, " t"]
    """ᾱ of every timestep, falling."""
    rounding: str = "linear"
    """"nearest" tells whole timesteps; "linear" interpolates them in log σ."""

    def __post_init__(self) -> None:
        """Check the table."""
        choose(self.rounding, ("nearest", "linear"), "rounding")
        if len(self.alpha_bar) < 2 or not bool((self.alpha_bar.diff() < 0).all()):
            raise ValueError("alpha_bar must hold at least two values and fall")

    def scale(self, sigma: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        """√ᾱ = 1/√(1+σ²)."""
        return (1 + sigma.square()).rsqrt()

    def time(self, sigma: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        """The timestep whose σ this is."""
        if self.rounding == "nearest":
            return torch.bucketize(sigma.double(), self._between.to(sigma.device)).to(sigma)
        table = self._log_sigma.to(sigma.device)
        wanted = sigma.double().log()
        lower = torch.searchsorted(table[1:-1], wanted.contiguous())
        below = table[lower]
        return (lower + ((wanted - below) / (table[lower + 1] - below)).clamp(0, 1)).to(sigma)

    def sigma(self, time: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        """The σ of a timestep, between two of them linear in log σ."""
        table = self._log_sigma.to(time.device)
        lower = time.floor().long().clamp(0, len(table) - 2)
        return torch.lerp(table[lower], table[lower + 1], time.double() - lower).exp().to(time)

    @cached_property  # a thousand logarithms at every step would be seen beside a small network
    def _log_sigma(self) -> Tensor:
        return sigma_from_alpha_bar(self.alpha_bar.double()).log()

    @cached_property
    def _between(self) -> Tensor:
        """The σ halfway between two timesteps, in log σ, where the nearest one changes."""
        return torch.lerp(self._log_sigma[:-1], self._log_sigma[1:], 0.5).exp()


@dataclass(frozen=True)
class FlowClock:
    """Rectified-flow time, 0 at data and 1 at noise."""

    unit: float = 1.0
    """The time told is t times this; networks that count to 1000 take 1000."""

    def scale(self, sigma: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        """1 − t = 1/(1+σ)."""
        return 1 / (1 + sigma)

    def time(self, sigma: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        """Flow time t = σ/(1+σ), times `unit`."""
        return self.unit * flow_time_from_sigma(sigma)


class Prediction(NamedTuple):
    """What an adapted network says."""

    x0: Tensor
    extra: Tensor | None
    """Channels beyond those of x: the variance interpolation of `ddpm.learned_variance`."""


class Adapted(nn.Module):
    """A `Denoiser` made of a network that predicts ε, v, x0 or a velocity, at its own clock."""

    def __init__(
        self,
        network: Network,
        *,
        predicts: str,
        clock: Clock,
    ) -> None:
        """Wrap a network.

        Args:
            network: Takes the scaled x and the clock's time; may return more channels than x has.
            predicts: What it was trained to predict: "epsilon", "v", "x0" or "velocity".
            clock: Where it was trained: `DiscreteClock` or `FlowClock`.

        Raises:
            UserError: If `predicts` is none of these.
        """
        super().__init__()
        self.network = network
        self.predicts = choose(predicts, list(X0_FROM), "prediction")
        self.clock = clock

    def forward(
        self,
        x: Samples,
        sigma: Float[Tensor, " b"],
        condition: Condition,
        *,
        attention: AttentionEdit | None = None,
        residuals: Residuals | None = None,
    ) -> Samples:
        """The expected x0 given x = x0 + σ·ε; float32, or float64 if x is."""
        return self.predict(x, sigma, condition, attention=attention, residuals=residuals).x0

    def predict(
        self,
        x: Samples,
        sigma: Float[Tensor, " b"],
        condition: Condition,
        *,
        attention: AttentionEdit | None = None,
        residuals: Residuals | None = None,
    ) -> Prediction:
        """As the call, with the channels that a learned-variance network adds.

        Raises:
            ValueError: If the network returns fewer channels than x has.
        """
        x = x if x.dtype == torch.float64 else x.float()
        sigma = sigma.to(x)
        scaled, time = per_sample(self.clock.scale(sigma), x) * x, self.clock.time(sigma)
        added = None if residuals is None else residuals(scaled, time)
        out = self.network(scaled, time, condition, residuals=added, attention=attention).to(x)
        channels = x.shape[1]
        if out.shape[1] < channels:
            raise ValueError(f"the network returned {out.shape[1]} channels for an input of {channels}")
        x0 = X0_FROM[self.predicts](x, sigma, out[:, :channels])
        return Prediction(x0, out[:, channels:] if out.shape[1] > channels else None)
