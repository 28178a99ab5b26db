"""Poses of people as skeletons."""

from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from melies.images.conditions.each import Colour, Pixels, each
from melies.video.blazepose import open_blazepose
from melies.video.pose import draw_poses


def open_pose(weights: Path) -> Callable[[Tensor], Tensor]:
    """The skeleton of the most visible person, on black, in the colours of OpenPose.

    Found by BlazePose, which is not the network that the public pose ControlNets were trained with; the
    drawing is that one's.

    Raises:
        UserError: If the model files are not there, or the package that runs them is not installed.
    """
    find = open_blazepose(weights)

    def pose(pixels: Pixels) -> Colour:
        return each(pixels, lambda picture: draw_poses(find(picture), *picture.shape[:2]), channels=3)

    return pose
