"""Token states of a set of captions, computed once and kept while training."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from melies.errors import UserError
from melies.files import replacing
from melies.progress import silent
from melies.text.encode import check_texts

MAX_BYTES = 8 * 2**30
"""Largest set of states held in memory; above it captions should be encoded while training."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedStates:
    """States of n texts, of which u differ; half precision, on the CPU."""

    tokens: Float[Tensor, "u l d"]
    """Token states; zero where not valid."""
    valid: Bool[Tensor, "u l"]
    """True = real token."""
    pooled: Float[Tensor, "u d"]
    """One vector per text."""
    index: Int[Tensor, " n"]
    """Which of the u rows text i has."""

    def __len__(self) -> int:
        return len(self.index)

    def batch(self, indices: Sequence[int] | Tensor) -> dict[str, Tensor]:
        """The condition of some texts: `"text"` (b, l, d) float32 and `"text_valid"` (b, l) bool."""
        rows = self.index[torch.as_tensor(indices, dtype=torch.int64)]
        return {"text": self.tokens[rows].float(), "text_valid": self.valid[rows]}


def encode_all(
    encoder: Any,
    texts: Sequence[str],
    *,
    batch_size: int = 256,
    progress: Any = silent,
    dtype: torch.dtype = torch.float16,
    cache: Path | None = None,
) -> CachedStates:
    """Encode each different text once.

    Args:
        encoder: A text encoder with `dim`, `max_tokens` and `identity`, as `build_encoder` gives.
        texts: The captions; repeats cost nothing.
        batch_size: Texts encoded between two steps of the progress bar.
        progress: Opens a progress bar (see `melies.progress`).
        dtype: Precision in which the states are kept.
        cache: Folder in which they are kept between runs, under a name made of the encoder's
            identity and of the texts; none: memory only.

    Raises:
        UserError: If there are no texts, one is empty, or the states would not fit in `MAX_BYTES`.
    """
    if not texts:
        raise UserError("there are no captions to encode")
    check_texts(texts)  # all of them before the first is encoded
    rows = {text: row for row, text in enumerate(dict.fromkeys(texts))}
    unique = list(rows)
    size = len(unique) * encoder.max_tokens * encoder.dim * dtype.itemsize
    if size > MAX_BYTES:
        raise UserError(
            f"the states of {len(unique)} captions take {size / 2**30:.1f} GiB of memory",
            remedy=f"use an encoder with fewer tokens (max_tokens, now {encoder.max_tokens})",
        )
    index = torch.tensor([rows[text] for text in texts])
    file = None if cache is None else Path(cache) / f"{_key(encoder, unique, dtype)}.safetensors"
    states = None if file is None else _read(file, (len(unique), encoder.max_tokens, encoder.dim), dtype)
    if states is None:
        states = _encode(encoder, unique, batch_size, progress, dtype)
        if file is not None:
            _write(file, states)
    return CachedStates(**states, index=index)


def _encode(
    encoder: Any, texts: list[str], batch_size: int, progress: Any, dtype: torch.dtype
) -> dict[str, Tensor]:
    n, length, dim = len(texts), encoder.max_tokens, encoder.dim
    tokens = torch.zeros(n, length, dim, dtype=dtype)
    valid = torch.zeros(n, length, dtype=torch.bool)
    pooled = torch.zeros(n, dim, dtype=dtype)
    by_length = sorted(range(n), key=lambda row: len(texts[row]))  # texts of a batch are padded alike
    with progress("encoding captions", total=n, unit="caption") as track, torch.no_grad():
        for start in range(0, n, batch_size):
            rows = by_length[start : start + batch_size]
            states = encoder([texts[row] for row in rows])
            tokens[rows], valid[rows] = states.tokens.to("cpu", dtype), states.valid.cpu()
            pooled[rows] = states.pooled.to("cpu", dtype)
            if not torch.isfinite(tokens[rows]).all():
                raise ValueError(f"a token state does not fit in {dtype}; keep them in bfloat16")
            track.advance(len(rows))
    return {"tokens": tokens, "valid": valid, "pooled": pooled}


def _key(encoder: Any, texts: list[str], dtype: torch.dtype) -> str:
    digest = hashlib.sha256(f"1\n{encoder.identity}\n{dtype}\n{len(texts)}\n".encode())
    for text in texts:
        digest.update(hashlib.sha256(text.encode()).digest())
    return digest.hexdigest()


def _read(file: Path, shape: tuple[int, int, int], dtype: torch.dtype) -> dict[str, Tensor] | None:
    """The states in a file, or None if it is not there or damaged: then they are made again."""
    n, length, dim = shape
    try:
        with safe_open(file, framework="pt") as opened:
            states = {name: opened.get_tensor(name) for name in ("tokens", "valid", "pooled")}
    except (FileNotFoundError, SafetensorError):
        return None
    found = {name: (value.shape, value.dtype) for name, value in states.items()}
    expected = {
        "tokens": ((n, length, dim), dtype),
        "valid": ((n, length), torch.bool),
        "pooled": ((n, dim), dtype),
    }
    return states if found == expected else None


def _write(file: Path, states: dict[str, Tensor]) -> None:
    remedy = "free some space or choose another cache folder"
    try:
        with replacing(file, remedy=remedy) as opened:
            opened.write(save(states))  # through the open file, which is the one that is synced
    except SafetensorError as error:
        what = f"the token states cannot be written: {error}"
        raise UserError(what, where=str(file.parent), remedy=remedy) from error
