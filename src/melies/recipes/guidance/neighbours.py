"""Are pictures that a classifier led to a class new? Each beside its nearest training pictures.

The figure is that of Dhariwal & Nichol (2021), "Diffusion models beat GANs on image synthesis": nearest in
the features of a network, here that of the set's own classifier. The record tells how much nearer to what
was trained on they are than real pictures that were not.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from melies.errors import UserError
from melies.images.quality import Pictures
from melies.images.reference import learned_of
from melies.images.sheets import write_neighbours
from melies.metrics.memorisation import measure_memorisation
from melies.metrics.neighbours import nearest
from melies.progress import Progress, silent
from melies.recipes.guidance.classified import ClassifiedSettings, open_classified
from melies.report.record import Record, record_run, write_record


@dataclass(frozen=True, kw_only=True)
class NeighboursSettings(ClassifiedSettings):
    """Which scales, of which model."""

    scales: tuple[float, ...] = (1.0, 2.5)
    """Classifier scales γ; 0 is off."""
    nearest: int = 3
    """Training pictures beside each."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        ClassifiedSettings.__post_init__(self)
        if not 1 <= self.nearest <= 20:
            raise UserError(f"nearest = {self.nearest} is not from 1 to 20", where="nearest")


def show_neighbours(
    settings: NeighboursSettings,
    out: Path,
    *,
    command: str = "",
    allow_download: bool = False,
    progress: Progress = silent,
    say: Callable[[str], None] = print,
) -> Record:
    """Draw at every scale; `scale-SCALE.png` of each and `record.json` go into `out`.

    Args:
        settings: What to draw.
        out: Where to.
        command: Goes into the record: what makes it again.
        allow_download: Whether a network of features may be fetched from the hub.
        progress: Shows how far it is.
        say: Told what is measured, and before anything is fetched.

    Raises:
        UserError: As of `open_classified`; if the set has no part that was not trained on, so that nothing
            can be said of copies.
    """
    begun = time.perf_counter()
    classified = open_classified(settings, allow_download=allow_download, progress=progress, say=say)
    tools = classified.tools
    learned = learned_of(tools.reference, tools.space, tools.real, progress)
    if learned is None:
        raise UserError(
            "the set has no part that was not trained on, beside which copies could be told",
            where=str(settings.data or "data"),
            remedy="give one with folders train/ and test/",
        )
    metrics = []
    for scale in settings.scales:
        pixels = classified.draw(scale, progress)
        drawn = Pictures(pixels, tools.space(pixels, progress=progress))
        found = nearest(drawn.features, learned.pictures.features, k=settings.nearest)
        for metric in measure_memorisation(found.distances[:, 0], learned.held_out, seed=settings.seed):
            metrics.append(metric._replace(name=f"{metric.name}, scale {scale:g}"))
        titles = classified.names[: settings.shown]
        shown = type(found)(*(part[: settings.shown] for part in found))
        path = out / f"scale-{scale:g}.png"
        write_neighbours(path, pixels[: settings.shown], learned.pictures.pixels, shown, titles)
        say(f"scale {scale:g}: {metrics[-2].name.partition(',')[0]} {metrics[-2].value:.1%}, see {path.name}")
    record = record_run(
        f"{settings.title}, neighbours",
        metrics,
        data={"training": len(learned.pictures.pixels), "drawn": len(classified.asked)},
        command=command,
        duration_s=time.perf_counter() - begun,
        notes={"scales": list(settings.scales), **classified.notes()},
    )
    write_record(out / "record.json", record)
    return record
