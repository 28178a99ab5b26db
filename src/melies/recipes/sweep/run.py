"""Run a sweep: plan its cells, draw and measure those that are not done, compare all, write the page."""

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from melies import checkpoint
from melies.checkpoint import Loaded
from melies.diffusion import NEEDS
from melies.errors import UserError
from melies.files import file_sha256
from melies.images.clip_score import ClipScorer, find_clip
from melies.images.generate import read_diffusion
from melies.images.instruments import Instruments, open_instruments, short_name
from melies.images.model import ImageDiffusion
from melies.images.noisy_classifier import read_noisy_classifier
from melies.images.sheets import spread
from melies.recipes.job import Job
from melies.recipes.sweep.cells import Planned, SweepPlan, plan_cells
from melies.recipes.sweep.compare import Result, read_results
from melies.recipes.sweep.cost import cost_on
from melies.recipes.sweep.draw import CellPictures, Drawing, part_of
from melies.recipes.sweep.measure import Measured, Meter
from melies.recipes.sweep.page import write_sweep
from melies.recipes.sweep.settings import FREE, SweepSettings, fingerprint
from melies.recipes.sweep.store import ROWS, append_row, check_plan, read_rows, write_plan, write_tensors

SHOWN = 12
"""Pictures of each cell that are kept for the page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepReport:
    """What a sweep found."""

    out: Path
    fingerprint: str
    plan: SweepPlan
    results: tuple[Result, ...]
    page: Path
    drawn: int
    """Cells that were drawn now; the rest was there."""
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prepared:
    """A sweep before anything is drawn."""

    settings: SweepSettings
    drawing: Drawing
    meter: Meter
    plan: SweepPlan
    fingerprint: str

    def cost(self, planned: Planned) -> int:
        """Network evaluations of all pictures of a cell."""
        return planned.evaluations * len(self.drawing.asked.rows)


def open_tools(settings: SweepSettings, job: Job) -> Instruments:
    """The model and what measures it.

    Raises:
        UserError: If something is not found or does not fit.
    """
    return open_instruments(
        settings.model,
        count=settings.seeds,
        seed=settings.seed,
        data=settings.data,
        judge=settings.judge,
        features=settings.features,
        weights=settings.weights,
        allow_download=job.allow_download,
        progress=job.progress,
        say=job.say,
    )


def prepare_sweep(settings: SweepSettings, job: Job, tools: Instruments | None = None) -> Prepared:
    """Open the model and what measures it, and plan the cells.

    Args:
        settings: What to draw and measure.
        job: Whom to tell.
        tools: What `open_tools` opened for the same model, data and seeds, so as not to open it again.

    Raises:
        UserError: If something is not found or does not fit, or nothing can be drawn.
    """
    tools = tools or open_tools(settings, job)
    model = tools.loaded.model
    if not tools.guided or not isinstance(model, ImageDiffusion):
        raise UserError(
            "it cannot be guided", where=settings.model, remedy="give a diffusion model of words or classes"
        )
    clip = None
    if settings.clip is not None or tools.by_words:
        clip = find_clip(settings.clip, allow_download=job.allow_download, say=job.say)
    others, digests = open_others(settings)
    asked = tools.groups[tools.first]
    cost = cost_on(
        model,
        prompt=asked.prompts[0] if asked.prompts else "",
        label=asked.classes[0] if asked.classes else "",
        others=others,
        grid=settings.grid,
    )
    drawing = Drawing(
        model=model,
        asked=asked,
        seed=settings.seed,
        grid=settings.grid,
        others=others,
        batch=settings.batch,
    )
    return Prepared(
        settings=settings,
        drawing=drawing,
        meter=Meter(tools, clip=clip, seed=settings.seed),
        plan=plan_cells(settings, cost),
        fingerprint=fingerprint(settings, identity(tools, clip) | digests),
    )


def open_others(settings: SweepSettings) -> tuple[dict[str, Any], dict[str, str]]:
    """What some guidance needs beside the model, by name, and the digests of its weights.

    Raises:
        UserError: If one is not found, or of another kind.
    """
    others: dict[str, Any] = {"negative": settings.negative} if settings.negative else {}
    digests = {}
    if settings.weak is not None:
        loaded = read_diffusion(settings.weak)
        others["weak"], digests["weak"] = loaded.model, digest_of(loaded)
    if settings.classifier is not None:
        loaded = read_noisy_classifier(settings.classifier)
        others["classifier"], digests["classifier"] = loaded.model, digest_of(loaded)
    return others, digests


def digest_of(loaded: Loaded) -> str:
    """SHA-256 of the weights of a checkpoint."""
    return file_sha256(checkpoint.weights_file(loaded.folder))


def identity(tools: Instruments, clip: ClipScorer | None) -> dict[str, str]:
    """What decides the numbers beside the settings: digests of weights and pictures."""
    real = tools.real.pixels.contiguous().numpy()
    return {
        "model": digest_of(tools.loaded),
        "features": tools.space.name,
        "judge": tools.judge.name if tools.judge else "",
        "clip": clip.name if clip else "",
        "real": hashlib.sha256(real.tobytes()).hexdigest(),
    }


def run_sweep(prepared: Prepared, job: Job, *, command: str = "") -> SweepReport:
    """Draw and measure every cell that is not done, and write the page.

    Args:
        prepared: From `prepare_sweep`.
        job: Where to, whether to go on, and whom to tell.
        command: What makes it again, for the records.

    Raises:
        UserError: If the folder holds a sweep and is not to be gone on with, or another one.
    """
    started, settings, plan = time.perf_counter(), prepared.settings, prepared.plan
    check_plan(job.out, settings, prepared.fingerprint, free=FREE, resume=job.resume, what="sweep")
    write_plan(job.out, settings, prepared.fingerprint)
    rows = {str(row["key"]): row for row in read_rows(job.out / ROWS)}
    todo = [entry for entry in plan.cells if entry.cell.key(prepared.fingerprint) not in rows]
    total = sum(prepared.cost(entry) for entry in plan.cells)
    left = sum(prepared.cost(entry) for entry in todo)
    job.say(f"{len(plan.cells)} cells, {len(todo)} to draw: {left:,} network evaluations")
    with job.progress("sweep", total=total, unit="evaluations", done=total - left) as track:
        for entry in todo:
            cell = entry.cell
            track.advance(0, cell=cell.name)
            pictures = prepared.drawing.draw(
                cell.guidance(),
                steps=cell.steps,
                sampler=cell.sampler,
                needs=NEEDS.get(cell.method.partition(":")[0], ""),
                progress=part_of(track, entry.evaluations / cell.steps),
            )
            row = keep(prepared, job.out, entry, pictures, prepared.meter.measure(pictures.pixels))
            rows[str(row["key"])] = dict(row)
    cells = [entry.cell for entry in plan.cells]
    results = read_results(job.out, cells, rows, prepared.fingerprint, seed=settings.seed)
    page = write_sweep(job.out, results, plan, tools=prepared.meter.tools, settings=settings, command=command)
    return SweepReport(
        out=job.out,
        fingerprint=prepared.fingerprint,
        plan=plan,
        results=tuple(results),
        page=page,
        drawn=len(todo),
        seconds=time.perf_counter() - started,
    )


def keep(
    prepared: Prepared, out: Path, planned: Planned, pictures: CellPictures, measured: Measured
) -> Mapping[str, Any]:
    """Write what is known of a cell; the row comes last, so that a cell with a row is whole."""
    key = planned.cell.key(prepared.fingerprint)
    shown = pictures.pixels[spread(len(pictures.pixels), SHOWN)]
    write_tensors(out, key, {**measured.tensors(), "pictures": shown})
    row = {
        "key": key,
        "cell": planned.cell,
        "metrics": [metric._asdict() for metric in measured.metrics],
        "evaluations": pictures.evaluations / len(pictures.pixels),
        "calls": pictures.calls,
        "pictures": len(pictures.pixels),
        "seconds": round(pictures.seconds, 3),
    }
    append_row(out / ROWS, row)
    return row


def usual_folder(prepared: Prepared) -> Path:
    """Where a sweep goes when nothing is said: a changed setting is another folder."""
    return Path("runs") / f"sweep-{short_name(prepared.settings.model)}-{prepared.fingerprint}"
