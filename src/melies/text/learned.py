"""A small text encoder that lives inside a checkpoint and trains with the denoiser.

Its vocabulary is explicit: the words of the training captions, then single characters for the
words it has not seen, so that no part of a prompt is dropped in silence.
"""

import hashlib
import re
import string
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from melies.errors import UserError
from melies.interfaces import TextStates
from melies.nn.attention import Attention
from melies.text.config import TextConfig
from melies.text.encode import check_texts

PADDING, UNKNOWN = "[padding]", "[unknown]"
"""The first two entries of every vocabulary."""

_CHARACTER = "#"  # marks a single character; no word starts so, since "#" is a word by itself
_PIECES = re.compile(r"\w+|[^\w\s]")


class TokenIds(NamedTuple):
    """A batch of texts as numbers."""

    ids: Int[Tensor, "b l"]
    """Places in the vocabulary; 0 where there is no token."""
    valid: Bool[Tensor, "b l"]
    """True = real token."""


def build_vocabulary(
    captions: Iterable[str], *, max_words: int = 8192, min_count: int = 1
) -> tuple[str, ...]:
    """Collect the vocabulary of a set of captions: marks, characters, then words by frequency.

    Args:
        captions: The training captions.
        max_words: At most so many words; the rarest are spelled instead.
        min_count: A word that occurs less often is spelled.
    """
    counts: Counter[str] = Counter()
    for caption in captions:
        counts.update(_words(caption))
    characters = {character for word in counts for character in word}
    characters |= set(string.ascii_lowercase + string.digits + string.punctuation)
    kept = [word for word in counts if counts[word] >= min_count]
    kept.sort(key=lambda word: (-counts[word], word))
    return (PADDING, UNKNOWN, *sorted(_CHARACTER + c for c in characters), *kept[:max_words])


class LearnedEncoder(nn.Module):
    """Word and position embeddings and a few pre-norm transformer layers.

    `forward` takes texts, like every text encoder; a training step whose batch already holds
    `TokenIds` calls `states`.
    """

    name = "learned"

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        if config.vocabulary[:2] != (PADDING, UNKNOWN) or len(set(config.vocabulary)) != len(
            config.vocabulary
        ):
            raise UserError(
                "the learned text encoder has no valid vocabulary",
                remedy="make one from the training captions with build_vocabulary",
            )
        self.dim: int = config.dim or 256
        self.max_tokens: int = config.max_tokens or 32
        if self.dim % config.num_heads:
            raise UserError(f"dim = {self.dim} is not a multiple of num_heads = {config.num_heads}")
        self.config = replace(config, dim=self.dim, max_tokens=self.max_tokens)
        self._ids = {piece: index for index, piece in enumerate(config.vocabulary)}
        self.embed = nn.Embedding(len(config.vocabulary), self.dim)
        self.position = nn.Parameter(torch.randn(self.max_tokens, self.dim) * 0.02)
        self.layers = nn.ModuleList(_Layer(self.dim, config.num_heads) for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(self.dim)

    @property
    def sha256(self) -> str:
        """Digest of the vocabulary and of the weights as they are now."""
        digest = hashlib.sha256("\n".join(self.config.vocabulary).encode())
        for name, value in sorted(self.state_dict().items()):
            digest.update(name.encode())
            digest.update(value.detach().cpu().float().contiguous().numpy().tobytes())
        return digest.hexdigest()

    @property
    def identity(self) -> str:
        """Everything that the states depend on, as one line."""
        return f"{self.name}/{self.max_tokens}/{self.sha256}"

    def forward(self, texts: Sequence[str]) -> TextStates:
        """Token states of a batch of texts; texts that are too long are cut (see `cut`)."""
        return self.states(*self.tokenize(texts))

    def states(self, ids: Int[Tensor, "b l"], valid: Bool[Tensor, "b l"]) -> TextStates:
        """Token states of tokens; positions that are not valid are zero.

        Args:
            ids: Places in the vocabulary, l at most `max_tokens`.
            valid: True = real token; every row needs at least one.
        """
        x = self.embed(ids) + self.position[: ids.shape[1]]
        for layer in self.layers:
            x = layer(x, valid)
        tokens = self.norm(x).float().masked_fill(~valid[..., None], 0.0)
        return TextStates(tokens, valid, tokens.sum(1) / valid.sum(1, keepdim=True))

    def tokenize(self, texts: Sequence[str]) -> TokenIds:
        """Token numbers of a batch of texts, (b, max_tokens), on the device of the weights.

        Raises:
            UserError: If a text is empty or cannot be read (see `check_texts`).
        """
        check_texts(texts)
        ids = torch.zeros(len(texts), self.max_tokens, dtype=torch.int64)
        valid = torch.zeros(len(texts), self.max_tokens, dtype=torch.bool)
        for row, text in enumerate(texts):
            pieces = [piece for word in _words(text) for piece in self._spell(word)][: self.max_tokens]
            ids[row, : len(pieces)] = torch.tensor([self._ids.get(piece, 1) for piece in pieces])
            valid[row, : len(pieces)] = True
        return TokenIds(ids.to(self.position.device), valid.to(self.position.device))

    def cut(self, text: str) -> str:
        """The end of `text` that the encoder does not read; empty when it reads all of it."""
        check_texts([text])
        room = self.max_tokens
        text = _fold(text)
        for match in _PIECES.finditer(text):
            room -= len(self._spell(match.group()))
            if room < 0:
                return text[match.start() :].strip()
        return ""

    def too_long(self, texts: Sequence[str]) -> list[str]:
        """Those of the texts that are not read to their end."""
        return [text for text in texts if self.cut(text)]

    def _spell(self, word: str) -> list[str]:
        return [word] if word in self._ids else [_CHARACTER + character for character in word]


class _Layer(nn.Module):
    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(dim)
        self.attention = Attention(dim, head_dim=dim // num_heads)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(dim), nn.Linear(dim, 4 * dim), nn.GELU(approximate="tanh"), nn.Linear(4 * dim, dim)
        )

    def forward(self, x: Float[Tensor, "b l d"], valid: Bool[Tensor, "b l"]) -> Float[Tensor, "b l d"]:
        normed = self.attention_norm(x)
        x = x + self.attention(normed, valid=valid)
        return x + self.feed_forward(x)


def _fold(text: str) -> str:
    """One spelling per word: compatibility forms joined, case folded (Unicode NFKC)."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def _words(text: str) -> list[str]:
    return _PIECES.findall(_fold(text))
