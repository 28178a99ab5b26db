"""The page of a path: whole, harmless, and with the path in it."""

import json
import re

import numpy as np
import pytest

from melies.camera.describe import describe_path
from melies.camera.labels import camera_name
from melies.camera.path import at_frame_rate
from melies.camera.synthesis import synthesize
from melies.camera.view import view_page, write_view


def data_of(page):
    text = re.search(r'<script id="data" type="application/json">(.*?)</script>', page, re.DOTALL).group(1)
    return json.loads(text)


def test_the_page_has_the_path_and_what_it_does(tmp_path):
    shot = next(synthesize(1, seed=5))
    found = describe_path(at_frame_rate(shot.world_from_camera, 25.0), shot.character)
    page = write_view(found, tmp_path / "view.html", found.caption).read_text()
    data = data_of(page)
    assert np.allclose(data["position"], shot.world_from_camera[:, :3, 3], atol=1e-4)
    rotation = np.array(data["rotation"]).reshape(-1, 3, 3)
    assert np.allclose(rotation, shot.world_from_camera[:, :3, :3], atol=1e-5)
    assert np.allclose(data["character"], shot.character, atol=1e-4)
    assert (data["fps"], data["aspect"]) == pytest.approx((25, 16 / 9))
    named = {row["name"]: [run["name"] for run in row["runs"]] for row in data["rows"]}
    assert named["camera"] == [camera_name(one.label).replace("_", " ") for one in found.segments]
    assert found.caption in page


def test_nothing_is_loaded_and_words_stay_words():
    shot = next(synthesize(1, seed=5))
    found = describe_path(at_frame_rate(shot.world_from_camera, 25.0))
    page = view_page(found, "<script>alert('x')</script>")
    assert "<script>alert" not in page
    assert "default-src 'none'" in page
    assert not re.search(r"""(src|href)=["']""", page)
    assert "http" not in page.replace("http-equiv", "")
    assert data_of(page)["character"] is None


def test_runs_that_overlap_stand_below_one_another():
    shot = next(synthesize(1, seed=5))
    found = describe_path(at_frame_rate(shot.world_from_camera, 25.0))
    for row in data_of(view_page(found, "a"))["rows"]:
        ends = [run["end"] for run in row["runs"]]
        starts = [run["start"] for run in row["runs"]]
        assert all(end <= start for end, start in zip(ends, starts[1:], strict=False))
