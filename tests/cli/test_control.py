"""`melies control extract` on pictures, folders, videos and key points."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("cv2")


@pytest.fixture
def folder() -> Path:
    """Two pictures in sub-folders, one of them with transparency."""
    for name, mode in (("a/one.png", "RGB"), ("b/two.jpg", "RGB"), ("c/three.png", "RGBA")):
        path = Path("pictures", name)
        path.parent.mkdir(parents=True)
        array = np.full((48, 64, len(mode)), 255, np.uint8)
        array[12:36, 16:48] = [10, 60, 200, 255][: len(mode)]
        Image.fromarray(array).save(path)
    return Path("pictures")


def test_a_folder_gives_a_hint_for_each_picture_and_a_sheet(run, folder):
    done = run("control", "extract", "canny", str(folder), "--out", "hints", "--json", "--quiet")
    assert done.code == 0
    assert sorted(done.json["hints"]) == ["hints/a/one.png", "hints/b/two.png", "hints/c/three.png"]
    assert done.json["empty"] == 0
    hint = np.asarray(Image.open("hints/a/one.png"))
    assert hint.shape == (48, 64)
    assert set(np.unique(hint)) == {0, 255}
    with Image.open(done.json["sheet"]) as sheet:
        assert sheet.width > 6 * 128  # pictures and hints side by side
    before = Path("hints/a/one.png").read_bytes()
    assert run("control", "extract", "canny", str(folder), "--out", "hints").code == 0
    assert Path("hints/a/one.png").read_bytes() == before


def test_empty_hints_are_said(run):
    Image.new("RGB", (32, 32), "grey").save("flat.png")
    done = run("control", "extract", "hough", "flat.png", "--out", "hints")
    assert done.code == 0
    assert "1 of 1 are empty" in done.err


def test_a_video_gives_a_hint_at_each_time(run):
    av = pytest.importorskip("av")
    with av.open("film.mp4", "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for i in range(25):
            pixels = np.zeros((48, 64, 3), np.uint8)
            pixels[10:30, i : i + 20] = 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    done = run("control", "extract", "canny", "film.mp4", "--every", "1", "--json", "--quiet")
    assert done.code == 0
    assert [Path(p).name for p in done.json["hints"]] == [f"film-{t:09.3f}s.png" for t in (0, 1, 2)]
    first, last = (np.asarray(Image.open(done.json["hints"][i])) for i in (0, 2))
    assert np.nonzero(last)[1].min() - np.nonzero(first)[1].min() in range(17, 24)  # a pixel per picture


def test_key_points_are_drawn_without_a_network(run):
    points = [[10 + 3 * i, 20 + 2 * i, 1] for i in range(18)]
    content = {
        "people": [{"pose_keypoints_2d": [x for p in points for x in p]}],
        "canvas_height": 64,
        "canvas_width": 80,
    }
    Path("dancer.json").write_text(json.dumps(content))
    done = run("control", "extract", "pose", "dancer.json", "--out", "hints", "--json", "--quiet")
    assert done.json["hints"] == ["hints/dancer.png"]
    assert np.asarray(Image.open("hints/dancer.png")).shape == (64, 80, 3)
    assert "by the kind 'pose' alone" in run("control", "extract", "canny", "dancer.json").error


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("cany", "x.png"), "did you mean 'canny'"),
        (("canny", "nowhere.png"), "nowhere.png: there is no such file"),
        (("hed", "pictures"), "hed needs ControlNetHED.pth (lllyasviel/Annotators on the Hugging Face hub)"),
        (("hed", "pictures", "--weights", "none.pth"), "none.pth: there is no such file"),
        (("hed", "pictures", "--weights", "noise.pth"), "noise.pth: cannot be read"),
        (("canny", "pictures", "--weights", "noise.pth"), "canny has no weights"),
        (("canny", "empty"), "no pictures"),
        (("canny", "noise.mp4"), "noise.mp4: cannot be read as a video"),
        (("canny", "noise.png"), "noise.png: cannot be read as a picture"),
        (("canny", "pictures", "--out", "pictures"), "the pictures themselves are here"),
        (("canny", "pictures", "--every", "0"), "every"),
    ],
)
def test_mistakes_are_one_sentence(run, folder, argv, said):
    for name in ("noise.pth", "noise.mp4", "noise.png"):
        Path(name).write_bytes(b"noise" * 50)
    Path("empty").mkdir()
    done = run("control", "extract", *argv)
    assert done.code == 2
    assert said in done.error
    assert not Path("hints").exists()


def test_two_pictures_of_one_name_are_refused(run, folder):
    Image.new("RGB", (8, 8)).save(folder / "a/one.bmp")
    assert "would both become one.png" in run("control", "extract", "canny", str(folder), "--quiet").error


def test_experiments_make_runs_and_a_page_and_are_not_begun_twice(run, monkeypatch):
    """With runs that take no time."""
    from melies.interfaces import Metric
    from melies.recipes.control import STRICT, emoji
    from melies.recipes.control.experiments import OF_PAIR
    from melies.recipes.control.watch import WATCHED
    from melies.report.record import record_run, write_record
    from melies.training.log import Log

    def train(config, job, *, captions_in):
        with Log(job.out / WATCHED, samples_seen=-1) as log:
            for watch in range(3):
                log.write(samples_seen=64 * watch, fidelity=0.2 + 0.1 * watch)
        own = "tuning the base and its hints" if config.tune_base else "control branch"
        names = (f"{STRICT}, with control", f"seconds per step, {own}", f"memory of a step, {own}")
        metrics = [Metric(name, 0.5, "", True, 2, (0.5, 0.5), 0) for name in names]
        notes = {"config": config, OF_PAIR: [0.4, 0.6]}
        record = record_run("control-emoji", metrics, data={}, command="", duration_s=1, notes=notes)
        write_record(job.out / "record.json", record)

    monkeypatch.setattr(emoji, "train_control", train)
    asked = ("control", "experiments", "--only", "branch", "tuning", "--pairs", "50", "--out", "runs")
    done = run(*asked, "--json", "--quiet")
    assert done.code == 0
    assert done.json["records"] == ["branch", "pairs-50", "tuning"]
    assert Path(done.json["page"]).read_text().count("<img") == 2
    again = run(*asked)
    assert again.code == 2
    assert "already holds branch, tuning, pairs-50; add --resume" in again.error
    assert run(*asked, "--resume").code == 0
