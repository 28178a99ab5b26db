"""What a network sees of a camera path: nine numbers a frame, and three of the character beside it.

Six for the rotation, as it is; three for the translation, absolute at the first frame and then the step from
frame to frame, standardised (Courant et al. 2024, §4.1, with the numbers of the published code). The steps
may be taken in the camera's own axes instead, in which a motion stays the same however the camera turns.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from melies.camera.path import FOCAL
from melies.transform import StandardizeSteps

NUM_FEATURES = 9
WITH_LENS = 10
"""Where the last is the focal length."""
LENS_STD = 0.25
"""Of the logarithm of the focal length over E.T.'s, by which it is standardised."""

Axes = Literal["world", "camera"]
"""In which the steps are: those of the world, as published, or those of the camera at the frame before."""

HALF = 0.5
"""Features are scaled by this, so that they have about EDM's usual standard deviation of data, 0.5."""

CAMERA_STEPS = StandardizeSteps(
    start_mean=(0.00201079, -0.27488501, -1.23616805),
    start_std=(1.13433516, 1.19061042, 1.58744263),
    step_mean=(7.93987673e-05, -9.98621393e-05, 4.12940653e-04),
    step_std=(0.027841, 0.01819818, 0.03138536),
)
"""Of the data set E.T., metres and metres a frame."""

CHARACTER_STEPS = StandardizeSteps(
    start_mean=(6.676e-05, -5.084e-05, -7.782e-04),
    start_std=(0.0105, 0.006958, 0.01145),
    step_mean=(6.676e-05, -5.084e-05, -7.782e-04),
    step_std=(0.0105, 0.006958, 0.01145),
)
"""The same of its characters, whose first frame is the origin."""

MIRROR = (1.0, -1.0, -1.0, -1.0, 1.0, 1.0, -1.0, 1.0, 1.0)
"""What a path seen in a mirror (x turned round) changes of its features, where steps in x have mean 0."""


def encode_path(
    world_from_camera: Float[Tensor, "b n 4 4"], steps: StandardizeSteps, *, axes: Axes = "world"
) -> Float[Tensor, "b nine n"]:
    """Poses (metres) to features."""
    six = world_from_camera[..., :3, :2].transpose(-1, -2).flatten(-2)
    return HALF * torch.cat([six.mT, steps.forward(translation_in(axes, world_from_camera).mT)], dim=1)


def decode_path(
    x0: Float[Tensor, "b nine n"], steps: StandardizeSteps, *, axes: Axes = "world"
) -> Float[Tensor, "b n 4 4"]:
    """Features to poses; rotations are made orthonormal. Differentiable."""
    x0 = x0 / HALF
    first, second = x0[:, :3].mT, x0[:, 3:6].mT
    x = torch.nn.functional.normalize(first, dim=-1)
    y = torch.nn.functional.normalize(second - (x * second).sum(-1, keepdim=True) * x, dim=-1)
    rotation = torch.stack([x, y, torch.linalg.cross(x, y)], dim=-1)
    translation = steps.inverse(x0[:, 6:NUM_FEATURES]).mT
    if axes == "camera":
        translation = _summed(translation, rotation)
    last = x0.new_tensor([0.0, 0.0, 0.0, 1.0]).expand(*rotation.shape[:2], 1, 4)
    return torch.cat([torch.cat([rotation, translation[..., None]], dim=-1), last], dim=-2)


def encode_lens(focal: Float[Tensor, "b n"]) -> Float[Tensor, "b one n"]:
    """Focal lengths, in heights of the picture, to a feature."""
    return HALF * (focal / FOCAL).log()[:, None] / LENS_STD


def decode_lens(feature: Float[Tensor, "b n"]) -> Float[Tensor, "b n"]:
    """A feature to focal lengths; at most a hundred times E.T.'s, and at least a hundredth."""
    return FOCAL * (feature / HALF * LENS_STD).clamp(-4.6, 4.6).exp()


def translation_in(axes: Axes, world_from_camera: Float[Tensor, "*b n 4 4"]) -> Float[Tensor, "*b n 3"]:
    """Where the camera is, or where steps of the same first place, each in the camera's axes, add up to."""
    translation = world_from_camera[..., :3, 3]
    if axes == "world":
        return translation
    return _summed(translation, world_from_camera[..., :3, :3].mT)


def moved(
    world_from_camera: Float[Tensor, "*b n 4 4"], by: Float[Tensor, "*b n 3"]
) -> Float[Tensor, "*b n 4 4"]:
    """The poses, each moved by so many metres of its own."""
    shifted = world_from_camera.clone()
    shifted[..., :3, 3] += by
    return shifted


def _summed(track: Float[Tensor, "*b n 3"], turn: Float[Tensor, "*b n 3 3"]) -> Float[Tensor, "*b n 3"]:
    """The track of the same first place whose every step is turned by the rotation of the frame before."""
    turned = (turn[..., :-1, :, :] @ track.diff(dim=-2)[..., None])[..., 0]
    return torch.cat([track[..., :1, :], turned], dim=-2).cumsum(dim=-2)


def encode_character(
    positions: Float[Tensor, "b n 3"], steps: StandardizeSteps
) -> Float[Tensor, "b three n"]:
    """Where a character's hips are (metres, origin at its first frame) to features."""
    return steps.forward(positions.mT)


def fit_steps(
    tracks: Sequence[Float[Tensor, "_ 3"]], *, mirrored: bool = False, knee: float = 0.0
) -> StandardizeSteps:
    """The standardisation of tracks of any length.

    Args:
        tracks: Each of at least two frames.
        mirrored: Whether each also stands for the one seen in a mirror: the mean of x is 0 then.
        knee: Metres a frame from which on steps are bent; 0: never.
    """
    starts = torch.stack([track[0] for track in tracks]).double()
    steps = torch.cat([track.diff(dim=0) for track in tracks]).double()
    if knee:
        steps = (steps / knee).asinh()
    numbers = []
    for part in (starts, steps):
        mean = part.mean(0)
        if mirrored:
            mean[0] = 0
        numbers += [
            tuple(mean.tolist()),
            tuple((part - mean).square().mean(0).sqrt().clamp(min=1e-4).tolist()),
        ]
    return StandardizeSteps(
        start_mean=numbers[0],
        start_std=numbers[1],
        step_mean=numbers[2],
        step_std=numbers[3],
        knee=(knee,) * 3 if knee else (),
    )
