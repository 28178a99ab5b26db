"""The VQ-VAE as a whole: its codes, its training bit for bit, and drawing with a prior."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from melies import checkpoint
from melies.autoencoders.prior import CodePrior, CodePriorConfig
from melies.autoencoders.quantize import CodebookConfig, FiniteScalarConfig
from melies.autoencoders.vqvae import TEMPERATURE, VQVAE, VQVAEConfig, codes_of, start_codebook
from melies.errors import UserError
from melies.interfaces import Objective, PictureModel
from melies.rng import generator_for, noise_for
from melies.training.loop import State, TrainingConfig, train

CODEBOOK = CodebookConfig(num_codes=12, dim=4)
LEVELS = FiniteScalarConfig(levels=(3, 4))
SHAPE = {"size": 8, "channels": 1, "widths": (8, 16), "decoder_blocks": 1}


def pictures(num: int, size: int = 8, channels: int = 1, seed: int = 0) -> torch.Tensor:
    """Bytes."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (num, channels, size, size), generator=generator, dtype=torch.uint8)


def floats(num: int, **shape) -> torch.Tensor:
    return pictures(num, **shape).float() / 127.5 - 1


def model(quantizer=CODEBOOK, *, classes: tuple[str, ...] | None = None, **shape) -> VQVAE:
    """Weights far from their start, a codebook where the latents are; a prior where there are classes."""
    config = VQVAEConfig(**{**SHAPE, **shape, "quantizer": quantizer})
    prior = None
    if classes is not None:
        prior = CodePrior(
            CodePriorConfig(
                num_codes=quantizer.num_codes,
                cells=config.cells,
                classes=classes,
                dim=16,
                head_dim=8,
                depth=1,
            )
        )
    made = VQVAE(config, prior=prior)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    start_codebook(
        made, pictures(32, size=config.size, channels=config.channels), torch.Generator().manual_seed(0)
    )
    return made.eval()


@pytest.mark.parametrize("quantizer", [CODEBOOK, LEVELS])
@pytest.mark.parametrize(
    ("size", "channels", "widths", "cells"),
    [(8, 1, (8, 16), 2), (28, 1, (8, 16), 7), (32, 3, (8, 16), 8), (64, 3, (8, 8, 16), 8)],
)
def test_pictures_of_every_size_come_back_through_their_codes(quantizer, size, channels, widths, cells):
    made = model(quantizer, size=size, channels=channels, widths=widths)
    assert isinstance(made, PictureModel)
    assert made.shape == (channels, size, size)
    x = floats(3, size=size, channels=channels)
    with torch.no_grad():
        codes, latents = made.codes(x), made.encode(x)
        rebuilt = made.decode(latents)
    assert codes.shape == (3, cells, cells)
    assert latents.shape == (3, quantizer.dim, cells, cells)
    assert rebuilt.shape == x.shape
    assert torch.equal(made.decode_codes(codes), rebuilt)
    assert not torch.equal(made.quantizer.lookup(codes), latents)
    assert len(codes.unique()) > 1


def test_between_two_pictures_lie_codes_of_neither():
    """Latents are continuous, so the way from one picture to another passes through other codes."""
    made = model()
    a, b = made.encode(floats(2)).detach()
    way = torch.stack([a + (b - a) * share for share in torch.linspace(0, 1, 9)])
    codes = made.quantizer(way).codes
    torch.testing.assert_close(made.decode(way)[0], made.decode(a[None])[0])
    assert ((codes != codes[0]) & (codes != codes[-1])).any()


@pytest.mark.parametrize("quantizer", [CODEBOOK, LEVELS])
def test_the_gradient_of_the_pixels_reaches_the_encoder_through_the_codes(quantizer):
    made = model(quantizer).train()
    rebuilt, _ = made(floats(4), torch.Generator().manual_seed(0))
    rebuilt.square().mean().backward()
    assert made.encoder[1].weight.grad.abs().max() > 0


def test_the_codebook_moves_in_training_and_only_then():
    made = model()
    before = made.quantizer.codebook.clone()
    made(floats(4, seed=1), torch.Generator().manual_seed(0))
    assert torch.equal(made.quantizer.codebook, before)
    made.train()(floats(4, seed=1), torch.Generator().manual_seed(0))
    assert not torch.equal(made.quantizer.codebook, before)


def test_many_pictures_are_coded_in_blocks():
    made = model()
    some = pictures(300)
    one_by_one = torch.cat([codes_of(made, part) for part in some.split(100)])
    assert torch.equal(codes_of(made, some), one_by_one)


def test_a_codebook_larger_than_the_data_is_refused():
    """Eleven pictures of 2×2 cells are 44 latent vectors."""
    made = VQVAE(VQVAEConfig(**SHAPE, quantizer=CodebookConfig(num_codes=45)))
    with pytest.raises(UserError, match="45 codes is larger than the data, which has 44 latent vectors"):
        start_codebook(made, pictures(11), torch.Generator())
    start_codebook(made, pictures(12), torch.Generator())


def train_tiny(out: Path, num_samples: int, *, resume: bool = False, quantizer=CODEBOOK) -> State:
    config = TrainingConfig(
        num_samples=num_samples,
        batch_size=8,
        learning_rate=1e-2,
        decay="constant",
        warmup=0,
        ema_half_life=64,
        preview_every=0,
        precision="fp32",
    )
    torch.manual_seed(0)
    made = VQVAE(VQVAEConfig(**SHAPE, quantizer=quantizer))
    start_codebook(made, pictures(32), torch.Generator().manual_seed(0))

    def batches(start: int, size: int) -> torch.Tensor:
        return torch.stack(
            [torch.rand(1, 8, 8, generator=generator_for(0, i)) for i in range(start, start + size)]
        )

    def loss_fn(m, batch, rng):
        rebuilt, quantized = m(batch, rng)
        return (rebuilt - batch).square().mean() + quantized.commitment, {}

    objective = Objective("vqvae", lambda m: m.parameters(), loss_fn)
    return train(made, [objective], batches, config, out=out, resume=resume)


def test_a_resumed_run_is_the_same_run(tmp_path):
    """Codebook, counts and restarts included: eager restarts, so that every step draws some."""
    eager = replace(CODEBOOK, restart=0.5, decay=0.5)
    whole = train_tiny(tmp_path / "whole", 64, quantizer=eager)
    train_tiny(tmp_path / "parts", 24, quantizer=eager)
    parts = train_tiny(tmp_path / "parts", 64, resume=True, quantizer=eager)
    for a, b in ((whole.model, parts.model), (whole.ema.model, parts.ema.model)):
        a, b = a.state_dict(), b.state_dict()
        assert {"quantizer.codebook", "quantizer.counts", "quantizer.sums"} <= a.keys()
        assert a.keys() == b.keys()
        assert all(torch.equal(a[name], b[name]) for name in a)


def test_the_averaged_model_has_the_codebook_as_it_is(tmp_path):
    """It is an average already; the encoder beside it is averaged by the loop."""
    state = train_tiny(tmp_path, 64)
    plain, averaged = state.model.state_dict(), state.ema.model.state_dict()
    for name in ("codebook", "counts", "sums"):
        assert torch.equal(averaged[f"quantizer.{name}"], plain[f"quantizer.{name}"])
    assert not torch.equal(averaged["encoder.1.weight"], plain["encoder.1.weight"])


def test_a_checkpoint_holds_the_prior_too(tmp_path):
    made = model(LEVELS, classes=("a", "b"))
    loaded = checkpoint.load(checkpoint.save(tmp_path / "vqvae", made))
    assert loaded.kind == "vqvae"
    assert loaded.config == made.config
    assert loaded.parts["prior"].kind == "code-prior"
    assert loaded.model.classes == ("a", "b")
    labels = torch.tensor([0, 1, 1])
    ours, theirs = (m.sample(3, noise=noise_for([1, 2, 3]), labels=labels) for m in (made, loaded.model))
    assert torch.equal(ours, theirs)


def test_it_draws_what_the_decoder_makes_of_the_codes_of_the_prior():
    made = model(classes=("a", "b"))
    labels = torch.tensor([1, 0])
    drawn = made.sample(2, noise=noise_for([3, 4]), labels=labels, top_k=3)
    codes = made.parts["prior"].sample(
        2, noise=noise_for([3, 4]), labels=labels, temperature=TEMPERATURE, top_k=3
    )
    assert drawn.shape == (2, 1, 8, 8)
    assert torch.equal(drawn, made.decode_codes(codes))
    alone = made.sample(1, noise=noise_for([4]), labels=labels[1:], top_k=3)
    torch.testing.assert_close(alone, drawn[1:])


def test_without_a_prior_it_does_not_draw():
    with pytest.raises(UserError, match=r"no prior over its codes.*vqvae-prior"):
        model().sample(1, noise=noise_for([0]))


def test_a_prior_over_other_codes_is_refused():
    with pytest.raises(UserError, match=r"2×2 cells of 13 codes does not fit 2×2 cells of 12"):
        VQVAE(model().config, prior=CodePrior(CodePriorConfig(num_codes=13, cells=2)))
    with pytest.raises(UserError, match=r"3×3 cells of 12 codes does not fit"):
        VQVAE(model().config, prior=CodePrior(CodePriorConfig(num_codes=12, cells=3)))


def test_what_does_not_fit_the_model_is_refused():
    made = model(classes=("a", "b"))
    with pytest.raises(UserError, match="grey 8×8"):
        made.encode(floats(2, channels=3))
    with pytest.raises(UserError, match="labels from 2 to 2"):
        made.encode(floats(1), torch.tensor([2]))
    with pytest.raises(UserError, match="has no classes"):
        model().decode(torch.zeros(1, 4, 2, 2), torch.tensor([0]))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"size": 30}, "size 30 cannot be halved"),
        ({"widths": (12,)}, "multiple of 8"),
        ({"channels": 0}, "channels"),
    ],
)
def test_shapes_that_make_no_sense_are_refused(fields, message):
    with pytest.raises(UserError, match=message):
        VQVAEConfig(**fields)
