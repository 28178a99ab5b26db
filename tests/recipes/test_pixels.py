"""Class-conditional diffusion in pixels, end to end, on pictures whose classes are easy to tell apart."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from melies import checkpoint
from melies.data.images import ImageSet, read_images
from melies.errors import UserError
from melies.images.generate import draw
from melies.images.model import ImageDiffusion
from melies.nn.unet import UNet, UNetConfig
from melies.recipes import cifar10, fashion_mnist
from melies.recipes.job import Job
from melies.recipes.pixels import PixelDiffusionConfig
from melies.training.log import read_log
from melies.training.loop import TrainingConfig
from melies.transform import PixelRange

SIZE = 8
RECIPES = {"cifar10": cifar10, "fashion-mnist": fashion_mnist}


def tiny(**fields) -> PixelDiffusionConfig:
    training = TrainingConfig(
        num_samples=4_800,
        batch_size=32,
        learning_rate=5e-3,
        warmup=320,
        ema_half_life=640,
        log_every=320,
        preview_every=0,
        precision="fp32",
    )
    shape = {"size": SIZE, "widths": (8, 16), "blocks": 1, "attention": (4,), "head_dim": 8, "dim": 16}
    return PixelDiffusionConfig(
        **{
            "network": UNetConfig(channels=1, **shape),
            "sigma_data": 0.6,
            "drop": 0.3,
            "P_mean": 0.0,
            "P_std": 1.6,
            "training": training,
            **fields,
        }
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory, write_halves) -> Iterator[tuple[Path, Path]]:
    """The pictures, and the run folder of a recipe that has seen 4,800 of them."""
    torch.manual_seed(0)
    data = write_halves(tmp_path_factory.mktemp("pictures") / "two")
    out = tmp_path_factory.mktemp("run") / "toy"
    fashion_mnist.run(tiny(), Job(data=data, out=out, say=lambda line: None))
    return data, out


def denoising_error(model: ImageDiffusion, pictures: ImageSet, sigma: float) -> float:
    """Mean squared error of x0 over the set, on noise of a fixed seed."""
    x0 = PixelRange().forward(pictures.pixels)
    epsilon = torch.randn(x0.shape, generator=torch.Generator().manual_seed(1))
    levels = torch.full((len(x0),), sigma)
    with torch.no_grad():
        predicted = model(x0 + sigma * epsilon, levels, {"class": pictures.labels})
    return float((predicted - x0).square().mean())


def test_the_network_learns_far_more_than_the_mean(trained):
    data, out = trained
    pictures = read_images(data, size=SIZE, channels=1)
    x0 = PixelRange().forward(pictures.pixels)
    error_of_mean = float((x0 - x0.mean(0)).square().mean())
    model = checkpoint.load(out).model
    assert denoising_error(model, pictures, sigma=0.5) < 0.15 * error_of_mean
    losses = [row["loss"] for row in read_log(out / "log.jsonl")]
    assert np.mean(losses[-3:]) < 0.5 * losses[0]


def test_it_learns_what_the_classes_mean(trained):
    """Where noise hides everything, the best guess is the mean of the class; of all, without one.

    The means are 1.2 apart, and each is 0.6 from that of all.
    """
    data, out = trained
    pictures = read_images(data, size=SIZE, channels=1)
    x0 = PixelRange().forward(pictures.pixels)
    model = checkpoint.load(out).model
    sigma = torch.full((256,), 5.0)  # ten times the pixels' own spread, and still seen in training
    x = 5.0 * torch.randn(256, 1, SIZE, SIZE)
    for label in (0, 1):
        guess = model(x, sigma, {"class": torch.full((256,), label)}).mean(0)
        assert (guess - x0[pictures.labels == label].mean(0)).abs().mean() < 0.2
    absent = {"class": torch.zeros(256).long(), "present.class": torch.zeros(256, dtype=torch.bool)}
    assert (model(x, sigma, absent).mean(0) - x0.mean(0)).abs().mean() < 0.3


def test_it_draws_the_class_that_is_asked_for(trained):
    _, out = trained
    drawn = draw(
        str(out), classes=["left"] * 8 + ["right"] * 8, scale=1.0, num_steps=8, batch_size=16
    ).float()
    difference = (drawn[..., : SIZE // 2] - drawn[..., SIZE // 2 :]).mean((1, 2, 3))
    assert difference[:8].gt(50).sum() >= 7
    assert difference[8:].lt(-50).sum() >= 7


def test_the_run_leaves_a_preview_and_a_checkpoint_that_says_where_it_comes_from(trained):
    _, out = trained
    assert [path.name for path in (out / "preview").iterdir()] == ["00004800.png"]
    loaded = checkpoint.load(out)
    assert loaded.config.classes == ("left", "right")
    assert loaded.config.network.num_classes == 2
    assert loaded.provenance["recipe"] == "fashion-mnist"
    assert loaded.provenance["num_pictures"] == 96


def test_it_goes_on_from_a_model(trained, tmp_path):
    data, out = trained
    short = tiny(training=replace(tiny().training, num_samples=64, learning_rate=1e-5))
    cifar10.run(short, Job(data=data, out=tmp_path / "more", start_from=str(out), say=lambda line: None))
    assert checkpoint.load(tmp_path / "more").provenance["start_from"] == checkpoint.origin(out)
    pictures = read_images(data, size=SIZE, channels=1)
    before, after = (
        denoising_error(checkpoint.load(run).model, pictures, 0.5) for run in (out, tmp_path / "more")
    )
    assert after < 1.5 * before


def test_other_classes_or_sizes_than_the_model_has_are_refused(trained, tmp_path, write_halves):
    data, out = trained
    other = write_halves(tmp_path / "other", classes=("up", "down"), count=2)
    with pytest.raises(UserError, match="the model knows the classes left, right, the data down, up"):
        fashion_mnist.run(tiny(), Job(data=other, out=tmp_path / "run", start_from=str(out)))
    larger = tiny(network=replace(tiny().network, size=16, attention=()))
    with pytest.raises(UserError, match="draws 8 px in 1 channels, the recipe 16 px"):
        fashion_mnist.run(larger, Job(data=data, out=tmp_path / "run", start_from=str(out)))


def test_pictures_without_classes_are_refused(tmp_path, write_halves):
    data = write_halves(tmp_path / "one", classes=("left",), count=2)
    with pytest.raises(UserError, match="all pictures are of one class, 'left'"):
        fashion_mnist.run(tiny(), Job(data=data, out=tmp_path / "run"))


def test_without_classes_it_learns_them_all_where_that_is_asked_for(tmp_path, write_halves):
    data = write_halves(tmp_path / "one", classes=("left",), count=8)
    config = tiny(needs_classes=False)
    config = replace(config, training=replace(config.training, num_samples=64, preview_every=64))
    fashion_mnist.run(config, Job(data=data, out=tmp_path / "run", say=lambda line: None))
    model = checkpoint.load(tmp_path / "run").model
    assert model.config.classes == ()
    with Image.open(tmp_path / "run" / "preview" / "00000064.png") as preview:
        assert preview.width > preview.height
    job = Job(
        data=write_halves(tmp_path / "two", count=4), out=tmp_path / "b", start_from=str(tmp_path / "run")
    )
    with pytest.raises(UserError, match=r"the model knows the classes \(none\), the data left, right"):
        fashion_mnist.run(config, job)


def test_a_network_that_the_model_cannot_use_is_refused(tmp_path, write_halves):
    data = write_halves(tmp_path / "two", count=2)
    for fields, message in (({"learned_variance": True}, "learned_variance"), ({"text_dim": 8}, "text_dim")):
        config = tiny(network=replace(tiny().network, **fields))
        with pytest.raises(UserError, match=message):
            cifar10.run(config, Job(data=data, out=tmp_path / "run", say=lambda line: None))


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_the_networks_are_small(recipe):
    with torch.device("meta"):
        count = sum(p.numel() for p in UNet(recipe.CONFIG.network).parameters())
    assert 1e6 < count < 3e6


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"drop": 1.5}, "drop"), ({"P_std": 0.0}, "P_std"), ({"sigma_data": -1.0}, "sigma_data")],
)
def test_settings_out_of_range_are_refused(fields, message):
    with pytest.raises(UserError, match=message):
        tiny(**fields)
