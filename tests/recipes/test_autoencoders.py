"""Autoencoders and VAEs end to end, on small pictures whose classes are easy to tell apart."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from melies import checkpoint
from melies.autoencoders.ae import AutoencoderConfig
from melies.autoencoders.network import HalvesConfig
from melies.autoencoders.vae import Terms, VAEConfig, posteriors
from melies.data.images import ImageSet
from melies.errors import UserError
from melies.recipes import autoencoder, vae
from melies.recipes.autoencoder import AutoencoderRunConfig
from melies.recipes.job import Job
from melies.recipes.vae import VAERunConfig, vae_loss
from melies.rng import noise_for
from melies.training.log import read_log
from melies.training.loop import TrainingConfig, train
from melies.transform import PixelRange

SIZE = 8
NETWORK = HalvesConfig(size=SIZE, latent_dim=4, widths=(16,), hidden=32)
TRAINING = TrainingConfig(
    num_samples=3_200,
    batch_size=32,
    learning_rate=5e-3,
    warmup=160,
    ema_half_life=100,
    log_every=160,
    preview_every=0,
    precision="fp32",
)
SHORT = replace(TRAINING, num_samples=64, log_every=32)


@pytest.fixture(scope="module")
def pictures() -> ImageSet:
    """Grey pictures: the half that the class names is bright, the other dark, both by random amounts."""
    generator, count = torch.Generator().manual_seed(0), 96
    bright = torch.randint(150, 256, (count, 1, 1, 1), generator=generator)
    dark = torch.randint(0, 100, (count, 1, 1, 1), generator=generator)
    left = torch.cat([bright.expand(-1, -1, SIZE, SIZE // 2), dark.expand(-1, -1, SIZE, SIZE // 2)], 3)
    labels = torch.arange(count) % 2
    pixels = torch.where(labels[:, None, None, None] == 0, left, left.flip(-1)).to(torch.uint8)
    return ImageSet(
        pixels=pixels,
        texts=None,
        labels=labels,
        classes=("left", "right"),
        rows=({},) * count,
        names=tuple(f"{i}.png" for i in range(count)),
    )


def quiet(out: Path, pictures: ImageSet | None = None, **options) -> Job:
    return Job(out=out, pictures=pictures, say=lambda line: None, **options)


def plain(**fields) -> AutoencoderRunConfig:
    return AutoencoderRunConfig(
        **{"model": AutoencoderConfig(network=NETWORK), "training": TRAINING, **fields}
    )


def variational(**fields) -> VAERunConfig:
    return VAERunConfig(**{"model": VAEConfig(network=NETWORK), "training": TRAINING, **fields})


def sides(drawn: torch.Tensor) -> torch.Tensor:
    """How much brighter the left half is, from −2 to 2."""
    return (drawn[..., : SIZE // 2] - drawn[..., SIZE // 2 :]).mean((1, 2, 3))


def test_an_autoencoder_learns_its_pictures_and_ends_with_a_prior(pictures, tmp_path):
    config = plain(model=AutoencoderConfig(network=NETWORK, components=2))
    autoencoder.run(config, quiet(tmp_path, pictures))
    model = checkpoint.load(tmp_path).model
    x = PixelRange().forward(pictures.pixels)
    error = (model.decode(model.encode(x)) - x).square().mean()
    assert float(error.detach()) < 0.05 * float((x - x.mean(0)).square().mean())
    drawn = sides(model.sample(64, noise=noise_for(range(64))))
    assert bool((drawn.abs() > 0.3).float().mean() > 0.9)  # its two Gaussians are the two kinds of pictures
    assert 0.25 < float((drawn > 0).float().mean()) < 0.75
    (preview,) = (tmp_path / "preview").iterdir()
    with Image.open(preview) as sheet:  # 16 pictures beside 16 rebuilt ones, twice as large, 8 in a row
        assert sheet.size == (8 * 2 * SIZE + 9 * 4, 4 * 2 * SIZE + 5 * 4)


def test_a_run_that_went_on_is_the_run_that_was_never_stopped(pictures, tmp_path):
    config = plain(training=replace(SHORT, decay="constant", num_samples=128))
    autoencoder.run(config, quiet(tmp_path / "whole", pictures))
    autoencoder.run(
        replace(config, training=replace(config.training, num_samples=64)),
        quiet(tmp_path / "parts", pictures),
    )
    autoencoder.run(config, quiet(tmp_path / "parts", pictures, resume=True))
    for name in ("weights.safetensors", "ema.safetensors"):
        whole, parts = ((tmp_path / run / "checkpoint-128" / name).read_bytes() for run in ("whole", "parts"))
        assert whole == parts, name
    provenance = checkpoint.load(tmp_path / "parts").provenance
    assert (provenance["recipe"], provenance["samples_seen"]) == ("autoencoder", 128)


def test_a_vae_lowers_its_bound_and_draws_what_it_saw(pictures, tmp_path):
    said = []
    vae.run(variational(), Job(out=tmp_path, pictures=pictures, say=said.append))
    losses = [row["nll"] + row["kl"] for row in read_log(tmp_path / "log.jsonl")]
    assert sum(losses[-3:]) / 3 < 0.8 * losses[0]
    loaded = checkpoint.load(tmp_path)
    assert (loaded.provenance["recipe"], loaded.provenance["beta"]) == ("vae", 1.0)
    drawn = sides(loaded.model.sample(64, noise=noise_for(range(64))))
    assert bool((drawn.abs() > 0.3).float().mean() > 0.7)
    kl = posteriors(loaded.model, pictures.pixels).kl().mean(0)
    assert 1 < float(kl.detach().sum()) < 20  # the side alone is 0.7 nats
    assert "latent elements" in said[-1]
    (preview,) = (tmp_path / "preview").iterdir()
    with Image.open(preview) as sheet:  # the same, with 16 new ones below
        assert sheet.size == (8 * 2 * SIZE + 9 * 4, 6 * 2 * SIZE + 7 * 4)


def test_a_conditional_vae_draws_the_class_that_is_asked_for(pictures, tmp_path):
    vae.run(variational(conditional=True), quiet(tmp_path, pictures))
    loaded = checkpoint.load(tmp_path)
    assert loaded.config.classes == ("left", "right")
    assert loaded.provenance["recipe"] == "cvae"
    labels = torch.arange(2).repeat_interleave(32)
    drawn = sides(loaded.model.sample(64, noise=noise_for(range(64)), labels=labels))
    assert bool((drawn[:32] > 0).float().mean() > 0.95)
    assert bool((drawn[32:] < 0).float().mean() > 0.95)


def test_a_large_beta_lets_the_posterior_collapse(pictures, tmp_path):
    said = []
    config = variational(beta=1000.0, training=replace(TRAINING, num_samples=1_600))
    vae.run(config, Job(out=tmp_path, pictures=pictures, say=said.append))
    assert "none of 4 latent elements is active" in said[-1]


@pytest.mark.parametrize("binarize", ["static", "dynamic"])
def test_black_and_white_pictures_are_the_same_once_or_others_every_time(
    pictures, tmp_path, monkeypatch, binarize
):
    kept = []
    monkeypatch.setattr(vae, "train", lambda *args, **options: kept.append(args) or train(*args, **options))
    model = VAEConfig(network=NETWORK, likelihood="bernoulli")
    config = variational(model=model, binarize=binarize, training=SHORT)
    vae.run(config, quiet(tmp_path, pictures))
    _, (objective,), batches, *_ = kept[0]
    seen = []

    class Spy(torch.nn.Module):
        def forward(self, pixels, epsilon, labels):
            seen.append(pixels)
            return vae.VAE(model)(pixels, epsilon, labels)

    for start in (0, 96):  # two epochs, put back into one order by their levels of grey
        batch = batches(start, 96)
        objective.loss_fn(Spy(), batch, torch.Generator().manual_seed(start))
    assert set(torch.cat(seen).unique().tolist()) == {-1.0, 1.0}
    first, second = (sorted(x.flatten(1).tolist()) for x in seen)
    assert (first == second) is (binarize == "static")


def test_the_loss_is_the_bound_in_nats_per_pixel():
    class Known(torch.nn.Module):
        def forward(self, pixels, epsilon, labels):
            kl = torch.tensor([[0.1, 3.0]]).expand(len(pixels), 2)
            return Terms(torch.full((len(pixels),), -10.0), kl)

    batch = {"pixels": torch.zeros(4, 1, SIZE, SIZE)}
    config = variational(beta=2.0, free_bits=0.5)
    loss, scalars = vae_loss(config)(Known(), batch, torch.Generator())
    assert float(loss) == pytest.approx((10 + 2 * (0.5 + 3.0)) / SIZE**2)
    assert scalars == {"nll": pytest.approx(10.0), "kl": pytest.approx(3.1)}


@pytest.mark.parametrize("family", ["autoencoder", "vae"])
def test_it_goes_on_from_a_model_of_its_own_shape_only(pictures, tmp_path, family):
    recipe, config = {"autoencoder": (autoencoder, plain), "vae": (vae, variational)}[family]
    recipe.run(config(training=SHORT), quiet(tmp_path / "first", pictures))
    start = {"start_from": str(tmp_path / "first")}
    slow = replace(SHORT, learning_rate=1e-8)
    recipe.run(config(training=slow), quiet(tmp_path / "more", pictures, **start))
    before, after = (checkpoint.load(tmp_path / run).model for run in ("first", "more"))
    x = PixelRange().forward(pictures.pixels[:4])
    with torch.no_grad():
        torch.testing.assert_close(before.encode(x), after.encode(x), atol=0.05, rtol=0.05)
    larger = replace(NETWORK, latent_dim=5)
    other = {"autoencoder": AutoencoderConfig(network=larger), "vae": VAEConfig(network=larger)}[family]
    with pytest.raises(UserError, match="of another shape"):
        recipe.run(config(model=other, training=SHORT), quiet(tmp_path / "x", pictures, **start))
    wrong, wrong_config = {"autoencoder": (vae, variational), "vae": (autoencoder, plain)}[family]
    with pytest.raises(UserError, match="which this recipe does not train"):
        wrong.run(wrong_config(training=SHORT), quiet(tmp_path / "x", pictures, **start))


def test_bad_data_is_refused_before_training_starts(pictures, tmp_path):
    colour = replace(NETWORK, channels=3)
    grey = tmp_path / "grey"
    grey.mkdir()
    for index in range(4):
        Image.fromarray(pictures.pixels[index, 0].numpy()).save(grey / f"{index}.png")
    for recipe, config in (
        (autoencoder, plain(model=AutoencoderConfig(network=colour))),
        (vae, variational(model=VAEConfig(network=colour))),
    ):
        with pytest.raises(UserError, match="all pictures are grey, and colour is expected"):
            recipe.run(config, quiet(tmp_path / "run", data=grey))
    with pytest.raises(UserError, match="have no classes"):
        vae.run(variational(conditional=True), quiet(tmp_path / "run", data=grey))
    config = plain(model=AutoencoderConfig(network=NETWORK, components=4))
    with pytest.raises(UserError, match="4 pictures are too few for 4 Gaussians"):
        autoencoder.run(config, quiet(tmp_path / "run", data=grey))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"beta": -1.0}, "beta = -1.0"),
        ({"free_bits": -0.1}, "free_bits = -0.1"),
        ({"model": VAEConfig(classes=("a",))}, "the classes come from the data"),
        ({"binarize": "static"}, "a discretized likelihood is not for black and white pictures"),
    ],
)
def test_settings_out_of_range_are_refused(fields, said):
    with pytest.raises(UserError, match=said):
        variational(**fields)
