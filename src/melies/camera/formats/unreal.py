"""A script for Unreal's editor that builds a level sequence with the animated camera.

Unreal is left-handed: x forward, y right, z up, in centimetres; its rotations are roll, pitch and yaw in
degrees. Run it by Tools › Execute Python Script; nothing of Unreal is needed to write it.
"""

import json

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from melies.camera.path import CameraPath, lens_of

FILM_MM = 36.0

SCRIPT = '''"""An animated camera for Unreal: Tools > Execute Python Script makes a level sequence of it."""

import json

import unreal

PATH = json.loads("""
{data}
""")

tools = unreal.AssetToolsHelpers.get_asset_tools()
sequence = tools.create_asset("CameraPath", "/Game", unreal.LevelSequence, unreal.LevelSequenceFactoryNew())
rate = unreal.FrameRate(PATH["fps_numerator"], PATH["fps_denominator"])
sequence.set_display_rate(rate)
sequence.set_tick_resolution(unreal.FrameRate(24000, 1))
sequence.set_playback_start(0)
sequence.set_playback_end(int(PATH["frames"][-1]) + 1)

actor = unreal.EditorLevelLibrary.spawn_actor_from_class(unreal.CineCameraActor, unreal.Vector(0, 0, 0))
actor.set_actor_label("CameraPath")
lens = actor.get_cine_camera_component()
film = lens.get_editor_property("filmback")
film.set_editor_property("sensor_width", PATH["sensor_width"])
film.set_editor_property("sensor_height", PATH["sensor_height"])
lens.set_editor_property("filmback", film)
focus = lens.get_editor_property("focus_settings")
focus.set_editor_property("focus_method", unreal.CameraFocusMethod.DISABLE)
lens.set_editor_property("focus_settings", focus)


def key(section, columns):
    """One key a frame in each of the section's channels."""
    channels = section.get_all_channels()
    for channel, column in zip(channels, columns):
        for frame, value in zip(PATH["frames"], column):
            whole = int(frame // 1)
            channel.add_key(unreal.FrameNumber(whole), value, frame - whole)


def track_of(owner, kind, setup=None):
    track = owner.add_track(kind)
    if setup is not None:
        track.set_property_name_and_path(*setup)
    section = track.add_section()
    section.set_range(0, int(PATH["frames"][-1]) + 1)
    return section


binding = sequence.add_possessable(actor)
place = track_of(binding, unreal.MovieScene3DTransformTrack)
key(place, PATH["location"] + PATH["rotation"])
inner = sequence.add_possessable(lens)
focal = track_of(inner, unreal.MovieSceneFloatTrack, ("CurrentFocalLength", "CurrentFocalLength"))
key(focal, [PATH["focal_length"]])
cut = sequence.add_track(unreal.MovieSceneCameraCutTrack).add_section()
cut.set_range(0, int(PATH["frames"][-1]) + 1)
cut.set_camera_binding_id(sequence.get_binding_id(binding))
unreal.EditorAssetLibrary.save_loaded_asset(sequence)
'''


def write(path: CameraPath) -> bytes:
    """The script, with the path in it."""
    lens, _ = lens_of(path)
    fx = lens[:, 0]
    numerator, denominator = _rate(path.fps)
    data = {
        "fps_numerator": numerator,
        "fps_denominator": denominator,
        "sensor_width": FILM_MM,
        "sensor_height": float(FILM_MM * fx[0] / lens[0, 1]),
        "frames": ((path.times - path.times[0]) * path.fps).tolist(),
        "location": path.position.T.tolist(),
        "rotation": roll_pitch_yaw(path.world_from_camera[:, :3, :3]).T.tolist(),
        "focal_length": (fx * FILM_MM).tolist(),
    }
    return SCRIPT.replace("{data}", json.dumps(data)).encode()


def roll_pitch_yaw(rotation: Float64[ndarray, "n 3 3"]) -> Float64[ndarray, "n 3"]:
    """Unreal's angles, degrees, of cameras whose columns are forward, right and up; they do not jump."""
    forward, right, up = np.moveaxis(rotation, -1, 0)
    yaw = np.arctan2(forward[:, 1], forward[:, 0])
    pitch = np.arctan2(forward[:, 2], np.hypot(forward[:, 0], forward[:, 1]))
    level = np.stack([-np.sin(yaw), np.cos(yaw), np.zeros_like(yaw)], axis=1)
    roll = np.arctan2((up * level).sum(1), (right * level).sum(1))
    return np.rad2deg(np.unwrap(np.stack([roll, pitch, yaw], axis=1), axis=0))


def _rate(fps: float) -> tuple[int, int]:
    """Whole numbers whose quotient is the rate; those of television are by 1001."""
    if abs(fps - round(fps)) < 1e-3:
        return max(round(fps), 1), 1
    if abs(fps * 1.001 - round(fps * 1.001)) < 1e-3:
        return round(fps * 1.001) * 1000, 1001
    return max(round(fps * 1000), 1), 1000
