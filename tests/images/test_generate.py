"""Drawing: seeds, batches, guidance, starting pictures, masks, and files that can be drawn again."""

import json
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from melies import checkpoint
from melies.diffusion import GRIDS, SAMPLERS
from melies.diffusion.guidance.classifier_free import ClassifierFreeGuidance
from melies.errors import UserError
from melies.images.generate import (
    draw,
    keep_outside,
    load_diffusion,
    sigma_grid,
)
from melies.images.model import ImageDiffusion, ImageDiffusionConfig
from melies.images.pictures import generate_files, redraw_file
from melies.images.settings import KEY, DrawSettings, read_settings
from melies.nn.transformer import TransformerConfig
from melies.report.png import png_bytes
from melies.text.config import TextConfig
from melies.text.learned import build_vocabulary

PROMPTS = ["a mechanic, dark skin tone", "a polar bear"]


def far(a: torch.Tensor, b: torch.Tensor) -> int:
    return int((a.int() - b.int()).abs().max())


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("grid", GRIDS)
def test_every_sampler_draws_on_every_grid(latent_model, sampler, grid):
    pixels = draw(latent_model, PROMPTS, num_steps=3, sampler=sampler, grid=grid)
    assert pixels.shape == (2, 3, 16, 16)
    assert pixels.dtype == torch.uint8


def test_a_picture_does_not_depend_on_its_batch(latent_model):
    prompts, seeds = [*PROMPTS, "a red apple", "a polar bear"], [3, 4, 5, 6]
    together = draw(latent_model, prompts, seeds=seeds, num_steps=5)
    apart = torch.cat(
        [draw(latent_model, [p], seeds=[s], num_steps=5) for p, s in zip(prompts, seeds, strict=True)]
    )
    assert far(together, apart) <= 1
    assert far(together, draw(latent_model, prompts, seeds=seeds, num_steps=5, batch_size=3)) <= 1


def test_seed_prompt_and_scale_all_matter(latent_model):
    def one(**options):
        return draw(latent_model, ["a polar bear"], **{"seeds": [1], "num_steps": 5, "scale": 3.0, **options})

    first = one()
    assert torch.equal(first, one())
    assert far(first, one(seeds=[2])) > 5
    assert far(first, one(scale=9.0)) > 0
    assert far(first, one(negative="a red apple")) > 0
    assert far(first, draw(latent_model, ["a red apple"], seeds=[1], num_steps=5, scale=3.0)) > 0


def test_a_scale_per_picture_is_that_scale(latent_model):
    both = draw(latent_model, PROMPTS, scale=[1.0, 6.0], seeds=[1, 2], num_steps=4)
    assert far(both[:1], draw(latent_model, PROMPTS[:1], scale=1.0, seeds=[1], num_steps=4)) <= 1
    assert far(both[1:], draw(latent_model, PROMPTS[1:], scale=6.0, seeds=[2], num_steps=4)) <= 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"scale": [1.0, 2.0, 3.0]}, "3 scales for 2 pictures"),
        ({"seeds": [1]}, "1 seeds for 2 pictures"),
        ({"init": torch.zeros(1, 3, 16, 16, dtype=torch.uint8)}, "1 init for 2 pictures"),
    ],
)
def test_one_of_each_is_needed_per_picture(latent_model, options, said):
    with pytest.raises(ValueError, match=said):
        draw(latent_model, PROMPTS, num_steps=2, **options)


def test_one_text_is_not_a_sequence_of_letters(latent_model):
    with pytest.raises(ValueError, match="sequences of texts"):
        draw(latent_model, "a polar bear", num_steps=2)


def test_scale_zero_ignores_the_prompt(latent_model):
    a, b = (draw(latent_model, [p], scale=0.0, seeds=[1], num_steps=4) for p in PROMPTS)
    assert torch.equal(a, b)


def test_classes_are_drawn_by_name(pixel_model):
    pixels = draw(pixel_model, classes=["bag", "shirt"], num_steps=3)
    assert pixels.shape == (2, 1, 8, 8)
    with pytest.raises(UserError, match="did you mean 'coat'"):
        draw(pixel_model, classes=["cot"], num_steps=3)
    with pytest.raises(UserError, match="does not read text"):
        draw(pixel_model, ["a coat"], num_steps=3)


def test_what_is_not_wanted_has_words_but_not_the_wanted_class():
    network = TransformerConfig(
        channels=3, size=8, patch=2, dim=32, depth=1, head_dim=16, text_dim=16, num_classes=2
    )
    text = TextConfig(
        name="learned", vocabulary=build_vocabulary(PROMPTS), dim=16, max_tokens=12, num_heads=2
    )
    config = ImageDiffusionConfig(network=network, size=8, text=text, classes=("noto", "twemoji"))
    asked = {}

    class Watch(ClassifierFreeGuidance):
        def bind(self, branches, sigmas):
            asked.update({name: branch.condition for name, branch in branches.items()})
            return super().bind(branches, sigmas)

    watch = Watch(scale=2.0)
    draw(
        ImageDiffusion(config).eval(),
        PROMPTS,
        classes=["noto"] * 2,
        negative="a",
        num_steps=1,
        guidance=watch,
    )
    assert not asked["negative"]["present.class"].any()
    assert asked["negative"]["present.text"].all()
    assert "present.class" not in asked["conditional"]


def test_a_model_without_classes_says_so(latent_model):
    with pytest.raises(UserError, match="has no classes"):
        draw(latent_model, classes=["bag"], num_steps=3)


def test_low_strength_keeps_the_picture_and_full_strength_does_not(pixel_model):
    init = torch.randint(0, 256, (1, 1, 8, 8), dtype=torch.uint8)

    def changed(strength):
        drawn = draw(pixel_model, classes=["bag"], init=init, strength=strength, num_steps=8, seeds=[0])
        return float((drawn.float() - init.float()).abs().mean())

    assert changed(0.02) < 8
    assert changed(0.02) < changed(0.3) < changed(0.9)


def test_the_grid_starts_lower_for_less_strength(latent_model):
    config = latent_model.config
    for strength in (0.2, 0.7):
        sigmas = sigma_grid(latent_model, 10, "karras", strength)
        assert config.sigma_min < sigmas[0] < config.sigma_max
        assert len(sigmas) == 11
        assert sigmas[-1] == 0
    assert sigma_grid(latent_model, 10, "karras")[0] == config.sigma_max


def test_outside_the_mask_not_a_pixel_changes(latent_model):
    init = torch.randint(0, 256, (1, 3, 16, 16), dtype=torch.uint8)
    mask = torch.zeros(1, 1, 16, 16, dtype=torch.uint8)
    mask[..., :8] = 255
    drawn = draw(latent_model, ["a polar bear"], init=init, mask=mask, strength=1.0, num_steps=5)
    assert torch.equal(drawn[..., 8:], init[..., 8:])
    assert not torch.equal(drawn[..., :8], init[..., :8])


def test_the_denoised_picture_outside_the_mask_is_the_known_one():
    known = torch.randn(1, 2, 4, 4)
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., 0, 0] = 255  # one pixel touches one cell
    kept = keep_outside(lambda x, sigma: torch.zeros_like(x), known, mask)(known + 3, torch.ones(1))
    expected = known.clone()
    expected[..., 0, 0] = 0
    assert torch.equal(kept, expected)


class TestFiles:
    @pytest.fixture
    def settings(self, latent_folder):
        return DrawSettings(
            prompts=tuple(PROMPTS), count=3, steps=3, seed=7, scale=3.0, batch=4, model=str(latent_folder)
        )

    def test_one_png_each_with_its_settings_a_sidecar_and_a_grid(self, settings, tmp_path):
        report = generate_files(settings, tmp_path / "out")
        assert len(report.pictures) == 6
        assert report.pictures[4].name == "a-polar-bear-8.png"
        assert report.grid == tmp_path / "out" / "grid.png"
        for index, path in enumerate(report.pictures):
            read = read_settings(path)
            assert (read.settings, read.index) == (settings, index)
            beside = json.loads(path.with_suffix(".json").read_text())
            assert beside["prompt"] == PROMPTS[index // 3]
            assert beside["seed"] == 7 + index % 3

    def test_a_picture_is_drawn_again_byte_for_byte(self, settings, tmp_path):
        report = generate_files(settings, tmp_path / "out")
        for path in (report.pictures[0], report.pictures[5]):
            again = redraw_file(path, tmp_path / "again").pictures[0]
            assert again.read_bytes() == path.read_bytes()

    def test_an_equal_picture_is_not_written_twice_and_another_never_overwritten(self, settings, tmp_path):
        first = generate_files(settings, tmp_path).pictures
        assert generate_files(settings, tmp_path).pictures == first
        other = generate_files(replace(settings, scale=1.0), tmp_path).pictures
        assert not set(other) & set(first)
        assert other[0].name == "a-mechanic-dark-skin-tone-7-2.png"

    def test_other_weights_are_refused(self, settings, latent_model, latent_folder, tmp_path):
        picture = generate_files(settings, tmp_path / "out").pictures[0]
        latent_model.denoiser.network.out.bias.data += 1
        checkpoint.save(latent_folder, latent_model)
        with pytest.raises(UserError, match="drawn with other weights"):
            redraw_file(picture, tmp_path / "again")

    def test_another_picture_to_start_from_is_refused(self, settings, tmp_path):
        start = tmp_path / "start.png"
        Image.new("RGB", (16, 16), "red").save(start)
        picture = generate_files(replace(settings, init=str(start), count=1), tmp_path / "out").pictures[0]
        again = redraw_file(picture, tmp_path / "again").pictures[0]
        assert again.read_bytes() == picture.read_bytes()
        Image.new("RGB", (16, 16), "blue").save(start)
        with pytest.raises(UserError, match="that --init was given is no longer there as it was"):
            redraw_file(picture, tmp_path / "again")

    def test_pictures_to_start_from_are_found_from_any_folder(self, settings, tmp_path, monkeypatch):
        (tmp_path / "work" / "given").mkdir(parents=True)
        monkeypatch.chdir(tmp_path / "work")
        Image.new("RGB", (16, 16), "red").save("given/start.png")
        Image.new("L", (16, 16), 255).save("mask.png")
        begun = replace(settings, init="given/start.png", mask="mask.png", count=1)
        picture = generate_files(begun, tmp_path / "work").pictures[0]
        text = picture.with_suffix(".json").read_text()
        given = json.loads(text)["settings"]
        assert (given["init"], given["mask"]) == ("given/start.png", "mask.png")
        monkeypatch.chdir(tmp_path)
        # from the picture's folder on the same path; a stranger of that name here does not count
        Image.new("L", (16, 16), 0).save("mask.png")
        assert redraw_file(picture, tmp_path / "a").pictures[0].read_bytes() == picture.read_bytes()
        # all in one folder, as they were sent to somebody
        (tmp_path / "sent").mkdir()
        for path in (picture, Path("work/given/start.png"), Path("work/mask.png")):
            path.rename(tmp_path / "sent" / path.name)
        sent = tmp_path / "sent" / picture.name
        assert redraw_file(sent, tmp_path / "b").pictures[0].read_bytes() == sent.read_bytes()
        (tmp_path / "sent" / "start.png").unlink()
        with pytest.raises(UserError, match=r"'given/start\.png' that --init was given is not there.*sent"):
            redraw_file(sent, tmp_path / "again")

    @pytest.mark.parametrize("changed", ["__version__", "torch_version"])
    def test_other_versions_are_said(self, settings, tmp_path, monkeypatch, changed):
        picture = generate_files(replace(settings, count=1), tmp_path / "out").pictures[0]
        assert redraw_file(picture, tmp_path / "again").notes == ()
        other = "99" if changed == "__version__" else lambda: "99"
        monkeypatch.setattr(f"melies.images.pictures.{changed}", other)
        (note,) = redraw_file(picture, tmp_path / "again").notes
        now = note.partition("now by ")[2]
        assert ("melies 99" if changed == "__version__" else "torch 99") in now
        assert note.endswith("the bytes may differ")

    def test_a_picture_says_with_which_torch_it_was_drawn(self, settings, tmp_path):
        picture = generate_files(replace(settings, count=1), tmp_path / "out").pictures[0]
        assert read_settings(picture).torch == version("torch")
        beside = picture.with_suffix(".json")
        said = json.loads(beside.read_text())
        del said["torch"]  # as earlier versions wrote it
        picture.write_bytes(png_bytes(Image.open(picture), {KEY: json.dumps(said)}))
        (note,) = redraw_file(picture, tmp_path / "again").notes
        assert "with torch ?, now by" in note

    def test_too_many_pictures_for_a_sheet_are_drawn_without_one(self, settings, tmp_path, monkeypatch):
        monkeypatch.setattr("melies.images.pictures.MAX_SHEET_PIXELS", 5 * 128**2)
        report = generate_files(settings, tmp_path)
        assert len(report.pictures) == 6
        assert report.grid is None
        assert "too many for one sheet" in report.notes[-1]

    def test_nothing_asked_is_said_by_what_the_model_draws_from(self, settings, pixel_model, tmp_path):
        with pytest.raises(UserError, match="nothing to draw; give a prompt"):
            generate_files(replace(settings, prompts=()), tmp_path)
        classes = str(checkpoint.save(tmp_path / "classes", pixel_model))
        with pytest.raises(UserError, match=r"--class bag \| coat \| shirt"):
            generate_files(DrawSettings(model=classes), tmp_path)

    def test_a_model_of_neither_words_nor_classes_draws_what_it_has_learned(self, plain_model, tmp_path):
        plain = DrawSettings(model=str(checkpoint.save(tmp_path / "plain", plain_model)), steps=2, seed=3)
        report = generate_files(plain, tmp_path / "out")
        assert [path.name for path in report.pictures] == [f"picture-{seed}.png" for seed in (3, 4, 5, 6)]
        again = redraw_file(report.pictures[2], tmp_path / "again").pictures[0]
        assert again.read_bytes() == report.pictures[2].read_bytes()
        Image.new("L", (8, 8)).save(tmp_path / "start.png")
        with pytest.raises(UserError, match="needs words or a class"):
            generate_files(replace(plain, init=str(tmp_path / "start.png")), tmp_path)

    def test_words_that_are_not_read_are_said(self, settings, tmp_path):
        long = replace(settings, prompts=("a polar bear " * 10 + "with an umbrella",), count=1)
        (note,) = generate_files(long, tmp_path).notes
        assert "with an umbrella" in note

    def test_a_picture_to_start_from_is_read_and_a_bad_one_is_said(self, settings, tmp_path):
        array = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
        Image.fromarray(array).save(tmp_path / "start.png")
        started = replace(settings, init=str(tmp_path / "start.png"), prompts=tuple(PROMPTS[:1]), count=1)
        assert generate_files(started, tmp_path / "out").grid is None
        (tmp_path / "bad.png").write_bytes(b"no picture")
        with pytest.raises(UserError, match=r"bad\.png"):
            generate_files(replace(started, init=str(tmp_path / "bad.png")), tmp_path / "out")
        with pytest.raises(UserError, match="cannot be read"):
            generate_files(replace(started, init=str(tmp_path / "none.png")), tmp_path / "out")

    def test_a_picture_of_somebody_else_is_refused(self, tmp_path):
        Image.new("RGB", (4, 4)).save(tmp_path / "plain.png")
        with pytest.raises(UserError, match="carries no settings"):
            read_settings(tmp_path / "plain.png")
        with pytest.raises(UserError, match="no such picture"):
            read_settings(tmp_path / "none.png")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"prompts": ("",)}, "a prompt is empty"),
        ({"prompts": ("x",), "scale": float("nan")}, "scale = nan"),
        ({"prompts": ("x",), "steps": 0}, "steps = 0"),
        ({"prompts": ("x",), "count": 0}, "count = 0"),
        ({"prompts": ("x",), "seed": -1}, "seed = -1"),
        ({"prompts": ("x",), "strength": 0.0}, "strength"),
        ({"prompts": ("x",), "sampler": "hein"}, "did you mean 'heun'"),
        ({"prompts": ("x",), "grid": "karas"}, "did you mean 'karras'"),
        ({"prompts": ("x",), "mask": "m.png"}, "add --init"),
        ({"prompts": ("x",), "eta": 0.5}, "belongs to the sampler 'ddim'"),
        ({"prompts": ("x", "y", "z"), "classes": ("a", "b")}, "2 classes for 3 prompts"),
    ],
)
def test_settings_that_cannot_be_are_refused(fields, said):
    with pytest.raises(UserError, match=said):
        DrawSettings(**fields)


def test_a_checkpoint_of_another_kind_does_not_draw(latent_model, tmp_path):
    checkpoint.save(tmp_path / "codec", latent_model.parts["codec"])
    with pytest.raises(UserError, match="not a model that draws"):
        load_diffusion(tmp_path / "codec")


def test_the_model_survives_its_checkpoint_with_its_parts(latent_model, latent_folder):
    loaded = load_diffusion(latent_folder)
    assert torch.equal(
        draw(latent_model, PROMPTS, num_steps=3, seeds=[1, 2]),
        draw(loaded, PROMPTS, num_steps=3, seeds=[1, 2]),
    )
