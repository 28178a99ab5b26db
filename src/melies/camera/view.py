"""A camera path as a page to look at: in space, through the camera, and what it does over time."""

import html
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from melies.camera.describe import Description
from melies.camera.labels import STATIC, camera_name, character_name
from melies.camera.path import lens_of
from melies.files import write_text

DIGITS = 5
"""Behind the point: a hundredth of a millimetre."""
COLOURS = {"camera": "#1971c2", "turns and lens": "#7048a8", "character": "#d9480f"}


def view_page(found: Description, title: str) -> str:
    """One HTML page that needs no server and loads nothing.

    Args:
        found: What `describe_path` found.
        title: Of the page.
    """
    template = files("melies.camera").joinpath("viewer.html").read_text(encoding="utf-8")
    # A script ends at the first "</", whatever it stands in.
    data = json.dumps(_data(found), ensure_ascii=False).replace("</", "<\\/")
    return template.replace("{{title}}", html.escape(title)).replace("{{data}}", data)


def write_view(found: Description, file: Path, title: str) -> Path:
    """Write the page, whole or not at all."""
    return write_text(file, view_page(found, title))


def _data(found: Description) -> dict[str, Any]:
    path = found.path
    lens, aspect = lens_of(path)
    rows = [
        ("camera", [(camera_name(one.label), one, one.label == STATIC) for one in found.segments]),
        ("turns and lens", [(one.name, one, False) for one in found.motions]),
        (
            "character",
            [(character_name(one.label), one, one.label == STATIC) for one in found.character_segments],
        ),
    ]
    return {
        "fps": path.fps,
        "aspect": aspect,
        "position": path.position.round(DIGITS).tolist(),
        "rotation": path.world_from_camera[:, :3, :3].reshape(-1, 9).round(DIGITS + 1).tolist(),
        "lens": lens.round(DIGITS).tolist(),
        "character": None if found.character is None else found.character.round(DIGITS).tolist(),
        "rows": [
            {
                "name": name,
                "colour": COLOURS[name],
                "runs": [
                    {"name": called.replace("_", " "), "start": run.start, "end": run.end, "still": still}
                    for called, run, still in lane
                ],
            }
            for name, runs in rows
            for lane in _lanes(runs)
        ],
    }


def _lanes(runs: list[tuple[str, Any, bool]]) -> list[list[tuple[str, Any, bool]]]:
    """Runs that overlap, one below the other."""
    lanes: list[list[tuple[str, Any, bool]]] = []
    for run in runs:
        for lane in lanes:
            if lane[-1][1].end <= run[1].start:
                lane.append(run)
                break
        else:
            lanes.append([run])
    return lanes
