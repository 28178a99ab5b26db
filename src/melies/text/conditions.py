"""The texts of a training set as conditions of its batches, by a frozen encoder or one that learns along."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from melies.progress import Progress, silent
from melies.text.cache import encode_all
from melies.text.config import TextConfig
from melies.text.learned import LearnedEncoder, build_vocabulary


def with_vocabulary(config: TextConfig, texts: Sequence[str], *, dim: int = 0) -> TextConfig:
    """A learned encoder's config with the words of the texts, and a width; that of a frozen one as it is."""
    if config.name != "learned" or config.vocabulary:
        return config
    return replace(config, dim=config.dim or dim or None, vocabulary=build_vocabulary(texts))


def caption_conditions(
    encoder: Any, texts: Sequence[str], *, progress: Progress = silent, cache: Path | None = None
) -> Callable[[Tensor], dict[str, Tensor]]:
    """`rows → condition` of some of the texts, each (b, l, …).

    States of a frozen encoder, made once; for an encoder that learns along they change with every
    step, so that a batch carries its token numbers and the model turns them into states.
    """
    if not isinstance(encoder, LearnedEncoder):
        return encode_all(encoder, texts, progress=progress, cache=cache).batch
    tokens = encoder.tokenize(texts)
    return lambda rows: {"text_ids": tokens.ids[rows], "text_valid": tokens.valid[rows]}
