"""Multi-head attention over tokens, with one seam where guidance methods edit it."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from melies.interfaces import AttentionEdit

SHORT = 128
"""Up to this many tokens the plain products beat the fused kernel on a processor."""


def attend(
    query: Float[Tensor, "b h l d"],
    key: Float[Tensor, "b h m d"],
    value: Float[Tensor, "b h m d"],
    valid: Bool[Tensor, "b m"] | None = None,
    *,
    causal: bool = False,
) -> Float[Tensor, "b h l d"]:
    """Softmax attention (Vaswani et al. 2017, eq. 1); `valid` True = may be attended to.

    With `causal` the queries belong to the last of the keys, in order, and none looks at a later key.

    On a processor and for short sequences the two matrix products are written out: the fused
    kernel's backward pass is some five times slower there (64 tokens, bf16).
    """
    mask = None if valid is None else valid[:, None, None, :]
    length, total = query.shape[2], key.shape[2]
    fused = query.device.type != "cpu" or max(length, total) > SHORT
    if causal and fused and mask is None and length == total:
        return F.scaled_dot_product_attention(query, key, value, is_causal=True)
    if causal and length > 1:
        past = torch.ones(length, total, dtype=torch.bool, device=query.device).tril(total - length)
        mask = past if mask is None else mask & past
    if fused:
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    logits = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    if mask is not None:
        logits = logits.masked_fill(~mask, torch.finfo(logits.dtype).min)
    return logits.softmax(-1).to(value) @ value


class KeyValueCache:
    """What one layer has computed of earlier tokens, so that a new token costs only itself."""

    def __init__(self) -> None:
        """Begin with no tokens."""
        self._seen: tuple[Tensor, Tensor] | None = None

    def extend(
        self, key: Float[Tensor, "b h m d"], value: Float[Tensor, "b h m d"]
    ) -> tuple[Float[Tensor, "b h n d"], Float[Tensor, "b h n d"]]:
        """Keep the keys and values of new tokens; those of all tokens so far."""
        if self._seen is not None:
            key, value = (torch.cat(pair, dim=2) for pair in zip(self._seen, (key, value), strict=True))
        self._seen = (key, value)
        return key, value


class Attention(nn.Module):
    """Self-attention, or cross-attention to a context of another width.

    Queries and keys are normalised per head (Henry et al. 2020, "Query-Key Normalization for
    Transformers"), which keeps half-precision training stable at high learning rates.
    """

    def __init__(self, dim: int, *, head_dim: int = 64, context_dim: int | None = None) -> None:
        super().__init__()
        if dim % head_dim:
            raise ValueError(f"width {dim} is not a multiple of the head width {head_dim}")
        self.num_heads = dim // head_dim
        self.query = nn.Linear(dim, dim, bias=False)
        self.key_value = nn.Linear(context_dim or dim, 2 * dim, bias=False)
        self.head_gain = nn.Parameter(torch.ones(head_dim))
        self.out = nn.Linear(dim, dim)

    def forward(
        self,
        x: Float[Tensor, "b l d"],
        context: Float[Tensor, "b m c"] | None = None,
        *,
        valid: Bool[Tensor, "b m"] | None = None,
        causal: bool = False,
        cache: KeyValueCache | None = None,
        edit: AttentionEdit | None = None,
        name: str = "",
    ) -> Float[Tensor, "b l d"]:
        """Attend from x to the context (to x itself when there is none).

        Args:
            x: Tokens.
            context: Tokens to attend to.
            valid: True = real token of the context; every row needs at least one.
            causal: Whether a token sees only itself and those before it.
            cache: Holds the tokens before x, and takes x in.
            edit: May replace the result of this layer; called with its `name`.
            name: What this layer is called, for the edit.
        """
        query = self._heads(self.query(x))
        key, value = self.key_value(x if context is None else context).chunk(2, dim=-1)
        query, key, value = (
            _unit(query) * self.head_gain.to(query),
            _unit(self._heads(key)),
            self._heads(value),
        )
        if cache is not None:
            key, value = cache.extend(key, value)
        attended = edit(query, key, value, name) if edit else None
        if attended is None:
            attended = attend(query, key.to(query), value.to(query), valid, causal=causal)
        b, _, length, _ = attended.shape
        return self.out(attended.transpose(1, 2).reshape(b, length, -1))

    def _heads(self, x: Tensor) -> Tensor:
        b, length, _ = x.shape
        return x.view(b, length, self.num_heads, -1).transpose(1, 2)


def _unit(x: Tensor) -> Tensor:
    """Each head vector at root mean square 1."""
    return F.rms_norm(x, x.shape[-1:])
