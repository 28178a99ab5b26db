"""The slides' experiments with camera paths: their prompts, three designs beside each other, guidance scales.

    melies camera experiments --models director director-in-context director-modulated

Every model is measured on the same held-out shots with the same noise, and the first one at every scale of
guidance too. A measurement that is done is not made again.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from PIL import Image
from tyro.conf import arg

from melies import checkpoint
from melies.camera.character import preset_character
from melies.camera.generate import draw_paths
from melies.camera.labels import camera_name
from melies.camera.model import CameraDiffusion
from melies.camera.picture import path_picture
from melies.camera.tag import find_segments, tag_camera
from melies.config import check_positive, check_range, to_json
from melies.errors import UserError
from melies.files import write_bytes
from melies.recipes.camera.evaluate import PARTS, CameraEvaluation, evaluate_paths
from melies.recipes.job import Job
from melies.report.figure import grid
from melies.report.plot import Line, lines_figure
from melies.report.png import png_bytes
from melies.report.record import Record, read_record, write_record

RIGHT = "While the character moves to the right, the camera"
PROMPTS = (
    ("The camera trucks right while the character remains stationary", "still"),
    ("The camera trucks left while the character remains stationary", "still"),
    ("The camera booms top while the character remains stationary", "still"),
    ("The camera booms bottom while the character remains stationary", "still"),
    ("While the character moves right, the camera performs a boom bottom", "walk-right"),
    (f"{RIGHT} stays static and pushes-in once the character stops", "walk-then-stop"),
    (f"{RIGHT} trucks right and remains static once the character stops", "walk-then-stop"),
    ("The camera remains static as the character moves to the right", "walk-right"),
    ("The camera remains static as the character moves to the left", "walk-left"),
)
"""The prompts of the slides, and who is filmed; the last is two of them, one for each side."""
FRAMES = 200
"""Of the paths drawn for them."""
MEASURED = "measured"
"""Where each measurement is kept as it was made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraExperiments:
    """Which models, how many shots."""

    models: Annotated[tuple[str, ...], arg(metavar="MODEL…")] = (
        "director",
        "director-in-context",
        "director-modulated",
    )
    """Names or checkpoints; the first one draws the prompts and is guided at every scale."""
    clatr: Annotated[str, arg(metavar="MODEL")] = "clatr"
    """In whose space distances are taken; empty for none."""
    scales: tuple[float, ...] = (0.6, 1.0, 1.4, 1.8, 2.2)
    """Guidance scales of the sweep."""
    count: int = 500
    """Held-out shots of each part."""
    pairs: int = 100
    """Characters that are also seen in a mirror."""
    steps: int = 10
    """Steps of the sampler."""
    seed: int = 0
    """Of the noise."""

    def __post_init__(self) -> None:
        """Check names and ranges."""
        if not self.models or len({Path(name).name for name in self.models}) < len(self.models):
            raise UserError(f"models = {list(self.models)}", remedy="name at least one, each once")
        for name in ("count", "pairs", "steps"):
            check_positive(name, getattr(self, name))
        for scale in self.scales:
            check_range("scales", scale, low=0)

    def evaluation(self, model: str, scale: float | None = None) -> CameraEvaluation:
        """How a model is measured."""
        one = CameraEvaluation(
            model=model,
            clatr=self.clatr,
            count=self.count,
            pairs=self.pairs,
            steps=self.steps,
            seed=self.seed,
        )
        return one if scale is None else replace(one, scale=scale)


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraReport:
    """What was measured and drawn."""

    designs: Mapping[str, Record]
    """Of each model, by its name."""
    scales: Mapping[float, Record]
    """Of the first model, by guidance scale."""
    prompts: Image.Image
    sweep: Image.Image | None
    phases: Image.Image | None
    seconds: float


def run_experiments(settings: CameraExperiments, job: Job, *, command: str) -> CameraReport:
    """Measure every model, sweep the scales, draw the prompts; records and figures go into `job.out`.

    Raises:
        UserError: If a model is not found or of another kind, or the folder has other experiments.
    """
    began = time.perf_counter()
    if (job.out / MEASURED).exists() and not job.resume:
        raise UserError(
            "has experiments already", where=str(job.out), remedy="add --resume to go on with them"
        )
    designs, scales = {}, {}
    for name in settings.models:
        designs[Path(name).name] = _measured(settings.evaluation(name), Path(name).name, job, command)
    first = settings.models[0]
    for scale in settings.scales:
        asked = settings.evaluation(first, scale)
        scales[scale] = (
            designs[Path(first).name]
            if asked == settings.evaluation(first)
            else _measured(asked, f"scale-{scale:g}", job, command)
        )
    report = CameraReport(
        designs=designs,
        scales=scales,
        prompts=prompts_figure(settings, job),
        sweep=sweep_figure(scales),
        phases=phases_figure(designs),
        seconds=time.perf_counter() - began,
    )
    for name in ("prompts", "sweep", "phases"):
        figure = getattr(report, name)
        if figure is not None:
            write_bytes(job.out / f"{name}.png", png_bytes(figure))
    return report


def _measured(asked: CameraEvaluation, name: str, job: Job, command: str) -> Record:
    """The record of a measurement, made now or before; it lies in `records` under its name besides."""
    folder = job.out / MEASURED / name
    if (folder / "record.json").exists():
        record = read_record(folder / "record.json")
        if record.notes.get("settings") != to_json(asked):
            raise UserError(
                "was measured in another way", where=str(folder), remedy="give another --out, or remove it"
            )
    else:
        job.say(f"measuring {Path(asked.model).name} at guidance scale {asked.scale:g}")
        record = evaluate_paths(
            asked,
            folder,
            command=command,
            allow_download=job.allow_download,
            progress=job.progress,
            say=job.say,
        )
    write_record(job.out / "records" / f"{name}.json", record)
    return record


def prompts_figure(settings: CameraExperiments, job: Job) -> Image.Image:
    """The prompts of the slides, each drawn once, with what the tagger sees."""
    model = checkpoint.load(settings.models[0]).model
    if not isinstance(model, CameraDiffusion):
        raise UserError("not a model of camera paths", where=settings.models[0])
    model.load_text_encoder(allow_download=job.allow_download, say=job.say)
    frames, fps = min(FRAMES, model.config.network.frames), model.config.fps
    tracks = [preset_character(character, frames, fps=fps) for _, character in PROMPTS]
    prompts = [prompt for prompt, _ in PROMPTS]
    paths = draw_paths(model, prompts, tracks, seeds=[settings.seed] * len(prompts), num_steps=settings.steps)
    pictures, captions = [], []
    for prompt, path, track in zip(prompts, paths, tracks, strict=True):
        pictures.append(path_picture(path, track, width_px=640, height_px=300))
        seen = [camera_name(one.label) for one in find_segments(tag_camera(path, fps))]
        captions.append(f"{prompt}. Seen by the tagger: {', then '.join(seen)}.")
    return grid(pictures, 3, captions=captions)


def sweep_figure(scales: Mapping[float, Record]) -> Image.Image | None:
    """How well the words are kept to at each scale; none for fewer than two."""
    if len(scales) < 2:
        return None
    lines = {f"{part}": _line(scales, f"{part}: C F1") for part in PARTS}
    return lines_figure(lines, x="guidance scale", y="C-F1")


def phases_figure(designs: Mapping[str, Record]) -> Image.Image | None:
    """How well words are kept to by the number of motions they ask for; none where it was not measured."""
    lines = {}
    for name, record in designs.items():
        counts = {1: record.find("pure: C F1")}
        counts |= {number: record.find(f"mixed, phases {number}: C F1") for number in range(2, 9)}
        found = {number: metric for number, metric in counts.items() if metric is not None}
        if len(found) > 1:
            lines[name] = Line(
                list(found), [one.value for one in found.values()], [one.interval for one in found.values()]
            )
    return lines_figure(lines, x="motions asked for (1: pure shots)", y="C-F1") if lines else None


def _line(records: Mapping[float, Record], name: str) -> Line:
    found = [record.metric(name) for record in records.values()]
    return Line(list(records), [one.value for one in found], [one.interval for one in found])
