"""The page of the experiments with camera paths."""

from collections.abc import Sequence
from pathlib import Path

from melies.recipes.camera.evaluate import PARTS
from melies.recipes.camera.experiments import CameraExperiments, CameraReport
from melies.report import html
from melies.report.record import Record
from melies.report.table import Cells, comparison_cells

PAGE = "experiments.html"


def write_experiments(out: Path, report: CameraReport, settings: CameraExperiments) -> Path:
    """The page; loads nothing from outside.

    Raises:
        UserError: If it cannot be written.
    """
    about = [
        f"{settings.count:,} held-out shots of each part, made by rule: pure ones, of one simple motion, and"
        " mixed ones, of the others. C-precision, C-recall and C-F1 compare, frame by frame, the motion that"
        " was asked for with what the tagger sees. Numbers compare models on this set, and are not those of"
        " the data set E.T. Intervals are 95 %."
    ]
    records = list(report.designs.values())
    sections = [html.text("What was done", about)]
    sections += [html.table(f"Models, {part} shots", part_cells(records, part)) for part in PARTS]
    sections.append(html.table("Characters", character_cells(records)))
    figures = {
        "By the number of motions that are asked for; 1 is a pure shot.": report.phases,
        f"{Path(settings.models[0]).name} at several scales of guidance.": report.sweep,
        f"The prompts of the slides, drawn once each by {Path(settings.models[0]).name}.": report.prompts,
    }
    shown = {caption: figure for caption, figure in figures.items() if figure is not None}
    sections.append(html.pictures("Figures", list(shown.values()), list(shown)))
    sections.append(html.measures("Every number", [*records, *report.scales.values()]))
    return html.write_page(out / PAGE, "Experiments with camera paths", sections)


def part_cells(records: Sequence[Record], part: str) -> Cells:
    """One row for each model, with the columns of the slides' table that were measured."""
    names = (
        *(
            f"{part}: FD[clatr]",
            *(f"{part}: {name}" for name in ("precision", "recall", "density", "coverage")),
        ),
        *(f"{part}, drawn: CLaTr-score", f"{part}: C precision", f"{part}: C recall", f"{part}: C F1"),
        *(f"{part}, shuffled text: C F1", f"{part}: drawing time"),
    )
    cells = comparison_cells(records, [name for name in names if any(one.find(name) for one in records)])
    weights = [f"{record.notes['num_weights'] / 1e6:.2f}" for record in records]
    rows = [[row[0], share, *row[1:]] for row, share in zip(cells.rows, weights, strict=True)]
    return Cells([cells.header[0], "weights (million)", *cells.header[1:]], rows)


def character_cells(records: Sequence[Record]) -> Cells:
    """One row for each model: what the character does to the camera."""
    turned = [f"mirrored character, camera {way}: lateral motion flips" for way in ("follows", "stays")]
    names = [*turned]
    for part in PARTS:
        names += [f"{part}, shuffled characters: C F1", f"{part}, drawn: off-screen"]
        names += [f"{part}, shuffled characters: off-screen", f"{part}, real: off-screen"]
    return comparison_cells(records, names)
