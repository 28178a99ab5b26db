"""DIRECTOR: three transformers that denoise a camera path beside a character and a sentence.

Courant et al. (2024), §4.2, with the details of the published code: A puts the conditions before the frames
as three tokens, B modulates every block by one vector of them all (adaLN-Zero, Peebles & Xie 2023), C lets
every block look at all their tokens. Where ours differs: what is padded is not looked at, and queries and
keys are normalised as in every attention of this library.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor, nn

from melies.camera.features import NUM_FEATURES, WITH_LENS
from melies.config import check_positive, check_range
from melies.errors import UserError
from melies.interfaces import AttentionEdit, Condition
from melies.nn.embedding import sinusoidal
from melies.nn.told import Block, Told, normalise

NOISE_DIM = 128
"""Width of the sines and cosines of the noise level."""

Design = Literal["in-context", "modulated", "cross-attention"]
"""A, B and C of the paper."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectorConfig:
    """Shape of a DIRECTOR; the defaults are those published."""

    design: Design = "cross-attention"
    """How the conditions enter: A, B or C of the paper."""
    features: int = NUM_FEATURES
    """Numbers a frame: ten where the last is the focal length."""
    frames: int = 300
    """Longest path, in frames."""
    patch: int = 1
    """Frames that become one token; 1 as published."""
    dim: int = 512
    """Width of the tokens; a multiple of `head_dim`."""
    depth: int = 8
    """Number of blocks."""
    head_dim: int = 32
    """Width of one attention head."""
    mlp_ratio: float = 4.0
    """Hidden width of the feed-forward part, in units of `dim`."""
    dropout: float = 0.1
    """Of the feed-forward parts."""
    skipped: float = 0.1
    """Share of the blocks' parts that are left out of a training step, for each path by itself (stochastic
    depth, Huang et al. 2016)."""
    text_dim: int = 512
    """Width of the text states."""
    registers: int = 16
    """Tokens of its own that C puts before the conditions."""
    encoder_depth: int = 2
    """Blocks by which C reads the conditions before they are looked at."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("frames", "patch", "dim", "depth", "head_dim", "mlp_ratio", "text_dim"):
            check_positive(name, getattr(self, name))
        check_range("features", self.features, low=NUM_FEATURES, high=WITH_LENS)
        for name in ("registers", "encoder_depth"):
            check_range(name, getattr(self, name), low=0)
        for name in ("dropout", "skipped"):
            check_range(name, getattr(self, name), low=0, high=0.9)
        if self.dim % self.head_dim or self.dim % 2 or self.frames % self.patch:
            raise UserError(
                f"dim = {self.dim} must divide by head_dim = {self.head_dim} and by 2,"
                f" and frames = {self.frames} by patch = {self.patch}",
                where="DirectorConfig",
            )


class Director(nn.Module):
    """The denoising network: a noisy path in, the raw prediction out.

    Its condition has `"text"` (b, l, d) with `"text_valid"`, `"character"` (b, 3, n), and `"frames_valid"`
    (b, n); a condition that is not present counts as zeros, as published.
    """

    def __init__(self, config: DirectorConfig) -> None:
        super().__init__()
        self.config = config
        dim, patch = config.dim, config.patch
        build = partial(
            Block,
            dim,
            head_dim=config.head_dim,
            mlp_ratio=config.mlp_ratio,
            dropout=config.dropout,
            skipped=config.skipped,
        )
        self.embed = nn.Linear(config.features * patch, dim)
        self.noise = nn.Sequential(nn.Linear(NOISE_DIM, dim), nn.SiLU(), nn.Linear(dim, dim))
        crossed, modulated = config.design == "cross-attention", config.design == "modulated"
        if crossed:
            self.character = nn.Linear(3 * patch, dim)
            self.text = nn.Linear(config.text_dim, dim)
            self.registers = nn.Parameter(torch.randn(1, config.registers, dim) * 0.02)
            self.encoder = nn.ModuleList(
                build(crossed=False, modulated=False) for _ in range(config.encoder_depth)
            )
        elif modulated:
            self.told = nn.Linear(3 * config.frames + config.text_dim, dim)
        else:
            self.character = nn.Linear(3 * config.frames, dim)
            self.text = nn.Linear(config.text_dim, dim)
        self.blocks = nn.ModuleList(build(crossed=crossed, modulated=modulated) for _ in range(config.depth))
        self.final_modulation = nn.Sequential(nn.SiLU(), nn.Linear(dim, 2 * dim)) if modulated else None
        self.final_norm = None if modulated else nn.LayerNorm(dim, eps=1e-6)
        self.out = nn.Linear(dim, config.features * patch)
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.zeros_(self.out.weight)
        for block in self.blocks:
            if block.modulation is not None:  # gates of 0 make a block the identity at first
                nn.init.zeros_(block.modulation[1].weight)  # type: ignore
        if self.final_modulation is not None:
            nn.init.zeros_(self.final_modulation[1].weight)  # type: ignore

    def forward(
        self,
        x: Float[Tensor, "b nine n"],
        c_noise: Float[Tensor, " b"],
        condition: Condition,
        *,
        residuals: Sequence[Tensor] | None = None,
        attention: AttentionEdit | None = None,
    ) -> Float[Tensor, "b nine n"]:
        """Predict from c_in·x.

        Args:
            x: Noisy features, scaled to unit variance; n at most `frames`.
            c_noise: Noise level as the preconditioning gives it.
            condition: As the class says.
            residuals: One (b, l, d) per block, added after it, l frames' tokens; from a control branch.
            attention: May replace the result of any attention layer.

        Raises:
            ValueError: If the path is too long, or the residuals are not as many as the blocks.
        """
        b, _, n = x.shape
        config = self.config
        if n > config.frames:
            raise ValueError(f"{n} frames for a network of {config.frames}")
        if residuals is not None and len(residuals) != len(self.blocks):
            raise ValueError(f"{len(residuals)} residuals for {len(self.blocks)} blocks")
        frames_valid = condition.get("frames_valid")
        if frames_valid is None:
            frames_valid = torch.ones(b, n, dtype=torch.bool, device=x.device)
        tokens = self.embed(patches(x, config.patch))
        valid = patches(frames_valid[:, None], config.patch).any(-1)
        told = self._told(c_noise, condition, frames_valid, n, attention)
        prefix = 0
        if config.design == "in-context":
            assert told.tokens is not None
            prefix = told.tokens.shape[1]
            tokens = torch.cat([told.tokens, tokens], 1)
            valid = torch.cat([valid.new_ones(b, prefix), valid], 1)
        h = tokens + sinusoidal(torch.arange(tokens.shape[1], device=x.device).float(), config.dim).to(tokens)
        for index, block in enumerate(self.blocks):
            h = block(h, valid, told, attention, f"block{index}")
            if residuals is not None:
                h = h + F.pad(residuals[index], (0, 0, prefix, 0))
        h = h[:, prefix:]
        if self.final_modulation is not None:
            shift, scale = self.final_modulation(told.vector)[:, None].chunk(2, dim=-1)
            h = normalise(h) * (1 + scale) + shift
        elif self.final_norm is not None:
            h = self.final_norm(h)
        return rearrange(self.out(h), "b l (c p) -> b c (l p)", p=config.patch)[..., :n]

    def _told(
        self,
        c_noise: Tensor,
        condition: Condition,
        frames_valid: Tensor,
        n: int,
        attention: AttentionEdit | None,
    ) -> Told:
        config, b = self.config, len(c_noise)
        weight = self.embed.weight
        noise = self.noise(sinusoidal(c_noise * 1000, NOISE_DIM).to(weight.dtype))
        character = condition.get("character")
        character = weight.new_zeros(b, 3, n) if character is None else character.to(weight.dtype)
        character = character * _present(condition, "character", b, weight) * frames_valid[:, None]
        text, text_valid = condition.get("text"), condition.get("text_valid")
        if text is None or text_valid is None:
            text = weight.new_zeros(b, 1, config.text_dim)
            text_valid = torch.ones(b, 1, dtype=torch.bool, device=weight.device)
        text = text.to(weight.dtype) * _present(condition, "text", b, weight)
        if config.design == "cross-attention":
            tokens = torch.cat(
                [
                    self.registers.expand(b, -1, -1),
                    noise[:, None],
                    self.character(patches(character, config.patch)),
                    self.text(text),
                ],
                1,
            )
            own = text_valid.new_ones(b, config.registers + 1)
            seen = patches(frames_valid[:, None], config.patch).any(-1)
            valid = torch.cat([own, seen, text_valid], 1)
            # Words have the places behind the longest path, so that no path's length moves them.
            behind = torch.arange(text.shape[1]) + config.registers + 1 + config.frames // config.patch
            places = torch.cat([torch.arange(tokens.shape[1] - text.shape[1]), behind])
            tokens = tokens + sinusoidal(places.to(tokens), config.dim).to(tokens)
            # Where nothing is said, what is read is the same for all alike, and is read once: with guidance
            # that is half of the rows.
            source = None if self.training or attention else _read_once(c_noise, condition, valid)
            read, seen = (tokens, valid) if source is None else (tokens[source.rows], valid[source.rows])
            for index, block in enumerate(self.encoder):
                read = block(read, seen, attention=attention, name=f"encoder{index}")
            return Told(tokens=read if source is None else read[source.of], valid=valid)
        flat = F.pad(character, (0, config.frames - n)).flatten(1)
        share = text_valid[..., None].to(text)
        pooled = (text * share).sum(1) / share.sum(1).clamp(min=1)
        if config.design == "modulated":
            return Told(vector=noise + self.told(torch.cat([flat, pooled], -1)))
        return Told(tokens=torch.stack([noise, self.character(flat), self.text(pooled)], 1))


class _Source(NamedTuple):
    """Which rows are read, and from which of them each row of the batch comes."""

    rows: Int64[Tensor, " m"]
    of: Int64[Tensor, " b"]


def _read_once(c_noise: Tensor, condition: Condition, valid: Bool[Tensor, "b l"]) -> _Source | None:
    """One row for all that are told nothing, at one noise level and of one length; None if no two are."""
    text, character = (condition.get(f"present.{name}") for name in ("text", "character"))
    if text is None or character is None:
        return None
    absent = (~text & ~character).nonzero().flatten()
    if len(absent) < 2:
        return None
    alike = (c_noise[absent] == c_noise[absent[0]]) & (valid[absent] == valid[absent[0]]).all(1)
    again = absent[alike][1:]
    if not len(again):
        return None
    kept = torch.ones_like(text)
    kept[again] = False
    of = kept.cumsum(0) - 1
    of[again] = of[absent[0]].clone()
    return _Source(kept.nonzero().flatten(), of)


def _present(condition: Condition, name: str, b: int, like: Tensor) -> Tensor:
    """(b, 1, 1): 1 where a condition is present."""
    present = condition.get(f"present.{name}")
    return like.new_ones(b, 1, 1) if present is None else present.to(like.dtype)[:, None, None]


def patches(x: Shaped[Tensor, "b c n"], patch: int) -> Shaped[Tensor, "b l d"]:
    """Tokens (b, l, c·patch) of `patch` frames each, the end filled up with zeros."""
    return rearrange(F.pad(x, (0, -x.shape[-1] % patch)), "b c (l p) -> b l (c p)", p=patch)
