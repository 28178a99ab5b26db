"""Fidelity while a control branch trains: drawn from held-out hints, logged, and read for when to stop."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from melies.checkpoint import newest_checkpoint
from melies.files import write_bytes
from melies.images.control import PictureControl, Steering
from melies.images.fidelity import control_fidelity, fidelity_name
from melies.images.generate import draw
from melies.images.model import ImageDiffusion
from melies.images.tuned import TunedControl
from melies.interfaces import Metric
from melies.machine import is_main_process
from melies.metrics.convergence import Jump, find_jump, has_settled
from melies.metrics.measure import measure
from melies.recipes.control import STRICT
from melies.recipes.control.pairs import Pairs
from melies.recipes.control.settings import ControlRecipe
from melies.recipes.job import Job
from melies.recipes.preview import write_preview
from melies.report.curves import curves_figure
from melies.report.figure import grid
from melies.report.png import png_bytes
from melies.training.log import Log, read_log

WATCHED = "fidelity.jsonl"
"""Mean fidelity of each kind, and of all kinds, at each watch; the first is that of the base alone."""
CURVE = "fidelity.png"
"""The same as a curve, with the jump where there is one."""
RISEN = 10
"""Gains that fidelity must have risen by in all before a run without a jump may be done."""
SHOWN = 2
"""Pairs of each kind in a preview."""


class Watch:
    """Draws the watched pairs at each preview, logs their fidelity, and says when the run is done."""

    def __init__(self, config: ControlRecipe, base: ImageDiffusion, pairs: Sequence[Pairs], job: Job) -> None:
        """Go on with the log of a run that is resumed, or begin one with the base alone."""
        self.config, self.base, self.pairs, self.job = config, base, pairs, job
        self.rows: list[dict[str, Any]] = []
        if not is_main_process():  # of several processes one watches
            return
        begun = newest_checkpoint(job.out) if job.resume else None
        seen = int(begun.name.partition("-")[2]) if begun else -1
        with Log(job.out / WATCHED, samples_seen=seen):  # lines beyond the checkpoint are dropped
            pass
        self.rows = read_log(job.out / WATCHED)
        if not self.rows:
            self._log(0, [draw_pairs(config, base, None, one, config.watched_steps) for one in pairs])

    def preview(self, trained: nn.Module, folder: Path, samples_seen: int) -> None:
        """For the training loop: draw, log, show."""
        base, branch = steered_by(trained, self.base)
        known = self.jump
        drawn = [draw_pairs(self.config, base, branch, one, self.config.watched_steps) for one in self.pairs]
        self._log(samples_seen, drawn)
        write_preview(folder, samples_seen, pairs_sheet(self.pairs, drawn))
        jump = self.jump
        if jump and not known:
            self.job.say(
                f"sudden convergence between {jump.before:.0f} and {jump.after:.0f} pictures: the fidelity"
                f" rose from {jump.low:.3f} to {jump.high:.3f}"
            )
        marks = {"sudden convergence": jump.after} if jump else {}
        figure = curves_figure({"fidelity": folder.parent / WATCHED}, value="fidelity", marks=marks)
        write_bytes(folder.parent / CURVE, png_bytes(figure))

    @property
    def jump(self) -> Jump | None:
        """The sudden convergence, if it has come."""
        return find_jump([row["samples_seen"] for row in self.rows], [row["fidelity"] for row in self.rows])

    def stop(self) -> bool:
        """Whether the run is done: the jump has come, and since then no watch of late brought a gain.

        Fidelity may also rise slowly and never jump. Then the run is done when it has risen and twice as many
        watches brought nothing; a run that has not risen yet is waiting for its jump.
        """
        patience, gain, jump = self.config.patience, self.config.gain, self.jump
        if not patience:
            return False
        if jump is None:
            values = [row["fidelity"] for row in self.rows]
            risen = max(values) - values[0] >= RISEN * gain
            return risen and has_settled(values, patience=2 * patience, gain=gain)
        since = [row["fidelity"] for row in self.rows if row["samples_seen"] >= jump.after]
        return has_settled(since, patience=patience, gain=gain)

    def _log(self, samples_seen: int, drawn: Sequence[Tensor]) -> None:
        means = {
            one.kind: float(fidelity_of(self.config, one, pixels).mean())
            for one, pixels in zip(self.pairs, drawn, strict=True)
        }
        row = {"samples_seen": samples_seen, "fidelity": sum(means.values()) / len(means), **means}
        with Log(self.job.out / WATCHED, samples_seen=samples_seen - 1) as log:
            log.write(**row)
        self.rows = [*(old for old in self.rows if old["samples_seen"] < samples_seen), row]


def steered_by(trained: nn.Module, base: ImageDiffusion) -> tuple[ImageDiffusion, PictureControl]:
    """What draws and what steers: a branch beside the locked base, or both of one that was tuned along."""
    if isinstance(trained, TunedControl):
        return trained.model, trained.control
    if not isinstance(trained, PictureControl):
        raise TypeError(f"expected what is trained to read hints, got {type(trained).__name__}")
    return base, trained


def draw_pairs(
    config: ControlRecipe,
    base: ImageDiffusion,
    branch: PictureControl | None,
    pairs: Pairs,
    num_steps: int,
    *,
    control_scale: float = 1.0,
) -> Tensor:
    """The pictures of some pairs, uint8 (n, 3, h, w) on the CPU; without a branch those of the base alone."""
    steering = []
    if branch is not None:
        steering = [Steering(branch=branch, kind=pairs.kind, hints=pairs.hints, scale=control_scale)]
    return draw(
        base,
        pairs.prompts,
        scale=config.scale,
        num_steps=num_steps,
        seeds=pairs.seeds,
        steering=steering,
        batch_size=16,
    )


def fidelities(
    config: ControlRecipe, pairs: Sequence[Pairs], drawn: Sequence[Tensor], where: str
) -> list[Metric]:
    """Fidelity of each kind, with an interval; of edges once more at `config.strict_px`.

    In small pictures the usual tolerance finds many edges by chance.
    """
    metrics = []
    for one, pixels in zip(pairs, drawn, strict=True):
        name = fidelity_name(one.kind)
        strict = (config.strict_px,) if name == "edge F1" else ()
        for tolerance in (None, *strict):
            called = name if tolerance is None else f"{name} ({tolerance:g} px)"
            values = fidelity_of(config, one, pixels, tolerance_px=tolerance)
            metrics.append(
                measure(
                    f"{called} of {one.kind}, {where}", torch.mean, values, unit="", higher_is_better=True
                )
            )
    return [*metrics, mean_fidelity(where, strict_values(config, pairs, drawn))]


def strict_values(
    config: ControlRecipe, pairs: Sequence[Pairs], drawn: Sequence[Tensor]
) -> Float[Tensor, " n"]:
    """How far each picture of all kinds keeps to its hint, edges at `config.strict_px`."""
    return torch.cat(
        [
            fidelity_of(config, one, pixels, tolerance_px=config.strict_px)
            for one, pixels in zip(pairs, drawn, strict=True)
        ]
    )


def mean_fidelity(where: str, values: Float[Tensor, " n"]) -> Metric:
    """Their mean, with an interval."""
    return measure(f"{STRICT}, {where}", torch.mean, values, unit="", higher_is_better=True)


def fidelity_of(
    config: ControlRecipe, pairs: Pairs, drawn: Tensor, *, tolerance_px: float | None = None
) -> Float[Tensor, " n"]:
    """How far each picture keeps to its hint; None for the tolerance of the recipe."""
    tolerance = config.tolerance_px if tolerance_px is None else tolerance_px
    return control_fidelity(pairs.kind, pairs.hints, drawn, seeds=pairs.seeds, tolerance_px=tolerance)


def pairs_sheet(pairs: Sequence[Pairs], drawn: Sequence[Tensor]):
    """Hints above what was drawn from them, above the pictures that they were taken from."""
    hints = torch.cat([one.hints[:SHOWN].expand(-1, 3, -1, -1) for one in pairs])
    pictures = torch.cat([pixels[:SHOWN] for pixels in drawn])
    originals = torch.cat([one.pixels[:SHOWN] for one in pairs])
    labels = [one.kind for one in pairs for _ in range(len(one.pixels[:SHOWN]))]
    return grid(
        torch.cat([hints, pictures, originals]),
        columns=len(labels),
        row_labels=["hint", "drawn", "from"],
        column_labels=labels,
        zoom=1,
    )
