"""Shots made by rule do what they are made to do, and their captions say it."""

import itertools
import re

import numpy as np
import pytest

from melies.camera.caption import outline, write_caption
from melies.camera.framing import in_view
from melies.camera.labels import STATIC
from melies.camera.motion import label_motions
from melies.camera.path import ASPECT, at_frame_rate
from melies.camera.synthesis import IN_VIEW, SynthesisConfig, synthesize
from melies.camera.tag import Segment, find_segments, tag_camera, tag_character
from melies.errors import UserError
from melies.geometry import inverse


@pytest.fixture(scope="module")
def shots():
    return list(synthesize(200, seed=3))


def labels(segments):
    return np.concatenate([np.full(one.end - one.start, one.label) for one in segments])


def test_the_tagger_sees_what_was_made(shots):
    camera = [(tag_camera(one.world_from_camera) == labels(one.camera_segments)).mean() for one in shots]
    character = [(tag_character(one.character) == labels(one.character_segments)).mean() for one in shots]
    assert np.mean(camera) > 0.98
    assert np.mean(character) > 0.98
    assert min(camera) > 0.9
    for shot in shots:
        found = [one.label for one in find_segments(tag_camera(shot.world_from_camera))]
        assert found == [one.label for one in shot.camera_segments]


def test_segments_are_whole_and_no_two_neighbours_are_the_same(shots):
    for shot in shots:
        for segments in (shot.camera_segments, shot.character_segments):
            assert segments[0].start == 0
            assert segments[-1].end == len(shot.character) - 1 == len(shot.world_from_camera) - 1
            for one, other in itertools.pairwise(segments):
                assert one.end == other.start
                assert one.label != other.label


def test_all_kinds_are_there(shots):
    assert {len(shot.camera_segments) for shot in shots} == {1, 2, 3, 4}
    assert len({one.label for shot in shots for one in shot.camera_segments}) > 20
    assert 60 <= min(len(shot.character) for shot in shots)
    assert max(len(shot.character) for shot in shots) <= 300
    following = [shot for shot in shots if shot.follows]
    assert len(following) > 20
    assert all(one.camera_segments == one.character_segments for one in following)
    assert all(any(part.label != STATIC for part in one.character_segments) for one in following)


def test_poses_are_rigid_and_level_and_see_the_character(shots):
    for shot in shots[:50]:
        rotation = shot.world_from_camera[:, :3, :3]
        assert np.allclose(rotation @ np.swapaxes(rotation, 1, 2), np.eye(3), atol=1e-12)
        assert np.abs(rotation[:, 1, 0]).max() < 1e-12  # x is level
        assert (shot.character[0] == 0).all()
        assert in_view(shot.world_from_camera, shot.character).mean() >= IN_VIEW
        there = inverse(shot.world_from_camera)[0] @ [0, 0, 0, 1]
        assert there[2] > 0


def test_the_same_seed_gives_the_same_shots_whatever_their_number(shots):
    few = list(synthesize(5, seed=3))
    assert all((a.world_from_camera == b.world_from_camera).all() for a, b in zip(few, shots, strict=False))
    assert not (next(iter(synthesize(1, seed=4))).character.shape == shots[0].character.shape)


def test_what_cannot_be_is_said():
    with pytest.raises(UserError, match="most_frames"):
        SynthesisConfig(least_frames=100, most_frames=50)


ONE, TWO = (Segment(9, 0, 100),), (Segment(0, 0, 90), Segment(1, 90, 200))


def test_the_outline_is_that_of_the_data_set():
    assert outline(TWO, (Segment(9, 0, 92), Segment(0, 92, 200))) == (
        "Total frames 199; [Camera motion] Between frames 0 and 89: static;Between frames 90 and 199:"
        " push_in. [Main character motion] Between frames 0 and 91: move_right;Between frames 92 and"
        " 199: static."
    )


def test_captions_say_every_move_in_order():
    rng = np.random.default_rng(0)
    said = {write_caption(TWO, (Segment(9, 0, 92), Segment(0, 92, 200)), rng=rng) for _ in range(200)}
    assert len(said) > 20
    for text in said:
        assert text[0].isupper()
        assert text.endswith(".")
        assert "right" in text
        assert any(word in text for word in ("static", "stop"))
        assert re.search("static.*(push|dolly|dollies|forward)", text)
    alone = {write_caption(ONE, rng=rng) for _ in range(50)}
    assert alone == {"The camera trucks right.", "The camera moves right."}


def test_the_lens_zooms_where_it_was_made_to():
    """The tagger of motions finds what was made, and the character stays in the picture of the lens."""
    found, asked = 0, 0
    for shot in synthesize(30, seed=6, config=SynthesisConfig(zoom=1.0)):
        n = len(shot.character)
        lens = np.stack([shot.focal / ASPECT, shot.focal, *[np.full(n, 0.5)] * 2], axis=1)
        path = at_frame_rate(shot.world_from_camera, 25.0, lens=lens, aspect=ASPECT)
        assert in_view(shot.world_from_camera, shot.character, focal=shot.focal).mean() >= IN_VIEW
        signs = label_motions(path)["zoom"]
        steps = signs[shot.zoom.start : shot.zoom.end]
        found += int((steps == (1 if shot.zoom.name == "zoom_in" else -1)).sum())
        asked += len(steps)
    assert found / asked > 0.95
