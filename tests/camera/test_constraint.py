"""What a path is held to holds, whatever the network says."""

import numpy as np
import pytest

from melies.camera.constraint import Constraint, Key, at_speed, put_right, read_key
from melies.camera.framing import FOCAL, HEIGHT, in_view
from melies.camera.generate import draw_paths
from melies.camera.synthesis import synthesize
from melies.errors import UserError
from melies.geometry import direction_of, rotation_looking

FRAMES = 24


def walk(n=FRAMES):
    """To the right, from a place that is not the origin."""
    return np.stack([1.0 + 0.04 * np.arange(n), np.zeros(n), np.full(n, 2.0)], axis=1)


def draw(model, constraint, **options):
    return draw_paths(
        model, ["the camera trucks right"], [walk()], num_steps=3, constraints=[constraint], **options
    )[0]


START = Key(position=np.array([0.5, -0.3, -1.0]), rotation=rotation_looking(direction_of(0.2, -0.1)))
END = Key(position=np.array([2.5, -0.6, -0.5]), rotation=rotation_looking(direction_of(-0.3, 0.1)))


def passes(pose, key):
    """Whether a pose is what its key says."""
    placed = key.position is None or np.allclose(pose[:3, 3], key.position, atol=1e-9)
    return placed and (key.rotation is None or np.allclose(pose[:3, :3], key.rotation, atol=1e-9))


def test_paths_pass_through_their_keys(director):
    middle = Key(rotation=rotation_looking(direction_of(0.0, 0.0)))
    path = draw(director, Constraint(keys={0: START, 11: middle, -1: END}))
    for frame, key in ((0, START), (11, middle), (-1, END)):
        assert passes(path[frame], key)
    assert np.allclose(path[:, :3, :3] @ np.swapaxes(path[:, :3, :3], 1, 2), np.eye(3), atol=1e-6)


def test_what_is_free_is_led_to_what_is_fixed(director):
    """It is not the free path put right at the end: the network saw the keys while it drew."""
    constraint = Constraint(keys={0: START, -1: END})
    after = put_right(draw(director, Constraint()), walk(), constraint)
    assert not np.allclose(draw(director, constraint), after, atol=1e-3)


def test_the_character_stays_in_the_picture_and_is_as_tall_as_asked(director):
    path = draw(director, Constraint(margin=0.1, size=0.6))
    assert in_view(path, walk(), 0.1 - 1e-6).all()
    assert HEIGHT * FOCAL / np.linalg.norm(path[0, :3, 3] - walk()[0]) == pytest.approx(0.6)


def test_keys_go_before_margins():
    shot = next(synthesize(1, seed=5))
    away = Key(rotation=rotation_looking(direction_of(np.pi, 0.0)))
    kept = put_right(shot.world_from_camera, shot.character, Constraint(keys={3: away}, margin=0.2))
    assert passes(kept[3], away)


def test_nothing_asked_is_nothing_changed(director):
    shot = next(synthesize(1, seed=5))
    same = put_right(shot.world_from_camera, shot.character, Constraint())
    assert np.array_equal(same, shot.world_from_camera)
    free = draw_paths(director, ["the camera trucks right"], [walk()], num_steps=3)[0]
    assert np.array_equal(draw(director, Constraint()), free)


def test_speed_stretches_the_way_and_not_the_gaze(director):
    free = draw(director, Constraint())
    fast = draw(director, Constraint(speed=2.0))
    assert np.allclose(fast[:, :3, 3] - fast[0, :3, 3], 2 * (free[:, :3, 3] - free[0, :3, 3]))
    assert np.allclose(fast[:, :3, :3], free[:, :3, :3])
    assert np.allclose(at_speed(free, 0.0)[:, :3, 3], free[0, :3, 3])


def test_one_constraint_does_not_touch_its_neighbour(director):
    constraints = [Constraint(keys={0: START}), Constraint()]
    prompts = ["the camera trucks right"] * 2
    first, second = draw_paths(director, prompts, [walk()] * 2, num_steps=3, constraints=constraints)
    assert passes(first[0], START)
    free = draw_paths(director, prompts[1:], [walk()], num_steps=3, seeds=[1])[0]
    assert np.allclose(second, free, atol=1e-4)


def test_keys_are_read_as_they_are_typed():
    assert read_key("1,-2,3", where="").rotation is None
    key = read_key("0,0,-3,90,0,0", where="")
    assert key.rotation is not None
    assert np.allclose(key.rotation[:, 2], (1, 0, 0))  # it looks to the right
    tilted = read_key("0,0,-3,0,30,90", where="").rotation
    assert tilted is not None
    assert np.allclose(tilted[:, 2], (0, -0.5, np.sqrt(0.75)))  # upwards
    assert np.allclose(tilted[:, 0], (0, np.sqrt(0.75), 0.5))  # its right hand side is down: clockwise


@pytest.mark.parametrize("bad", [{"margin": 0.6}, {"size": 0.0}, {"speed": -1.0}, {"speed": float("nan")}])
def test_what_cannot_be_is_refused(bad):
    with pytest.raises(UserError):
        Constraint(**bad)


def test_a_key_beyond_the_path_is_refused(director):
    with pytest.raises(UserError, match="frame 24 of a path of 24"):
        draw(director, Constraint(keys={FRAMES: START}))
