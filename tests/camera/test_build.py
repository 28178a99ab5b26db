"""Videos that are made here become sets: by given paths, and by what is seen in them."""

import itertools

import numpy as np
import pytest
from tests.camera.conftest import write_film

from melies.batch import BatchConfig
from melies.camera.build import BuildConfig
from melies.camera.build_set import build_set
from melies.camera.dataset import labels_of
from melies.camera.et import read_sample, sample_names
from melies.camera.formats import write_path
from melies.camera.path import at_frame_rate
from melies.camera.synthesis import synthesize
from melies.errors import UserError

pytest.importorskip("av")
pytest.importorskip("cv2")
LENGTHS = (100, 30, 90)


@pytest.fixture
def film(tmp_path):
    """A film of three shots, with a list of them, and paths and characters for the two long ones."""
    film = write_film(tmp_path / "a film.mp4", LENGTHS)
    starts = np.cumsum([0, *LENGTHS])
    lists = "".join(f"{a} {b - 1}\n" for a, b in itertools.pairwise(starts))
    (tmp_path / "shots").mkdir()
    (tmp_path / "shots/a film.txt").write_text(lists)
    shots = [shot for shot in synthesize(60, seed=3) if len(shot.character) > 100][:2]
    for number, shot in zip((0, 2), shots, strict=True):
        n = LENGTHS[number]
        path = at_frame_rate(shot.world_from_camera[:n], 25.0)
        write_path(path, tmp_path / "given" / f"a film_{number:05d}", "tum")
        (tmp_path / "people").mkdir(exist_ok=True)
        np.save(tmp_path / "people" / f"a film_{number:05d}.npy", shot.character[:n])
    config = BuildConfig(shots=tmp_path / "shots", poses=tmp_path / "given", characters=tmp_path / "people")
    return film, config, dict(zip((0, 2), shots, strict=True))


def test_given_paths_and_characters_become_samples_with_their_labels(film, tmp_path):
    video, config, shots = film
    built = build_set([video], tmp_path / "et", config)
    names = sample_names(tmp_path / "et")
    assert names == ["a-film_00000_00000", "a-film_00002_00000"]
    for name, number in zip(names, (0, 2), strict=True):
        sample = read_sample(tmp_path / "et", name)
        truth = labels_of(shots[number].camera_segments)[: len(sample.camera_labels)]
        assert (sample.camera_labels == truth).mean() > 0.75
        assert sample.caption.endswith(".")
        assert (tmp_path / "et/pictures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    page = built.report.read_text()
    assert "1.2 s long" in page
    assert "pictures/a-film_00002_00000.png" in page
    listed = "".join((tmp_path / f"et/full_{part}_split.txt").read_text() for part in ("train", "test"))
    assert sorted(listed.split()) == names


def test_a_run_goes_on_and_a_bad_video_is_passed_over(film, tmp_path):
    video, config, _ = film
    (tmp_path / "bad.mp4").write_text("no video")
    said = []
    videos = [video, tmp_path / "bad.mp4"]
    first = build_set(videos, tmp_path / "et", config, say=said.append)
    assert [one.state for one in first.outcomes] == ["done", "failed"]
    assert "cannot be read as a video" in first.outcomes[1].error
    assert said
    again = build_set(videos, tmp_path / "et", config, BatchConfig(retry=True))
    assert [one.before for one in again.outcomes] == [True, False]
    assert again.statistics == first.statistics


def test_of_a_shot_for_which_nothing_is_given_the_reason_is_told(film, tmp_path):
    video, config, _ = film
    (tmp_path / "given/a film_00002.tum").unlink()
    built = build_set([video], tmp_path / "et", config)
    reasons = [shot.get("left out", "") for shot in built.outcomes[0].result["shots"]]
    assert reasons[0] == ""
    assert "nothing is given for this shot" in reasons[2]


def test_two_videos_of_one_name_are_refused(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "film.mp4").write_text("")
    with pytest.raises(UserError, match="are called film"):
        build_set([tmp_path / "a", tmp_path / "b"], tmp_path / "et", BuildConfig())
