"""A trace of guidance as files: numbers, curves, and the pictures that each step aimed at.

melies guidance trace --model runs/fashion-mnist --class bag --schedule linear --scale 4
"""

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from melies.checkpoint import Loaded, weights_file
from melies.config import to_json
from melies.diffusion.guidance.methods import guidance_of
from melies.errors import UserError
from melies.files import file_sha256, write_bytes, write_text
from melies.images.generate import read_diffusion
from melies.images.noisy_classifier import read_noisy_classifier
from melies.images.settings import DrawSettings, describe
from melies.images.trace import GuidanceTrace, TracedStep, trace_guidance
from melies.progress import Progress, silent
from melies.report.figure import grid
from melies.report.plot import Line, lines_figure
from melies.report.png import png_bytes

ACROSS = 12
"""Steps that are shown as pictures; of a longer run an even choice, with the first and the last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceReport:
    """What a trace wrote."""

    out: Path
    trace: GuidanceTrace
    files: tuple[Path, ...]
    seconds: float
    """Of drawing twice, with guidance and without."""


def trace_files(
    settings: DrawSettings, out: Path, *, allow_download: bool = False, progress: Progress = silent
) -> TraceReport:
    """Draw the pictures of `settings` in one batch and write trace.json, trace.png and steps.png into `out`.

    Args:
        settings: What to draw; all of it in one batch.
        out: Where to.
        allow_download: Whether the weights of a text encoder may be fetched.
        progress: Shows the drawing.

    Raises:
        UserError: If a model is not found or cannot draw what is asked, or there are too many pictures.
    """
    loaded = read_diffusion(settings.model)
    model = loaded.model
    asked: dict[str, Any] = {"num_steps": settings.steps, "grid": settings.grid}
    others: dict[str, Loaded] = {}
    if settings.weak is not None:
        others["weak"] = read_diffusion(settings.weak)
    if settings.classifier is not None:
        others["classifier"] = read_noisy_classifier(settings.classifier)
    asked |= {name: other.model for name, other in others.items()}
    if settings.negative:
        asked["negative"] = settings.negative
    if not (settings.prompts or settings.classes):
        raise UserError(
            "guidance needs words or a class to guide to", remedy="give a prompt, or --class NAME"
        )
    if settings.prompts:
        for drawing in (model, *([others["weak"].model] if "weak" in others else [])):
            drawing.load_text_encoder(allow_download=allow_download)
    begun = time.perf_counter()
    trace = trace_guidance(
        model,
        [settings.prompt_of(i) for i in range(settings.total)] if settings.prompts else [],
        classes=[settings.class_of(i) for i in range(settings.total)] if settings.classes else [],
        guidance=guidance_of(
            settings.guidance, settings.scale, schedule=settings.schedule, interval=settings.interval
        ),
        sampler=settings.sampler,
        eta=settings.eta,
        seeds=[settings.seed_of(i) for i in range(settings.total)],
        progress=progress,
        **asked,
    )
    seconds = time.perf_counter() - begun
    files = [
        write_text(out / "trace.json", _json(settings, trace, loaded, others)),
        write_bytes(out / "trace.png", png_bytes(curves(trace.steps))),
        write_bytes(out / "steps.png", png_bytes(strip(trace, settings))),
    ]
    return TraceReport(out=out, trace=trace, files=tuple(files), seconds=seconds)


def curves(steps: Sequence[TracedStep]) -> Image.Image:
    """Four plots over the steps: the scale, norms, cosines with Φ, and saturation."""
    plots = [
        ("guidance scale", {"scale": "scale"}, ()),
        (
            "norm of ε",
            {
                "conditional": "conditional",
                "null or other": "other",
                "their difference": "difference",
                "added by guidance": "added",
            },
            ("y",),
        ),
        (
            "cosine, Φ",
            {
                "conditional and other": "cosine",
                "conditional and what is added": "direction",
                "Φ of these (norms only)": "conflict",
            },
            (),
        ),
        ("saturated share of x̂₀", {"saturated": "saturated"}, ()),
    ]
    pictures = []
    for title, names, logarithmic in plots:
        lines = {label: _line(steps, name, positive=bool(logarithmic)) for label, name in names.items()}
        lines = {label: line for label, line in lines.items() if any(map(math.isfinite, line.y))}
        if not lines:
            continue
        pictures.append(
            lines_figure(lines, x="step", y=title, logarithmic=logarithmic, width_px=620, height_px=320)
        )
    return grid(pictures, columns=2)


def strip(trace: GuidanceTrace, settings: DrawSettings) -> Image.Image:
    """A row for each picture: x̂₀ over the steps, then the picture, then the unguided one."""
    count = len(trace.steps)
    shown = torch.linspace(0, count - 1, min(ACROSS, count)).round().long().tolist()
    columns = [trace.aims[at] for at in shown] + [trace.pictures, trace.unguided]
    pictures = torch.stack(columns, dim=1).flatten(0, 1).expand(-1, 3, -1, -1)
    return grid(
        pictures,
        columns=len(columns),
        column_labels=[*(f"{trace.steps[at].step + 1}" for at in shown), "picture", "unguided"],
        row_labels=[settings.label(i) for i in range(settings.total)],
        zoom=max(1, 64 // pictures.shape[-1]),
    )


def _json(settings: DrawSettings, trace: GuidanceTrace, loaded: Loaded, others: Mapping[str, Loaded]) -> str:
    """The numbers, with all that they depend on."""
    weights, *digests = (file_sha256(weights_file(one.folder)) for one in (loaded, *others.values()))
    said = describe(settings, 0, weights=weights, inputs=dict(zip(others, digests, strict=True)))
    told = {name: said[name] for name in ("version", "torch", "weights_sha256", "inputs_sha256", "settings")}
    told |= {"steps": [step._asdict() for step in trace.steps], "warnings": list(trace.warnings)}
    return json.dumps(to_json(told), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _line(steps: Sequence[TracedStep], name: str, *, positive: bool) -> Line:
    """A number over the steps; a gap where it was not evaluated, or has no logarithm."""
    values = [getattr(step, name) for step in steps]
    missing = [value is None or (positive and value <= 0) for value in values]
    shown = [math.nan if gone else value for value, gone in zip(values, missing, strict=True)]
    return Line(x=[step.step + 1 for step in steps], y=shown)
