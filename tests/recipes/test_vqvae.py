"""Both stages of a VQ-VAE, end to end, on pictures whose classes are easy to tell apart."""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from melies import checkpoint
from melies.autoencoders.prior import CodePriorConfig
from melies.autoencoders.quantize import Codebook, CodebookConfig, FiniteScalar, FiniteScalarConfig
from melies.autoencoders.vqvae import VQVAE, VQVAEConfig, codes_of
from melies.data.sets import read_set
from melies.errors import UserError
from melies.recipes import vqvae, vqvae_prior
from melies.recipes.job import Job
from melies.recipes.vqvae import VQVAERunConfig
from melies.recipes.vqvae_prior import CodePriorRunConfig
from melies.rng import noise_for
from melies.training.log import read_log
from melies.training.loop import TrainingConfig
from melies.transform import PixelRange

SIZE = 8
SHAPE = VQVAEConfig(
    size=SIZE, channels=1, widths=(8, 16), decoder_blocks=1, quantizer=CodebookConfig(num_codes=16, dim=4)
)


def training(num_samples: int, learning_rate: float = 5e-3) -> TrainingConfig:
    return TrainingConfig(
        num_samples=num_samples,
        batch_size=32,
        learning_rate=learning_rate,
        warmup=320,
        weight_decay=0.0,
        ema_half_life=320,
        log_every=320,
        preview_every=0,
        precision="fp32",
    )


def first(num_samples: int = 3200, **fields) -> VQVAERunConfig:
    return VQVAERunConfig(model=replace(SHAPE, **fields), training=training(num_samples))


def second(num_samples: int = 6400, **fields) -> CodePriorRunConfig:
    shape = {"dim": 16, "head_dim": 8, "depth": 1, "dropout": 0.0, **fields}
    return CodePriorRunConfig(prior=CodePriorConfig(**shape), training=training(num_samples, 1e-2))


def job(out: Path, data: Path, **fields) -> Job:
    return Job(data=data, out=out, say=lambda line: None, **fields)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, write_halves) -> Iterator[tuple[Path, Path, Path]]:
    """The pictures, and the run folders of both stages."""
    torch.manual_seed(0)
    data = write_halves(tmp_path_factory.mktemp("pictures") / "two")
    runs = tmp_path_factory.mktemp("runs")
    vqvae.run(first(), job(runs / "vqvae", data))
    vqvae_prior.run(second(), job(runs / "prior", data, start_from=str(runs / "vqvae")))
    return data, runs / "vqvae", runs / "prior"


def test_pictures_come_back_through_few_codes(trained):
    data, out, _ = trained
    pictures = read_set(data, size=SIZE, channels=1)
    model = checkpoint.load(out).model
    x = PixelRange().forward(pictures.pixels)
    codes = codes_of(model, pictures.pixels)
    with torch.no_grad():
        error = (model.decode_codes(codes) - x).square().mean()
    assert error < 0.05 * (x - x.mean(0)).square().mean()
    assert len(codes.unique()) > 8
    losses = [row["loss"] for row in read_log(out / "log.jsonl")]
    assert losses[-1] < 0.2 * losses[0]
    assert read_log(out / "log.jsonl")[-1]["psnr"] > 20


def test_it_draws_the_class_that_is_asked_for(trained):
    _, _, out = trained
    model = checkpoint.load(out).model
    labels = torch.tensor([0] * 16 + [1] * 16)
    drawn = model.sample(32, noise=noise_for(range(32)), labels=labels)
    difference = (drawn[..., : SIZE // 2] - drawn[..., SIZE // 2 :]).mean((1, 2, 3))
    assert difference[:16].gt(0.3).sum() >= 15
    assert difference[16:].lt(-0.3).sum() >= 15
    assert len({tuple(row) for row in drawn.flatten(1).tolist()}) > 8


def test_the_second_stage_leaves_one_model_that_says_where_it_comes_from(trained):
    _, autoencoder, out = trained
    loaded, alone = checkpoint.load(out), checkpoint.load(autoencoder)
    assert isinstance(loaded.model, VQVAE)
    assert loaded.model.classes == ("left", "right")
    assert loaded.provenance["recipe"] == "vqvae-prior"
    assert loaded.provenance["samples_seen"] == 6400
    assert loaded.parts["prior"].provenance["num_pictures"] == 96
    for name, value in alone.model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], value)
    averaged = checkpoint.read_tensors(out / "prior" / "checkpoint-6400" / "ema.safetensors")
    for name, value in loaded.parts["prior"].model.state_dict().items():
        assert torch.equal(averaged[name], value)
    assert [path.name for path in (out / "prior" / "preview").iterdir()] == ["00006400.png"]
    assert [path.name for path in (autoencoder / "preview").iterdir()] == ["00003200.png"]


def test_the_cost_of_codes_is_logged_in_bits_of_the_pictures_numbers(trained):
    *_, out = trained
    row = read_log(out / "prior" / "log.jsonl")[-1]
    nats_per_picture = row["loss"] * 4  # codes
    assert row["bits_per_dim"] == pytest.approx(nats_per_picture / math.log(2) / SIZE**2, rel=1e-5)
    assert row["loss"] < 0.7 * math.log(16)


def test_a_prior_that_was_stopped_goes_on(trained, tmp_path):
    data, autoencoder, _ = trained
    start = {"start_from": str(autoencoder)}
    plan = {"decay": "constant"}
    short, whole = (replace(second(n), training=replace(training(n), **plan)) for n in (320, 640))
    vqvae_prior.run(whole, job(tmp_path / "whole", data, **start))
    vqvae_prior.run(short, job(tmp_path / "parts", data, **start))
    with pytest.raises(UserError, match="already holds a run"):
        vqvae_prior.run(whole, job(tmp_path / "parts", data, **start))
    vqvae_prior.run(whole, job(tmp_path / "parts", data, resume=True, **start))
    a, b = (checkpoint.load(tmp_path / name).parts["prior"].model.state_dict() for name in ("whole", "parts"))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_both_stages_go_on_from_a_model(trained, tmp_path):
    data, autoencoder, whole = trained
    vqvae.run(first(32), job(tmp_path / "vqvae", data, start_from=str(whole)))
    further = checkpoint.load(tmp_path / "vqvae")
    assert not further.parts  # the codes have changed, so the prior says nothing of them
    before = checkpoint.load(autoencoder).model.state_dict()["encoder.1.weight"]
    assert (further.model.state_dict()["encoder.1.weight"] - before).abs().max() < 0.05
    few = replace(second(32), training=replace(training(32), learning_rate=1e-5))
    vqvae_prior.run(few, job(tmp_path / "prior", data, start_from=str(whole)))
    a, b = (checkpoint.load(run).parts["prior"].model for run in (tmp_path / "prior", whole))
    assert a.config == b.config
    torch.testing.assert_close(a.out.weight, b.out.weight, atol=1e-3, rtol=0)


def test_pictures_without_classes_are_drawn_without(tmp_path, write_halves):
    data = write_halves(tmp_path / "one", classes=("left",), count=16)
    vqvae.run(first(32), job(tmp_path / "vqvae", data))
    vqvae_prior.run(second(32), job(tmp_path / "prior", data, start_from=str(tmp_path / "vqvae")))
    model = checkpoint.load(tmp_path / "prior").model
    assert model.classes == ()
    assert model.sample(2, noise=noise_for([0, 1])).shape == (2, 1, SIZE, SIZE)


def test_levels_train_by_the_same_recipe(tmp_path, write_halves):
    data = write_halves(tmp_path / "two")
    config = first(1600, quantizer=FiniteScalarConfig(levels=(4, 4)))
    vqvae.run(config, job(tmp_path / "fsq", data))
    losses = [row["loss"] for row in read_log(tmp_path / "fsq" / "log.jsonl")]
    assert losses[-1] < 0.5 * losses[0]
    assert isinstance(checkpoint.load(tmp_path / "fsq").model.quantizer, FiniteScalar)


def test_the_recipes_differ_in_the_quantiser_only():
    assert isinstance(VQVAE(vqvae.CONFIG.model).quantizer, Codebook)
    assert isinstance(VQVAE(vqvae.FSQ.model).quantizer, FiniteScalar)
    assert vqvae.CONFIG.model.cells == 7
    assert replace(vqvae.FSQ, model=vqvae.CONFIG.model) == vqvae.CONFIG


def test_a_codebook_larger_than_the_data_is_refused_before_training(tmp_path, write_halves):
    data = write_halves(tmp_path / "two", count=2)  # four pictures of four latent vectors
    with pytest.raises(UserError, match="17 codes is larger than the data, which has 16"):
        vqvae.run(first(quantizer=CodebookConfig(num_codes=17, dim=4)), job(tmp_path / "run", data))
    assert not (tmp_path / "run").exists()


def test_what_a_prior_cannot_start_from_is_refused(trained, tmp_path, write_halves):
    data, _, whole = trained
    with pytest.raises(UserError, match="needs the VQ-VAE whose codes it learns"):
        vqvae_prior.run(second(), job(tmp_path / "run", data))
    with pytest.raises(UserError, match="not a VQ-VAE"):
        vqvae_prior.run(second(), job(tmp_path / "run", data, start_from=str(whole / "prior")))
    with pytest.raises(UserError, match="which this recipe does not train"):
        vqvae.run(first(), job(tmp_path / "run", data, start_from=str(whole / "prior")))
    larger = first(quantizer=CodebookConfig(num_codes=9, dim=4))
    with pytest.raises(UserError, match="of another shape or of other classes"):
        vqvae.run(larger, job(tmp_path / "run", data, start_from=str(whole)))
    other = write_halves(tmp_path / "other", classes=("up", "down"), count=2)
    with pytest.raises(UserError, match="the prior knows the classes left, right, the data down, up"):
        vqvae_prior.run(second(), job(tmp_path / "run", other, start_from=str(whole)))


def test_a_commitment_below_zero_is_refused():
    with pytest.raises(UserError, match="commitment"):
        VQVAERunConfig(commitment=-0.1)
