"""`melies generate --model diffusers:FOLDER` on an untrained pipeline in a folder."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from PIL import Image

from melies.errors import UserError
from melies.images.diffusers.draw import INDEX, find_pipeline, load_pipeline, open_pipeline
from melies.images.pictures import generate_files, redraw_file
from melies.images.settings import DrawSettings


@pytest.fixture(scope="module")
def saved(pipelines, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "tiny"
    pipelines("sd").save_pretrained(folder)
    return folder


@pytest.fixture
def copied(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "copied")


@pytest.fixture
def settings(saved):
    return DrawSettings(
        model=f"diffusers:{saved}",
        prompts=("a polar bear",),
        count=2,
        steps=2,
        scale=5.0,
        schedule="linear",
        seed=3,
    )


def test_pictures_carry_their_settings_and_are_drawn_again(settings, tmp_path):
    report = generate_files(settings, tmp_path / "out")
    assert [path.name for path in report.pictures] == ["a-polar-bear-3.png", "a-polar-bear-4.png"]
    with Image.open(report.pictures[0]) as picture:
        assert (picture.size, picture.mode) == ((8, 8), "RGB")
    assert report.grid is not None
    assert (report.evaluations, report.calls) == (6, 2)  # the schedule is off at the first of two steps
    again = redraw_file(report.pictures[1], tmp_path / "again").pictures[0]
    assert again.read_bytes() == report.pictures[1].read_bytes()
    unlike = generate_files(replace(settings, guidance="projected", negative="snow", count=1), tmp_path / "b")
    assert unlike.pictures[0].read_bytes() != report.pictures[0].read_bytes()


def test_a_picture_does_not_depend_on_its_neighbours(settings, saved):
    from melies.progress import silent

    pipeline = open_pipeline(settings, allow_download=False, say=print)
    both, alone = (pipeline.draw(settings, part, None, silent) for part in (range(2), range(1, 2)))
    assert both.shape == (2, 3, 8, 8)
    assert (both[1].int() - alone[0].int()).abs().max() <= 1
    torch.manual_seed(5)
    own = pipeline.pipe(
        "a polar bear",
        guidance_scale=5.0,
        num_inference_steps=2,
        generator=torch.Generator().manual_seed(3),
        output_type="pt",
    ).images
    assert ((own[0] * 255).round() - both[0]).abs().max() <= 1


def test_other_weights_are_noticed(settings, copied, tmp_path):
    picture = generate_files(
        replace(settings, model=f"diffusers:{copied}", count=1), tmp_path / "out"
    ).pictures[0]
    weights = copied / "text_encoder" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-3] ^= 1
    weights.write_bytes(bytes(data))
    with pytest.raises(UserError, match="drawn with other weights"):
        redraw_file(picture, tmp_path / "again")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"sampler": "heun"}, "do not draw by sampler; leave out --sampler"),
        ({"classes": ("bag",)}, "do not draw by classes; leave out --class"),
        ({"init": "a.png"}, "do not draw by init"),
        ({"prompts": ()}, "nothing to draw"),
    ],
)
def test_what_does_not_apply_is_named(settings, changed, said):
    with pytest.raises(UserError, match=said):
        open_pipeline(replace(settings, **changed), allow_download=False, say=print)


def test_where_pipelines_are_sought(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))

    def find(name):
        return find_pipeline(name, allow_download=False, say=print)

    with pytest.raises(UserError, match="no such folder"):
        find(str(tmp_path / "nowhere" / "at" / "all"))
    with pytest.raises(UserError, match=r"there is no model_index\.json"):
        find(str(tmp_path))
    with pytest.raises(UserError, match=r"tried that folder.*cache.*not allowed.*hf download some/pipeline"):
        find("some/pipeline")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"_class_name": "DiTPipeline"}, "class DiTPipeline cannot be guided; supported: StableDiffusion"),
        ({"_class_name": ["code", "Mine"]}, "cannot be guided"),
        ({"unet": ["os", "system"]}, "its unet is code of 'os', which is not run"),
    ],
)
def test_code_is_not_run(copied, changed, said):
    index = json.loads((copied / INDEX).read_text())
    (copied / INDEX).write_text(json.dumps({**index, **changed}))
    with pytest.raises(UserError, match=said):
        load_pipeline(copied)


def test_pickles_are_not_read(copied):
    part = copied / "text_encoder"
    (part / "model.safetensors").rename(part / "pytorch_model.bin")
    with pytest.raises(UserError, match="a pickle, which is never loaded"):
        load_pipeline(copied)


def test_damaged_folders_are_one_sentence(copied):
    (copied / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"nothing")
    with pytest.raises(UserError, match="cannot be loaded as StableDiffusionPipeline"):
        load_pipeline(copied)
    (copied / INDEX).write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        load_pipeline(copied)
