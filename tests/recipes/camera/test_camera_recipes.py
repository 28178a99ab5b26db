"""The recipes of camera paths: they learn, go on where they were, and are watched."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.camera.conftest import DESIGNS, small

from melies import checkpoint
from melies.camera.dataset import is_pure, labels_of, synthesize_set
from melies.camera.et import read_sample, sample_names
from melies.camera.features import encode_path
from melies.camera.generate import draw_paths, draw_shots
from melies.camera.labels import signs_of
from melies.camera.model import CameraDiffusion
from melies.camera.path import FOCAL
from melies.camera.synthesis import SynthesisConfig, synthesize
from melies.errors import UserError
from melies.recipes.camera import clatr, director
from melies.recipes.camera.shots import (
    captioned_shots,
    mirror_segments,
    mirror_words,
    read_shots,
    shot_batches,
)
from melies.recipes.job import Job
from melies.text.config import TextConfig
from melies.training.log import read_log
from melies.training.loop import TrainingConfig
from melies.transform import StandardizeSteps

TEXT = TextConfig(name="learned", dim=16, num_layers=1, num_heads=2)
TRAINING = TrainingConfig(
    num_samples=96,
    batch_size=16,
    learning_rate=3e-3,
    warmup=16,
    ema_half_life=16,
    log_every=16,
    preview_every=48,
    precision="fp32",
)
ONE = StandardizeSteps(start_mean=(0.0,) * 3, start_std=(1.0,) * 3, step_mean=(0.0,) * 3, step_std=(0.1,) * 3)


def recipe(design):
    network = small(design, frames=300, patch=10)
    return director.DirectorRecipe(network=network, text=TEXT, num_shots=24, num_watched=4, training=TRAINING)


@pytest.mark.parametrize("design", DESIGNS)
def test_a_director_learns_and_is_watched(design, tmp_path):
    state = director.run(recipe(design), Job(out=tmp_path, say=lambda _: None))
    losses = [row["loss"] for row in read_log(tmp_path / "log.jsonl")]
    assert losses[-1] < losses[0]
    watched = read_log(tmp_path / director.WATCHED)
    assert [row["samples_seen"] for row in watched] == [48, 96]
    assert all(0 <= row[name] <= 1 for row in watched for name in ("pure", "mixed"))
    again = checkpoint.load(tmp_path).model
    assert again.transforms == state.model.transforms
    assert again.transforms["camera"].step_mean[0] == 0


def test_a_director_of_flow_time_tells_places_from_the_character(tmp_path):
    config = replace(recipe("cross-attention"), time="flow", relative=True, P_mean=-0.69, P_std=1.0)
    director.run(config, Job(out=tmp_path, say=lambda _: None))
    losses = [row["loss"] for row in read_log(tmp_path / "log.jsonl")]
    assert losses[-1] < losses[0]
    model = checkpoint.load(tmp_path).model
    assert (model.config.time, model.config.relative) == ("flow", True)
    shot = next(iter(synthesize(1, seed=3)))
    (path,) = draw_paths(model, ["left"], [shot.character], num_steps=2)
    assert np.isfinite(path).all()
    poses, track = torch.from_numpy(shot.world_from_camera)[None], torch.from_numpy(shot.character)[None]
    assert torch.allclose(model.decode(model.encode(poses, track), track), poses, atol=1e-6)
    follows = track[0].new_zeros(1, len(shot.character), 4, 4) + torch.eye(4)
    follows[..., :3, 3] = track + torch.tensor([0.0, 0.0, -3.0])
    still = torch.eye(4).double().expand_as(follows).clone()
    still[..., :3, 3] = torch.tensor([0.0, 0.0, -3.0]).double()
    own = CameraDiffusion(replace(model.config, relative=False), transforms=model.transforms)
    assert torch.allclose(model.encode(follows, track), own.encode(still, track), atol=1e-6)


def test_a_director_of_lenses_draws_focal_lengths(tmp_path):
    director.run(replace(recipe("modulated"), zoom=0.5), Job(out=tmp_path, say=lambda _: None))
    model = checkpoint.load(tmp_path).model
    shots = list(synthesize(20, seed=3, config=SynthesisConfig(zoom=1.0)))
    numbers = (shots[0].world_from_camera, shots[0].character, shots[0].focal)
    poses, track, focal = (torch.from_numpy(one)[None] for one in numbers)
    x0 = model.encode(poses, track, focal)
    assert x0.shape[1] == 10
    assert torch.allclose(model.focal(x0), focal, atol=1e-6)
    assert torch.allclose(model.decode(x0, track), poses, atol=1e-6)
    assert torch.allclose(model.focal(model.encode(poses, track)), torch.tensor(FOCAL).double())
    drawn = draw_shots(model, ["It zooms in."] * 2, [shot.character for shot in shots[:2]], num_steps=2)
    for shot, one in zip(shots, drawn, strict=False):
        assert one.focal.shape == (len(shot.character),)
        assert (one.focal > 0).all()
    with pytest.raises(UserError, match="one lens each"):
        director.run(replace(recipe("modulated"), zoom=0.5), Job(out=tmp_path / "x", data=tmp_path))


def test_captions_say_what_the_lens_does():
    made = captioned_shots(40, seed=1, config=SynthesisConfig(zoom=0.5))
    for shot, caption, mirrored in zip(made.shots, made.captions, made.mirrored_captions, strict=True):
        way = "zooms out" if shot.zoom and shot.zoom.name == "zoom_out" else "zooms in"
        assert (way in caption) == (way in mirrored) == (shot.zoom is not None)
    assert {shot.zoom and shot.zoom.name for shot in made.shots} == {None, "zoom_in", "zoom_out"}
    plain = captioned_shots(3, seed=1)
    zoomed = captioned_shots(3, seed=1, config=SynthesisConfig(zoom=1.0))
    for one, other in zip(plain.shots, zoomed.shots, strict=True):
        assert (one.world_from_camera == other.world_from_camera).all()


def test_a_run_goes_on_bit_for_bit(tmp_path):
    half = replace(recipe("modulated"), training=replace(TRAINING, num_samples=48, decay="constant"))
    full = replace(recipe("modulated"), training=replace(TRAINING, decay="constant"))
    director.run(half, Job(out=tmp_path / "parts", say=lambda _: None))
    parts = director.run(full, Job(out=tmp_path / "parts", resume=True, say=lambda _: None))
    straight = director.run(full, Job(out=tmp_path / "straight", say=lambda _: None))
    for name, value in straight.model.state_dict().items():
        assert torch.equal(parts.model.state_dict()[name], value)


def test_a_clatr_learns_and_is_watched(tmp_path):
    config = clatr.CLaTrRecipe(
        model=replace(clatr.CONFIG.model, text=TEXT, text_dim=16, dim=32, head_dim=16, depth=1, patch=10),
        num_shots=24,
        num_watched=8,
        training=TRAINING,
    )
    clatr.run(config, Job(out=tmp_path, say=lambda _: None))
    rows = read_log(tmp_path / "log.jsonl")
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert all(name in rows[-1] for name in ("reconstruction", "divergence", "distance", "contrast"))
    watched = read_log(tmp_path / clatr.WATCHED)
    assert 0 <= watched[-1]["path to caption R@1"] <= watched[-1]["path to caption R@5"] <= 1
    again = checkpoint.load(tmp_path).model
    paths, texts = clatr.embed_shots(again, captioned_shots(3, seed=1))
    assert paths.shape == texts.shape == (3, 32)


def test_a_director_learns_from_a_set_in_the_layout_of_et(tmp_path):
    synthesize_set(tmp_path / "et", 30, seed=4)
    said = []
    (tmp_path / "et/caption" / f"{sample_names(tmp_path / 'et')[0]}.txt").unlink()
    (tmp_path / "et/caption_cam" / f"{sample_names(tmp_path / 'et')[0]}.txt").unlink()
    director.run(recipe("modulated"), Job(out=tmp_path / "run", data=tmp_path / "et", say=said.append))
    assert any(line.startswith("26 shots") for line in said)
    assert "1 of 27 samples have no caption, and are left out" in said
    assert read_log(tmp_path / "run" / director.WATCHED)
    known = read_shots(tmp_path / "et", "train")
    sample = read_sample(tmp_path / "et", sample_names(tmp_path / "et")[1])
    assert known.captions[0] == sample.caption
    assert (labels_of(known.shots[0].camera_segments) == sample.camera_labels).all()
    for file in (tmp_path / "et").glob("*_split.txt"):
        file.unlink()
    parts = [read_shots(tmp_path / "et", split) for split in ("train", "test")]
    assert sum(len(part) for part in parts) == 29
    for folder in ("caption", "caption_cam"):
        shutil.rmtree(tmp_path / "et" / folder)
    with pytest.raises(UserError, match="none has a caption"):
        read_shots(tmp_path / "et", "train")


def test_words_are_seen_in_a_mirror():
    told = "The camera trucks Right, then left; its leftmost lens, the copyright."
    assert mirror_words(told) == "The camera trucks Left, then right; its leftmost lens, the copyright."
    assert mirror_words(mirror_words(told)) == told


def test_batches_are_shots_or_their_mirror_images():
    shots = captioned_shots(6, seed=0)
    rows_of = []

    def conditions(rows):
        rows_of.append(rows)
        return {
            "text": torch.zeros(len(rows), 2, 4),
            "text_valid": torch.ones(len(rows), 2, dtype=torch.bool),
        }

    batches = shot_batches(shots, conditions, lambda poses, *_: encode_path(poses, ONE), ONE, patch=5, seed=0)
    batch = batches(0, 32)
    assert batch["x0"].shape[2] % 5 == 0
    assert set((rows_of[0] >= 6).tolist()) == {True, False}
    for x0, told, valid, row in zip(
        batch["x0"], batch["character"], batch["frames_valid"], rows_of[0].tolist(), strict=True
    ):
        shot = shots.shots[row % 6]
        assert int(valid.sum()) == len(shot.character)
        turned = -1 if row >= 6 else 1
        start = torch.from_numpy(shot.world_from_camera[0, :3, 3]) * torch.tensor([turned, 1, 1])
        assert torch.allclose(2 * x0[6:, 0].double(), start, atol=1e-6)
        end = ONE.inverse(told[None, :, : len(shot.character)])[0, :, -1].double()
        assert torch.allclose(
            end, torch.from_numpy(shot.character[-1]) * torch.tensor([turned, 1, 1]), atol=1e-4
        )
        assert (x0[:, ~valid] == 0).all()


def test_captions_of_mirror_images_say_the_other_side():
    shots = captioned_shots(60, seed=2)
    for shot, caption, mirrored in zip(shots.shots, shots.captions, shots.mirrored_captions, strict=True):
        camera = mirror_segments(shot.camera_segments)
        assert mirror_segments(camera) == shot.camera_segments
        sides = [int(signs_of(one.label)[0]) for one in (*shot.camera_segments, *shot.character_segments)]
        if "follows" in caption or "along" in caption or "tracks" in caption:
            assert "right" not in mirrored
            continue
        assert ("right" in caption) == (1 in sides) == ("left" in mirrored)
        assert ("left" in caption) == (-1 in sides) == ("right" in mirrored)


def test_pure_shots_make_one_simple_motion():
    shots = list(synthesize(80, seed=5, config=SynthesisConfig(follow=0.0)))
    pure = [shot for shot in shots if is_pure(shot.camera_segments)]
    assert 10 < len(pure) < 70
    assert {int(labels_of(shot.camera_segments)[0]) for shot in pure} <= {0, 1, 2, 3, 6, 9, 18}
    assert all(len(np.unique(labels_of(shot.camera_segments))) == 1 for shot in pure)
