"""The emoji model: words to 64×64 pictures, a latent transformer with MiniLM text states.

    melies data prepare emoji
    melies train emoji --out runs/emoji
    melies train emoji --codec runs/emoji-codec --out runs/emoji-own
    melies train emoji --from emoji --data MY-PICTURES --out runs/mine --training.num-samples 100000

The first trains on the codec of the shipped model, the second on one of `melies train emoji-codec`, the
third goes on from the shipped model with one's own pictures and captions. On two cores of a server's
processor all see some 180 pictures a second: the default run takes two and a half hours, the third ten
minutes, and on one core half as much again. Rows with a skin tone whose text hashes to 0 mod 10 are never
seen: they measure composition. The numbers to expect are on the card: `melies models show emoji`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from textwrap import shorten
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from melies import checkpoint
from melies.config import check_positive, check_range
from melies.data.balance import balanced_weights, index_stream
from melies.data.captions import CaptionTable, caption_table
from melies.data.emoji import open_emoji
from melies.data.images import ImageSet, spread
from melies.data.stream import InOrder, Pictures
from melies.diffusion.loss import denoising_loss, drop_condition, edm, log_normal
from melies.errors import UserError
from melies.images.codec import ImageCodec
from melies.images.generate import draw
from melies.images.model import ImageDiffusion, ImageDiffusionConfig
from melies.interfaces import Objective
from melies.nn.transformer import TransformerConfig
from melies.recipes.job import Job
from melies.recipes.preview import write_preview
from melies.report.figure import grid
from melies.rng import seeded
from melies.text.conditions import caption_conditions, with_vocabulary
from melies.text.config import TextConfig
from melies.text.encode import build_encoder
from melies.text.learned import LearnedEncoder
from melies.training.loop import State, TrainingConfig, train
from melies.transform import PixelRange, fit_standardize

PREVIEW = (
    "a mechanic, dark skin tone",
    "a polar bear",
    "woman astronaut, medium skin tone",
    "thumbs up, light skin tone",
    "a red apple",
    "a smiling face with sunglasses",
    "flag of France",
    "a bicycle, twemoji",
)

FITTED = 4_096
"""Pictures from which the statistics of latents are taken, where the set is not in memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmojiConfig:
    """The denoiser, what it is told, and its training."""

    codec: str = "emoji"
    """Name or checkpoint of a codec, or of a model that has one, as the shipped `emoji` does; not used
    with --from, which brings its own."""
    network: TransformerConfig = TransformerConfig(
        channels=16, size=8, patch=1, dim=224, depth=5, head_dim=32, text_dim=384
    )
    """The denoising network; the text encoder sets its `text_dim`."""
    text: TextConfig = TextConfig(name="minilm")
    """The text encoder; a learned one gets the words of the captions and trains along."""
    size: int = 64
    """Side of the pictures, in pixels."""
    drop: float = 0.1
    """Share of pictures trained without their text, for classifier-free guidance."""
    balance: float = 0.5
    """How far rare subcategories are shown more often: 0 not at all, 1 until all are equal."""
    P_mean: float = 0.2
    """Mean of log σ while training."""
    P_std: float = 1.1
    """Standard deviation of log σ while training."""
    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(
            num_samples=1_500_000,
            batch_size=128,
            learning_rate=1e-3,
            warmup=12_800,
            decay="linear",
            hold=0.7,
            betas=(0.9, 0.95),
            weight_decay=0.01,
            ema_half_life=30_000,
            log_every=2_560,
            preview_every=25_600,
        )
    )
    """The run."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_positive("size", self.size)
        check_positive("P_std", self.P_std)
        for name in ("drop", "balance"):
            check_range(name, getattr(self, name), low=0, high=1)


CONFIG = EmojiConfig()


def run(
    config: EmojiConfig,
    job: Job,
) -> State:
    """Train on the pictures of `data`, or on one's own captioned pictures from a shipped model.

    Raises:
        UserError: If the pictures have no texts, or codec, network, size and model to start from do
            not fit each other.
    """
    everything = open_emoji(job.data, size=config.size, progress=job.progress, say=job.say)
    pictures = everything.training()
    if pictures.texts is None:
        raise UserError(
            "the pictures have no texts", where=str(job.data), remedy="add a metadata.jsonl with `text`"
        )
    captions = caption_table(pictures.rows)
    with seeded(config.training.seed, "weights"):
        model = _build(config, captions.texts, job)
    latents = latents_of(model, pictures, refit=job.start_from is None)
    encoder = model.load_text_encoder(allow_download=job.allow_download, say=job.say)
    cache = job.out / "captions"
    conditions = caption_conditions(encoder, captions.texts, progress=job.progress, cache=cache)
    _tell_cut(encoder, captions.texts, job)
    num_weights = sum(parameter.numel() for parameter in model.parameters())
    job.say(f"{len(pictures)} pictures, {len(captions.texts)} captions, {num_weights:,} weights")
    return train(
        model,
        [Objective("denoiser", lambda m: m.parameters(), denoiser_loss(config))],
        caption_batches(config, pictures, latents, captions, conditions),
        config.training,
        out=job.out,
        resume=job.resume,
        provenance=job.provenance("emoji", num_pictures=len(pictures)),
        preview=partial(_preview, preview_prompts(pictures)),
        progress=job.progress,
    )


def _build(config: EmojiConfig, texts: Sequence[str], job: Job) -> ImageDiffusion:
    if (start_from := job.start_from) is not None:
        loaded = checkpoint.load(start_from).model
        if not isinstance(loaded, ImageDiffusion) or loaded.config.text is None or not loaded.parts:
            raise UserError("not a text-to-image model with a codec", where=start_from)
        if loaded.config.size != config.size:
            raise UserError(
                f"the model draws {loaded.config.size} px, the recipe {config.size} px",
                where=start_from,
                remedy=f"add --size {loaded.config.size}",
            )
        return loaded.train()
    codec = _codec(config.codec)
    encoder = build_encoder(
        with_vocabulary(config.text, texts, dim=config.network.text_dim),
        allow_download=job.allow_download,
        say=job.say,
    )
    network = replace(config.network, text_dim=encoder.dim)
    model_config = ImageDiffusionConfig(network=network, size=config.size, text=encoder.config)
    frozen = None if isinstance(encoder, LearnedEncoder) else encoder  # the model makes its own learned one
    model = ImageDiffusion(model_config, codec=codec, text_encoder=frozen)
    if model.shape != (network.channels, network.size, network.size):
        raise UserError(
            f"the network denoises {network.channels} channels of {network.size}×{network.size} cells, and"
            f" the codec makes {model.shape[0]} of {model.shape[1]}×{model.shape[2]}",
            where=config.codec,
            remedy="set network.channels and network.size to the codec's",
        )
    return model


def _codec(name: str) -> ImageCodec:
    model = checkpoint.load(name).model
    codec = model.parts.get("codec") if isinstance(model, ImageDiffusion) else model
    if not isinstance(codec, ImageCodec):
        raise UserError(
            "neither a codec nor a model with one", where=name, remedy="train one: melies train emoji-codec"
        )
    return codec


@torch.no_grad()
def encode_pixels(model: ImageDiffusion, pixels: UInt8[Tensor, "n c h w"]) -> Float[Tensor, "n d _ _"]:
    """The codec's latents of some pictures, on the CPU."""
    codec = model.parts["codec"]
    device = next(codec.parameters()).device
    parts = [codec.encode(PixelRange().forward(part).to(device)).cpu() for part in pixels.split(256)]  # type: ignore[operator]
    return torch.cat(parts)


def latents_of(
    model: ImageDiffusion, pictures: Pictures, *, refit: bool
) -> Callable[[Tensor, Tensor], Tensor]:
    """`(places in the set, their pixels) → standardised latents`, uint8 (b, c, h, w) to (b, d, h, w).

    Of a set in memory all are made at once and kept; of another they are made of each batch.

    Args:
        model: Whose codec and statistics make them.
        pictures: The set.
        refit: Whether the statistics are taken anew; of a set that is not in memory from `FITTED` of it.
    """
    held = isinstance(pictures, ImageSet)
    places = torch.arange(len(pictures))
    if not held:
        places = places[torch.linspace(0, len(pictures) - 1, min(FITTED, len(pictures))).long()]
    kept = encode_pixels(model, pictures.read(places)) if held or refit else None
    if refit and kept is not None:
        model.transforms["latent"] = fit_standardize(kept)
    standardize = model.transforms["latent"].forward
    if held and kept is not None:
        latents = standardize(kept)
        return lambda chosen, pixels: latents[chosen]
    return lambda chosen, pixels: standardize(encode_pixels(model, pixels))


def caption_batches(
    config: EmojiConfig,
    pictures: Pictures,
    latents: Callable[[Tensor, Tensor], Tensor],
    captions: CaptionTable,
    conditions: Callable[[Tensor], dict[str, Tensor]],
):
    """Balanced pictures, each with one of its captions drawn anew, as a function of position."""
    seed = config.training.seed
    groups = [str(row.get("subcategory", "")) for row in pictures.rows]
    shown = InOrder(pictures, index_stream(balanced_weights(groups, config.balance), seed=seed))

    def batches(start: int, size: int) -> dict[str, Tensor]:
        chosen, pixels = shown(start, size)
        condition = conditions(captions.at(chosen, start, seed=seed))
        length = int(condition["text_valid"].sum(1).max())
        x0 = latents(chosen, pixels)
        return {"x0": x0, **{name: value[:, :length] for name, value in condition.items()}}

    return batches


def denoiser_loss(config: EmojiConfig):
    """EDM's loss on latents of unit variance, the text dropped now and then."""

    def loss_fn(model: nn.Module, batch: dict[str, Tensor], rng: torch.Generator):
        x0 = batch["x0"]
        condition = {name: value for name, value in batch.items() if name != "x0"}
        condition = drop_condition(condition, ("text",), rng, joint=config.drop)
        sigma = log_normal(len(x0), rng, P_mean=config.P_mean, P_std=config.P_std).to(x0)
        epsilon = torch.randn(x0.shape, generator=rng).to(x0)
        weight = edm(sigma, sigma_data=1.0)
        loss = denoising_loss(model, x0, condition, sigma=sigma, epsilon=epsilon, weight=weight)
        return loss.mean(), {}

    return loss_fn


def _tell_cut(encoder: Any, texts: Sequence[str], job: Job) -> None:
    """Say how many captions are not read to their end, with an example."""
    long = []
    with job.progress("measuring captions", total=len(texts), unit="captions") as track:
        for start in range(0, len(texts), 1024):
            part = texts[start : start + 1024]
            long += encoder.too_long(part)
            track.advance(len(part))
    if long:
        first, unread = (shorten(text, 80, placeholder=" …") for text in (long[0], encoder.cut(long[0])))
        job.say(
            f"{len(long):,} of {len(texts):,} captions are longer than the {encoder.max_tokens} tokens that"
            f" the text encoder reads, and are cut: of {first!r} it does not read {unread!r}"
        )


def preview_prompts(pictures: Pictures) -> tuple[str, ...]:
    """What previews draw: `PREVIEW` for the emoji set, for one's own pictures captions from among theirs."""
    if all("unified" in row for row in pictures.rows):
        return PREVIEW
    return tuple(spread(list(dict.fromkeys(pictures.texts or ())), len(PREVIEW)))


def _preview(prompts: Sequence[str], model: nn.Module, folder: Path, samples_seen: int) -> None:
    twice = [prompt for prompt in prompts for _ in range(2)]
    pixels = draw(model, twice, scale=3.0, num_steps=16, seeds=[0, 1] * len(prompts), batch_size=16)  # type: ignore[arg-type]
    write_preview(folder, samples_seen, grid(pixels, columns=min(8, len(twice)), zoom=2))
