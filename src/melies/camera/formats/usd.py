"""Universal Scene Description: an animated camera in a stage, through Pixar's own library.

Cameras look along −z with y up (UsdGeomCamera). What is written has centimetres and y up, as most programs
expect; what is read says its own units and its own upward axis. Focal length and aperture are in tenths of a
unit there, so that in centimetres they are millimetres.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from melies.camera.formats.rows import LIMIT, MAX_ROWS
from melies.camera.path import CameraPath, lens_of
from melies.errors import UserError
from melies.optional import require

METRES = 0.01
"""Of a unit of what is written."""
FILM_MM = 36.0
"""Width of the film."""
Z_UP_TO_Y_UP = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])


def write(path: CameraPath) -> bytes:
    """A stage with one animated camera, as text."""
    usd, geom, gf = _library("Usd"), _library("UsdGeom"), _library("Gf")
    lens, _ = lens_of(path)
    stage = usd.Stage.CreateInMemory(".usda")
    geom.SetStageMetersPerUnit(stage, METRES)
    geom.SetStageUpAxis(stage, geom.Tokens.y)
    codes = (path.times * path.fps).tolist()
    stage.SetTimeCodesPerSecond(path.fps)
    stage.SetFramesPerSecond(path.fps)
    stage.SetStartTimeCode(codes[0])
    stage.SetEndTimeCode(codes[-1])
    world = geom.Xform.Define(stage, "/World")
    stage.SetDefaultPrim(world.GetPrim())
    camera = geom.Camera.Define(stage, "/World/Camera")
    place = camera.AddTransformOp()
    poses = path.world_from_camera.copy()
    poses[:, :3, 3] /= METRES
    rows = np.ascontiguousarray(np.swapaxes(poses, 1, 2))  # rows are vectors there
    _set(place.GetAttr(), codes, _library("Vt").Matrix4dArray.FromNumpy(rows))
    width = np.full(len(path), FILM_MM)
    focal = lens[:, 0] * width
    height = focal / lens[:, 1]
    numbers = {
        camera.GetFocalLengthAttr(): focal,
        camera.GetHorizontalApertureAttr(): width,
        camera.GetVerticalApertureAttr(): height,
        camera.GetHorizontalApertureOffsetAttr(): (0.5 - lens[:, 2]) * width,
        camera.GetVerticalApertureOffsetAttr(): (lens[:, 3] - 0.5) * height,
    }
    for attribute, values in numbers.items():
        if (values == values[0]).all():
            attribute.Set(float(values[0]))
            continue
        _set(attribute, codes, values.tolist())
    camera.GetClippingRangeAttr().Set(gf.Vec2f(0.01 / METRES, 1000 / METRES))
    return stage.GetRootLayer().ExportToString().encode()


def _set(attribute: Any, codes: Sequence[float], values: Any) -> None:
    """Give an attribute its values in time, without telling anyone of each."""
    sdf = _library("Sdf")
    attribute.Set(values[0], codes[0])
    layer, place = attribute.GetStage().GetRootLayer(), attribute.GetPath()
    with sdf.ChangeBlock():
        for code, value in zip(codes, values, strict=True):
            layer.SetTimeSample(place, code, value)


def read(file: Path, fps: float) -> CameraPath:
    """The first camera of a stage that is animated, or the first; at its own times."""
    usd, geom = _library("Usd"), _library("UsdGeom")
    if not file.is_file():
        raise UserError("there is no such file", where=str(file))
    if file.stat().st_size > 4 * LIMIT:
        raise UserError(f"larger than {4 * LIMIT / 2**20:g} MiB", where=str(file))
    try:
        stage = usd.Stage.Open(str(file), usd.Stage.LoadNone)
    except Exception as error:  # the library has one error for all, and its text is long
        raise UserError(f"no stage: {str(error).splitlines()[0][:120]}", where=str(file)) from None
    cameras = [prim for prim in stage.Traverse() if prim.IsA(geom.Camera)]
    if not cameras:
        raise UserError("there is no camera in the stage", where=str(file))
    codes, prim = max(((_codes(geom, prim), prim) for prim in cameras), key=lambda one: len(one[0]))
    if len(codes) > MAX_ROWS:
        raise UserError(f"more than {MAX_ROWS:,} frames", where=str(file))
    times, cache, poses = codes or [usd.TimeCode.Default()], geom.XformCache(), []
    for code in times:
        cache.SetTime(code)
        poses.append(np.array(cache.GetLocalToWorldTransform(prim)).T)
    lenses, aspects = _lenses(geom.Camera(prim), times)
    return CameraPath(
        world_from_camera=_upright(np.stack(poses), stage, geom),
        times=np.array(codes) / stage.GetTimeCodesPerSecond() if codes else np.zeros(1),
        lens=lenses,
        aspect=aspects[0],
    )


def _lenses(camera: Any, times: list) -> tuple[ndarray, list[float]]:
    """Lens and aspect at each time; read once where nothing of it changes."""
    attributes = (
        camera.GetFocalLengthAttr(),
        camera.GetHorizontalApertureAttr(),
        camera.GetVerticalApertureAttr(),
        camera.GetHorizontalApertureOffsetAttr(),
        camera.GetVerticalApertureOffsetAttr(),
    )
    changes = any(attribute.GetNumTimeSamples() > 1 for attribute in attributes)
    lenses, aspects = [], []
    for code in times if changes else times[:1]:
        window = camera.GetCamera(code).frustum.GetWindow()
        (left, bottom), (right, top) = window.GetMin(), window.GetMax()
        lenses.append([1 / (right - left), 1 / (top - bottom), -left / (right - left), top / (top - bottom)])
        aspects.append((right - left) / (top - bottom))
    repeats = 1 if changes else len(times)
    return np.tile(lenses, (repeats, 1)), aspects


def write_crate(path: CameraPath) -> bytes:
    """The same in the binary form, which is smaller and quicker to read."""
    sdf = _library("Sdf")
    layer = sdf.Layer.CreateAnonymous(".usda")
    layer.ImportFromString(write(path).decode())
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "path.usdc"
        layer.Export(str(file))
        return file.read_bytes()


def _codes(geom: Any, prim: Any) -> list[float]:
    """When anything of the camera's pose or lens is said."""
    codes: set[float] = set()
    camera = geom.Camera(prim)
    for attribute in (
        camera.GetFocalLengthAttr(),
        camera.GetHorizontalApertureAttr(),
        camera.GetVerticalApertureAttr(),
    ):
        codes.update(attribute.GetTimeSamples())
    while prim and not prim.IsPseudoRoot():
        if prim.IsA(geom.Xformable):
            codes.update(geom.Xformable(prim).GetTimeSamples())
        prim = prim.GetParent()
    return sorted(codes)


def _upright(poses: ndarray, stage: Any, geom: Any) -> ndarray:
    """Poses in metres with y up; scales, which a camera may inherit, are taken out of their rotations."""
    scale = np.linalg.norm(poses[:, :3, :3], axis=1, keepdims=True)
    poses[:, :3, :3] /= np.where(scale > 0, scale, 1)
    poses[:, :3, 3] *= geom.GetStageMetersPerUnit(stage)
    if geom.GetStageUpAxis(stage) == geom.Tokens.z:
        poses[:, :3] = Z_UP_TO_Y_UP @ poses[:, :3]
    return poses


def _library(module: str) -> Any:
    return require(f"pxr.{module}", extra="camera", why="USD")
