"""Frozen text encoders through transformers: MiniLM, CLIP and T5, texts in, token states out."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from melies.errors import UserError
from melies.files import file_sha256
from melies.interfaces import TextStates
from melies.text.config import KINDS, Kind, TextConfig
from melies.text.weights import find_weights, load_pretrained, loading, weights_sha256

MAX_CHARACTERS = 20_000
"""Longest text accepted; far beyond what any encoder reads, and bounds the tokenizer's work."""

BATCH = 64
"""Texts that go through a frozen encoder at once; bounds memory on any input."""


def load_minilm(path: str | Path | None = None, **options: Any) -> "FrozenEncoder":
    """all-MiniLM-L6-v2 (Wang et al. 2020, fine-tuned by sentence-transformers): 384-d, 24 tokens."""
    return _load("minilm", path, options)


def load_clip(path: str | Path | None = None, **options: Any) -> "FrozenEncoder":
    """The text side of CLIP (Radford et al. 2021): last hidden states, pooled at the end mark."""
    return _load("clip", path, options)


def load_t5(path: str | Path | None = None, **options: Any) -> "FrozenEncoder":
    """The encoder of T5 (Raffel et al. 2020): last hidden states, pooled by their mean."""
    return _load("t5", path, options)


def _load(name: Any, path: str | Path | None, options: dict[str, Any]) -> "FrozenEncoder":
    fields = {key: options.pop(key) for key in ("hub", "max_tokens", "sha256") if key in options}
    config = TextConfig(name=name, path=None if path is None else str(path), **fields)
    return load_frozen(config, **options)


def build_encoder(
    config: TextConfig,
    *,
    device: torch.device | str = "cpu",
    allow_download: bool = False,
    say: Callable = print,
) -> Any:
    """The encoder that a config describes: frozen with its weights, or learned and not yet trained.

    Raises:
        UserError: If the weights are nowhere, damaged, or not those that the config records.
    """
    if config.name == "learned":
        from melies.text.learned import LearnedEncoder

        return LearnedEncoder(config).to(device)
    return load_frozen(config, device=device, allow_download=allow_download, say=say)


def load_frozen(
    config: TextConfig,
    *,
    device: torch.device | str = "cpu",
    allow_download: bool = False,
    say: Callable = print,
) -> "FrozenEncoder":
    """Find, check and load the frozen encoder of a config (see `find_encoder`)."""
    return FrozenEncoder(config, find_encoder(config, allow_download=allow_download, say=say), device=device)


def find_encoder(config: TextConfig, *, allow_download: bool = False, say: Callable = print) -> Path:
    """The folder of a frozen encoder, found in the order of `find_weights` and checked.

    Raises:
        UserError: If it is nowhere, or its files are not the recorded ones.
    """
    kind = KINDS[config.name]
    known = config.path is None and config.hub is None  # only then do the recorded digests apply
    digests = {**(kind.sha256 if known else {}), **({"*": config.sha256} if config.sha256 else {})}
    return find_weights(
        config.name,
        path=config.path,
        package=kind.package if config.hub is None else None,
        hub=config.hub or kind.hub,
        sha256=digests,
        allow_download=allow_download,
        remedy="add --allow-download",
        say=say,
    )


class FrozenEncoder:
    """A transformers text encoder: evaluated without gradients, states of a fixed length.

    Calling it with texts gives `TextStates` of (b, max_tokens, dim); positions that are not
    `valid` are zero, so that neither the batch nor the padding changes a result.
    """

    def __init__(self, config: TextConfig, folder: Path, *, device: torch.device | str = "cpu") -> None:
        self._kind = KINDS[config.name]
        self.folder = folder
        self.device = torch.device(device)
        self._tokenizer, self._model = _load_pretrained(self._kind, folder)
        self._model.to(self.device)
        if self._tokenizer.pad_token is None:
            raise UserError("the tokenizer has no padding token", where=str(folder))
        self.name = config.name
        """Kind of encoder."""
        self.dim: int = _width(self._model.config)
        """Width of a token state."""
        self.max_tokens: int = config.max_tokens or self._kind.max_tokens
        """Length of every result, start and end marks included."""
        limit = _positions(self._model.config)
        if limit is not None and self.max_tokens > limit:
            if config.max_tokens is not None:
                raise UserError(
                    f"max_tokens = {config.max_tokens} is more than the {limit} that this encoder reads",
                    where=str(folder),
                    remedy=f"give max_tokens at most {limit}",
                )
            self.max_tokens = limit
        if config.dim is not None and config.dim != self.dim:
            raise UserError(f"token states are {self.dim} wide, expected {config.dim}", where=str(folder))
        self._config = config

    @functools.cached_property
    def sha256(self) -> str:
        """Identity of the weights, for the checkpoint."""
        return weights_sha256(self.folder)

    @functools.cached_property
    def config(self) -> TextConfig:
        """The config with its open fields filled in: what a checkpoint should record."""
        return replace(self._config, dim=self.dim, max_tokens=self.max_tokens, sha256=self.sha256)

    @functools.cached_property
    def identity(self) -> str:
        """Everything that the states depend on, as one line: kind, length, weights, tokenizer."""
        files = _vocabulary_files(_tokenizer_folder(self.folder))
        return "/".join([self.name, str(self.max_tokens), self.sha256, *map(file_sha256, files)])

    def __call__(self, texts: Sequence[str]) -> TextStates:
        """Token states of a batch of texts; texts that are too long are cut (see `cut`).

        Raises:
            UserError: If a text is empty or cannot be read (see `check_texts`).
        """
        check_texts(texts)
        parts = [self._encode(texts[i : i + BATCH]) for i in range(0, len(texts), BATCH)]
        if not parts:
            raise ValueError("no texts to encode")
        return TextStates(*(torch.cat(part) for part in zip(*parts, strict=True)))

    def cut(self, text: str) -> str:
        """The end of `text` that the encoder does not read; empty when it reads all of it."""
        check_texts([text])
        read = self._tokenizer(text, truncation=True, max_length=self.max_tokens, return_offsets_mapping=True)
        whole = self._tokenizer(text, verbose=False)
        if len(whole["input_ids"]) <= len(read["input_ids"]):
            return ""
        return text[max(end for _, end in read["offset_mapping"]) :].strip()

    def too_long(self, texts: Sequence[str]) -> list[str]:
        """Those of the texts that are not read to their end."""
        check_texts(texts)
        whole = self._tokenizer(list(texts), verbose=False)["input_ids"]
        return [text for text, ids in zip(texts, whole, strict=True) if len(ids) > self.max_tokens]

    @torch.no_grad()
    def _encode(self, texts: Sequence[str]) -> TextStates:
        batch = self._tokenizer(
            list(texts),
            padding=True,
            truncation=True,
            max_length=self.max_tokens,
            return_tensors="pt",
            padding_side="right",
        )
        ids, mask = batch["input_ids"].to(self.device), batch["attention_mask"].to(self.device)
        output = self._model(input_ids=ids, attention_mask=mask)
        valid = mask.bool()
        tokens = output.last_hidden_state.float().masked_fill(~valid[..., None], 0.0)
        if self._kind.pooling == "mean":
            pooled = tokens.sum(1) / valid.sum(1, keepdim=True)
        else:
            pooled = output.pooler_output.float()
        missing = self.max_tokens - ids.shape[1]
        tokens = torch.nn.functional.pad(tokens, (0, 0, 0, missing))
        return TextStates(tokens, torch.nn.functional.pad(valid, (0, missing)), pooled)


def check_texts(texts: Sequence[str]) -> None:
    """Refuse texts that say nothing or that no encoder can read.

    Raises:
        UserError: If one is empty, longer than `MAX_CHARACTERS`, or not valid Unicode.
    """
    for index, text in enumerate(texts):
        where = f"text {index + 1} of {len(texts)}" if len(texts) > 1 else ""
        if not any(character.isprintable() and not character.isspace() for character in text):
            raise UserError("the text is empty", where=where, remedy="say in a few words what is wanted")
        if len(text) > MAX_CHARACTERS:
            raise UserError(
                f"the text has {len(text)} characters, at most {MAX_CHARACTERS} are accepted", where=where
            )
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise UserError("the text is not valid Unicode", where=where, remedy="give it in UTF-8")


def _load_pretrained(kind: Kind, folder: Path) -> tuple[Any, Any]:
    if not (folder / "config.json").is_file():
        raise UserError(
            "the encoder needs its folder: config.json, tokenizer and weights side by side", where=str(folder)
        )
    if not _vocabulary_files(_tokenizer_folder(folder)):  # transformers would make an empty one
        raise UserError(
            "has no tokenizer (tokenizer.json)", where=str(folder), remedy="save it beside the weights"
        )
    from transformers import AutoTokenizer

    model = load_pretrained(kind.model, folder)
    with loading(kind.model, folder):
        tokenizer = AutoTokenizer.from_pretrained(_tokenizer_folder(folder), local_files_only=True)
    if not tokenizer.is_fast:
        raise UserError("there is no tokenizer.json", where=str(folder), remedy="save the fast tokenizer too")
    if len(tokenizer) > model.config.vocab_size:
        raise UserError(
            f"the tokenizer has {len(tokenizer)} entries, the model {model.config.vocab_size}",
            where=str(folder),
        )
    return tokenizer, model


def _tokenizer_folder(folder: Path) -> Path:
    """The tokenizer's folder: the model's own, or its neighbour, as Stable Diffusion lays them out."""
    beside = folder.parent / "tokenizer"
    own = any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json"))
    return beside if beside.is_dir() and not own else folder


def _vocabulary_files(folder: Path) -> list[Path]:
    names = ("tokenizer.json", "vocab.txt", "vocab.json", "merges.txt", "spiece.model")
    return [folder / name for name in names if (folder / name).is_file()]


def _width(config: Any) -> int:
    return config.d_model if hasattr(config, "d_model") else config.hidden_size


def _positions(config: Any) -> int | None:
    return getattr(config, "max_position_embeddings", None)  # T5's positions are relative: no limit
