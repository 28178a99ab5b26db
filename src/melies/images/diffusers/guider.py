"""Guidance on a schedule as a component of the modular pipelines of `diffusers`.

    pipe.update_components(guider=ScheduledGuidance(guidance_scale=7.5, schedule="linear"))

A guider of modular pipelines is told the step, and neither σ nor x, so that it has the plain rule only,
on schedules that count steps; for the other ways of guiding there is `melies.images.diffusers.wrap`.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from melies.config import check_range
from melies.diffusion.guidance.named import named, named_equal_area
from melies.diffusion.guidance.schedules import with_weights
from melies.errors import UserError
from melies.optional import require

_WHY = "guiders of modular pipelines"
_guiders: Any = require("diffusers.guiders.guider_utils", extra="diffusers", why=_WHY)
_configuration: Any = require("diffusers.configuration_utils", extra="diffusers", why=_WHY)


class ScheduledGuidance(_guiders.BaseGuidance):
    """u + scale(t)·(c − u); at steps of scale 1 the null does not go through the network."""

    _input_predictions = ["pred_cond", "pred_uncond"]  # noqa: RUF012 - the base class asks for a list

    @_configuration.register_to_config
    def __init__(
        self,
        guidance_scale: float = 7.5,
        schedule: str = "linear",
        as_written: bool = False,
        start: float = 0.0,
        stop: float = 1.0,
        enabled: bool = True,
    ) -> None:
        """Check what is asked for.

        Args:
            guidance_scale: Mean of the scale over the run, at least 1; 1 is off.
            schedule: `NAME` or `NAME:parameter` of `melies.diffusion.SCHEDULES`.
            as_written: The formula as printed, whatever its mean.
            start: Share of the steps before which guidance is off; the rest of the schedule stays.
            stop: Share of the steps from which it is off.
            enabled: Whether it is on at all.

        Raises:
            UserError: If a name is unknown or a number is out of range.
        """
        super().__init__(start, stop, enabled)
        check_range("guidance_scale", guidance_scale, low=1.0)
        curve = (named if as_written else named_equal_area)(schedule, guidance_scale - 1)
        self._schedule = with_weights(curve)
        self._scales: Float[Tensor, " steps"] = torch.empty(0)

    def scale(self) -> float:
        """The scale of the present step.

        Raises:
            UserError: Before the first step.
        """
        if self._step is None:
            raise UserError("the guider has not been told its step", remedy="call set_state first")
        steps = self._num_inference_steps
        inside = int(self._start * steps) <= self._step < int(self._stop * steps)
        if not self._enabled or not inside:
            return 1.0
        if len(self._scales) != steps:  # only the number of steps counts
            self._scales = self._schedule.on(torch.linspace(1, 0, steps + 1, dtype=torch.float64))
        return float(self._scales[self._step])

    @property
    def is_conditional(self) -> bool:
        """Whether the network is now asked with the condition."""
        return self._count_prepared == 1

    @property
    def num_conditions(self) -> int:
        """How often the network is asked at this step."""
        return 1 if self.scale() == 1 else 2

    def prepare_inputs(self, data: dict[str, Any]) -> list[Any]:
        """What the network is asked: with the condition, then where needed without."""
        return [
            self._prepare_batch(data, index, name)
            for index, name in enumerate(self._input_predictions[: self.num_conditions])
        ]

    def prepare_inputs_from_block_state(self, data: Any, input_fields: dict[str, Any]) -> list[Any]:
        """As `prepare_inputs`, by the names of fields."""
        return [
            self._prepare_batch_from_block_state(input_fields, data, index, name)
            for index, name in enumerate(self._input_predictions[: self.num_conditions])
        ]

    def forward(self, pred_cond: Tensor, pred_uncond: Tensor | None = None) -> Any:
        """What the pipeline goes on with."""
        found = pred_cond if pred_uncond is None else torch.lerp(pred_uncond, pred_cond, self.scale())
        return _guiders.GuiderOutput(pred=found, pred_cond=pred_cond, pred_uncond=pred_uncond)
