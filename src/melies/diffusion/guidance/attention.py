"""Guidance away from a prediction with worse attention: perturbed-attention and smoothed-energy guidance.

Both need no condition and no training: the weaker prediction is that of the same network, whose
self-attention is edited while it runs.
"""

import fnmatch
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from melies.config import check_positive, check_range
from melies.diffusion import SAMPLERS
from melies.diffusion.guidance.bind import (
    Evaluated,
    Scale,
    Scales,
    Trace,
    bind_rule,
    check_scale,
    only_what_counts,
    scale_table,
)
from melies.errors import UserError
from melies.interfaces import AttentionEdit, Branch, Denoise
from melies.nn.attention import attend

Heads = Float[Tensor, "b h l d"]
Edit = Callable[[Tensor, Tensor, Tensor], Tensor]
"""`(query, key, value (b, h, l, d)) → output`."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _EditedAttention(ABC):
    """What both share: u + scale·(c − u) + strength·(c − ĉ), ĉ with edited self-attention."""

    strength: Scale
    """Away from the edited prediction, at least 0: 0 is off."""
    scale: Scale = 1.0
    """Classifier-free guidance beside it: 1 is off."""
    layers: tuple[str, ...] = ("*",)
    """Which self-attention layers are edited, by the names that the network gives them; `*` stands
    for anything: `middle*` is the middle of a UNet."""

    @property
    def space(self) -> str:
        """Where it acts; being linear it acts the same in every space."""
        return "x0"

    @property
    def samplers(self) -> tuple[str, ...]:
        """It fits every sampler."""
        return tuple(SAMPLERS)

    def __post_init__(self) -> None:
        """Check the numbers."""
        check_scale(self.scale)
        check_scale(self.strength, "strength", low=0.0)
        if not self.layers:
            raise UserError("no layer is named whose attention is edited", remedy="'*' stands for all")

    @abstractmethod
    def _edit(self) -> Edit:
        """What becomes of a layer."""

    def bind(
        self,
        branches: Mapping[str, Branch],
        sigmas: Tensor,
        *,
        valid: Tensor | None = None,
        trace: Trace | None = None,
    ) -> Denoise:
        """A bound denoiser for one run.

        Args:
            branches: "conditional", and "null" or, in its place, "negative" where `scale` is not 1. The
                edited branch is made here.
            sigmas: The grid of the run.
            valid: Not needed: each element is combined by itself.
            trace: As of `ClassifierFreeGuidance.bind`, with `strength` too, and "edited" in `x0`.

        Raises:
            ValueError: If a branch is missing, or the number of scales is not that of the steps, or the
                attention of the conditional branch is edited already.
            UserError: If a strength is negative; when called, if the network has no such attention.
        """
        strength = scale_table(self.strength, sigmas, "strength")
        check_range("strength", float(strength.min()), low=0.0)
        seen: set[str] = set()
        edited: set[str] = set()
        if "conditional" in branches:
            denoiser, condition, attention = branches["conditional"]
            if attention is not None:
                raise ValueError("the attention of the conditional branch is edited already")
            edit = self_attention_edit(self._edit(), self.layers, seen=seen, edited=edited)
            branches = {**branches, "edited": Branch(denoiser, condition, edit)}
        other = "negative" if "negative" in branches else "null"
        plain = only_what_counts(other)

        def needed(scales: Scales) -> tuple[str, ...]:
            if bool((scales["strength"] == 0).all()):
                return plain({"scale": scales["scale"]})
            null = () if bool((scales["scale"] == 1).all()) else (other,)
            return ("conditional", *null, "edited")

        def rule(at: Evaluated) -> Tensor:
            if "edited" in at.x0 and not edited:
                raise UserError(
                    f"{type(self).__name__} edits the self-attention of {', '.join(self.layers)}, and the"
                    f" network has {'none' if not seen else 'that of ' + ', '.join(sorted(seen))}",
                    remedy="name layers that it has" if seen else "take another way of guiding",
                )
            c = at.x0.get("conditional")
            if c is None:
                return at.x0[other]
            guided = torch.lerp(at.x0[other], c, at.scale()) if other in at.x0 else c
            return guided + at.scale("strength") * (c - at.x0["edited"]) if "edited" in at.x0 else guided

        return bind_rule(
            rule,
            needed,
            {"scale": scale_table(self.scale, sigmas), "strength": strength},
            branches,
            sigmas,
            method=type(self).__name__,
            trace=trace,
        )


class PerturbedAttention(_EditedAttention):
    """The edited prediction lets every token see itself only: its attention is the identity.

    Source: Ahn et al. (2024), "Self-rectifying diffusion sampling with perturbed-attention guidance".
    """

    __slots__ = ()

    def _edit(self) -> Edit:
        return lambda query, key, value: value


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SmoothedEnergy(_EditedAttention):
    """The edited prediction attends with queries that are blurred over the picture.

    Source: Hong (2024), "Smoothed energy guidance".
    """

    blur: float = math.inf
    """Standard deviation of the Gaussian, in tokens; infinite takes the mean of all queries."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        _EditedAttention.__post_init__(self)
        if self.blur != math.inf:
            check_positive("blur", self.blur)

    def _edit(self) -> Edit:
        return lambda query, key, value: attend(blurred_tokens(query, self.blur), key, value)


def self_attention_edit(
    edit: Edit, layers: tuple[str, ...], *, seen: set[str], edited: set[str]
) -> AttentionEdit:
    """An attention edit of the self-attention layers of those names; others stay as they are.

    Args:
        edit: What becomes of a layer.
        layers: Names, in which `*` stands for anything; `.self` at the end of a name is understood.
        seen: Takes in the names of all self-attention layers that were asked.
        edited: Takes in the names of those that were edited.
    """

    def edit_layer(query: Tensor, key: Tensor, value: Tensor, name: str) -> Tensor | None:
        place, _, what = name.rpartition(".")
        if what != "self":
            return None
        seen.add(place)
        if not any(fnmatch.fnmatchcase(place, pattern.removesuffix(".self")) for pattern in layers):
            return None
        edited.add(place)
        return edit(query, key.to(query), value.to(query))

    return edit_layer


def blurred_tokens(tokens: Heads, blur: float) -> Heads:
    """Tokens of a square picture, row by row, blurred with a Gaussian; mirrored at the border.

    Raises:
        UserError: If their number is not a square.
    """
    if blur == math.inf:
        return tokens.mean(2, keepdim=True).expand_as(tokens)
    b, heads, length, dim = tokens.shape
    side = math.isqrt(length)
    if side**2 != length:
        raise UserError(
            f"{length} tokens are no square picture to blur",
            remedy="take an infinite blur, which is a mean, or perturbed attention",
        )
    half = min(math.ceil(6 * blur) // 2, side // 2)
    at = torch.arange(-half, half + 1, dtype=tokens.dtype, device=tokens.device)
    kernel = (-0.5 * (at / blur).square()).softmax(0)
    picture = tokens.permute(0, 1, 3, 2).reshape(b * heads * dim, 1, side, side)
    picture = F.pad(picture, (half, half, half, half), mode="reflect")
    picture = F.conv2d(F.conv2d(picture, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))
    return picture.reshape(b, heads, dim, length).permute(0, 1, 3, 2)
