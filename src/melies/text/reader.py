"""A model that reads texts: how it comes to its encoder, and what it makes of texts with it."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from melies.errors import UserError
from melies.interfaces import Condition
from melies.text.config import TextConfig


class TextReader(nn.Module):
    """Base of models that read texts; a frozen encoder is shared and not saved, a learned one trains too."""

    def __init__(self, text: TextConfig | None, text_encoder: Any | None = None) -> None:
        """Get ready to read.

        Args:
            text: Which encoder; None for a model without text.
            text_encoder: A frozen one that is already loaded, so as not to load it again.
        """
        super().__init__()
        self._text_config = text
        # in a tuple, for its weights are not this model's to train, to copy or to save
        self._frozen_text: tuple[Any, ...] = () if text_encoder is None else (text_encoder,)
        if text is not None and text.name == "learned":
            from melies.text.learned import LearnedEncoder

            self.learned_text = LearnedEncoder(text)  # trains with the network, in this checkpoint

    def with_states(self, condition: Condition) -> Condition:
        """The condition with `text_ids` turned into token states by the learned encoder."""
        if "text_ids" not in condition:
            return condition
        states = self.learned_text.states(condition["text_ids"], condition["text_valid"])
        rest = {name: value for name, value in condition.items() if name != "text_ids"}
        return {**rest, "text": states.tokens, "text_valid": states.valid}

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    def text_encoder(self) -> Any:
        """The text encoder, loaded at its first use; as `load_text_encoder`, with the same errors."""
        return self.load_text_encoder()

    def load_text_encoder(self, *, allow_download: bool = False, say: Callable[[str], None] = print) -> Any:
        """The text encoder: the learned one, the one that was given, or the one that is found now.

        Args:
            allow_download: Whether its weights may be fetched from the Hugging Face hub.
            say: Told before they are.

        Raises:
            UserError: If the model has no text, or the encoder's weights are found nowhere.
        """
        if self._text_config is None:
            raise UserError("this model does not read text", remedy="name classes with --class")
        if self._text_config.name == "learned":
            return self.learned_text
        if not self._frozen_text:
            from melies.text.encode import build_encoder

            encoder = build_encoder(
                self._text_config, device=self.device, allow_download=allow_download, say=say
            )
            self._frozen_text = (encoder,)
        return self._frozen_text[0]

    @torch.no_grad()
    def read_texts(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Token states (b, l, d) of texts, and which are real (b, l), where the weights are.

        Each different text goes through the encoder alone, so that no batch changes its states.

        Raises:
            UserError: As `load_text_encoder`.
        """
        unique = list(dict.fromkeys(texts))
        states = [self.text_encoder([text]) for text in unique]
        length = max(int(s.valid.sum()) for s in states)
        rows = [unique.index(text) for text in texts]
        tokens = torch.cat([_fit(s.tokens, length) for s in states])[rows]
        valid = torch.cat([_fit(s.valid, length) for s in states])[rows]
        return tokens.to(self.device), valid.to(self.device)


def _fit(x: Tensor, length: int) -> Tensor:
    """The second axis cut or padded with zeros to `length`."""
    if x.shape[1] >= length:
        return x[:, :length]
    return torch.cat([x, x.new_zeros(x.shape[0], length - x.shape[1], *x.shape[2:])], 1)
