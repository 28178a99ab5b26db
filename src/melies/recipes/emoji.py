"""The emoji model: words to 64×64 pictures, a latent transformer with MiniLM text states.

    melies train emoji --data emoji64.zip --codec runs/emoji-codec --out runs/emoji

Rows with a skin tone whose text hashes to 0 mod 10 are never seen: they measure composition.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from melies import checkpoint
from melies.config import check_positive, check_range
from melies.data.balance import balanced_weights, index_stream
from melies.data.captions import CaptionTable, caption_table
from melies.data.emoji import read_emoji
from melies.data.images import ImageSet
from melies.diffusion.loss import denoising_loss, drop_condition, edm, log_normal
from melies.errors import UserError
from melies.images.codec import ImageCodec
from melies.images.generate import draw
from melies.images.model import ImageDiffusion, ImageDiffusionConfig
from melies.interfaces import Objective
from melies.nn.transformer import TransformerConfig
from melies.progress import Progress, silent
from melies.report.figure import grid
from melies.text.cache import CachedStates, encode_all
from melies.text.config import TextConfig
from melies.text.encode import build_encoder
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


@dataclass(frozen=True, slots=True, kw_only=True)
class EmojiConfig:
    """The denoiser, what it is told, and its training."""

    codec: str = "runs/emoji-codec"
    """Checkpoint of the codec; not used with --from, which brings its own."""
    network: TransformerConfig = TransformerConfig(
        channels=16, size=8, patch=1, dim=224, depth=5, head_dim=32, text_dim=384
    )
    """The denoising network."""
    text: TextConfig = TextConfig(name="minilm")
    """The text encoder."""
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
    *,
    data: Path | None,
    out: Path,
    start_from: str | None = None,
    resume: bool = False,
    progress: Progress = silent,
    say: Callable[[str], None] = print,
) -> State:
    """Train on the pictures of `data`, or on one's own captioned pictures from a shipped model."""
    pictures = read_emoji(data, size=config.size, progress=progress).training()
    if pictures.texts is None:
        raise UserError(
            "the pictures have no texts", where=str(data), remedy="add a metadata.jsonl with `text`"
        )
    model = _build(config, start_from)
    latents = encode_pictures(model, pictures, refit=start_from is None)
    captions = caption_table(pictures.rows)
    states = encode_all(model.text_encoder, captions.texts, progress=progress, cache=out / "captions")
    num_weights = sum(parameter.numel() for parameter in model.parameters())
    say(f"{len(pictures)} pictures, {len(states)} captions, {num_weights:,} weights")
    return train(
        model,
        [Objective("denoiser", lambda m: m.parameters(), denoiser_loss(config))],
        caption_batches(config, pictures, latents, captions, states),
        config.training,
        out=out,
        resume=resume,
        provenance={"recipe": "emoji", "num_pictures": len(pictures), "seed": config.training.seed},
        preview=_preview,
        progress=progress,
    )


def _build(config: EmojiConfig, start_from: str | None) -> ImageDiffusion:
    if start_from is not None:
        loaded = checkpoint.load(start_from).model
        if not isinstance(loaded, ImageDiffusion) or loaded.config.text is None:
            raise UserError("not a text-to-image model", where=start_from)
        return loaded.train()
    codec = checkpoint.load(config.codec).model
    if not isinstance(codec, ImageCodec):
        raise UserError("not a codec", where=config.codec, remedy="train one: melies train emoji-codec")
    encoder = build_encoder(config.text)
    model_config = ImageDiffusionConfig(network=config.network, size=config.size, text=encoder.config)
    return ImageDiffusion(model_config, codec=codec, text_encoder=encoder)


@torch.no_grad()
def encode_pictures(model: ImageDiffusion, pictures: ImageSet, *, refit: bool) -> Tensor:
    """All pictures as standardised latents (n, d, h, w); with `refit`, the statistics are taken anew."""
    codec = model.parts["codec"]
    parts = [codec.encode(PixelRange().forward(part)) for part in pictures.pixels.split(256)]  # type: ignore[operator]
    latents = torch.cat(parts)
    if refit:
        model.transforms["latent"] = fit_standardize(latents)
    return model.transforms["latent"].forward(latents)


def caption_batches(
    config: EmojiConfig,
    pictures: ImageSet,
    latents: Tensor,
    captions: CaptionTable,
    states: CachedStates,
):
    """Balanced pictures, each with one of its captions drawn anew, as a function of position."""
    seed = config.training.seed
    groups = [str(row.get("subcategory", "")) for row in pictures.rows]
    order = index_stream(balanced_weights(groups, config.balance), seed=seed)

    def batches(start: int, size: int) -> dict[str, Tensor]:
        chosen = order(start, size)
        condition = states.batch(captions.at(chosen, start, seed=seed))
        length = int(condition["text_valid"].sum(1).max())
        return {"x0": latents[chosen], **{name: value[:, :length] for name, value in condition.items()}}

    return batches


def denoiser_loss(config: EmojiConfig):
    """EDM's loss on latents of unit variance, the text dropped now and then."""

    def loss_fn(model: nn.Module, batch: dict[str, Tensor], rng: torch.Generator):
        x0 = batch["x0"]
        condition = {name: batch[name] for name in ("text", "text_valid")}
        condition = drop_condition(condition, ("text",), rng, joint=config.drop)
        sigma = log_normal(len(x0), rng, P_mean=config.P_mean, P_std=config.P_std).to(x0)
        epsilon = torch.randn(x0.shape, generator=rng).to(x0)
        weight = edm(sigma, sigma_data=1.0)
        loss = denoising_loss(model, x0, condition, sigma=sigma, epsilon=epsilon, weight=weight)
        return loss.mean(), {}

    return loss_fn


def _preview(model: nn.Module, folder: Path, samples_seen: int) -> None:
    prompts = [prompt for prompt in PREVIEW for _ in range(2)]
    pixels = draw(model, prompts, scale=3.0, num_steps=16, seeds=[0, 1] * len(PREVIEW), batch_size=16)  # type: ignore[arg-type]
    grid(pixels, columns=8, zoom=2).save(folder / f"{samples_seen:08d}.png")
