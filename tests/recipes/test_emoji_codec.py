"""The codec's recipe: what it sees, that it learns, resumes, goes on from a codec, and shows what it does."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from melies import checkpoint
from melies.data.emoji import read_emoji
from melies.errors import UserError
from melies.images.classifier import ClassifierConfig, Head, ImageClassifier
from melies.images.codec import CodecConfig, reconstruction_error
from melies.recipes import emoji_codec
from melies.recipes.emoji_codec import EmojiCodecConfig, codec_loss
from melies.recipes.job import Job
from melies.training.loop import TrainingConfig, train
from melies.transform import PixelRange

SIZE = 16
TRAINING = TrainingConfig(
    num_samples=4_800,
    batch_size=32,
    learning_rate=6e-3,
    warmup=160,
    ema_half_life=100,
    preview_every=0,
    precision="fp32",
)
TINY = EmojiCodecConfig(
    codec=CodecConfig(latent_channels=8, widths=(8, 16), decoder_blocks=1), size=SIZE, training=TRAINING
)


@pytest.fixture(scope="module")
def emoji(write_emoji, tmp_path_factory) -> Path:
    """96 pictures, some of them held out."""
    return write_emoji(tmp_path_factory.mktemp("emoji") / "emoji.zip", 4)


def go(config, data, out, **options):
    """A run that says nothing."""
    return emoji_codec.run(config, Job(data=data, out=out, say=lambda line: None, **options))


def test_it_learns_to_rebuild_what_it_never_saw_and_shows_it(emoji, tmp_path):
    go(TINY, emoji, tmp_path / "run")
    model = checkpoint.load(tmp_path / "run").model
    unseen = PixelRange().forward(read_emoji(emoji, size=SIZE).unseen().pixels)
    assert len(unseen) >= 4
    with torch.no_grad():
        rebuilt = model.decode(model.encode(unseen))
    flat = unseen.mean((0, 2, 3), keepdim=True).expand_as(unseen)
    error, of_mean = (
        reconstruction_error(x.contiguous(), unseen, edge_weight=0.0).mean() for x in (rebuilt, flat)
    )
    assert error < 0.5 * of_mean
    (preview,) = (tmp_path / "run" / "preview").iterdir()
    with Image.open(preview) as sheet:  # 16 pictures beside 16 rebuilt ones, twice as large, 8 in a row
        assert sheet.size == (8 * 2 * SIZE + 9 * 4, 4 * 2 * SIZE + 5 * 4)


def test_held_out_rows_never_reach_a_batch(emoji, monkeypatch, tmp_path):
    kept, said = [], []

    def spy(*args, **options):
        kept.append(args)
        return train(*args, **options)

    monkeypatch.setattr(emoji_codec, "train", spy)
    short = replace(TINY, training=replace(TRAINING, num_samples=32))
    emoji_codec.run(short, Job(data=emoji, out=tmp_path / "run", say=said.append))
    batches = kept[0][2]
    everything = read_emoji(emoji, size=SIZE)
    assert said[0] == f"{len(everything.unseen())} pictures of held-out compositions are not trained on"
    epoch = PixelRange().inverse(batches(0, 3 * len(everything.training()))["pixels"])
    assert epoch.dtype == torch.uint8
    seen = set(epoch[:, 0, 0, 0].tolist())  # the corner names the picture
    assert seen == set(everything.training().pixels[:, 0, 0, 0].tolist())
    assert seen.isdisjoint(everything.unseen().pixels[:, 0, 0, 0].tolist())
    parts = [batches(start, 30)["pixels"] for start in (30, 0)]
    assert torch.equal(torch.cat([parts[1], parts[0]]), batches(0, 60)["pixels"])


def test_resuming_gives_the_run_that_was_never_stopped(emoji, tmp_path):
    config = replace(TINY, training=replace(TRAINING, decay="constant", num_samples=128))
    go(config, emoji, tmp_path / "whole")
    go(replace(config, training=replace(config.training, num_samples=64)), emoji, tmp_path / "parts")
    go(config, emoji, tmp_path / "parts", resume=True)
    for name in ("weights.safetensors", "ema.safetensors"):
        whole, parts = ((tmp_path / run / "checkpoint-128" / name).read_bytes() for run in ("whole", "parts"))
        assert whole == parts, name


def test_it_goes_on_from_a_codec_of_another_shape(emoji, tmp_path):
    other = replace(TINY, codec=CodecConfig(latent_channels=4, widths=(8,), decoder_blocks=1))
    short = replace(TRAINING, num_samples=32)
    go(replace(other, training=short), emoji, tmp_path / "first")
    config = replace(TINY, training=replace(short, learning_rate=1e-6))
    go(config, emoji, tmp_path / "more", start_from=str(tmp_path / "first"))
    assert checkpoint.load(tmp_path / "more").provenance["start_from"] == checkpoint.origin(
        tmp_path / "first"
    )
    before, after = (checkpoint.load(tmp_path / run).model for run in ("first", "more"))
    assert after.config == before.config == other.codec
    pixels = torch.rand(2, 3, SIZE, SIZE)
    torch.testing.assert_close(before.encode(pixels), after.encode(pixels), atol=1e-3, rtol=1e-2)


def test_only_a_codec_is_gone_on_from(emoji, tmp_path):
    other = ImageClassifier(ClassifierConfig(heads=(Head(name="class", classes=("a",)),)))
    start = str(checkpoint.save(tmp_path / "other", other))
    with pytest.raises(UserError, match="not a codec"):
        go(TINY, emoji, tmp_path / "run", start_from=start)


def test_the_loss_adds_the_weighted_terms():
    """A perfect codec of certain latents: only the KL term is left, known in closed form."""

    def perfect(pixels, epsilon):
        mean = torch.ones_like(epsilon)
        return pixels, mean, torch.zeros_like(epsilon)

    pixels = torch.rand(2, 3, SIZE, SIZE)
    loss, scalars = codec_loss(replace(TINY, kl_weight=0.01))(
        perfect, {"pixels": pixels}, torch.Generator().manual_seed(0)
    )
    nats = 0.5 * 8 * 4 * 4  # half a nat for each of the latent's numbers
    assert float(loss) == pytest.approx(0.01 * nats)
    assert scalars["kl"] == pytest.approx(nats)


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"kl_weight": -1.0}, "kl_weight"), ({"edge_weight": -1.0}, "edge_weight"), ({"size": 0}, "size"),
     ({"size": 18}, "does not divide by 4")],
)  # fmt: skip
def test_settings_out_of_range_are_refused(fields, message):
    with pytest.raises(UserError, match=message):
        replace(TINY, **fields)
