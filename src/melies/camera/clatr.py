"""CLaTr: one space for camera paths and the sentences that say what they do.

Courant et al. (2024), §5, after TMR (Petrovich et al. 2023) and TEMOS: two variational encoders, of paths and
of texts, whose means are compared, and a decoder of paths that both must satisfy. Near in this space means
that the words fit the path; distances between sets of paths are measured in it as well.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from melies.camera.director import patches
from melies.camera.features import CAMERA_STEPS, NUM_FEATURES, encode_path
from melies.config import check_positive, check_range, from_json
from melies.errors import UserError
from melies.nn.embedding import sinusoidal
from melies.nn.told import Block, Told
from melies.text.config import TextConfig
from melies.text.reader import TextReader
from melies.transform import StandardizeSteps, Transform


@dataclass(frozen=True, slots=True, kw_only=True)
class CLaTrConfig:
    """Shape of a CLaTr; the defaults are those published."""

    text: TextConfig = TextConfig(name="clip", hub="openai/clip-vit-base-patch32")
    """The encoder of words; its states are read by an encoder of this model's own."""
    text_dim: int = 512
    """Width of its states."""
    frames: int = 300
    """Longest path, in frames."""
    patch: int = 1
    """Frames that become one token; 1 as published."""
    dim: int = 256
    """Width of tokens and of the space; a multiple of `head_dim`."""
    depth: int = 6
    """Blocks of each encoder and of the decoder."""
    head_dim: int = 64
    """Width of one attention head."""
    mlp_ratio: float = 4.0
    """Hidden width of the feed-forward part, in units of `dim`."""
    dropout: float = 0.1
    """Of the feed-forward parts."""
    fps: float = 25.0
    """Frames a second of the paths that it knows."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("text_dim", "frames", "patch", "dim", "depth", "head_dim", "mlp_ratio", "fps"):
            check_positive(name, getattr(self, name))
        check_range("dropout", self.dropout, low=0, high=0.9)
        if self.dim % self.head_dim or self.dim % 2:
            raise UserError(f"dim = {self.dim} must divide by head_dim = {self.head_dim} and by 2")


class Latent(NamedTuple):
    """Where something lies in the space, and how surely."""

    mean: Float[Tensor, "b d"]
    log_variance: Float[Tensor, "b d"]


class _Encoder(nn.Module):
    """Tokens to a latent: the first two of its own tokens become mean and log variance."""

    def __init__(self, dim_in: int, config: CLaTrConfig) -> None:
        super().__init__()
        self.embed = nn.Linear(dim_in, config.dim)
        self.own = nn.Parameter(torch.randn(1, 2, config.dim) * 0.02)
        self.blocks = nn.ModuleList(_block(config, crossed=False) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.dim)
        self.out = nn.ModuleList(nn.Linear(config.dim, config.dim) for _ in range(2))

    def forward(self, x: Float[Tensor, "b l c"], valid: Bool[Tensor, "b l"]) -> Latent:
        tokens = torch.cat([self.own.expand(len(x), -1, -1), self.embed(x)], 1)
        tokens = tokens + _positions(tokens)
        valid = torch.cat([valid.new_ones(len(x), 2), valid], 1)
        for block in self.blocks:
            tokens = block(tokens, valid)
        mean, log_variance = (
            out(token) for out, token in zip(self.out, self.norm(tokens[:, :2]).unbind(1), strict=True)
        )
        return Latent(mean, log_variance)


class CLaTr(TextReader):
    """The two encoders and the decoder."""

    kind = "clatr"

    def __init__(
        self,
        config: CLaTrConfig,
        *,
        transforms: Mapping[str, Transform] | None = None,
        text_encoder: Any | None = None,
    ) -> None:
        """Put the parts together, untrained.

        Args:
            config: What to build.
            transforms: `"camera"`: the standardisation of steps; that of E.T. where none is given.
            text_encoder: A frozen encoder of words that is already loaded.
        """
        super().__init__(config.text, text_encoder)
        self.config = config
        self.transforms: dict[str, Transform] = {"camera": CAMERA_STEPS, **(transforms or {})}
        self.parts: dict[str, Any] = {}
        self.path_encoder = _Encoder(NUM_FEATURES * config.patch, config)
        self.sentence_encoder = _Encoder(config.text_dim, config)
        self.decoder = nn.ModuleList(_block(config, crossed=True) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.dim)
        self.out = nn.Linear(config.dim, NUM_FEATURES * config.patch)

    def __deepcopy__(self, memo: dict) -> "CLaTr":
        """Copy the weights only: the encoder of words is shared."""
        fresh = type(self)(
            self.config,
            transforms=self.transforms,
            text_encoder=self._frozen_text[0] if self._frozen_text else None,
        )
        fresh.load_state_dict(self.state_dict())
        return fresh.to(self.device)

    def features(self, world_from_camera: Float[Tensor, "b n 4 4"]) -> Float[Tensor, "b nine n"]:
        """Poses, in metres from the character's first position, to what `read_paths` reads."""
        steps = self.transforms["camera"]
        if not isinstance(steps, StandardizeSteps):
            raise UserError("the checkpoint has no statistics of the camera's steps")
        return encode_path(world_from_camera, steps)

    def read_paths(self, x0: Float[Tensor, "b nine n"], valid: Bool[Tensor, "b n"]) -> Latent:
        """Where paths lie; frames that are not `valid` count for nothing."""
        x0 = x0 * valid[:, None]
        tokens = patches(x0, self.config.patch)
        return self.path_encoder(tokens, patches(valid[:, None], self.config.patch).any(-1))

    def read_states(self, text: Float[Tensor, "b l d"], text_valid: Bool[Tensor, "b l"]) -> Latent:
        """Where sentences lie, of which the states of their words are given."""
        return self.sentence_encoder(text, text_valid)

    def decode(self, latent: Float[Tensor, "b d"], frames: int) -> Float[Tensor, "b nine n"]:
        """A path of so many frames for each place in the space, as features."""
        config = self.config
        length = -(-frames // config.patch)
        like = latent.new_zeros(len(latent), length, config.dim)
        tokens = like + _positions(like)
        valid = torch.ones(tokens.shape[:2], dtype=torch.bool, device=latent.device)
        for block in self.decoder:
            tokens = block(tokens, valid, Told(tokens=latent[:, None]))
        return rearrange(self.out(self.norm(tokens)), "b l (c p) -> b c (l p)", p=config.patch)[..., :frames]

    @torch.no_grad()
    def embed_texts(self, texts: Sequence[str]) -> Float[Tensor, "n d"]:
        """Where sentences lie: their means."""
        return self.read_states(*self.read_texts(texts)).mean


class CLaTrLoss(NamedTuple):
    """The parts of the loss, each a number."""

    reconstruction: Tensor
    """Of paths from their own latent and from that of their words (Huber)."""
    divergence: Tensor
    """Of both latents from a standard normal one, and of each from the other (nats per dimension)."""
    distance: Tensor
    """Between the two latents (Huber)."""
    contrast: Tensor
    """InfoNCE of paths and words in both directions (nats)."""


def clatr_loss(
    model: CLaTr,
    x0: Float[Tensor, "b nine n"],
    valid: Bool[Tensor, "b n"],
    text: Float[Tensor, "b l d"],
    text_valid: Bool[Tensor, "b l"],
    *,
    generator: torch.Generator,
    temperature: float = 0.1,
    alike: float = 0.99,
) -> CLaTrLoss:
    """What is learned from paths and their sentences (Petrovich et al. 2023, eq. 1 and 2).

    Args:
        model: What is trained.
        x0: Paths as features.
        valid: Which frames they have.
        text: States of the words of their sentences.
        text_valid: Which of these are real.
        generator: Draws from the latents.
        temperature: Of the contrast.
        alike: Cosine of two sentences' mean states from which on they do not count as another's negative.
    """
    of_path, of_text = model.read_paths(x0, valid), model.read_states(text, text_valid)
    drawn = [_draw(one, generator) for one in (of_path, of_text)]
    counts = valid[:, None].expand_as(x0)
    reconstruction = sum(
        F.smooth_l1_loss(model.decode(one, x0.shape[-1])[counts], x0[counts]) for one in drawn
    )
    standard = Latent(torch.zeros_like(of_path.mean), torch.zeros_like(of_path.mean))
    divergence = sum(
        _divergence(one, other)
        for one, other in ((of_path, standard), (of_text, standard), (of_text, of_path), (of_path, of_text))
    )
    share = text_valid[..., None].to(text)
    words = F.normalize((text * share).sum(1) / share.sum(1), dim=-1)
    return CLaTrLoss(
        reconstruction=reconstruction,  # type: ignore[arg-type]
        divergence=divergence,  # type: ignore[arg-type]
        distance=F.smooth_l1_loss(drawn[0], drawn[1]),
        contrast=contrast(of_path.mean, of_text.mean, words @ words.T > alike, temperature=temperature),
    )


def contrast(
    one: Float[Tensor, "b d"],
    other: Float[Tensor, "b d"],
    alike: Bool[Tensor, "b b"],
    *,
    temperature: float,
) -> Float[Tensor, ""]:
    """InfoNCE of cosines in both directions (nats); pairs that are `alike` are no negatives."""
    logits = F.normalize(one, dim=-1) @ F.normalize(other, dim=-1).T / temperature
    own = torch.eye(len(one), dtype=torch.bool, device=one.device)
    logits = logits.masked_fill(alike & ~own, float("-inf"))
    target = torch.arange(len(one), device=one.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def restore(
    config: Mapping[str, Any], transforms: Mapping[str, Transform], parts: Mapping[str, Any]
) -> CLaTr:
    """Build a model from the config of a checkpoint."""
    return CLaTr(from_json(CLaTrConfig, config), transforms=transforms)


def _block(config: CLaTrConfig, *, crossed: bool) -> Block:
    return Block(
        config.dim,
        head_dim=config.head_dim,
        mlp_ratio=config.mlp_ratio,
        dropout=config.dropout,
        crossed=crossed,
    )


def _positions(tokens: Tensor) -> Tensor:
    return sinusoidal(torch.arange(tokens.shape[1], device=tokens.device).float(), tokens.shape[2]).to(tokens)


def _draw(latent: Latent, generator: torch.Generator) -> Tensor:
    epsilon = torch.randn(latent.mean.shape, generator=generator).to(latent.mean)
    return latent.mean + (latent.log_variance / 2).exp() * epsilon


def _divergence(one: Latent, other: Latent) -> Tensor:
    """KL(one ‖ other) of Gaussians, in nats per dimension."""
    ratio = one.log_variance - other.log_variance
    square = (one.mean - other.mean).square() / other.log_variance.exp()
    return 0.5 * (ratio.exp() + square - 1 - ratio).mean()
