"""A script for Blender that builds the animated camera; nothing of Blender is needed to write it.

Blender's world has z up and metres, its cameras look along −z with y up. Run it in Blender's text editor, or
with `blender --background --python path.py`.
"""

import json

import numpy as np

from melies.camera.path import CameraPath, lens_of
from melies.geometry import quaternion_from_rotation

FILM_MM = 36.0

SCRIPT = '''"""An animated camera for Blender: run it there, or by blender --background --python FILE."""

import json

import bpy

PATH = json.loads("""
{data}
""")

scene = bpy.context.scene
scene.render.fps = round(PATH["fps"]) or 1
scene.render.fps_base = scene.render.fps / PATH["fps"]
scene.render.resolution_y = 1080
scene.render.resolution_x = round(1080 * PATH["aspect"])
scene.unit_settings.scale_length = 1.0

lens = bpy.data.cameras.new("Camera path")
lens.sensor_fit = "HORIZONTAL"
lens.sensor_width = PATH["sensor_width"]
camera = bpy.data.objects.new("Camera path", lens)
camera.rotation_mode = "QUATERNION"
scene.collection.objects.link(camera)
scene.camera = camera
for frame, place, turn, focal, shift in zip(
    PATH["frames"], PATH["location"], PATH["rotation_quaternion"], PATH["lens"], PATH["shift"]
):
    camera.location, camera.rotation_quaternion = place, turn
    lens.lens, (lens.shift_x, lens.shift_y) = focal, shift
    for name in ("location", "rotation_quaternion"):
        camera.keyframe_insert(name, frame=frame)
    for name in ("lens", "shift_x", "shift_y"):
        lens.keyframe_insert(name, frame=frame)
scene.frame_start = int(PATH["frames"][0])
scene.frame_end = max(int(round(PATH["frames"][-1])), scene.frame_start)
'''


def write(path: CameraPath) -> bytes:
    """The script, with the path in it."""
    lens, aspect = lens_of(path)
    quaternion = np.roll(quaternion_from_rotation(path.world_from_camera[:, :3, :3]), 1, axis=1)
    turned = np.where((quaternion[1:] * quaternion[:-1]).sum(1) < 0, -1.0, 1.0)
    quaternion[1:] *= np.cumprod(turned)[:, None]  # so that what is between two keys is the short way
    fx, _, cx, cy = lens.T
    data = {
        "fps": path.fps,
        "aspect": aspect,
        "sensor_width": FILM_MM,
        "frames": (1 + (path.times - path.times[0]) * path.fps).tolist(),
        "location": path.position.tolist(),
        "rotation_quaternion": quaternion.tolist(),
        "lens": (fx * FILM_MM).tolist(),
        "shift": np.stack([0.5 - cx, (cy - 0.5) / aspect], axis=1).tolist(),
    }
    return SCRIPT.replace("{data}", json.dumps(data)).encode()
