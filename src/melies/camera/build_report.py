"""What became of videos: a page with every shot and a picture of every sample."""

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image

from melies.batch import Outcome
from melies.camera.et import Sample
from melies.camera.picture import path_picture
from melies.report.figure import grid
from melies.report.html import table, text, write_page
from melies.report.table import Cells

CAPTION = 150
"""Characters of a caption that stand above a picture."""


def sample_picture(sample: Sample, strip: Sequence[UInt8[ndarray, "h w 3"]]) -> Image.Image:
    """The path from above and from the side, above some pictures of the shot."""
    path = path_picture(
        sample.path.world_from_camera, sample.character, title=sample.caption[:CAPTION], width_px=1200
    )
    if not strip:
        return path
    row = grid([Image.fromarray(one) for one in strip], len(strip))
    row = row.resize((path.width, round(row.height * path.width / row.width)), Image.Resampling.LANCZOS)
    sheet = Image.new("RGB", (path.width, path.height + row.height), "white")
    sheet.paste(path, (0, 0))
    sheet.paste(row, (0, path.height))
    return sheet


def write_report(root: Path, outcomes: Sequence[Outcome], rows: Sequence[tuple[str, str]]) -> Path:
    """`report.html`: the set's numbers, every shot of every video with what became of it, and the pictures.

    Args:
        root: The set, with `pictures/NAME.png` of each sample.
        outcomes: Of the videos.
        rows: Numbers of the whole set, with their names.
    """
    sections = [table("The set", Cells(["what", "how much"], [list(row) for row in rows]))]
    for outcome in outcomes:
        if outcome.state == "failed":
            sections.append(text(outcome.name, [f"Left out: {outcome.error}"]))
            continue
        sections.append(table(outcome.result["video"], _shots(outcome.result["shots"])))
        pictures = [
            f'<figure><img width="900" loading="lazy" src="pictures/{html.escape(sample["name"])}.png"'
            f' alt="{html.escape(sample["caption"])}"><figcaption>{html.escape(sample["name"])}</figcaption>'
            "</figure>"
            for shot in outcome.result["shots"]
            for sample in shot.get("samples", ())
        ]
        if pictures:
            sections.append('<section><div class="pictures">' + "\n".join(pictures) + "</div></section>")
    return write_page(root / "report.html", "Camera paths from videos", sections)


def _shots(shots: Sequence[dict[str, Any]]) -> Cells:
    return Cells(
        ["shot", "seconds", "camera", "character", "scale", "samples", "left out because"],
        [
            [
                str(shot["shot"]),
                f"{shot['start']:.2f}–{shot['end']:.2f}",
                shot.get("camera", ""),
                shot.get("character", ""),
                shot.get("scale", ""),
                "; ".join(f"{one['frames']} frames: {one['caption']}" for one in shot.get("samples", ())),
                shot.get("left out", ""),
            ]
            for shot in shots
        ],
    )
