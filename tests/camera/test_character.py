"""Characters from presets, arrays, spreadsheets, motion capture and scenes."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.camera.test_formats import some

from melies.camera.character import read_character
from melies.camera.formats import FORMATS, write_as
from melies.errors import UserError

BVH = """HIERARCHY
ROOT Hips
{{
  OFFSET 1.0 90.0 0.0
  CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
  JOINT Spine
  {{
    OFFSET 0.0 10.0 0.0
    CHANNELS 3 Zrotation Xrotation Yrotation
    End Site
    {{
      OFFSET 0.0 5.0 0.0
    }}
  }}
}}
MOTION
Frames: {frames}
Frame Time: {step}
{rows}
"""


def bvh(places, step=0.04, frames=None):
    rows = "\n".join(" ".join(f"{x:g}" for x in (*place, *[0.0] * 6)) for place in places)
    return BVH.format(frames=len(places) if frames is None else frames, step=step, rows=rows)


def test_the_root_of_a_bvh_walks_in_our_axes(tmp_path):
    """100 cm to the right, 50 up and 200 towards the viewer, in a second of 50 frames."""
    t = np.linspace(0, 1, 51)
    file = tmp_path / "walk.bvh"
    file.write_text(bvh(np.outer(t, [100, 50, 200]) + np.array([0, 90, 0]), step=0.02))
    track = read_character(file)
    assert len(track) == 26
    assert track[0] == pytest.approx((0, 0, 0))
    assert track[-1] == pytest.approx((1, -0.5, -2))
    assert read_character(file, unit=1.0)[-1] == pytest.approx((100, -50, -200))
    assert len(read_character(file, fps=50.0)) == 51


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "does not begin with HIERARCHY"),
        ("HIERARCHY\nROOT a\n", "its root has no place"),
        ("HIERARCHY\nCHANNELS 2 Xposition\n", "line 2"),
        ("HIERARCHY\nCHANNELS 3 Zrotation Xrotation Yrotation\n", "line 2"),
        (bvh([[0, 0, 0]], frames=3), "it says 3 frames and has 1|line 20 is not 9 numbers"),
        (bvh([[0, 0, 0]], step=0), "1 frames of 0 s"),
        (bvh([[0, 0, 0]]).replace("0 0 0 0 0 0 0 0 0", "0 0 0"), "is not 9 numbers"),
        (bvh([[0, 0, 0]]).replace("Frames: 1", "Frames: x"), "'x' is no number"),
        (bvh([[0, 0, 0]]).split("MOTION", maxsplit=1)[0] + "MOTION\n", "no frames and no frame time"),
    ],
)
def test_a_bvh_that_is_none_is_said_to_be_so(text, message, tmp_path):
    (tmp_path / "bad.bvh").write_text(text)
    with pytest.raises(UserError, match=message):
        read_character(tmp_path / "bad.bvh")


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    suffix=st.sampled_from([".bvh", ".csv", ".npy", ".gltf"]),
    data=st.one_of(
        st.binary(max_size=60), st.text(max_size=60).map(lambda text: f"HIERARCHY\n{text}".encode())
    ),
)
def test_nothing_is_read_but_as_a_track_or_an_error_of_ours(suffix, data, tmp_path):
    if suffix == ".gltf":
        pytest.importorskip("pygltflib")
    file = tmp_path / f"a{suffix}"
    file.write_bytes(data)
    try:
        track = read_character(file)
    except UserError:
        return
    assert track.shape[1] == 3


def test_a_node_of_a_scene_is_a_character(tmp_path):
    pytest.importorskip("pygltflib")
    path = some(25)
    file = write_as(path, tmp_path / "actor.gltf", FORMATS["gltf"])
    track = read_character(file, fps=24.0)
    assert np.allclose(track, path.position - path.position[0], atol=1e-5)
    assert np.allclose(read_character(tmp_path / "actor.gltf#Camera", fps=24.0), track)
    with pytest.raises(UserError, match="no node 'Hips'; name one of: Camera"):
        read_character(tmp_path / "actor.gltf#Hips")
    still = write_as(some(1), tmp_path / "still.gltf", FORMATS["gltf"])
    assert len(read_character(still)) == 1


def test_units_are_heeded_in_arrays_and_spreadsheets(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[0, 0, 0], [100, 0, 0]]))
    assert read_character(tmp_path / "a.npy", unit=0.01)[1] == pytest.approx((1, 0, 0))
    (tmp_path / "a.csv").write_text("x,y,z\n0,0,0\n100,0,0\n")
    assert read_character(tmp_path / "a.csv", unit=0.01)[1] == pytest.approx((1, 0, 0))
    np.save(tmp_path / "b.npy", np.array(["a"]))
    with pytest.raises(UserError, match="no kind of number"):
        read_character(tmp_path / "b.npy")
