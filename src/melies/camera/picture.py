"""A camera path to look at: from above and from the side, with the camera's view and its character."""

from typing import Any

import numpy as np
from jaxtyping import Float64
from numpy import ndarray
from PIL import Image

from melies.camera.path import ASPECT, FOCAL
from melies.report.plot import draw_beside

SHOWN = 7
"""Frames whose view is drawn."""
TOP = ((0, 1.0), (2, 1.0))
"""(axis, sign) along and up: to the right, and away from the viewer upwards."""
SIDE = ((2, 1.0), (1, -1.0))
"""Away from the viewer to the right, and upwards."""
TITLES = {0: "x, right (m)", 1: "y, up (m)", 2: "z, forward (m)"}

Plane = tuple[tuple[int, float], tuple[int, float]]


def path_picture(
    world_from_camera: Float64[ndarray, "n 4 4"],
    character: Float64[ndarray, "m 3"] | None = None,
    *,
    title: str = "",
    width_px: int = 1000,
    height_px: int = 440,
) -> Image.Image:
    """The path in colours from dark to light, some of its views, and the character's way in grey.

    Args:
        world_from_camera: Poses, metres.
        character: Where the character is, metres.
        title: Above the left view.
        width_px: Width of the picture.
        height_px: Its height.
    """

    def paint(plane: Plane, heading: str):
        def painted(axes: Any) -> None:
            _paint(axes, plane, world_from_camera, character)
            axes.set_title(heading, fontsize="medium", loc="left", wrap=True)

        return painted

    heading = f"{title}\nfrom above" if title else "from above"
    return draw_beside(
        [paint(TOP, heading), paint(SIDE, "from the right")], width_px=width_px, height_px=height_px
    )


def _paint(axes: Any, plane: Plane, poses: ndarray, character: ndarray | None) -> None:
    from matplotlib.collections import LineCollection

    def flat(points: ndarray) -> ndarray:
        return np.stack([sign * points[..., axis] for axis, sign in plane], axis=-1)

    path = flat(poses[:, :3, 3])
    shown = np.unique(np.linspace(0, len(poses) - 1, SHOWN).round().astype(int))
    extent = np.ptp(path, axis=0).max() if len(path) > 1 else 0.0
    if character is not None:
        way = flat(character)
        extent = max(extent, np.ptp(np.concatenate([path, way]), axis=0).max())
        axes.plot(way[:, 0], way[:, 1], color="0.6", linewidth=2, label="character", zorder=1)
        axes.plot(*way[0], "o", color="0.6", markersize=6)
        axes.plot(*way[-1], ">", color="0.4", markersize=7)
    far = max(0.12 * extent, 0.1)
    colours = _colours(len(poses))
    half = np.array([ASPECT / 2, 0.5]) / FOCAL
    corners = np.array([[sx * half[0], sy * half[1], 1.0] for sx, sy in ((-1, -1), (1, -1), (1, 1), (-1, 1))])
    for frame in shown:
        pose = poses[frame]
        there = flat((pose[:3, :3] @ (far * corners).T).T + pose[:3, 3])
        edges = [np.stack([path[frame], corner]) for corner in there]
        edges += [np.stack([there[i], there[(i + 1) % 4]]) for i in range(4)]
        axes.add_collection(LineCollection(edges, colors=[colours[frame]], linewidths=0.9, zorder=3))
    pieces = np.stack([path[:-1], path[1:]], axis=1) if len(path) > 1 else np.empty((0, 2, 2))
    axes.add_collection(LineCollection(list(pieces), colors=colours[:-1], linewidths=2.2, zorder=2))
    axes.plot(*path[0], "o", color=colours[0], markersize=6, label="camera, dark to light")
    axes.set_aspect("equal", adjustable="datalim")
    axes.autoscale_view()
    axes.margins(0.12)
    along, up = plane
    axes.set_xlabel(TITLES[along[0]])
    axes.set_ylabel(TITLES[up[0]])
    axes.legend(frameon=False, fontsize="small", loc="best")


def _colours(count: int) -> ndarray:
    from matplotlib import colormaps

    return colormaps["viridis"](np.linspace(0.05, 0.9, max(count, 1)))
