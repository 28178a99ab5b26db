"""A control branch beside its base alone: fidelity, agreement with the words, quality, by control scale."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import avg_pool2d, normalize

from melies import checkpoint
from melies.config import check_positive, check_range
from melies.data.emoji import open_emoji
from melies.data.stream import in_memory
from melies.errors import UserError
from melies.files import write_bytes
from melies.images.control import PictureControl, Steering, read_branch
from melies.images.features import FeatureSpace, open_space
from melies.images.fidelity import fidelity_name
from melies.images.generate import draw, read_diffusion
from melies.images.judge import Judge, Question, agreements, questions, read_judge
from melies.images.model import ImageDiffusion
from melies.interfaces import Metric
from melies.metrics.measure import measure_frechet
from melies.progress import Progress, silent
from melies.recipes.control.pairs import Pairs, held_out_pairs, split_pairs
from melies.recipes.control.settings import ControlRecipe
from melies.recipes.control.watch import draw_pairs, fidelities, pairs_sheet
from melies.report.figure import grid
from melies.report.plot import Line, lines_figure
from melies.report.png import png_bytes
from melies.report.record import Record, record_run, write_record

SHOWN = 6
"""Prompts under one drawing, and drawings under one prompt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlEvaluation:
    """What is measured, and how."""

    branch: str
    """The control branch: its name, or the path of a checkpoint."""
    model: str = "emoji"
    """Its base, by name or path."""
    data: Path | None = None
    """The pictures, of which those held out are drawn; none: where `melies data prepare emoji` puts them."""
    judge: str = "emoji-judge"
    """The classifier that says what a drawn picture shows."""
    features: str = "emoji-features"
    """Whose features the distance to real pictures is taken in."""
    count: int = 500
    """Most held-out pairs, shared out among the kinds of hint."""
    crossed: bool = False
    """Whether each hint goes with the words of another picture: a base that knows the words' own picture by
    heart keeps to its hint unasked."""
    control_scales: tuple[float, ...] = (0.0, 0.5, 1.0, 1.5)
    """Control scales, each measured by itself; 0, the base alone, is what the others are compared with."""
    scale: float = 3.0
    """Guidance scale."""
    steps: int = 25
    """Steps of the sampler."""
    seed: int = 0
    """Of the resampling; the pairs and their noise are always the same."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("count", "steps"):
            check_positive(name, getattr(self, name))
        check_range("scale", self.scale, low=0)
        for scale in self.control_scales:
            check_range("control_scales", scale, low=0)
        if 0 not in self.control_scales or len(set(self.control_scales)) < max(2, len(self.control_scales)):
            raise UserError(
                f"control_scales = {list(self.control_scales)}",
                remedy="give 0 and at least one other, each once",
            )


def evaluate_control(
    settings: ControlEvaluation,
    out: Path,
    *,
    command: str,
    allow_download: bool = False,
    progress: Progress = silent,
    say: Callable[[str], None] = print,
) -> Record:
    """Draw the held-out pairs at every control scale, and write `record.json` and figures into `out`.

    Args:
        settings: What to measure.
        out: Folder of the record and the figures.
        command: What makes the record again.
        allow_download: Whether the text encoder's weights may be fetched from the Hugging Face hub.
        progress: Shows how far the drawing is.
        say: Told before anything is downloaded.

    Raises:
        UserError: If a model or the data is not found, or they do not fit.
    """
    base = read_diffusion(settings.model)
    branch = read_branch(settings.branch, base).model
    base.model.load_text_encoder(allow_download=allow_download, say=say)
    config = ControlRecipe(
        base=settings.model, kinds=branch.config.kinds, scale=settings.scale, num_measured=settings.count
    )
    split = split_pairs(open_emoji(settings.data, size=base.model.config.size, progress=progress), config)
    pairs = held_out_pairs(split.held_out, config.kinds, settings.count)
    pairs = tuple(crossed(one) for one in pairs) if settings.crossed else pairs
    rows = in_memory(split.held_out.subset(torch.tensor([row for one in pairs for row in one.rows])))
    judge, space = read_judge(settings.judge), open_space(settings.features, None)
    asked, real = questions(judge, rows), space(rows.pixels)
    begun, metrics, sheets = time.perf_counter(), [], {}
    with progress("drawing", total=len(rows) * len(settings.control_scales), unit="pictures") as track:
        for scale in settings.control_scales:
            drawn = []
            for one in pairs:
                steers = None if scale == 0 else branch
                drawn.append(draw_pairs(config, base.model, steers, one, settings.steps, control_scale=scale))
                track.advance(len(one.pixels))
            sheets[scale] = drawn
            where = f"control scale {scale:g}"
            metrics += fidelities(config, pairs, drawn, where)
            metrics += _of_all(judge, asked, space, real, torch.cat(drawn), where, settings.seed)
    record = record_run(
        f"control of {settings.model}",
        metrics,
        data={"held out": len(rows), "kinds": list(config.kinds)},
        command=command,
        duration_s=time.perf_counter() - begun,
        notes={
            "settings": replace(settings, data=None),
            "branch": checkpoint.origin(settings.branch),
            "base": checkpoint.origin(settings.model),
            "judge": judge.name,
        },
    )
    write_record(out / "record.json", record)
    strongest = max(settings.control_scales)
    figures = {
        "scales": scales_figure(record, config.kinds, settings.control_scales),
        "pairs": pairs_sheet(pairs, sheets[1.0 if 1.0 in sheets else strongest]),
        **drawings_figures(config, base.model, branch, pairs, settings),
    }
    for name, figure in figures.items():
        write_bytes(out / f"{name}.png", png_bytes(figure))
    return record


def crossed(pairs: Pairs) -> Pairs:
    """The same hints, each with the words (and the row, by which the words are judged) of another picture.

    A set may show everything twice, in two styles: words are turned on until as few as can be meet their own.
    """
    count = len(pairs.rows)

    def turned(items: Sequence, by: int) -> tuple:
        return (*items[by:], *items[:by])

    def met(by: int) -> int:
        return sum(a == b for a, b in zip(pairs.prompts, turned(pairs.prompts, by), strict=True))

    by = min(range(max(1, count // 3), max(2, count)), key=met)
    return pairs._replace(prompts=turned(pairs.prompts, by), rows=turned(pairs.rows, by))


def scales_figure(record: Record, kinds: Sequence[str], scales: Sequence[float]) -> Image.Image:
    """Fidelity of each kind against the control scale."""
    lines = {}
    for kind in kinds:
        found = [
            record.metric(f"{fidelity_name(kind)} of {kind}, control scale {scale:g}")
            for scale in sorted(scales)
        ]
        lines[f"{kind} ({fidelity_name(kind)})"] = Line(
            x=sorted(scales), y=[one.value for one in found], intervals=[one.interval for one in found]
        )
    return lines_figure(lines, x="control scale", y="fidelity to the hint")


def drawings_figures(
    config: ControlRecipe,
    base: ImageDiffusion,
    branch: PictureControl,
    pairs: Sequence[Pairs],
    settings: ControlEvaluation,
) -> dict[str, Image.Image]:
    """One drawing under several prompts, and several drawings under one; scribbles where they are known."""
    drawings = next((one for one in pairs if one.kind == "scribble"), pairs[0])
    shown = alike(drawings, SHOWN)
    count = len(shown)
    prompts, hints = [drawings.prompts[row] for row in shown], drawings.hints[shown].expand(-1, 3, -1, -1)

    def made(words: Sequence[str], asked: Tensor) -> Tensor:
        return draw(
            base,
            words,
            scale=config.scale,
            num_steps=settings.steps,
            steering=[Steering(branch=branch, kind=drawings.kind, hints=asked)],
        )

    one = torch.cat([hints[:1], made(prompts, hints[:1].expand(count, -1, -1, -1))])
    several = torch.cat([hints, made(prompts[:1] * count, hints)])
    zoom = max(1, 128 // hints.shape[-1])
    return {
        "one-drawing": grid(one, columns=count + 1, captions=["the drawing", *prompts], zoom=zoom),
        "one-prompt": grid(several, columns=count, row_labels=["drawing", prompts[0]], zoom=zoom),
    }


def alike(drawings: Pairs, count: int) -> list[int]:
    """Rows of up to `count` drawings that are like the first of them, of things that have other names.

    Words that contradict a drawing show little of either.
    """
    coarse = avg_pool2d(drawings.hints.float().mean(1, keepdim=True), drawings.hints.shape[-1] // 8)
    vectors = normalize(coarse.flatten(1), dim=1)
    likeness = vectors @ vectors.T
    said = [set(text.lower().replace(":", " ").replace(",", " ").split()) for text in drawings.prompts]
    times = Counter(word for words in said for word in words)
    own = [{word for word in words if times[word] <= max(1, len(said) // 10)} for words in said]
    # Of drawings that are mostly filled, and of nearly empty ones, little is to be seen.
    by_ink = drawings.hints.float().mean((1, 2, 3)).argsort().tolist()
    best, best_likeness = by_ink[:1], -1.0
    for first in by_ink[len(by_ink) // 4 : len(by_ink) * 3 // 4] or by_ink:
        chosen: list[int] = []
        for row in [first, *likeness[first].argsort(descending=True).tolist()]:
            if len(chosen) < count and own[row] and all(own[row].isdisjoint(own[other]) for other in chosen):
                chosen.append(row)
        found = float(likeness[first, chosen].mean()) if chosen else -1.0
        if (len(chosen), found) > (len(best), best_likeness):
            best, best_likeness = chosen, found
    return best


def _of_all(
    judge: Judge,
    asked: Sequence[Question],
    space: FeatureSpace,
    real: Tensor,
    drawn: Tensor,
    where: str,
    seed: int,
) -> list[Metric]:
    """Agreement with the words, and the distance to the real pictures of the same words."""
    distance = measure_frechet(space(drawn), real, seed=seed)
    return [
        *agreements(judge, where, asked, drawn, seed=seed),
        distance._replace(name=f"{space.spell(distance.name)}, {where}"),
    ]
