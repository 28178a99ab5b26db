"""The self-attention of a pipeline's UNet behind the seam through which guidance edits attention."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from melies.interfaces import AttentionEdit

SELF_ATTENTION = "attn1"
"""What a UNet of diffusers calls the self-attention of a block of tokens."""


@contextmanager
def edited_attention(network: nn.Module, edit: AttentionEdit) -> Iterator[None]:
    """Let `edit` replace the result of every self-attention layer of a UNet while the block runs.

    A layer is called by its place, as `mid_block.attentions.0.transformer_blocks.0.self`. Transformers
    that attend to words and picture at once have no such layer, and nothing is edited there.
    """
    kept: list[tuple[Any, Any]] = []
    try:
        for name, layer in network.named_modules():
            place, _, last = name.rpartition(".")
            if last == SELF_ATTENTION and hasattr(layer, "processor"):
                kept.append((layer, layer.processor))
                edited: Any = layer
                edited.processor = _Edited(layer.processor, edit, f"{place}.self")
        yield
    finally:
        for layer, processor in kept:
            layer.processor = processor


class _Edited:
    """A processor that asks the edit first, and goes on with the one that was there if it declines."""

    def __init__(self, plain: Any, edit: AttentionEdit, name: str) -> None:
        self.plain, self.edit, self.name = plain, edit, name

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        **named: Any,
    ) -> Tensor:
        query, key, value = (
            layer(hidden_states).unflatten(-1, (attn.heads, -1)).transpose(1, 2)
            for layer in (attn.to_q, attn.to_k, attn.to_v)  # adapters such as LoRA sit inside these
        )
        attended = self.edit(query, key, value, self.name)
        if attended is None:
            return self.plain(attn, hidden_states, encoder_hidden_states, attention_mask, **named)
        attended = attended.transpose(1, 2).flatten(2).to(hidden_states)
        for layer in attn.to_out:  # the projection and its dropout
            attended = layer(attended)
        return attended
