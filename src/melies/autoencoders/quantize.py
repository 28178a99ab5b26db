"""Latent vectors to one of finitely many codes and back, in two ways behind one interface.

A learned codebook (van den Oord et al. 2017, "Neural Discrete Representation Learning"), moved by
running averages; and finite scalar quantisation (Mentzer et al. 2024), which rounds each number to
one of a few levels and has nothing to learn.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from melies.config import check_range
from melies.errors import UserError

BLOCK = 1 << 22
"""Distances held in memory at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CodebookConfig:
    """A learned codebook."""

    num_codes: int = 512
    """Vectors in the codebook."""
    dim: int = 16
    """Length of a vector: the channels of a latent."""
    decay: float = 0.99
    """Share of its running averages that a code keeps in a training step."""
    epsilon: float = 1e-5
    """Added to each code's count, as if it had been used that often."""
    restart: float = 0.03
    """A code used less than this share of the mean use is put onto a latent of the batch; 0 for never."""
    lloyd_steps: int = 10
    """Steps of k-means towards the first codebook; with 0 it is some latents of the data."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_range("num_codes", self.num_codes, low=2)
        check_range("dim", self.dim, low=1)
        check_range("decay", self.decay, low=0, high=0.999999)
        check_range("epsilon", self.epsilon, low=0, low_open=True)
        check_range("restart", self.restart, low=0, high=0.5)
        check_range("lloyd_steps", self.lloyd_steps, low=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class FiniteScalarConfig:
    """Levels to round to; their product is the number of codes."""

    levels: tuple[int, ...] = (8, 8, 8)
    """Levels of each channel of a latent."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not self.levels:
            raise UserError("at least one channel needs levels", where="levels")
        for level in self.levels:
            check_range("levels", level, low=3)
        check_range("the product of levels", self.num_codes, high=1 << 24)

    @property
    def num_codes(self) -> int:
        """How many codes there are."""
        return math.prod(self.levels)

    @property
    def dim(self) -> int:
        """Channels of a latent."""
        return len(self.levels)


class Quantized(NamedTuple):
    """What a quantiser makes of latents."""

    latents: Tensor
    """(b, d, h, w): the vectors of the codes, with the gradient of what they stand for."""
    codes: Tensor
    """(b, h, w) int64."""
    commitment: Tensor
    """(): mean squared distance of the latents to their codes, which pulls the latents only."""


def nearest_codes(
    vectors: Float[Tensor, "n d"], codebook: Float[Tensor, "k d"], *, block: int = BLOCK
) -> Int64[Tensor, " n"]:
    """The code nearest to each vector (van den Oord et al. 2017, eq. 1), `block` distances at a time."""
    codes = []
    with torch.autocast(vectors.device.type, enabled=False):  # half precision would confuse neighbours
        vectors = vectors.to(codebook.dtype)
        half_norms = 0.5 * codebook.square().sum(1)
        for part in vectors.split(max(1, block // len(codebook))):
            codes.append(torch.addmm(half_norms, part, codebook.T, alpha=-1).argmin(1))
    return torch.cat(codes) if codes else torch.zeros(0, dtype=torch.int64, device=vectors.device)


def straight_through(
    latents: Float[Tensor, "*shape"], quantized: Float[Tensor, "*shape"]
) -> Float[Tensor, "*shape"]:
    """The value of `quantized` with the gradient of `latents` (Bengio et al. 2013, §4)."""
    return latents + (quantized - latents).detach()


def commitment_loss(
    latents: Float[Tensor, "*shape"], quantized: Float[Tensor, "*shape"]
) -> Float[Tensor, ""]:
    """Mean squared distance, with a gradient for the latents only (van den Oord et al. 2017, eq. 3)."""
    return F.mse_loss(latents, quantized.detach())


def code_sums(
    vectors: Float[Tensor, "n d"], codes: Int64[Tensor, " n"], num_codes: int
) -> tuple[Float[Tensor, " k"], Float[Tensor, "k d"]]:
    """How many vectors each code stands for, and their sum."""
    counts = torch.bincount(codes, minlength=num_codes).to(vectors.dtype)
    return counts, vectors.new_zeros(num_codes, vectors.shape[1]).index_add_(0, codes, vectors)


def smoothed_counts(counts: Float[Tensor, " k"], epsilon: float) -> Float[Tensor, " k"]:
    """Counts of the same total after Laplace smoothing, as in the code of Razavi et al. (2019)."""
    total = counts.sum()
    return (counts + epsilon) / (total + len(counts) * epsilon) * total


def k_means(
    vectors: Float[Tensor, "n d"], num_codes: int, generator: torch.Generator, *, num_steps: int
) -> Float[Tensor, "k d"]:
    """Centres of vectors after some steps of Lloyd (1982), from vectors drawn without replacement.

    A centre that no vector is nearest to stays where it is. There must be `num_codes` vectors.
    """
    chosen = torch.randperm(len(vectors), generator=generator)[:num_codes]
    centres = vectors[chosen.to(vectors.device)]
    for _ in range(num_steps):
        counts, sums = code_sums(vectors, nearest_codes(vectors, centres), num_codes)
        centres = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], centres)
    return centres


class Codebook(nn.Module):
    """A learned codebook: each code is the running mean of the latents that it stands for.

    All of it is buffers: the averaged weights of a run take the codebook as it is, which is an average
    already, and between two places of a restarted code there is nothing.
    """

    codebook: Tensor
    counts: Tensor
    sums: Tensor

    def __init__(self, config: CodebookConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("codebook", torch.zeros(config.num_codes, config.dim))
        self.register_buffer("counts", torch.ones(config.num_codes))
        self.register_buffer("sums", torch.zeros(config.num_codes, config.dim))

    @property
    def num_codes(self) -> int:
        """How many codes there are."""
        return self.config.num_codes

    def forward(self, latents: Float[Tensor, "b d h w"]) -> Quantized:
        """The nearest code of each latent vector."""
        latents = latents.float()
        codes = nearest_codes(_rows(latents), self.codebook).view(len(latents), *latents.shape[2:])
        quantized = self.lookup(codes)
        return Quantized(straight_through(latents, quantized), codes, commitment_loss(latents, quantized))

    def lookup(self, codes: Int64[Tensor, "b h w"]) -> Float[Tensor, "b d h w"]:
        """The vectors of codes."""
        return F.embedding(codes, self.codebook).permute(0, 3, 1, 2)

    @torch.no_grad()
    def start(self, latents: Float[Tensor, "b d h w"], generator: torch.Generator) -> None:
        """Put the first codebook where the latents of the data are.

        Raises:
            UserError: If there are fewer latent vectors than codes.
        """
        vectors, config = _rows(latents.float()), self.config
        if len(vectors) < config.num_codes:
            raise UserError(
                f"a codebook of {config.num_codes} codes is larger than the data,"
                f" which has {len(vectors)} latent vectors",
                remedy="give fewer codes, or more pictures",
            )
        centres = k_means(vectors, config.num_codes, generator, num_steps=config.lloyd_steps)
        counts, _ = code_sums(vectors, nearest_codes(vectors, centres), config.num_codes)
        self.codebook.copy_(centres)
        self.counts.copy_((counts + 1) / (counts + 1).mean())  # light, so that the first batches move it
        self.sums.copy_(centres * self.counts[:, None])

    @torch.no_grad()
    def update(
        self,
        latents: Float[Tensor, "b d h w"],
        codes: Int64[Tensor, "b h w"],
        generator: torch.Generator,
    ) -> None:
        """Move each code towards the mean of its latents (van den Oord et al. 2017, appendix A.1)."""
        vectors, config = _rows(latents.float()), self.config
        counts, sums = code_sums(vectors, codes.flatten(), config.num_codes)
        _add_over_processes(counts, sums)
        self.counts.lerp_(counts, 1 - config.decay)
        self.sums.lerp_(sums, 1 - config.decay)
        self.codebook.copy_(self.sums / smoothed_counts(self.counts, config.epsilon)[:, None])
        self._restart(vectors, generator)

    def _restart(self, vectors: Float[Tensor, "n d"], generator: torch.Generator) -> None:
        """Put codes that are hardly used onto latents of the batch, with the count of the barely used.

        As in Dhariwal et al. (2020), "Jukebox", §3.1.
        """
        barely = self.config.restart * self.counts.mean()
        dead = (self.counts < barely).nonzero().flatten()[: len(vectors)]
        if not len(dead):
            return
        chosen = torch.randperm(len(vectors), generator=generator)[: len(dead)]
        found = vectors[chosen.to(vectors.device)]
        self.codebook[dead], self.counts[dead], self.sums[dead] = found, barely, found * barely


class FiniteScalar(nn.Module):
    """Each channel is squashed and rounded to one of its levels (Mentzer et al. 2024, §3)."""

    levels: Tensor
    places: Tensor

    def __init__(self, config: FiniteScalarConfig) -> None:
        super().__init__()
        self.config = config
        places = [math.prod(config.levels[:i]) for i in range(config.dim)]
        self.register_buffer("levels", torch.tensor(config.levels), persistent=False)
        self.register_buffer("places", torch.tensor(places), persistent=False)

    @property
    def num_codes(self) -> int:
        """How many codes there are."""
        return self.config.num_codes

    def forward(self, latents: Float[Tensor, "b d h w"]) -> Quantized:
        """The nearest level of each number; the gradient goes through the squashing alone."""
        bounded = bound(latents.float().movedim(1, -1), self.levels)
        steps = straight_through(bounded, bounded.round())
        half = self.levels // 2
        codes = ((steps.detach().round().to(torch.int64) + half) * self.places).sum(-1)
        return Quantized((steps / half).movedim(-1, 1), codes, latents.new_zeros((), dtype=torch.float32))

    def lookup(self, codes: Int64[Tensor, "b h w"]) -> Float[Tensor, "b d h w"]:
        """The vectors of codes, each number in [−1, 1]."""
        half = self.levels // 2
        digits = codes[..., None] // self.places % self.levels
        return ((digits - half) / half).movedim(-1, 1)

    def start(self, latents: Float[Tensor, "b d h w"], generator: torch.Generator) -> None:
        """Nothing: the levels are where they are."""

    def update(
        self,
        latents: Float[Tensor, "b d h w"],
        codes: Int64[Tensor, "b h w"],
        generator: torch.Generator,
    ) -> None:
        """Nothing: the levels stay where they are."""


def bound(
    latents: Float[Tensor, "*shape d"], levels: Int64[Tensor, " d"], *, margin: float = 1e-3
) -> Float[Tensor, "*shape d"]:
    """Squash numbers such that rounding gives each of `levels` whole numbers, and 0 stays 0.

    The margin keeps the outermost levels in reach. Source: Mentzer et al. (2024), appendix A.1.
    """
    half = (levels - 1) * (1 + margin) / 2
    offset = torch.where(levels % 2 == 0, 0.5, 0.0)  # of an even number, one more lies below 0 than above
    return torch.tanh(latents + torch.atanh(offset / half)) * half - offset


Quantizer = Codebook | FiniteScalar


def build_quantizer(config: CodebookConfig | FiniteScalarConfig) -> Quantizer:
    """The quantiser that a config describes."""
    match config:
        case CodebookConfig():
            return Codebook(config)
        case FiniteScalarConfig():
            return FiniteScalar(config)


def _rows(latents: Float[Tensor, "b d h w"]) -> Float[Tensor, "n d"]:
    return latents.detach().permute(0, 2, 3, 1).flatten(0, 2)


def _add_over_processes(*tensors: Tensor) -> None:
    """Sums over the processes of a run, so that all of them move their codebook alike."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        for tensor in tensors:
            torch.distributed.all_reduce(tensor)
