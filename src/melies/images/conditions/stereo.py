"""Depth from two views, by OpenCV's semi-global matching."""

import numpy as np
from jaxtyping import Float32, UInt8
from torch import Tensor

from melies.errors import UserError
from melies.images.conditions.each import Pixels, each, opencv
from melies.images.conditions.infrared import stretched

STEP = 16
"""Disparities that are tried are a multiple of this, at least a quarter of the width."""
BLOCK = 5
"""Pixels along a side that are matched."""


def stereo(pixels: Pixels) -> UInt8[Tensor, "n 1 h half"]:
    """How near things are in the left view, near is white (255); 0 where nothing was matched.

    Two rectified views side by side, the left one first; the hint is half as wide.

    Raises:
        UserError: If the width is odd, or a view is narrower than 32 pixels.
    """
    width = pixels.shape[3]
    if width % 2 or width < 64:
        raise UserError(
            f"{width} pixels are no two views side by side",
            remedy="join the left and the right view in one picture",
        )

    def drawn(picture: np.ndarray) -> np.ndarray:
        return stretched(disparity(picture[:, : width // 2], picture[:, width // 2 :]))

    return each(pixels, drawn)


def disparity(left: np.ndarray, right: np.ndarray) -> Float32[np.ndarray, "h w"]:
    """Pixels by which what is at (x, y) of the left view lies further left in the right one; 0 where unknown.

    Focal length (pixels) times distance of the cameras over it is the depth.

    Source: Hirschmüller (2008), Stereo processing by semiglobal matching and mutual information, by OpenCV.
    """
    cv2 = opencv()
    tried = max(1, -(-left.shape[1] // 4 // STEP)) * STEP
    matcher = cv2.StereoSGBM_create(
        minDisparity=0,
        numDisparities=tried,
        blockSize=BLOCK,
        P1=8 * 3 * BLOCK**2,  # of OpenCV's manual, for three channels
        P2=32 * 3 * BLOCK**2,
        disp12MaxDiff=1,
        uniquenessRatio=5,
        speckleWindowSize=50,
        speckleRange=2,
        mode=cv2.STEREO_SGBM_MODE_SGBM_3WAY,
    )
    # matches begin only where all disparities are inside, so the left border is continued
    wide = [
        cv2.copyMakeBorder(np.ascontiguousarray(view), 0, 0, tried, 0, cv2.BORDER_REPLICATE)
        for view in (left, right)
    ]
    found = matcher.compute(*wide)[:, tried:].astype(np.float32) / 16
    return np.where(found > 0, found, 0).astype(np.float32)
