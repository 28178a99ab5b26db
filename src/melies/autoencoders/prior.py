"""A learned prior over the codes of a VQ-VAE: a small causal transformer, code after code in raster order.

Each code is drawn given the class and all codes before it, as a language model draws words (Radford et
al. 2019). The token in its place tells the class, the code before it and the code above it, so that
little training is spent on finding out who is whose neighbour.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from melies.config import check_positive, check_range, from_json
from melies.errors import UserError
from melies.interfaces import Noise
from melies.nn.attention import Attention, KeyValueCache
from melies.nn.inputs import check_labels
from melies.transform import Transform


@dataclass(frozen=True, slots=True, kw_only=True)
class CodePriorConfig:
    """Shape of a prior over codes."""

    num_codes: int = 512
    """Different codes."""
    cells: int = 7
    """Side of the grid of codes."""
    classes: tuple[str, ...] = ()
    """Names of the classes; empty for a prior without classes."""
    dim: int = 128
    """Width of the token stream; a multiple of `head_dim`."""
    depth: int = 4
    """Number of blocks."""
    head_dim: int = 32
    """Width of one attention head."""
    mlp_ratio: float = 4.0
    """Hidden width of the feed-forward part, in units of `dim`."""
    dropout: float = 0.1
    """Share of the numbers that each block adds which are left out while training."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_range("num_codes", self.num_codes, low=2)
        for name in ("cells", "dim", "depth", "head_dim", "mlp_ratio"):
            check_positive(name, getattr(self, name))
        check_range("dropout", self.dropout, low=0, high=0.9)
        if self.dim % self.head_dim:
            raise UserError(
                f"dim = {self.dim} is not a multiple of head_dim = {self.head_dim}",
                where="CodePriorConfig",
                remedy=f"take {self.head_dim * max(1, round(self.dim / self.head_dim))}, or another head_dim",
            )


class Block(nn.Module):
    """Causal self-attention and feed-forward, each normalised first."""

    def __init__(self, config: CodePriorConfig) -> None:
        super().__init__()
        dim, hidden = config.dim, int(config.dim * config.mlp_ratio)
        self.norm_attention, self.norm_feed_forward = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = Attention(dim, head_dim=config.head_dim)
        self.feed_forward = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Float[Tensor, "b l d"], cache: KeyValueCache | None) -> Float[Tensor, "b l d"]:
        """One block; the cache holds the tokens before x, where there are any."""
        x = x + self.dropout(self.attention(self.norm_attention(x), causal=True, cache=cache))
        return x + self.dropout(self.feed_forward(self.norm_feed_forward(x)))


class CodePrior(nn.Module):
    """p(codes | class) as a product over the codes in raster order."""

    kind = "code-prior"

    def __init__(self, config: CodePriorConfig) -> None:
        super().__init__()
        self.config = config
        self.transforms: dict[str, Transform] = {}
        self.parts: dict[str, nn.Module] = {}
        self.nothing = config.num_codes  # stands in the place of neighbours outside the grid
        self.before = nn.Embedding(config.num_codes + 1, config.dim)
        self.above = nn.Embedding(config.num_codes + 1, config.dim)
        self.label = nn.Embedding(len(config.classes), config.dim) if config.classes else None
        self.position = nn.Embedding(config.cells**2, config.dim)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.dim)
        self.out = nn.Linear(config.dim, config.num_codes)
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
        for block in self.blocks:  # so that the stream keeps its size through the depth (Radford et al. 2019)
            for last in (block.attention.out, block.feed_forward[-1]):  # type: ignore
                nn.init.normal_(last.weight, std=0.02 / math.sqrt(2 * self.config.depth))  # type: ignore

    def forward(
        self, codes: Int64[Tensor, "b h w"], labels: Int64[Tensor, " b"] | None = None
    ) -> Float[Tensor, "b l k"]:
        """Logits of every code in raster order, each given the codes before it."""
        check_labels(labels, self.config.classes, len(codes))
        width = self.config.cells
        seen = F.pad(codes.flatten(1), (width, 0), value=self.nothing)
        return self._predict(
            seen[:, width - 1 : -1], seen[:, :-width], labels, first=0, caches=[None] * self.config.depth
        )

    @torch.no_grad()
    def sample(
        self,
        num: int,
        *,
        noise: Noise,
        labels: Int64[Tensor, " b"] | None = None,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float = 1.0,
    ) -> Int64[Tensor, "b h w"]:
        """Draw codes; sample i depends on its own noise and label only.

        Args:
            num: How many.
            noise: Asked once, for one number per code.
            labels: Numbers of classes; None for a prior without classes.
            temperature: Logits are divided by it; below 1 the likely becomes likelier.
            top_k: Only this many of the likeliest codes may be drawn; None for all.
            top_p: Only the likeliest codes that together have this probability may be drawn.

        Raises:
            UserError: If labels are missing or not asked for, or a number is out of range.
        """
        width, device = self.config.cells, self.out.weight.device
        labels = None if labels is None else labels.to(device)
        check_labels(labels, self.config.classes, num)
        normal = noise(-1, torch.zeros(num, width**2, device=device))
        uniform = torch.special.ndtr(normal.double())
        caches = [KeyValueCache() for _ in self.blocks]
        seen = torch.full((num, width + width**2), self.nothing, device=device)
        for place in range(width**2):
            now = width + place
            logits = self._predict(
                seen[:, now - 1 : now], seen[:, place : place + 1], labels, first=place, caches=caches
            )
            seen[:, now] = draw_code(
                logits[:, 0], uniform[:, place], temperature=temperature, top_k=top_k, top_p=top_p
            )
        return seen[:, width:].view(num, width, width)

    def _predict(
        self,
        before: Int64[Tensor, "b l"],
        above: Int64[Tensor, "b l"],
        labels: Int64[Tensor, " b"] | None,
        *,
        first: int,
        caches: Sequence[KeyValueCache | None],
    ) -> Float[Tensor, "b l k"]:
        """Logits of the codes in l places from `first` on, with the codes before and above each."""
        places = torch.arange(first, first + before.shape[1], device=before.device)
        x = self.before(before) + self.above(above) + self.position(places)
        if self.label is not None:
            x = x + self.label(labels)[:, None]
        x = self.dropout(x)
        for block, cache in zip(self.blocks, caches, strict=True):
            x = block(x, cache)
        return self.out(self.norm(x)).float()


def code_nats(logits: Float[Tensor, "b l k"], codes: Int64[Tensor, "b h w"]) -> Float[Tensor, " b"]:
    """−log p(codes) in nats per picture."""
    return F.cross_entropy(logits.movedim(2, 1), codes.flatten(1), reduction="none").sum(1)


def draw_code(
    logits: Float[Tensor, "b k"],
    uniform: Float[Tensor, " b"],
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float = 1.0,
) -> Int64[Tensor, " b"]:
    """One code per row: that at which the cumulative probability, from the likeliest on, passes `uniform`.

    Args:
        logits: Unnormalised log-probabilities.
        uniform: Numbers in [0, 1], uniform for an honest draw.
        temperature: Above 0; logits are divided by it.
        top_k: At least 1; only that many of the likeliest may be drawn.
        top_p: In (0, 1]; only the fewest likeliest that together have that probability may be drawn
            (Holtzman et al. 2020, §3.1), after top_k.

    Raises:
        UserError: If a number is out of range.
    """
    check_positive("temperature", temperature)
    check_range("top_k", logits.shape[1] if top_k is None else top_k, low=1)
    check_range("top_p", top_p, low=0, high=1, low_open=True)
    kept = min(logits.shape[1], top_k or logits.shape[1])
    likeliest, order = (logits.double() / temperature).topk(kept, dim=1)
    probability = likeliest.softmax(1)
    before = probability.cumsum(1) - probability
    probability = torch.where(before < top_p, probability, 0.0)
    edges = probability.cumsum(1)
    place = torch.searchsorted(edges, uniform.to(edges)[:, None] * edges[:, -1:], right=True)
    last = (probability > 0).sum(1, keepdim=True) - 1
    return order.gather(1, place.minimum(last)).squeeze(1)


def restore(
    config: Mapping[str, Any], transforms: Mapping[str, Transform], parts: Mapping[str, Any]
) -> CodePrior:
    """Build a prior from the config of a checkpoint."""
    return CodePrior(from_json(CodePriorConfig, config))
