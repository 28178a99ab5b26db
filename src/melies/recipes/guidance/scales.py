"""More and more classifier guidance: the same noise at every scale, and what two classifiers make of it.

The figure is that of Dhariwal & Nichol (2021), "Diffusion models beat GANs on image synthesis", with a row
for each noise and a column for each scale. Under a picture stands the probability of its class by the
classifier that guided it, then by a judge that did not. Where the first rises and the second does not,
the gain is adversarial: the picture has learned to please one classifier.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from torch import Tensor

from melies.files import write_bytes
from melies.interfaces import Metric
from melies.metrics.measure import measure, measure_frechet, measure_prdc, measure_share
from melies.progress import Progress, silent
from melies.recipes.guidance.classified import Classified, ClassifiedSettings, open_classified
from melies.report.figure import grid
from melies.report.plot import Line, lines_figure
from melies.report.png import png_bytes
from melies.report.record import Record, record_run, write_record

GUIDING, JUDGING = "p(y) by the guiding classifier", "p(y) by the judge"
"""Names of the means of both probabilities."""
RIGHT = "class by the judge"
"""Name of the share of pictures in which the judge sees the class."""
ADVERSARIAL = "p(y) beyond the judge's"
"""Name of what the guiding classifier is surer of than the judge."""


@dataclass(frozen=True, kw_only=True)
class ScalesSettings(ClassifiedSettings):
    """Which scales, of which model."""

    scales: tuple[float, ...] = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 5.5)
    """Classifier scales γ; 0 is off."""


class AtScale(NamedTuple):
    """What was drawn at one scale, and what two classifiers make of it."""

    shown: UInt8[Tensor, "k c h w"]
    """The first pictures."""
    guiding: Float[Tensor, " n"]
    """Probability of the class that was asked for, by the classifier that guided."""
    judging: Float[Tensor, " n"]
    """The same by the judge."""
    right: Bool[Tensor, " n"]
    """Whether that is what the judge sees."""


def measure_scales(
    settings: ScalesSettings,
    out: Path,
    *,
    command: str = "",
    allow_download: bool = False,
    progress: Progress = silent,
    say: Callable[[str], None] = print,
) -> Record:
    """Draw at every scale; `scales.png`, `certainty.png` and `record.json` go into `out`.

    Args:
        settings: What to draw.
        out: Where to.
        command: Goes into the record: what makes it again.
        allow_download: Whether a network of features may be fetched from the hub.
        progress: Shows how far it is.
        say: Told what is measured, and before anything is fetched.

    Raises:
        UserError: As of `open_classified`.
    """
    begun = time.perf_counter()
    classified = open_classified(settings, allow_download=allow_download, progress=progress, say=say)
    metrics, found = [], {}
    for scale in settings.scales:
        pixels = classified.draw(scale, progress)
        found[scale] = _look(classified, pixels)
        metrics += _measure(classified, scale, pixels, found[scale], progress)
        guiding, judging = (float(values.mean()) for values in found[scale][1:3])
        say(
            f"scale {scale:g}: {GUIDING} {guiding:.3f}, {JUDGING} {judging:.3f},"
            f" {RIGHT} {float(found[scale].right.float().mean()):.1%}"
        )
    record = record_run(
        settings.title,
        metrics,
        data={
            "reference": classified.tools.reference.title,
            "real": len(classified.tools.real.pixels),
            "drawn": len(classified.asked),
        },
        command=command,
        duration_s=time.perf_counter() - begun,
        notes={"scales": list(settings.scales), **classified.notes()},
    )
    write_bytes(out / "scales.png", png_bytes(scales_figure(found, classified.names[: settings.shown])))
    write_bytes(out / "certainty.png", png_bytes(certainty_figure(record, settings.scales)))
    write_record(out / "record.json", record)
    return record


def _look(classified: Classified, pixels: UInt8[Tensor, "n c h w"]) -> AtScale:
    labels = classified.classifier.labels_of(classified.names)
    guiding, judging = classified.guiding_probability(pixels), classified.judging_probability(pixels)
    return AtScale(
        pixels[: classified.settings.shown],
        guiding.gather(1, labels[:, None]).squeeze(1),
        judging.gather(1, labels[:, None]).squeeze(1),
        judging.argmax(1) == labels,
    )


def _measure(
    classified: Classified, scale: float, pixels: UInt8[Tensor, "n c h w"], seen: AtScale, progress: Progress
) -> list[Metric]:
    """Both probabilities, what lies between them, the class that is seen, and the distance to real ones."""
    seed, space = classified.settings.seed, classified.tools.space
    drawn, real = space(pixels, progress=progress), classified.real_features
    mean = {"unit": "share", "seed": seed}
    guiding, judging = seen.guiding.double(), seen.judging.double()
    metrics = [
        measure(GUIDING, torch.mean, guiding, higher_is_better=True, **mean),
        measure(JUDGING, torch.mean, judging, higher_is_better=True, **mean),
        measure(ADVERSARIAL, torch.mean, guiding - judging, higher_is_better=False, **mean),
        measure_share(RIGHT, seen.right),
        measure_frechet(drawn, real, seed=seed),
        *measure_prdc(drawn, real, seed=seed)[:2],
    ]
    return [metric._replace(name=f"{space.spell(metric.name)}, scale {scale:g}") for metric in metrics]


def scales_figure(found: Mapping[float, AtScale], titles: Sequence[str]) -> Image.Image:
    """A row for each noise, a column for each scale, both probabilities under every picture."""
    columns = list(found.values())
    cells = torch.stack([at.shown for at in columns], 1).flatten(0, 1)
    captions = [
        f"{float(at.guiding[row]):.2f} / {float(at.judging[row]):.2f}"
        for row in range(len(titles))
        for at in columns
    ]
    return grid(
        cells,
        columns=len(columns),
        captions=captions,
        row_labels=list(titles),
        column_labels=[f"scale {scale:g}" for scale in found],
        zoom=max(1, 84 // cells.shape[-1]),
    )


def certainty_figure(record: Record, scales: Sequence[float]) -> Image.Image:
    """What both classifiers think, over the scale."""
    lines = {}
    for name in (GUIDING, JUDGING, RIGHT):
        metrics = [record.metric(f"{name}, scale {scale:g}") for scale in scales]
        lines[name] = Line(
            x=list(scales),
            y=[metric.value for metric in metrics],
            intervals=[metric.interval for metric in metrics],
        )
    return lines_figure(lines, x="classifier scale γ", y="share")
