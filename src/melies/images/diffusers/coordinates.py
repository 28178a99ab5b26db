"""From what a pipeline's network sees and says to x0 and σ, and back.

The network sees x_t = α·x0 + s·ε, with (α, s) = (√ᾱ, √(1−ᾱ)) of a variance-preserving schedule or
(1 − t, t) of a rectified flow; ours is x_σ = x_t/α with σ = s/α (`melies.diffusion.adapt`). The network's
prediction is solved for x0 at (α, s) themselves, since a flow begins at α = 0, where σ has no value.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from melies.diffusion.adapt import DiscreteClock, sigma_from_alpha_bar
from melies.errors import UserError, choose

ALPHA_MIN = 1e-4
"""Least share of x0 in what the network sees: σ is at most its inverse."""

PREDICTIONS = {
    "epsilon": "epsilon",
    "v_prediction": "v",
    "sample": "x0",
    "flow_prediction": "velocity",
}
"""The schedulers' names of predictions → ours."""

SAMPLERS_OF = {
    "DDIMScheduler": "ddim",
    "DDPMScheduler": "ddpm",
    "EulerDiscreteScheduler": "euler",
    "EulerAncestralDiscreteScheduler": "ddpm",
    "FlowMatchEulerDiscreteScheduler": "euler",
    "FlowMatchHeunDiscreteScheduler": "heun",
    "HeunDiscreteScheduler": "heun",
}
"""The schedulers that step as one of ours does; all others remember earlier steps, as dpmpp does."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Coordinates:
    """One run of a scheduler: its timesteps, and (α, s) at each."""

    predicts: str
    """"epsilon", "v", "x0" or "velocity"."""
    timesteps: Float[Tensor, " n"]
    """As the scheduler counts them, float64 on the CPU; some schedulers visit one twice."""
    alpha: Float[Tensor, " n"]
    """α of each."""
    noise: Float[Tensor, " n"]
    """s of each."""

    @property
    def sigmas(self) -> Float[Tensor, " m"]:
        """The grid of the run: every noise level once, falling, then 0."""
        levels = (self.noise / self.alpha).unique().flip(0)
        return torch.cat([levels, levels.new_zeros(1)])

    def at(self, timestep: Tensor | float, unit: float) -> tuple[float, float]:
        """(α, s) of the step whose timestep, divided by `unit`, a network was told, if in half precision."""
        told = float(torch.as_tensor(timestep).flatten()[0]) * unit
        nearest = int((self.timesteps - told).abs().argmin())
        return float(self.alpha[nearest]), float(self.noise[nearest])

    def x0(self, x: Tensor, alpha: float, noise: float, prediction: Tensor) -> Tensor:
        """x0 of a prediction at x = α·x0 + s·ε."""
        match self.predicts:
            case "epsilon":
                return (x - noise * prediction) / alpha
            case "v":
                return alpha * x - noise * prediction
            case "velocity":
                return x - noise * prediction
            case _:
                return prediction

    def prediction(self, x: Tensor, alpha: float, noise: float, x0: Tensor) -> Tensor:
        """The prediction that stands for x0: the inverse of `x0`."""
        match self.predicts:
            case "epsilon":
                return (x - alpha * x0) / noise
            case "v":
                return (alpha * x - x0) / noise
            case "velocity":
                return (x - x0) / noise
            case _:
                return x0


def coordinates_of(scheduler: Any) -> Coordinates:
    """The coordinates of a run, once the scheduler's timesteps are set.

    Raises:
        UserError: If the scheduler has neither the ᾱ of a variance-preserving schedule nor a flow, or
            its network predicts something else.
    """
    timesteps = scheduler.timesteps.detach().double().cpu()
    config = scheduler.config
    if is_flow(scheduler):
        time = timesteps / config.num_train_timesteps
        return Coordinates(
            predicts="velocity",
            timesteps=timesteps,
            alpha=(1 - time).clamp(min=ALPHA_MIN),
            noise=time,
        )
    if not hasattr(scheduler, "alphas_cumprod") or not hasattr(config, "prediction_type"):
        raise UserError(
            f"the scheduler {type(scheduler).__name__} is neither variance preserving nor a flow",
            remedy=f"give the pipeline another, such as {', '.join(SAMPLERS_OF)}",
        )
    predicts = choose(config.prediction_type, PREDICTIONS, "prediction of the scheduler")
    table = scheduler.alphas_cumprod.detach().double().cpu().clamp(min=ALPHA_MIN**2)  # 0 with "zero SNR"
    sigma = _sigma_at(table, timesteps)
    alpha = (1 + sigma.square()).rsqrt()
    return Coordinates(predicts=predicts, timesteps=timesteps, alpha=alpha, noise=sigma * alpha)


def is_flow(scheduler: Any) -> bool:
    """Whether a scheduler's timesteps are those of a rectified flow."""
    config = scheduler.config
    return type(scheduler).__name__.startswith("FlowMatch") or bool(config.get("use_flow_sigmas", False))


def sampler_of(scheduler: Any) -> str:
    """Which of our samplers steps as a scheduler does, for `check_fits`."""
    if scheduler.config.get("stochastic_sampling", False):
        return "ddpm"
    return SAMPLERS_OF.get(type(scheduler).__name__, "dpmpp")


def _sigma_at(table: Tensor, timesteps: Tensor) -> Tensor:
    """σ at timesteps, between two of them linear in log σ."""
    falls = torch.cat([torch.ones(1, dtype=torch.bool), table.diff() < 0])
    if bool(falls.all()):
        return DiscreteClock(table).sigma(timesteps)
    return sigma_from_alpha_bar(table[timesteps.round().long()])  # the end that was cut off is flat
