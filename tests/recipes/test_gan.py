"""GANs end to end, on small pictures whose classes are easy to tell apart."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from melies import checkpoint
from melies.errors import UserError
from melies.gan.config import ConvolutionalConfig, GANConfig, ResidualConfig
from melies.gan.model import GAN
from melies.recipes import RECIPES, gan
from melies.recipes.gan import GANRunConfig
from melies.recipes.job import Job
from melies.rng import noise_for
from melies.training.log import read_log

SIZE = 8
CONFIGS = {
    "gan": gan.CONFIG,
    "cgan": gan.CONDITIONAL,
    "gan-minimax": gan.MINIMAX,
    "gan-nonsaturating": gan.NONSATURATING,
}
NETWORKS = {
    "residual": ResidualConfig(widths=(16,), group_width=8),
    "convolutional": ConvolutionalConfig(widths=(8, 16)),
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory, write_halves) -> Path:
    """Two classes of pictures."""
    return write_halves(tmp_path_factory.mktemp("pictures") / "two")


def tiny(base: GANRunConfig = gan.CONFIG, network: str = "residual", **training) -> GANRunConfig:
    options = {
        "num_samples": 96,
        "batch_size": 16,
        "precision": "fp32",
        "log_every": 16,
        "preview_every": 0,
        "ema_half_life": 200,
        **training,
    }
    return replace(
        base,
        model=GANConfig(network=NETWORKS[network], size=SIZE, latent_dim=8),
        conditional=True,
        training=replace(base.training, **options),
    )


def quiet(out: Path, data: Path, **options) -> Job:
    return Job(out=out, data=data, say=lambda line: None, **options)


def test_it_learns_to_draw_the_class_that_is_asked_for(pictures, tmp_path):
    config = tiny(num_samples=4_800, batch_size=32, learning_rate=4e-3, preview_every=4_800)
    gan.run(config, quiet(tmp_path, pictures))
    loaded = checkpoint.load(tmp_path)
    assert loaded.config.classes == ("left", "right")
    assert loaded.provenance["game"] == "relativistic"
    labels = torch.arange(40) % 2
    drawn = loaded.model.sample(40, noise=noise_for(range(40)), labels=labels)
    difference = (drawn[..., : SIZE // 2] - drawn[..., SIZE // 2 :]).mean((1, 2, 3))
    assert difference[labels == 0].gt(0.4).float().mean() > 0.9
    assert difference[labels == 1].lt(-0.4).float().mean() > 0.9
    rows = read_log(tmp_path / "log.jsonl")
    expected = {"logit_real", "logit_fake", "spread", "r1", "r2", "loss_discriminator", "loss_generator"}
    assert expected <= rows[-1].keys()
    assert 0.3 < rows[-1]["spread"] < 2
    assert [path.name for path in (tmp_path / "preview").iterdir()] == ["00004800.png"]


@pytest.mark.parametrize(
    ("base", "network"),
    [(gan.CONFIG, "residual"), (gan.MINIMAX, "convolutional"), (gan.NONSATURATING, "residual")],
)
def test_a_run_that_is_resumed_ends_like_one_that_was_not(base, network, pictures, tmp_path):
    """Bit for bit, with the statistics of batches and both optimisers."""
    config = tiny(base, network, decay="constant")
    gan.run(config, quiet(tmp_path / "whole", pictures))
    gan.run(
        replace(config, training=replace(config.training, num_samples=48)),
        quiet(tmp_path / "parts", pictures),
    )
    gan.run(config, quiet(tmp_path / "parts", pictures, resume=True))
    for name in ("weights", "ema"):
        whole, parts = (
            checkpoint.read_tensors(tmp_path / run / "checkpoint-96" / f"{name}.safetensors")
            for run in ("whole", "parts")
        )
        assert whole.keys() == parts.keys()
        assert all(torch.equal(whole[key], parts[key]) for key in whole)


def test_classes_are_left_alone_where_they_are_not_asked_for(pictures, tmp_path):
    config = replace(tiny(preview_every=96), conditional=False)
    gan.run(config, quiet(tmp_path, pictures))
    loaded = checkpoint.load(tmp_path)
    assert loaded.config.classes == ()
    assert loaded.provenance["recipe"] == "gan"
    assert loaded.model.sample(2, noise=noise_for([0, 1])).shape == (2, 1, SIZE, SIZE)
    assert (tmp_path / "preview" / "00000096.png").exists()


def test_it_goes_on_from_a_model_of_the_same_shape_only(pictures, tmp_path):
    gan.run(tiny(), quiet(tmp_path / "first", pictures))
    still = tiny(num_samples=16, learning_rate=1e-9)
    gan.run(still, quiet(tmp_path / "more", pictures, start_from=str(tmp_path / "first")))
    first, more = (checkpoint.load(tmp_path / run).model.state_dict() for run in ("first", "more"))
    assert all(torch.allclose(first[name], more[name], atol=1e-6) for name in first)
    other = replace(tiny(), conditional=False)
    with pytest.raises(UserError, match="another shape or of other classes"):
        gan.run(other, quiet(tmp_path / "other", pictures, start_from=str(tmp_path / "first")))


@pytest.mark.parametrize(
    ("config", "recipe"),
    [
        (gan.CONFIG, "gan"),
        (gan.CONDITIONAL, "cgan"),
        (gan.MINIMAX, "gan-minimax"),
        (gan.NONSATURATING, "gan-nonsaturating"),
    ],
)
def test_provenance_names_the_recipe(config, recipe):
    assert gan._name(config) == recipe
    assert recipe in RECIPES


def test_one_class_is_refused_where_classes_are_to_be_learned(pictures, tmp_path):
    shutil.copytree(pictures / "left", tmp_path / "one" / "left")
    with pytest.raises(UserError, match="all pictures are of one class, 'left'"):
        gan.run(tiny(), quiet(tmp_path / "run", tmp_path / "one"))
    gan.run(replace(tiny(num_samples=16), conditional=False), quiet(tmp_path / "run", tmp_path / "one"))


def test_grey_pictures_are_refused_where_colour_is_expected(pictures, tmp_path):
    config = tiny()
    with pytest.raises(UserError, match="grey, and colour is expected"):
        gan.run(replace(config, model=replace(config.model, channels=3)), quiet(tmp_path, pictures))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: {"gamma": -1.0}, "gamma = -1.0"),
        (lambda c: {"model": gan.MINIMAX.model}, "batch normalisation mixes a batch"),
        (lambda c: {"training": replace(c.training, compile=True)}, "gradients of gradients"),
        (lambda c: {"model": replace(c.model, classes=("a", "b"))}, "the classes come from the data"),
    ],
)
def test_settings_that_cannot_be_are_refused(change, message):
    with pytest.raises(UserError, match=message):
        replace(gan.CONFIG, **change(gan.CONFIG))


@pytest.mark.parametrize("name", CONFIGS)
def test_the_networks_are_small(name):
    with torch.device("meta"):
        model = GAN(CONFIGS[name].model)
    assert sum(p.numel() for p in model.parameters()) < 2e6
