"""ControlNets of diffusers: any guidance around them, and `melies generate --control` on untrained ones."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from melies.diffusion.guidance.classifier_free import ClassifierFreeGuidance
from melies.diffusion.guidance.projected import Projected
from melies.errors import UserError
from melies.images.diffusers.wrap import guided
from melies.images.pictures import generate_files, redraw_file
from melies.images.settings import DrawSettings

NAMES = ("sd", "sdxl")
CLASSES = {"sd": "StableDiffusionControlNetPipeline", "sdxl": "StableDiffusionXLControlNetPipeline"}


def controlnet(pipe, *, seed: int, fresh: bool = False):
    from diffusers import ControlNetModel

    torch.manual_seed(seed)
    net = ControlNetModel.from_unet(pipe.unet, conditioning_channels=3).eval()
    if not fresh:
        for part in (net.controlnet_down_blocks, net.controlnet_mid_block):
            for parameter in part.parameters():  # fresh ones are zero
                parameter.data += 0.3 * torch.randn(parameter.shape)
    return net


@pytest.fixture(scope="module")
def steered(pipelines):
    """`steered("sd", *controlnets) → pipeline` that takes hints."""
    import diffusers

    def made(name, *nets):
        kind = getattr(diffusers, CLASSES[name])
        pipe = kind.from_pipe(pipelines(name), controlnet=nets[0] if len(nets) == 1 else list(nets))
        pipe.set_progress_bar_config(disable=True)
        return pipe

    return made


def hint(seed: int = 0):
    return torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


def plain(scale):
    return ClassifierFreeGuidance(scale=scale)


def near(found, expected, within=1e-4):
    torch.testing.assert_close(found, expected, rtol=within, atol=within)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("options", [{}, {"guess_mode": True}, {"control_guidance_end": 0.5}], ids=str)
def test_static_guidance_around_a_controlnet_is_the_pipelines_own(name, options, pipelines, steered, draw):
    pipe = steered(name, controlnet(pipelines(name), seed=1))
    options = {"image": hint(), "controlnet_conditioning_scale": 0.7, **options}
    expected = draw(pipe, 4.0, **options)
    with guided(pipe, plain(4.0)):
        found = draw(pipe, 2.5, **options)
    near(found, expected)
    assert (found - draw(pipelines(name), 4.0)).abs().max() > 1e-2  # the hint is followed


@pytest.mark.parametrize("name", NAMES)
def test_two_controlnets_and_a_schedule_that_is_off_in_between(name, pipelines, steered, draw):
    """Where the null is not evaluated the residuals of the condition go with its rows alone."""
    nets = [controlnet(pipelines(name), seed=seed) for seed in (1, 2)]
    pipe = steered(name, *nets)
    options = {"image": [hint(1), hint(2)], "controlnet_conditioning_scale": [1.0, 0.5]}
    with guided(pipe, plain([3.0, 1.0, 1.0, 5.0])) as run:
        found = draw(pipe, **options)
    assert run.rows == 2 * 4 + 2 * 2
    with guided(pipe, plain([3.0, 1 + 1e-9, 1 + 1e-9, 5.0])):
        near(found, draw(pipe, **options), 1e-3)
    with guided(pipe, Projected(scale=4.0)):
        assert (draw(pipe, **options) - found).abs().max() > 1e-2


def test_a_fresh_controlnet_changes_nothing(pipelines, steered, draw):
    pipe = steered("sd", controlnet(pipelines("sd"), seed=1, fresh=True))
    drawn = []
    for one, options in ((pipe, {"image": hint()}), (pipelines("sd"), {})):
        with guided(one, plain(4.0)):
            drawn.append(draw(one, **options))
    assert torch.equal(*drawn)


@pytest.fixture(scope="module")
def saved(pipelines, tmp_path_factory) -> Path:
    """A folder with a pipeline `tiny` and two ControlNets `one` and `two`."""
    folder = tmp_path_factory.mktemp("saved")
    pipelines("sd").save_pretrained(folder / "tiny")
    for seed, name in enumerate(("one", "two"), start=1):
        controlnet(pipelines("sd"), seed=seed).save_pretrained(folder / name)
    for number, ink in enumerate(((255, 255, 255), (90, 90, 90))):
        picture = Image.new("RGB", (8, 8))
        picture.paste(ink, (1, 1, 5, 6))
        picture.save(folder / f"hint{number}.png")
    return folder


@pytest.fixture
def settings(saved) -> DrawSettings:
    return DrawSettings(
        model=f"diffusers:{saved / 'tiny'}",
        prompts=("a polar bear",),
        control=(f"scribble={saved / 'hint0.png'}",),
        control_model=(str(saved / "one"),),
        count=1,
        steps=2,
        schedule="linear",
    )


def test_hints_are_kept_in_the_picture_and_drawn_again(settings, saved, tmp_path):
    bare = replace(settings, control=(), control_model=())
    two = replace(
        settings,
        control=(*settings.control, f"mask={saved / 'hint1.png'}"),
        control_model=(str(saved / "one"), str(saved / "two")),
        control_scale=(1.0, 0.4),
        control_window=(0.0, 0.5),
    )
    drawn = [generate_files(one, tmp_path / "out").pictures[0] for one in (bare, settings, two)]
    assert len({path.read_bytes() for path in drawn}) == 3
    pixels = [torch.tensor(list(Image.open(path).convert("RGB").tobytes())) for path in drawn]
    assert not torch.equal(pixels[0], pixels[1])
    assert not torch.equal(pixels[1], pixels[2])
    for path in drawn[1:]:
        again = redraw_file(path, tmp_path / "again").pictures[0]
        assert again.read_bytes() == path.read_bytes()


def test_another_controlnet_is_noticed(settings, pipelines, saved, tmp_path):
    folder = tmp_path / "own"
    controlnet(pipelines("sd"), seed=1).save_pretrained(folder)
    picture = generate_files(replace(settings, control_model=(str(folder),)), tmp_path / "out").pictures[0]
    controlnet(pipelines("sd"), seed=3).save_pretrained(folder)
    with pytest.raises(UserError, match="the control branch 'own' has other weights now"):
        redraw_file(picture, tmp_path / "again")


def test_a_controlnet_is_found_by_the_name_that_the_hub_gives_it(settings, saved, tmp_path, monkeypatch):
    """In a local cache, laid out as the hub's client does; the network is never asked."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    named = replace(settings, control_model=("someone/sd-controlnet-scribble",))
    with pytest.raises(UserError, match="downloading was not allowed"):
        generate_files(named, tmp_path / "out")
    home = tmp_path / "hub" / "models--someone--sd-controlnet-scribble"
    commit = "0123456789abcdef0123456789abcdef01234567"
    shutil.copytree(saved / "one", home / "snapshots" / commit)
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text(commit)
    by_name, by_folder = (generate_files(one, tmp_path / "out").pictures[0] for one in (named, settings))
    pixels = [Image.open(path).convert("RGB").tobytes() for path in (by_name, by_folder)]
    assert pixels[0] == pixels[1]
    again = redraw_file(by_name, tmp_path / "again").pictures[0]
    assert again.read_bytes() == by_name.read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"control_model": ()}, "has no ControlNet to read it"),
        ({"control_model": ("nowhere",)}, "config.json"),
        ({"control_model": ("{saved}/tiny/unet",)}, "not a ControlNet of diffusers"),
        ({"control_interval": (0.1, 1.0)}, "do not draw by control_interval"),
    ],
)
def test_control_that_cannot_be_is_refused(settings, saved, tmp_path, change, message):
    named = {
        name: tuple(part.format(saved=saved) if isinstance(part, str) else part for part in value)
        for name, value in change.items()
    }
    with pytest.raises(UserError, match=message):
        generate_files(replace(settings, **named), tmp_path / "out")


def test_a_controlnet_of_another_network_or_of_pickles_is_refused(settings, pipelines, saved, tmp_path):
    controlnet(pipelines("sdxl"), seed=1).save_pretrained(tmp_path / "xl")
    with pytest.raises(UserError, match="the ControlNet has cross_attention_dim"):
        generate_files(replace(settings, control_model=(str(tmp_path / "xl"),)), tmp_path / "out")
    controlnet(pipelines("sd"), seed=1).save_pretrained(tmp_path / "old", safe_serialization=False)
    with pytest.raises(UserError, match="no safetensors"):
        generate_files(replace(settings, control_model=(str(tmp_path / "old"),)), tmp_path / "out")
